"""
Servers to run tests on: private throwaway ones, or the user's own.

A private server listens on a socket in a scratch folder, so that nobody else can reach
it. It speaks TLS, too, with a certificate made for it: MariaDB and MySQL on that socket,
PostgreSQL, which speaks it over TCP only, on a port of the loopback interface that asks
for a password. It keeps nothing safe (no fsync) and is gone, with its folder, when the
`with` block ends; after SIGKILL of this process only the folder stays.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import zoneinfo
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import mirakuru
from mirakuru.exceptions import ExecutorError

from lab import scratch
from lab.processes import dies_with_parent
from overlay.errors import OverlayError
from overlay.signals import ends_on_signals

# What settings/ read. A user names a server by one of the first; the others go with it.
# Redis is always a private one: workers would take the tasks that are in the user's.
VARIABLES = {
    "mysql": (
        ("MYSQL_UNIX_SOCKET", "MYSQL_HOST"),
        ("MYSQL_TCP_PORT", "MYSQL_USER", "MYSQL_PASSWORD"),
    ),
    "postgres": (("PGHOST",), ("PGPORT", "PGUSER", "PGPASSWORD")),
}
# Where their programs are, below /, when they are not on the user's PATH.
FOLDERS = {
    "mysql": ["usr/sbin", "usr/local/sbin", "usr/libexec"],
    "postgres": ["usr/lib/postgresql/*/bin", "usr/pgsql-*/bin"],
    "redis": [],
    "pgbouncer": ["usr/sbin", "usr/local/sbin"],
}
PACKAGES = {
    "mysql": "MariaDB or MySQL (Debian and Ubuntu: "
    "apt-get install mariadb-server-core mariadb-client openssl tzdata)",
    "postgres": "PostgreSQL (Debian and Ubuntu: apt-get install postgresql openssl)",
    "redis": "Redis (Debian and Ubuntu: apt-get install redis-server)",
    "pgbouncer": "PgBouncer (Debian and Ubuntu: apt-get install pgbouncer)",
}
# How they say so: MariaDB and PostgreSQL, Redis, PgBouncer.
UP = r"(?i)ready (to accept|for) connections|process up"
PATIENCE = 60.0  # seconds to start, or to stop


class Recipe(NamedTuple):
    """How to start a server whose data folder is ready, and how to reach it."""

    command: Sequence[str]
    stop_signal: int
    environment: dict[str, str]


@contextmanager
def server(db: str, *, max_connections: int = 400) -> Iterator[dict[str, str]]:
    """
    Yield the environment variables by which settings/ find a server for `db`.

    `db` is "sqlite" (no server, no variables), "mysql", "postgres" or, for task queues
    rather than settings/, "redis". A server that the user names (`VARIABLES`) is used
    as it is; otherwise a private one is started, which accepts `max_connections`.
    SIGTERM and SIGHUP end the block as Ctrl-C does. Raises OverlayError if no server is
    installed, or if it does not start or stay up.
    """
    with ends_on_signals():
        if db == "sqlite":
            yield {}
        elif named := named_by_user(db):
            yield named
        else:
            prepare = {"mysql": _mysql, "postgres": _postgres, "redis": _redis}[db]
            with _scratch_folder() as folder:
                recipe = prepare(folder, max_connections)
                with _running(recipe, folder / "log"):
                    yield recipe.environment


@contextmanager
def pgbouncer(postgres: dict[str, str], pool_mode: str) -> Iterator[dict[str, str]]:
    """
    Put a private PgBouncer in front of a server; yield the variables to use it by.

    `postgres` are those of the server, and `pool_mode` is "session" or "transaction".
    Raise OverlayError if PgBouncer is not installed, or does not start or stay up.
    """
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER"}
    names["password"] = "PGPASSWORD"  # noqa: S105 (which is no password)
    to_server = " ".join(
        "{}='{}'".format(name, value.replace("'", "''"))
        for name, variable in names.items()
        if (value := postgres[variable])
    )
    program = _program("pgbouncer", "pgbouncer")
    with _scratch_folder() as folder:
        # Whoever gets into the folder may use it, its console as well.
        (folder / "pgbouncer.ini").write_text(f"""\
[databases]
* = {to_server}
[pgbouncer]
auth_type = any
listen_port = 6432
pool_mode = {pool_mode}
unix_socket_dir = {folder}
""")
        # SIGINT waits for clients to leave; after SIGTERM its exit code is 1.
        recipe = Recipe([program, "pgbouncer.ini"], signal.SIGINT, {})
        with _running(recipe, folder / "log"):
            yield {"PGHOST": str(folder), "PGPORT": "6432"}


def named_by_user(db: str) -> dict[str, str]:
    """Return the variables of the server that the user names, or none."""
    hosts, others = VARIABLES.get(db, ((), ()))
    if not any(os.environ.get(name) for name in hosts):
        return {}
    return {name: os.environ.get(name, "") for name in hosts + others}


@contextmanager
def _running(recipe: Recipe, log: Path) -> Iterator[None]:
    with log.open("w") as sink:
        process = _Server(recipe, log, sink)
        try:
            process.start()
            yield
        except ExecutorError as error:
            raise not_running(recipe.command[0], "did not come up", log) from error
        finally:
            try:
                process.stop()
            except ExecutorError as error:
                raise not_running(recipe.command[0], "crashed", log) from error


class _Server(mirakuru.Executor):
    """A server is up when its log says so: it takes connections before it answers."""

    def __init__(self, recipe: Recipe, log: Path, sink: IO[str]) -> None:
        super().__init__(
            dies_with_parent(recipe.command, user=_unprivileged()),
            cwd=str(log.parent),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            stop_signal=recipe.stop_signal,
            timeout=PATIENCE,
            sleep=0.02,
            envvars={"LC_ALL": "C"},
        )
        self.log = log

    def pre_start_check(self) -> bool:
        return False  # the scratch folder is new

    def after_start_check(self) -> bool:
        text = self.log.read_text(errors="replace")
        return bool(re.search(UP, text))


def _mysql(folder: Path, max_connections: int) -> Recipe:
    program = _program("mysql", "mariadbd", "mysqld")
    _program("mysql", "mysqldump")  # Django clones databases with it
    version = _check([program, "--version"], folder)
    certificate, key = _certificate("mysql", folder)
    data, path = folder / "data", folder / "socket"
    options = [
        "--no-defaults",  # has to come first
        f"--datadir={data}",
        f"--tmpdir={folder}",  # servers tidy up a shared one under each other
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=0",
    ]
    if "MariaDB" in version:
        # Its default is /usr, wherever the program is.
        base = f"--basedir={Path(program).resolve().parents[1]}"
        install = [_program("mysql", "mariadb-install-db"), "--no-defaults", base]
        install += [f"--datadir={data}", f"--tmpdir={folder}", "--skip-test-db"]
        install += ["--auth-root-authentication-method=normal"]
        _check(install, folder)
        options += [base, "--innodb-log-file-size=8M"]
    else:
        options += ["--innodb-redo-log-capacity=8M", "--secure-file-priv=NULL"]
        _check([program, *options, "--initialize-insecure"], folder)
        options += ["--mysqlx=OFF"]
    options += [
        f"--socket={path}",
        f"--ssl-cert={certificate}",
        f"--ssl-key={key}",
        f"--pid-file={folder / 'pid'}",
        f"--max-connections={max_connections}",
        # With fewer, introspection crawls in the 1,800 tables of Django's whole suite.
        "--table-definition-cache=16000",
        "--table-open-cache=16000",
        f"--init-file={_time_zones(folder)}",
        "--skip-networking",
        "--skip-log-bin",
        "--performance-schema=OFF",
    ]
    environment = {
        "MYSQL_UNIX_SOCKET": str(path),
        "MYSQL_HOST": "",
        "MYSQL_TCP_PORT": "",
        "MYSQL_USER": "root",
        "MYSQL_PASSWORD": "",
    }
    return Recipe([program, *options], signal.SIGTERM, environment)


def _time_zones(folder: Path) -> Path:
    """
    Return a new file of SQL that fills MySQL's tables of time zones: Django needs them.

    https://docs.djangoproject.com/en/stable/ref/databases/#time-zone-definitions
    """
    program = _program("mysql", "mariadb-tzinfo-to-sql", "mysql_tzinfo_to_sql")
    zones = next(filter(os.path.isdir, zoneinfo.TZPATH), None)
    if zones is None:
        raise OverlayError(f"No time zones found: install {PACKAGES['mysql']}.")
    path = folder / "time_zones.sql"
    with path.open("w") as sql:
        print("USE mysql;", file=sql, flush=True)
        # What it says on stderr is which other files are there.
        done = subprocess.run(
            [program, zones], check=False, stdout=sql, stderr=subprocess.DEVNULL
        )
    if done.returncode:
        raise OverlayError(f"{program} could not read the time zones in {zones}.")
    path.chmod(0o644)
    return path


def _postgres(folder: Path, max_connections: int) -> Recipe:
    # A link on PATH leads to the folder where the server is, too.
    initdb = Path(_program("postgres", "initdb")).resolve()
    certificate, key = _certificate("postgres", folder)
    data, password = folder / "data", secrets.token_hex()
    (folder / "password").write_text(password)
    command = [str(initdb), "--no-sync", "--username=postgres"]
    command += ["--auth-local=trust", "--auth-host=scram-sha-256"]
    command += [f"--pwfile={folder / 'password'}", f"--pgdata={data}"]
    command += ["--encoding=UTF8", "--locale=C"]
    _check(command, folder)
    port = str(free_port())
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": str(folder),
        "ssl": "on",
        "ssl_cert_file": certificate,
        "ssl_key_file": key,
        "max_connections": str(max_connections),
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
    }
    command = [str(initdb.with_name("postgres")), "-D", str(data)]
    command += [f"--{name}={value}" for name, value in options.items()]
    environment = {
        "PGHOST": str(folder),
        "PGPORT": port,
        "PGUSER": "postgres",
        "PGPASSWORD": password,
    }
    # SIGINT is its fast shutdown; SIGTERM waits for clients to leave.
    return Recipe(command, signal.SIGINT, environment)


def _redis(folder: Path, max_connections: int) -> Recipe:
    path = str(folder / "socket")
    options = {
        "port": "0",
        "unixsocket": path,
        "maxclients": str(max_connections),
        "save": "",
    }
    command = [_program("redis", "redis-server")]
    for name, value in options.items():
        command += [f"--{name}", value]
    return Recipe(command, signal.SIGTERM, {"REDIS_SOCKET": path})


def _certificate(db: str, folder: Path) -> tuple[str, str]:
    """Return the paths of a new certificate for this machine, and of its key."""
    certificate, key = str(folder / "certificate"), str(folder / "key")
    command = [_program(db, "openssl"), "req", "-x509", "-subj", "/CN=localhost"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-out", certificate, "-keyout", key]
    _check(command, folder)
    return certificate, key


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _program(db: str, *names: str) -> str:
    """
    Return the path of one of `names` on PATH or, newest first, in FOLDERS.

    The first folder that has one of them counts, and then the first name.
    """
    folders = sorted(
        (str(folder) for pattern in FOLDERS[db] for folder in Path("/").glob(pattern)),
        key=lambda folder: [int(number) for number in re.findall(r"\d+", folder)],
        reverse=True,
    )
    for folder in [*os.environ.get("PATH", os.defpath).split(os.pathsep), *folders]:
        for name in names:
            if found := shutil.which(name, path=folder):
                return found
    raise OverlayError(f"No {' or '.join(names)} found: install {PACKAGES[db]}.")


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="overlay-", dir=scratch.parent()) as name:
        if user := _unprivileged():
            shutil.chown(name, user)
        yield Path(name)


def _unprivileged() -> str | None:
    """Return whom to run a server as: PostgreSQL refuses to run as root."""
    return "nobody" if os.geteuid() == 0 else None


def _check(command: Sequence[str], folder: Path) -> str:
    """Return what a command of the server's printed; raise OverlayError if it fails."""
    done = subprocess.run(
        dies_with_parent(command, user=_unprivileged()),
        check=False,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        log = folder / "log"
        log.write_text(done.stdout)
        raise not_running(command[0], "could not set up its data", log)
    return done.stdout


def not_running(program: str, what: str, log: Path) -> OverlayError:
    """Return an error that says `what` happened to `program`, and what it logged."""
    tail = log.read_text(errors="replace").splitlines()[-15:]
    return OverlayError("\n".join([f"{program} {what}. The end of its log:", *tail]))
