"""`python -m benchmarks`: time stock and patched Django in turn."""

from pathlib import Path
from statistics import median

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from overlay import CACHE, PATCHES, TESTS, trees
from overlay.cli import db_option, django_option
from overlay.runner import require_packages
from overlay.script import Script
from overlay.series import lines
from overlay.servers import server

SCRIPT = Path(__file__).with_name("cases.py")

Rounds = list[dict[str, float]]  # seconds per call, by case


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@django_option
@db_option
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True)
def main(django: str | None, db: str, rounds: int) -> None:
    """Time the cases of cases.py on stock and on patched Django.

    Both run at the same time and take turns, since timings vary between runs. The
    ratio is that of the two turns of a round: its median, least, and greatest.
    """
    require_packages(db)
    rounds_and_first = str(rounds + 1)
    line, release = trees.choose(django, lines(PATCHES))
    stock, patched = (
        trees.build(line, release, patched, TESTS, CACHE) for patched in (False, True)
    )
    with (
        server(db) as environment,
        Script(SCRIPT, stock, db, environment, rounds_and_first) as stock_script,
        Script(SCRIPT, patched, db, environment, rounds_and_first) as patched_script,
    ):
        timed: tuple[Rounds, Rounds] = ([], [])
        turns = [(stock_script, timed[0]), (patched_script, timed[1])]
        for script, _ in turns:
            script.hear()  # what it warmed up with
        for _ in track(range(rounds), "Rounds", console=Console(stderr=True)):
            for script, results in turns:
                script.go_on()
                results.append(script.hear())
            turns.reverse()  # neither is always the first
    show(*timed, f"Django {release}, {db}, {rounds} rounds", Console())


def show(stock: Rounds, patched: Rounds, title: str, console: Console) -> None:
    """Print what each case took, and the ratios of patched to stock Django."""
    table = Table(
        "µs per call", "stock", "patched", "ratio", "range", title=title, box=box.SIMPLE
    )
    for case in patched[0]:
        cells = ["", f"{median(r[case] for r in patched) * 1e6:.3g}", "", ""]
        if case in stock[0]:
            ratios = [
                after[case] / before[case]
                for before, after in zip(stock, patched, strict=True)
            ]
            cells[0] = f"{median(r[case] for r in stock) * 1e6:.3g}"
            cells[2] = f"{median(ratios):.2f}"
            cells[3] = f"{min(ratios):.2f} to {max(ratios):.2f}"
        table.add_row(escape(case), *cells)
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)


if __name__ == "__main__":
    main()
