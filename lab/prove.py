"""Run the ticket's script on stock and on patched Django, and count what stays open."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from lab.script import Script, counter
from lab.servers import server

SCRIPT = Path(__file__).with_name("scripts") / "ticket.py"
INTERVAL = 0.01  # seconds between two counts
# A server's list of sessions lags: of 100 connections that were closed at once up to
# 93 were still in it, the last for 133 ms.
LAG = 0.5  # seconds


@dataclass
class Result:
    """What the threads of one Django did to their server."""

    threads: int
    rows_saved: int
    left_open: int  # after the joins and the server's lag
    left_open_after_1s: int
    left_open_after_gc: int
    peak_open: int  # of the samples
    seconds: float  # from the start of the first thread to the return of the last join
    # Open connections over time: seconds since the start of the first thread, number.
    samples: list[tuple[float, int]] = field(repr=False)

    def figures(self) -> dict[str, int | float]:
        """Return all but the samples."""
        return {name: value for name, value in vars(self).items() if name != "samples"}


def run(
    tree: Path,
    db: str,
    environment: dict[str, str],
    threads: int,
    watch: Callable[[int], None] = lambda number: None,
    python: Path = Path(sys.executable),
) -> Result:
    """
    Run the script with the Django in `tree`, or that of `python`; return what it did.

    `environment` says where the server of `db` is (`servers.server`). `watch` is given
    the number of open connections each time they are counted. Raise OverlayError if
    the script fails.
    """
    counts: list[tuple[float, int]] = []
    with (
        counter(db, environment) as count,
        Script(SCRIPT, tree, db, environment, str(threads), python=python) as script,
    ):
        database = script.hear()["database"]

        def sample() -> int:
            number = count(script.process.pid, database)
            counts.append((time.monotonic(), number))
            watch(number)
            return number

        def sample_until(deadline: float, *, zero: bool = False) -> int:
            while (number := sample()) or not zero:
                if time.monotonic() > deadline:
                    break
                time.sleep(INTERVAL)
            return number

        script.go_on()
        while script.is_silent(INTERVAL):
            sample()
        times = script.hear()
        left_open = sample_until(times["joined"] + LAG, zero=True)
        left_open_after_1s = sample_until(times["joined"] + 1)
        script.go_on()
        collected = script.hear()["collected"]
        left_open_after_gc = sample_until(collected + LAG, zero=True)
        script.go_on()
        rows_saved = script.hear()["rows_saved"]
    return Result(
        threads=threads,
        rows_saved=rows_saved,
        left_open=left_open,
        left_open_after_1s=left_open_after_1s,
        left_open_after_gc=left_open_after_gc,
        peak_open=max(number for _, number in counts),
        seconds=round(times["joined"] - times["started"], 3),
        samples=[(round(at - times["started"], 3), number) for at, number in counts],
    )


def compare(
    trees: dict[str, Path], db: str, threads: int, rounds: int, console: Console
) -> dict[str, list[Result]]:
    """
    Run the script with each of `trees` in turn, and return its results by name.

    What is going on is shown on `console`.
    """
    results: dict[str, list[Result]] = {name: [] for name in trees}
    with (
        # Stock Django may need a connection for each thread, MySQL's backend two.
        server(db, max_connections=max(400, 2 * threads)) as environment,
        console.status("") as status,
    ):
        for number in range(rounds):
            for name, tree in trees.items():
                turn = f"Round {number + 1} of {rounds}, {name} Django"

                def watch(count: int, turn: str = turn) -> None:
                    status.update(f"{turn}: {are_open(count)}")

                results[name].append(run(tree, db, environment, threads, watch))
    return results


def forecast(db: str, threads: int, rounds: int) -> str:
    """Return a sentence about how long `compare` takes on a machine that is not busy."""
    # Two Djangos in each round, which start, wait for lags, and save 200 objects a
    # second; and a server, unless it is SQLite.
    seconds = rounds * 2 * (4 + threads / 200) + (0 if db == "sqlite" else 5)
    return f"This takes about {5 * round(seconds / 5)} s."


def are_open(number: int) -> str:
    """Return how many connections are open, as a phrase."""
    return f"{number} connection{' is' if number == 1 else 's are'} open"


def median(results: list[Result]) -> Result:
    """Return the one of `results` whose duration is the median."""
    return sorted(results, key=lambda result: result.seconds)[len(results) // 2]


def problem(results: list[Result]) -> str | None:
    """Return what is wrong with the first of `results` that is not as it should be."""
    for result in results:
        if result.left_open:
            plural = "" if result.left_open == 1 else "s"
            return f"left {result.left_open} connection{plural} open"
        if result.rows_saved != result.threads:
            return f"saved {result.rows_saved} objects in {result.threads} threads"
    return None


def show(results: dict[str, Result], title: str, console: Console) -> None:
    """Print the figures of `results`, by name, side by side."""
    table = Table("", *results, title=title, box=box.SIMPLE)
    for label, name in (
        ("threads", "threads"),
        ("rows saved", "rows_saved"),
        ("left open right after the joins", "left_open"),
        ("left open after 1 s", "left_open_after_1s"),
        ("left open after garbage collection", "left_open_after_gc"),
        ("most open at a time", "peak_open"),
        ("seconds", "seconds"),
    ):
        table.add_row(label, *(str(getattr(r, name)) for r in results.values()))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
