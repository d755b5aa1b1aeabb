"""The tool that keeps the patch series."""
