"""Real servers: MariaDB or MySQL, and PostgreSQL have to be installed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import MySQLdb
import psutil
import psycopg
import pytest

from lab.servers import VARIABLES, server
from overlay.errors import OverlayError

DATABASES = ["mysql", "postgres"]


@pytest.fixture(autouse=True)
def no_server_is_named(monkeypatch):
    for hosts, others in VARIABLES.values():
        for name in hosts + others:
            monkeypatch.delenv(name, raising=False)


def connect(db: str, env: dict[str, str], **options):
    if db == "mysql":
        return MySQLdb.connect(
            unix_socket=env["MYSQL_UNIX_SOCKET"], user=env["MYSQL_USER"], **options
        )
    options = {"host": env["PGHOST"], **options}
    return psycopg.connect(
        port=env["PGPORT"], user=env["PGUSER"], dbname="postgres", **options
    )


QUESTIONS = {
    "mysql": "SELECT @@max_connections",
    "postgres": "SELECT current_setting('max_connections')::int",
}


def ask(db: str, env: dict[str, str]) -> int:
    with connect(db, env) as connection, connection.cursor() as cursor:
        cursor.execute(QUESTIONS[db])
        return cursor.fetchone()[0]


def scratch_folder(env: dict[str, str]) -> Path:
    return Path(env.get("PGHOST") or Path(env["MYSQL_UNIX_SOCKET"]).parent)


def processes(folder: Path) -> list[list[str]]:
    """The command lines of all processes that have to do with `folder`."""
    # PostgreSQL's child processes have a title of their own, but end with it.
    commands = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"])]
    return [command for command in commands if str(folder) in " ".join(command or ())]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("db", DATABASES)
def test_a_server_answers_and_is_gone_after_the_block(db):
    with server(db, max_connections=123) as env:
        assert ask(db, env) == 123
        folder = scratch_folder(env)
        assert processes(folder)
    assert not processes(folder)
    assert not folder.exists()


def test_mysql_speaks_tls_on_its_socket():
    with (
        server("mysql") as env,
        connect("mysql", env, ssl_mode="REQUIRED") as connection,
    ):
        cursor = connection.cursor()
        cursor.execute("SHOW STATUS LIKE 'Ssl_version'")
        assert cursor.fetchone()[1].startswith("TLS")


def test_postgres_speaks_tls_on_a_port_with_a_password():
    options = {"host": "127.0.0.1", "sslmode": "require"}
    with server("postgres") as env:
        with connect("postgres", env, password=env["PGPASSWORD"], **options) as c:
            assert c.pgconn.ssl_in_use
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            connect("postgres", env, **options)


def test_mysql_knows_the_time_zones_that_django_needs():
    query = "SELECT CONVERT_TZ('2026-07-01 12:00', 'UTC', 'Europe/Paris')"
    with server("mysql") as env, connect("mysql", env) as connection:
        cursor = connection.cursor()
        cursor.execute(query)
        assert cursor.fetchone() == (datetime(2026, 7, 1, 14),)


@pytest.mark.parametrize("db", DATABASES)
def test_a_server_is_gone_after_an_exception_in_the_block(db):
    with pytest.raises(KeyboardInterrupt), server(db) as env:
        raise KeyboardInterrupt
    assert not processes(scratch_folder(env))
    assert not scratch_folder(env).exists()


OWNER = """\
import json, signal, sys
from lab.servers import server
with server(sys.argv[1]) as env:
    print(json.dumps(env), flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("db", DATABASES)
def test_a_server_does_not_outlive_its_owner(db, signum, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, db],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        folder = scratch_folder(json.loads(owner.stdout.readline()))
        assert processes(folder)
        owner.send_signal(signum)
    wait_until(lambda: not processes(folder))
    if signum == signal.SIGKILL:
        shutil.rmtree(folder)  # nobody was left to do it
    else:
        assert owner.returncode == 128 + signum
        assert not folder.exists()


@pytest.mark.parametrize(
    ("db", "package"),
    [
        ("mysql", "mariadb-server-core"),
        ("postgres", "postgresql"),
        ("redis", "redis-server"),
    ],
)
def test_a_missing_server_names_the_package(db, package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("lab.servers.FOLDERS", {db: []})
    with pytest.raises(OverlayError, match=f"apt-get install {package}"), server(db):
        pass


def test_a_server_in_the_first_folder_of_path_is_taken(tmp_path, monkeypatch):
    for name in ("mysqld", "mysqldump"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    tmp_path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    # mariadbd, which is installed, would be preferred in the same folder.
    with pytest.raises(OverlayError, match=f"^{tmp_path}/mysqld "), server("mysql"):
        pass


@pytest.mark.parametrize("db", DATABASES)
def test_a_server_that_does_not_start_shows_its_log(db):
    # More connections than either can have.
    with (
        pytest.raises(OverlayError, match=r"(?s)did not come up.*max.connections"),
        server(db, max_connections=-(10**12)),
    ):
        pass


@pytest.mark.parametrize("db", DATABASES)
def test_a_server_that_crashes_is_an_error(db):
    with pytest.raises(OverlayError, match="crashed"), server(db) as env:
        folder = scratch_folder(env)
        pid = folder / ("pid" if db == "mysql" else "data/postmaster.pid")
        os.kill(int(pid.read_text().split()[0]), signal.SIGABRT)
        wait_until(lambda: not processes(folder))


@pytest.mark.parametrize("db", DATABASES)
def test_a_server_that_the_user_names_is_used_and_none_is_started(db, monkeypatch):
    with server(db) as env:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        with server(db, max_connections=123) as same:
            assert same == env
            assert ask(db, same) == 400
        assert ask(db, env) == 400  # and is left running


def test_redis_answers_and_is_gone_after_the_block():
    with server("redis") as env, socket.socket(socket.AF_UNIX) as client:
        client.connect(env["REDIS_SOCKET"])
        client.sendall(b"PING\r\n")
        assert client.recv(7) == b"+PONG\r\n"
        folder = Path(env["REDIS_SOCKET"]).parent
        assert processes(folder)
    assert not processes(folder)
    assert not folder.exists()


def test_sqlite_needs_no_server():
    with server("sqlite") as env:
        assert env == {}
