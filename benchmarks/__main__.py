"""`python -m benchmarks`: time stock and patched Django in turn."""

from contextlib import ExitStack
from pathlib import Path
from statistics import median

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from lab import trees
from lab.cli import db_option, django_option
from lab.runner import require_packages
from lab.script import Script
from lab.servers import server
from overlay.errors import OverlayError
from overlay.series import read_all

SCRIPT = Path(__file__).with_name("cases.py")

Rounds = list[dict[str, float]]  # seconds per call, by case


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@django_option
@db_option
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True)
def main(django: str | None, db: str, rounds: int) -> None:
    """
    Time the cases of cases.py on stock and on patched Django.

    Both run at the same time and take turns, since timings vary between runs. What
    disturbs them only adds to what they take: the least of all rounds tells most.
    """
    require_packages(db)
    series, release = trees.choose(django, read_all())
    stock, patched = (
        trees.build(series, release, patched) for patched in (False, True)
    )
    with ExitStack() as stack:
        environments = [stack.enter_context(server(db)) for _ in (stock, patched)]
        if db != "sqlite" and environments[0] == environments[1]:
            raise OverlayError(
                "Stock and patched Django need a server each: name none, so that "
                "private ones are started."
            )
        stock_script, patched_script = (
            stack.enter_context(Script(SCRIPT, tree, db, environment, str(rounds + 1)))
            for tree, environment in zip((stock, patched), environments, strict=True)
        )
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
        "least µs per call",
        "stock",
        "patched",
        "ratio",
        "median ratio of a round",
        title=title,
        box=box.SIMPLE,
    )
    for case in patched[0]:
        after = [seconds[case] for seconds in patched]
        cells = [f"{min(after) * 1e6:.3g}"]
        if case in stock[0]:
            before = [seconds[case] for seconds in stock]
            ratios = [b / a for a, b in zip(before, after, strict=True)]
            cells.insert(0, f"{min(before) * 1e6:.3g}")
            cells += [f"{min(after) / min(before):.2f}", f"{median(ratios):.2f}"]
        else:
            cells.insert(0, "")
        table.add_row(escape(case), *cells)
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)


if __name__ == "__main__":
    main()
