"""Let the threads of many processes save rows in one MariaDB with few connections."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from mirakuru import SimpleExecutor
from rich import box
from rich.console import Console
from rich.table import Table

from lab.clients import FOLDER, GRACE, ROWS, surroundings, with_django
from lab.processes import dies_with_parent
from lab.prove import LAG
from lab.script import Script, connect_mysql
from lab.servers import named_by_user, server
from overlay.errors import OverlayError

PROCESSES = 8
WORKERS = 2  # of Celery, which share the processes
MAX_CONNECTIONS = 151  # the default of MariaDB and MySQL
REFUSED = "(1040,"  # how the driver's "Too many connections" begins


class Load(NamedTuple):
    """What each process has to do: threads `together` at a time, for `wait` seconds."""

    together: int
    wait: float = 0.0
    celery: bool = False

    @property
    def fits(self) -> bool:
        """Whether the server has a connection for each thread that lives."""
        return PROCESSES * self.together < MAX_CONNECTIONS


LOADS = {
    "threads that wait": Load(12, wait=0.02),
    "threads": Load(40),
    "Celery": Load(12, celery=True),
}


@dataclass(frozen=True)
class Outcome:
    """What became of the tasks of a fleet: of its threads, or of those of Celery."""

    tasks: int
    refused: int  # failed with "Too many connections"
    errors: list[str]  # of those that failed otherwise
    rows: int
    connections: int  # that the server was asked for
    peak: int  # connections at a time
    seconds: float

    @property
    def served(self) -> int:
        """How many tasks have saved all of their rows."""
        return self.tasks - self.refused - len(self.errors)

    def problem(self, load: Load) -> str | None:
        """Return what is wrong, if anything is, with patched Django."""
        if self.rows < self.served * (ROWS if load.celery else 1):
            return f"{self.rows} rows are saved by {self.served} tasks"
        if load.fits and self.served < self.tasks:
            return f"{self.served} tasks are served of {self.tasks}"
        return None


# By what is done, and by Django: "stock", "without extras" and "patched".
Outcomes = dict[str, dict[str, Outcome]]


def require_private() -> None:
    """Raise OverlayError if the user names a server, which would be filled."""
    if named_by_user("mysql"):
        raise OverlayError(
            "A fleet uses up all connections of its server: name none, so that private "
            "ones are started."
        )


def compare(djangos: dict[str, Path], threads: int, console: Console) -> Outcomes:
    """
    Run each load with each of `djangos`, on a server of its own, and return what came of it.

    `threads` is how many save a row, in all processes together, but for those of Celery,
    each of whose tasks saves ROWS. What is going on is shown on `console`. Raise
    OverlayError if a process or a server fails.
    """
    outcomes = {title: {} for title in LOADS}
    with console.status("") as status:
        for (title, load), (side, tree) in product(LOADS.items(), djangos.items()):
            status.update(f"{title}, {side}")
            outcomes[title][side] = run(load, tree, threads)
    return outcomes


def run(load: Load, tree: Path, threads: int) -> Outcome:
    """Put `load` on the Django in `tree`, and on a new server; return what came of it."""
    with surroundings("mysql", tree, max_connections=MAX_CONNECTIONS) as around:
        environment = around.environment | with_django(tree, 0)
        before = around.count_rows()
        connections = _status(environment, "Connections")
        fleet = _celery if load.celery else _processes
        with fleet(load, tree, environment, threads) as scripts:
            for script in scripts:
                script.hear()  # it is ready
            started = time.monotonic()
            for script in scripts:
                script.go_on()
            errors = [error for script in scripts for error in script.hear()["errors"]]
            seconds = time.monotonic() - started
        time.sleep(LAG)
        return Outcome(
            tasks=threads // ROWS if load.celery else threads,
            refused=sum(error.startswith(REFUSED) for error in errors),
            errors=[error for error in errors if not error.startswith(REFUSED)],
            # The question was one, too, as is who counts, all of the time.
            connections=_status(environment, "Connections") - connections - 1,
            peak=_status(environment, "Max_used_connections") - 1,
            rows=around.count_rows() - before,
            seconds=seconds,
        )


def _status(environment: dict[str, str], name: str) -> int:
    """Return a figure of the server's, asked for over a new connection."""
    with (
        closing(connect_mysql(environment)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SHOW GLOBAL STATUS LIKE %s", [name])
        return int(cursor.fetchone()[1])


@contextmanager
def _processes(
    load: Load, tree: Path, environment: dict[str, str], threads: int
) -> Iterator[list[Script]]:
    """Yield PROCESSES that run `threads` threads together, each as many."""
    arguments = [load.together, load.wait, threads // PROCESSES]
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Script(
                    FOLDER / "fleet_threads.py",
                    tree,
                    "mysql",
                    environment,
                    *map(str, arguments),
                )
            )
            for _ in range(PROCESSES)
        ]


@contextmanager
def _celery(
    load: Load, tree: Path, environment: dict[str, str], threads: int
) -> Iterator[list[Script]]:
    """Yield the sender of tasks, for workers of PROCESSES in all."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="overlay-"))
        environment = {
            **environment,
            **stack.enter_context(server("redis")),
            "TMPDIR": folder,
        }
        log = stack.enter_context(Path(folder, "log").open("w"))
        for number in range(WORKERS):
            command = "celery -A fleet_tasks worker --pool=prefork"
            command += f" --concurrency={PROCESSES // WORKERS} --hostname={number}"
            worker = SimpleExecutor(
                dies_with_parent([sys.executable, "-m", *command.split()]),
                cwd=folder,
                envvars=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=GRACE,
            )
            stack.enter_context(worker)
        arguments = [WORKERS, load.together, threads // ROWS]
        yield [
            stack.enter_context(
                Script(
                    FOLDER / "fleet_tasks.py",
                    tree,
                    "mysql",
                    environment,
                    *map(str, arguments),
                )
            )
        ]


def problems(outcomes: Outcomes) -> list[str]:
    """Return what is wrong with patched Django, a sentence each."""
    return [
        f"{title}, {side}: {problem}."
        for title, sides in outcomes.items()
        for side, outcome in sides.items()
        if side != "stock" and (problem := outcome.problem(LOADS[title]))
    ]


def show(outcomes: Outcomes, title: str, console: Console) -> None:
    """Print a row for each load and Django."""
    columns = ("tasks", "served", "refused", "errors", "rows", "opened", "peak", "s")
    table = Table("", *columns, title=title, box=box.SIMPLE, padding=0)
    for name, sides in outcomes.items():
        together = LOADS[name].together
        table.add_row(f"[bold]{name}, {PROCESSES} by {together}")
        for side, outcome in sides.items():
            table.add_row(
                f"  {side}",
                *(str(outcome.tasks), str(outcome.served), str(outcome.refused)),
                *(str(len(outcome.errors)), str(outcome.rows)),
                *(str(outcome.connections), str(outcome.peak)),
                f"{outcome.seconds:.1f}",
            )
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)


def figures(outcomes: Outcomes) -> dict[str, object]:
    """Return what JSON can hold of `outcomes`."""
    return {
        title: {
            **LOADS[title]._asdict(),
            "processes": PROCESSES,
            **{side: asdict(outcome) for side, outcome in sides.items()},
        }
        for title, sides in outcomes.items()
    }
