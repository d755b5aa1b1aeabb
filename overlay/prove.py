"""Run the ticket's script on stock and on patched Django, and count what stays open."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from overlay import ROOT
from overlay.errors import OverlayError
from overlay.processes import dies_with_parent

SCRIPT = Path(__file__).with_name("ticket.py")
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
) -> Result:
    """Run the script with the Django in `tree` and return what it did.

    `environment` says where the server of `db` is (`servers.server`). `watch` is given
    the number of open connections each time they are counted. Raises OverlayError if
    the script fails.
    """
    counts: list[tuple[float, int]] = []
    with (
        _counter(db, environment) as count,
        _Script(tree, db, environment, threads) as script,
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


def median(results: list[Result]) -> Result:
    """Return the one of `results` whose duration is the median."""
    return sorted(results, key=lambda result: result.seconds)[len(results) // 2]


def problem(results: list[Result]) -> str | None:
    """Return what is wrong with the first of `results` that is not as it should be."""
    for result in results:
        if result.left_open:
            return f"left {result.left_open} connections open"
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


class _Script:
    """The process of the script. It waits after each line that it says."""

    def __init__(
        self, tree: Path, db: str, environment: dict[str, str], threads: int
    ) -> None:
        self.tree = tree
        # SQLite's databases are in the temporary folder, and so are the errors: nobody
        # would read a pipe of what 200 threads may have to say.
        self.scratch = tempfile.TemporaryDirectory(prefix="overlay-")
        self.errors = Path(self.scratch.name, "errors")
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                dies_with_parent([sys.executable, str(SCRIPT), str(threads)]),
                env={
                    **os.environ,
                    **environment,
                    "PYTHONPATH": os.pathsep.join(
                        map(str, [tree, tree / "tests", ROOT])
                    ),
                    "DJANGO_SETTINGS_MODULE": f"settings.test_{db}",
                    "TMPDIR": self.scratch.name,
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with self.scratch, self.process:
            if kind is None:
                self.process.communicate()  # the end of its input lets it go on
                if self.process.returncode:
                    raise self._failure()
            else:
                self.process.kill()

    def hear(self) -> dict:
        """Return the facts of the next line."""
        if line := self.process.stdout.readline():
            return json.loads(line)
        raise self._failure()

    def is_silent(self, seconds: float) -> bool:
        """Wait so long for a line, and return whether there is none."""
        return not select.select([self.process.stdout], [], [], seconds)[0]

    def go_on(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def _failure(self) -> OverlayError:
        *_, last = ["no reason given", *self.errors.read_text().splitlines()]
        return OverlayError(f"The ticket's script failed with {self.tree.name}: {last}")


@contextmanager
def _counter(
    db: str, environment: dict[str, str]
) -> Iterator[Callable[[int, str], int]]:
    """Yield a function that counts the connections of a process to a database.

    On a server it counts all clients' but those that were there before: that is cheap
    enough for sampling, where MariaDB's process list is not.
    """
    if db == "sqlite":
        yield _count_descriptors
        return
    connect, query = {"mysql": (_mysql, MYSQL), "postgres": (_postgres, POSTGRES)}[db]
    with closing(connect(environment)) as connection, connection.cursor() as cursor:

        def count() -> int:
            cursor.execute(query)
            return int(cursor.fetchone()[-1])

        before = count()
        yield lambda pid, database: count() - before


MYSQL = "SHOW GLOBAL STATUS LIKE 'Threads_connected'"
POSTGRES = "SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


def _mysql(environment: dict[str, str]):
    import MySQLdb

    return MySQLdb.connect(
        unix_socket=environment["MYSQL_UNIX_SOCKET"],
        host=environment["MYSQL_HOST"],
        port=int(environment["MYSQL_TCP_PORT"] or 0),
        user=environment["MYSQL_USER"],
        password=environment["MYSQL_PASSWORD"],
    )


def _postgres(environment: dict[str, str]):
    import psycopg

    return psycopg.connect(
        dbname="postgres",
        host=environment["PGHOST"],
        port=environment["PGPORT"],
        user=environment["PGUSER"],
        password=environment["PGPASSWORD"],
        autocommit=True,
    )


def _count_descriptors(pid: int, database: str) -> int:
    files = psutil.Process(pid).open_files()
    return sum(file.path == os.path.realpath(database) for file in files)
