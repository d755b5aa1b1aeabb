"""Let programs of others save rows from threads of theirs, on stock and patched Django."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import NamedTuple

from mirakuru import SimpleExecutor, TCPExecutor
from mirakuru.exceptions import ExecutorError
from rich import box
from rich.console import Console
from rich.table import Table

from lab import ROOT
from lab.processes import dies_with_parent
from lab.prove import INTERVAL, LAG
from lab.script import Script, counter
from lab.servers import free_port, not_running, server
from overlay.errors import OverlayError

SCRIPTS = Path(__file__).with_name("scripts")
FOLDER = SCRIPTS / "clients"
ROWS = 40  # that a client saves, each in a job, a task or a request of its own
AGES = (0, 600)  # seconds, of CONN_MAX_AGE
PATIENCE = 60.0  # seconds for all rows to be saved, or a server to come up
GRACE = 10.0  # seconds for workers to end
TOGETHER = 8  # requests at a time


class Client(NamedTuple):
    """
    A program that nobody here wrote, and how it is run.

    Without `command`, `script` (in FOLDER) does all, and says how many threads are
    alive. With both, `command` is a worker whose tasks `script` sends by Redis, and
    without `script` a server that is asked for `path`.
    """

    package: str | None  # of PyPI; None for Python's and Django's own
    script: str | None = None
    command: str | None = None  # what follows `python -m`
    alive: int = 0  # threads or processes that live on, as they have no more to do
    path: str = "sync/"
    # What ends a worker without an error, if all of its processes get it.
    stop: signal.Signals = signal.SIGTERM


CLIENTS = {
    "concurrent.futures": Client(None, "executors.py"),
    "multiprocessing": Client(None, "thread_pool.py"),
    "asyncio.to_thread": Client(None, "to_thread.py"),
    "anyio": Client("anyio", "anyio_threads.py"),
    "apscheduler": Client("apscheduler", "scheduler.py"),
    "joblib": Client("joblib", "joblib_threads.py"),
    "twisted": Client("twisted", "twisted_threads.py"),
    "grpc": Client("grpcio", "grpc_server.py"),
    "celery-threads": Client(
        "celery",
        "celery_tasks.py",
        "celery -A celery_tasks worker --pool=threads --concurrency=4",
        alive=4,
    ),
    "celery-prefork": Client(
        "celery",
        "celery_tasks.py",
        "celery -A celery_tasks worker --pool=prefork --concurrency=4",
        alive=4,
    ),
    "celery-gevent": Client(
        "celery",
        "celery_tasks.py",
        "celery -A celery_tasks worker --pool=gevent --concurrency=4",
    ),
    "huey": Client(
        "huey",
        "huey_tasks.py",
        "huey.bin.huey_consumer huey_tasks.huey --workers=4",
        alive=4,
    ),
    "dramatiq": Client(
        "dramatiq",
        "dramatiq_tasks.py",
        "dramatiq dramatiq_tasks --processes=1 --threads=4",
        alive=4,
        stop=signal.SIGINT,
    ),
    # Two workers, their monitor, who sends them tasks, and who looks after all of them.
    "django-q2": Client(
        "django-q2", "q_tasks.py", "django qcluster", alive=5, stop=signal.SIGINT
    ),
    # A process for each job.
    "django-rq": Client("django-rq", "rq_jobs.py", "django rqworker"),
    "gunicorn-gthread": Client(
        "gunicorn",
        command="gunicorn --worker-class=gthread --threads=4 --bind={address} web:wsgi",
        alive=4,
    ),
    "gunicorn-gevent": Client(
        "gunicorn", command="gunicorn --worker-class=gevent --bind={address} web:wsgi"
    ),
    "gunicorn-preload": Client(  # the process that forks the others has a connection
        "gunicorn",
        command="gunicorn --preload --workers=2 --worker-class=gthread --threads=4 "
        "--bind={address} preloaded",
        alive=9,
    ),
    "waitress": Client(
        "waitress",
        command="waitress --threads=4 --listen={address} web:wsgi",
        alive=4,
    ),
    "cheroot": Client(
        "cheroot", command="cheroot --threads=4 --bind={address} web:wsgi", alive=4
    ),
    "granian-wsgi": Client(
        "granian",
        command="granian --interface=wsgi --blocking-threads=4 --port={port} web:wsgi",
        alive=4,
    ),
    "granian-asgi": Client(
        "granian", command="granian --interface=asgi --port={port} web:asgi"
    ),
    "uvicorn": Client("uvicorn", command="uvicorn --port={port} web:asgi"),
    "uvicorn-async": Client(
        "uvicorn", command="uvicorn --port={port} web:asgi", path="async/"
    ),
    "daphne": Client("daphne", command="daphne --port={port} web:asgi"),
    "hypercorn": Client("hypercorn", command="hypercorn --bind={address} web:asgi"),
    "channels": Client(  # all of its calls are made in one thread
        "channels", command="daphne --port={port} consumer:application", alive=1
    ),
    "runserver": Client(None, command="django runserver --noreload {address}"),
}


@dataclass(frozen=True)
class Outcome:
    """What a client did with one Django."""

    alive: int  # threads or processes that live on once all rows are saved
    kept: int | None  # connections that are open then, if there are such threads
    left: int | None  # connections that are open once all threads ended, if they do
    rows: int
    errors: list[str]  # of tracebacks, failed requests, and wrong exit codes

    @property
    def problem(self) -> str | None:
        """What is wrong, if anything is."""
        if self.left:
            return f"{self.left} connections are left open"
        if self.kept is not None and self.kept > self.alive:
            return f"{self.kept} connections are open for {self.alive} threads"
        if self.rows != ROWS:
            return f"{self.rows} rows are saved of {ROWS}"
        if self.errors:
            return f"there are errors, such as {self.errors[0]}"
        return None


# By client, "stock" or "patched", and CONN_MAX_AGE.
Outcomes = dict[str, dict[str, dict[int, Outcome]]]


class Surroundings(NamedTuple):
    """What the runs of clients share: servers, and who counts there."""

    db: str
    environment: dict[str, str]  # without Django
    count: Callable[[], int]
    count_rows: Callable[[], int]


@contextmanager
def surroundings(
    db: str, tree: Path, *, max_connections: int = 400
) -> Iterator[Surroundings]:
    """
    Yield a server for `db`, "mysql" or "postgres", and a database with `tree`.

    A private server accepts `max_connections`.
    """
    with (
        server(db, max_connections=max_connections) as server_environment,
        counter(db, server_environment) as count,
    ):
        environment = {
            **server_environment,
            "DB": db,
            "DJANGO_SETTINGS_MODULE": "project",
            "ROWS": str(ROWS),
        }
        with Script(
            SCRIPTS / "rows.py", tree, db, environment | with_django(tree, 0)
        ) as script:
            environment["DATABASE"] = script.hear()["database"]

            def count_rows() -> int:
                script.go_on()
                return script.hear()["rows"]

            yield Surroundings(db, environment, lambda: count(0, ""), count_rows)


def with_django(tree: Path, age: int) -> dict[str, str]:
    """Return variables for the Django in `tree`, and CONN_MAX_AGE, in seconds."""
    return {
        "CONN_MAX_AGE": str(age),
        "PYTHONPATH": os.pathsep.join(map(str, [tree, tree / "tests", ROOT, FOLDER])),
    }


def run(client: Client, tree: Path, age: int, around: Surroundings) -> Outcome:
    """
    Let `client` save rows with the Django in `tree`, and count what it leaves open.

    `age` is CONN_MAX_AGE, in seconds. Raise OverlayError if it doesn't get that far.
    """
    environment = around.environment | with_django(tree, age)
    around = around._replace(environment=environment)
    if client.command:
        return _run_command(client, tree, around)
    return _run_script(client, tree, around)


def _run_script(client: Client, tree: Path, around: Surroundings) -> Outcome:
    alive, kept = 0, None
    before = around.count_rows()
    with Script(FOLDER / client.script, tree, around.db, around.environment) as script:
        while still_alive := script.hear()["alive"]:
            alive = still_alive
            _wait_for_rows(around, before + ROWS)
            kept = _settled(around.count, alive)
            script.go_on()
        left = _settled(around.count, 0)
        script.go_on()
        script.process.wait()
        errors = _errors(script.errors)
    return Outcome(alive, kept, left, around.count_rows() - before, errors)


def _run_command(client: Client, tree: Path, around: Surroundings) -> Outcome:
    before = around.count_rows()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="overlay-"))
        log = Path(folder, "log")
        environment = {**around.environment, "TMPDIR": folder}
        port = free_port()
        if client.script:
            environment |= stack.enter_context(server("redis"))
            with Script(FOLDER / client.script, tree, around.db, environment):
                pass  # it sends the tasks
            executor = partial(SimpleExecutor, stop_signal=client.stop, timeout=GRACE)
        else:
            executor = partial(
                TCPExecutor, host="127.0.0.1", port=port, timeout=PATIENCE
            )
        command = client.command.format(address=f"127.0.0.1:{port}", port=port)
        process = executor(
            dies_with_parent([sys.executable, "-m", *command.split()]),
            cwd=folder,
            envvars=environment,
            stdin=subprocess.DEVNULL,
            stdout=stack.enter_context(log.open("w")),
            stderr=subprocess.STDOUT,
        )
        errors = []
        try:
            process.start()
            if not client.script:
                errors += _request(f"http://127.0.0.1:{port}/{client.path}")
            _wait_for_rows(around, before + ROWS)
            number = _settled(around.count, client.alive)
        except ExecutorError as error:
            raise not_running(client.command, "did not come up", log) from error
        finally:
            try:
                process.stop()
            except ExecutorError as error:  # its exit code
                errors.append(str(error))
        errors += _errors(log)
    kept, left = (number, None) if client.alive else (None, number)
    return Outcome(client.alive, kept, left, around.count_rows() - before, errors)


def _wait_for_rows(around: Surroundings, expected: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while around.count_rows() < expected and time.monotonic() < deadline:
        time.sleep(INTERVAL)


def _request(url: str) -> list[str]:
    """Request `url` ROWS times; return why some of that failed."""

    def error(_: int) -> str:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE):
                return ""
        except OSError as error:
            return str(error)

    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(filter(None, pool.map(error, range(ROWS))))


def _settled(count: Callable[[], int], alive: int) -> int:
    """Return how many connections are open once the server's lag is over."""
    time.sleep(LAG)
    deadline = time.monotonic() + LAG  # the lag of a busy machine
    while (number := count()) > alive and time.monotonic() < deadline:
        time.sleep(INTERVAL)
    return number


def _errors(log: Path) -> list[str]:
    """Return the last line of each traceback in `log`: the first not indented."""
    text = log.read_text(errors="replace")
    return re.findall(r"^Traceback .*\n(?:[ \t].*\n)*(.*)", text, re.MULTILINE)


def require(names: Sequence[str]) -> None:
    """Raise OverlayError if packages of the clients `names` are not installed."""
    packages = {CLIENTS[name].package for name in names} - {None}
    missing = [package for package in sorted(packages) if not _version(package)]
    if missing:
        raise OverlayError(
            f"This Python lacks {', '.join(missing)}: `tox -e clients` has them all."
        )


def _version(package: str | None) -> str:
    """Return the version that is installed, or nothing."""
    try:
        return version(package) if package else ""
    except PackageNotFoundError:
        return ""


def compare(
    names: Sequence[str], trees: dict[str, Path], db: str, console: Console
) -> tuple[Outcomes, list[str]]:
    """
    Run clients with each of `trees`; return their outcomes, and why some have none.

    `db` is "mysql" or "postgres". What is going on is shown on `console`. Raise
    OverlayError if the server fails.
    """
    outcomes, failures = {}, []
    with surroundings(db, trees["stock"]) as around, console.status("") as status:
        for name in names:
            sides = {side: {} for side in trees}
            try:
                for side, age in product(trees, AGES):
                    status.update(f"{name}, {side}, CONN_MAX_AGE={age}")
                    sides[side][age] = run(CLIENTS[name], trees[side], age, around)
            except OverlayError as error:  # the others have taken minutes
                failures.append(f"{name}, {side}, CONN_MAX_AGE={age}: {error.message}")
            else:
                outcomes[name] = sides
    return outcomes, failures


def problems(outcomes: Outcomes) -> list[str]:
    """Return what is wrong with patched Django, a sentence each."""
    found = []
    for name, sides in outcomes.items():
        for age, outcome in sides["patched"].items():
            problem = outcome.problem
            if outcome.kept == 0 and sides["stock"][age].kept:
                problem = "no connection is kept"
            if problem:
                found.append(f"{name}, CONN_MAX_AGE={age}: {problem}.")
    return found


def show(outcomes: Outcomes, title: str, console: Console) -> None:
    """Print a row for each client: stock → patched, each with one AGE after the other."""
    table = Table(
        *("client", "version", "alive", "kept", "left", "rows", "errors"),
        title=title,
        box=box.SIMPLE,
        padding=0,  # for a terminal of 80 columns
    )
    for name, sides in outcomes.items():
        runs = [list(sides[side].values()) for side in ("stock", "patched")]

        def each(what: str, runs: list[list[Outcome]] = runs) -> str:
            cell = (" ".join(str(getattr(run, what)) for run in side) for side in runs)
            return " → ".join(cell).replace("None", "-")

        rows = (sum(run.rows for run in side) for side in runs)
        errors = (sum(len(run.errors) for run in side) for side in runs)

        table.add_row(
            name,
            _version(CLIENTS[name].package),
            str(max(run.alive for side in runs for run in side)),
            *(each("kept"), each("left")),
            *(" → ".join(map(str, numbers)) for numbers in (rows, errors)),
        )
    console.print(table)


def figures(outcomes: Outcomes) -> dict[str, object]:
    """Return what JSON can hold of `outcomes`, with the versions of the clients."""
    return {
        name: {
            "version": _version(CLIENTS[name].package),
            **{
                side: {age: asdict(outcome) for age, outcome in ages.items()}
                for side, ages in sides.items()
            },
        }
        for name, sides in outcomes.items()
    }
