"""Scripts in a process of their own, and how many connections that process has."""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

import psutil

from lab import ROOT
from lab.processes import dies_with_parent
from overlay.errors import OverlayError


class Script:
    """
    The process of a script that uses the Django in `tree`.

    `environment` says where the server of `db` is (`servers.server`), and may have
    other variables than those that are set for all scripts. The script says facts in
    JSON, a line each time, and goes on once it has read a line. With `wrapper`, a
    program and its options, that program runs it.
    """

    def __init__(
        self,
        path: Path,
        tree: Path,
        db: str,
        environment: dict[str, str],
        *args: str,
        python: Path = Path(sys.executable),
        wrapper: Sequence[str] = (),
    ) -> None:
        self.name = f"{path.name} with {tree.name}"
        # SQLite's databases are in the temporary folder, and so are the errors: nobody
        # would read a pipe of what 200 threads may have to say.
        self.scratch = tempfile.TemporaryDirectory(prefix="overlay-")
        # A server that the script starts doesn't run as root, and has a folder in it.
        Path(self.scratch.name).chmod(0o711)
        self.errors = Path(self.scratch.name, "errors")
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                dies_with_parent([*wrapper, str(python), str(path), *args]),
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(
                        map(str, [tree, tree / "tests", ROOT])
                    ),
                    "DJANGO_SETTINGS_MODULE": f"settings.test_{db}",
                    "TMPDIR": self.scratch.name,
                    **environment,
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
        return OverlayError(f"The script {self.name} failed: {last}")


@contextmanager
def counter(
    db: str, environment: dict[str, str]
) -> Iterator[Callable[[int, str], int]]:
    """
    Yield a function that counts the connections of a process to a database.

    On a server it counts all clients' but those that were there before: that is cheap
    enough for sampling, where MariaDB's process list is not.
    """
    if db == "sqlite":
        yield _count_descriptors
        return
    connect, query = {
        "mysql": (connect_mysql, MYSQL),
        "postgres": (_postgres, POSTGRES),
    }[db]
    with closing(connect(environment)) as connection, connection.cursor() as cursor:

        def count() -> int:
            cursor.execute(query)
            return int(cursor.fetchone()[-1])

        before = count()
        yield lambda pid, database: count() - before


MYSQL = "SHOW GLOBAL STATUS LIKE 'Threads_connected'"
POSTGRES = "SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


def connect_mysql(environment: dict[str, str]):
    """Return a connection of the driver to the server that `environment` names."""
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
