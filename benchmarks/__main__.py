"""`python -m benchmarks`: time stock and patched Django in turn."""

import json
import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import click
import psutil
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from benchmarks.cases import OTHERS, RAW_DRIVER, SETS, Round
from lab import plot, trees
from lab.cli import db_option, django_option, file_option, require_writable
from lab.runner import require_packages
from lab.script import Script
from lab.servers import server
from overlay.errors import OverlayError
from overlay.series import read_all

SCRIPT = Path(__file__).with_name("cases.py")
TURN = 1_000  # threads in turn in a round, at most
COUNTED = 100  # threads in turn whose instructions are counted


@dataclass
class Timed:
    """What a Django took for a set of cases: something for each round."""

    rounds: list[Round]
    memory: list[float]  # MiB, resident, after the round


@dataclass
class Row:
    """What a Django took for a case, and how often the time of its base that is."""

    case: str
    django: str
    least: float  # seconds per call
    # Of the ratios to the base in the same round: median, and quartiles.
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    least_ratio: float | None = None  # of the least of all rounds


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="[SET]...", type=click.Choice(list(SETS)), nargs=-1)
@django_option
@db_option
@click.option(
    "--rounds",
    type=click.IntRange(min=2),
    default=15,
    show_default=True,
    help="Of calls and saves; growth has a fifth of it, but two at least.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=2),
    default=3 * TURN,
    show_default=True,
    help="In turn, in all rounds.",
)
@click.option(
    "--others",
    type=click.IntRange(min=1),
    default=max(OTHERS),
    show_default=True,
    help="The most threads that are connected at a time, of 1, 10, 100 and 1,000.",
)
@click.option(
    "--instructions",
    is_flag=True,
    help="Also count those of a thread in turn, by Valgrind, which takes minutes.",
)
@file_option("--json", "FILE", "Write the figures of all rounds there.")
@file_option("--plot", "FILE.svg", "Draw the ratios. Needs Matplotlib.")
def main(
    names: tuple[str, ...],
    django: str | None,
    db: str,
    rounds: int,
    threads: int,
    others: int,
    instructions: bool,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """
    Time the sets of cases of cases.py on stock and on patched Django.

    The sets are calls, saves (in new threads, 8 at a time, compared to the driver
    alone), growth (with 1 to 1,000 other threads that are connected) and turns (threads
    one after another); default: all.

    All Djangos run at the same time and take turns, since timings vary between runs.
    What disturbs them only adds to what they take: the least of all rounds tells most.
    """
    require_writable(json_file, plot_file)
    require_packages(db)
    if instructions and not shutil.which("valgrind"):
        raise OverlayError("--instructions needs valgrind: install it.")
    series, release = trees.choose(django, read_all())
    djangos = trees.build_each(series, release)
    turn = min(TURN, threads // 2)
    numbers = {
        "calls": rounds,
        "saves": rounds,
        "growth": max(2, rounds // 5),
        "turns": threads // turn,
    }
    title = f"Django {release}, {db}"
    console = Console()
    timed, rows = {}, {}
    with ExitStack() as stack:
        # Each thread may have two: stock MySQL's backend first asks over another one.
        environments = [
            stack.enter_context(server(db, max_connections=2 * max(OTHERS) + 100))
            for _ in djangos
        ]
        if db != "sqlite" and environments[0] == environments[1]:
            raise OverlayError(
                "Each Django needs a server of its own: name none, so that private "
                "ones are started."
            )
        scripts = {
            name: partial(Script, SCRIPT, tree, db, environment)
            for (name, tree), environment in zip(
                djangos.items(), environments, strict=True
            )
        }
        for name in names or SETS:
            arguments = {"growth": [str(others)], "turns": [str(turn)]}.get(name, [])
            timed[name] = measure(scripts, name, numbers[name], *arguments)
            rows[name] = compare(timed[name])
            show(rows[name], f"{title}: {name}, {numbers[name]} rounds", console)
            if name == "turns":
                show_growth(timed[name], console)
        counts = {}
        for name, script in scripts.items() if instructions else ():
            counts[name] = count = count_instructions(script)
            ratio = f"{count / counts['stock']:.3f}"
            click.echo(f"{name}: {count:,.0f} instructions per thread in turn, {ratio}")
    if json_file:
        content = {
            "django": release,
            "db": db,
            "instructions": counts,
            "sets": {
                name: {
                    "rows": [asdict(row) for row in rows[name]],
                    "rounds": {key: asdict(each) for key, each in timed[name].items()},
                }
                for name in timed
            },
        }
        json_file.write_text(json.dumps(content, indent=2) + "\n")
    if plot_file:
        draw(rows, title, plot_file)


def measure(
    scripts: dict[str, Callable[..., Script]], name: str, rounds: int, *args: str
) -> dict[str, Timed]:
    """
    Run the rounds of a set in turn, with the scripts of Djangos by their names.

    `args` is what the set needs to know.
    """
    with ExitStack() as stack:
        running = [
            stack.enter_context(script(name, str(rounds + 1), *args))
            for script in scripts.values()
        ]
        timed = {django: Timed([], []) for django in scripts}
        turns = list(zip(running, timed.values(), strict=True))
        for script in running:
            script.hear()  # what it warmed up with
        for _ in track(range(rounds), name, console=Console(stderr=True)):
            for script, results in turns:
                script.go_on()
                results.rounds.append(script.hear())
                process = psutil.Process(script.process.pid)
                results.memory.append(process.memory_info().rss / 2**20)
            turns.reverse()  # none is always the first
    return timed


def count_instructions(script: Callable[..., Script]) -> float:
    """Return how many a thread takes that queries and closes: a round's by Valgrind."""
    totals = []
    with TemporaryDirectory(prefix="overlay-") as folder:
        log = Path(folder, "log")
        wrapper = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        wrapper.append(f"--log-file={log}")
        for rounds in (1, 2):
            arguments = ("turns", str(rounds), str(COUNTED))
            with script(*arguments, wrapper=wrapper) as running:
                for _ in range(rounds):
                    running.hear()
                    running.go_on()
            totals.append(int(re.search(r"Collected : (\d+)", log.read_text())[1]))
    return (totals[1] - totals[0]) / COUNTED


def compare(timed: dict[str, Timed]) -> list[Row]:
    """
    Return a row for each case and Django.

    The base is the raw driver, in the same process, if it's one of the cases, or else
    the same case on stock Django, which may not have it.
    """
    rows = []
    for case in timed["patched"].rounds[0]:
        for django, results in timed.items():
            if case not in results.rounds[0]:
                continue
            seconds = [each[case] for each in results.rounds]
            row = Row(case, django, min(seconds))
            base_case = RAW_DRIVER if RAW_DRIVER in results.rounds[0] else case
            base_rounds = (
                results if base_case == RAW_DRIVER else timed["stock"]
            ).rounds
            if base_case in base_rounds[0]:
                base = [each[base_case] for each in base_rounds]
                ratios = [own / its for own, its in zip(seconds, base, strict=True)]
                low, row.ratio, high = quantiles(ratios, n=4, method="inclusive")
                row.quartiles = (low, high)
                row.least_ratio = min(seconds) / min(base)
            rows.append(row)
    return rows


def show(rows: list[Row], title: str, console: Console) -> None:
    """Print `rows`, with the time of a call, as a table."""
    table = Table(
        "",
        "least µs",
        "ratio (of least)",
        "quartiles",
        title=title,
        box=box.SIMPLE,
    )
    for case, group in groupby(rows, key=attrgetter("case")):
        table.add_row(f"[bold]{escape(case)}")
        for row in group:
            cells = [f"  {row.django}", f"{row.least * 1e6:.5g}"]
            if row.quartiles:
                cells.append(f"{row.ratio:.2f} ({row.least_ratio:.2f})")
                cells.append("{:.2f} to {:.2f}".format(*row.quartiles))
            table.add_row(*cells)
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)


def show_growth(timed: dict[str, Timed], console: Console) -> None:
    """
    Print the memory after the first round and the last, and what rounds took.

    The latter are medians of ratios to stock Django, of a tenth of the rounds.
    """
    stock = timed["stock"].rounds
    tenth = -(-len(stock) // 10)
    for django, results in timed.items():
        ratios = [
            sum(own.values()) / sum(its.values())
            for own, its in zip(results.rounds, stock, strict=True)
        ]
        console.print(
            f"{django}: {results.memory[0]:.1f} MiB after the first round, "
            f"{results.memory[-1]:.1f} after the last; {median(ratios[:tenth]):.2f} "
            f"times as long as stock at first, {median(ratios[-tenth:]):.2f} at last.",
            highlight=False,
            soft_wrap=True,
        )


def draw(rows: dict[str, list[Row]], title: str, file: Path) -> None:
    """Write a figure of the ratios of `rows`, by set, to an SVG file."""
    drawn = {
        name: found
        for name, all_rows in rows.items()
        if (found := [row for row in all_rows if row.quartiles])
    }
    heights = [len(found) for found in drawn.values()]
    with plot.figure(file, (9, 1 + 0.25 * sum(heights))) as figure:
        axes = figure.subplots(len(drawn), squeeze=False, height_ratios=heights)
        for (name, found), ax in zip(drawn.items(), axes.flat, strict=True):
            ratios = [row.ratio for row in found]
            spread = [
                [row.ratio - row.quartiles[0] for row in found],
                [row.quartiles[1] - row.ratio for row in found],
            ]
            labels = [f"{row.case}, {row.django}" for row in found]
            ax.errorbar(ratios, labels, xerr=spread, fmt="o", capsize=3)
            ax.axvline(1, linestyle=":")
            ax.invert_yaxis()
            ax.set(ylabel=name, xlim=(0, None))
            ax.grid(alpha=0.3)
        figure.suptitle(f"{title}: ratios, median and quartiles of rounds")


if __name__ == "__main__":
    main()
