"""What the patches cost, side by side with stock Django."""
