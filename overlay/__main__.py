"""Let `python -m overlay` be the command line."""

from overlay.cli import main

main(prog_name="python -m overlay")
