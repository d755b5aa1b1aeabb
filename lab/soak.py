"""Run threads that end in every way by the thousand, and see that nothing grows."""

import time
from dataclasses import astuple, dataclass
from pathlib import Path

import psutil
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from lab.prove import INTERVAL, LAG
from lab.script import Script, counter
from lab.servers import server

SCRIPT = Path(__file__).with_name("scripts") / "soak.py"
# How much more memory may be in use at the end than at the start: an allocator does
# not give all of it back.
GROWTH = 1.2


@dataclass(frozen=True)
class State:
    """What the process of the script holds while none of its threads runs."""

    connections: int
    descriptors: int
    alive_threads: int
    memory: float  # resident, in MiB


@dataclass(frozen=True)
class Result:
    """The states after the first threads and after the last, and what these did."""

    first: State
    last: State
    threads: int
    forks: int
    rows: int
    rows_expected: int
    seconds: float

    @property
    def problems(self) -> list[str]:
        """What has grown or is not as expected, as sentences."""
        first, last = self.first, self.last
        problems = []
        if last.connections:
            are = " is" if last.connections == 1 else "s are"
            problems.append(f"{last.connections} connection{are} left open.")
        if last.descriptors > first.descriptors:
            problems.append("There are more file descriptors than before.")
        if last.alive_threads > first.alive_threads:
            problems.append("There are more threads than before.")
        if last.memory > GROWTH * first.memory:
            problems.append("It uses more memory than before.")
        if self.rows != self.rows_expected:
            problems.append("Not all rows are there that should be, or more.")
        return problems


def run(tree: Path, db: str, threads: int, console: Console) -> Result:
    """
    Run the script with the Django in `tree`, and show its progress on `console`.

    It runs `threads` threads or a few more. Raise OverlayError if it fails.
    """
    states, times = [], []
    with (
        Progress(console=console) as progress,
        server(db) as environment,
        counter(db, environment) as count,
        Script(SCRIPT, tree, db, environment, str(threads)) as script,
    ):
        task = progress.add_task(f"{tree.name} on {db}", total=threads)
        process = psutil.Process(script.process.pid)
        while "database" in (facts := script.hear()):
            times.append(time.monotonic())
            deadline = times[-1] + LAG
            while left := count(process.pid, facts["database"]):
                if time.monotonic() > deadline:
                    break
                time.sleep(INTERVAL)
            memory = process.memory_info().rss / 2**20
            states.append(State(left, process.num_fds(), facts["alive"], memory))
            progress.update(task, completed=facts["threads"])
            ran = facts["threads"]
            script.go_on()
    return Result(
        first=states[0],
        last=states[-1],
        threads=ran,
        forks=facts["forks"],
        rows=facts["rows"],
        rows_expected=facts["rows_expected"],
        seconds=times[-1] - times[0],
    )


def show(result: Result, title: str, console: Console) -> None:
    """Print the states of `result` side by side, and what its threads did."""
    table = Table("", "at first", "at last", title=title, box=box.SIMPLE)
    labels = ("connections", "file descriptors", "threads alive", "memory, MiB")
    pairs = zip(astuple(result.first), astuple(result.last), strict=True)
    for label, (first, last) in zip(labels, pairs, strict=True):
        table.add_row(label, f"{first:.4g}", f"{last:.4g}")
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    console.print(
        f"{result.threads} threads and {result.forks} forks in "
        f"{result.seconds:.0f} s; {result.rows} rows, {result.rows_expected} expected."
    )
