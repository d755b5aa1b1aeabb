"""Let `python -m lab` be the command line."""

from lab.cli import main

main(prog_name="python -m lab")
