"""Patched Django with PgBouncer in front of PostgreSQL."""

from contextlib import closing

import psycopg
import pytest

from lab import trees
from lab.clients import FOLDER, surroundings, with_django
from lab.script import Script
from lab.servers import pgbouncer
from overlay.errors import OverlayError
from overlay.series import read_all

THREADS = 100


@pytest.fixture(scope="module")
def tree():
    series, release = trees.choose(None, read_all())
    return trees.build(series, release, patched=True)


@pytest.fixture(scope="module")
def around(tree):
    with surroundings("postgres", tree) as around:
        yield around


def clients(front: dict[str, str], database: str) -> int:
    """Return how many connections to a database PgBouncer's console lists."""
    with closing(
        psycopg.connect(
            host=front["PGHOST"],
            port=front["PGPORT"],
            dbname="pgbouncer",
            autocommit=True,  # it knows no BEGIN
            row_factory=psycopg.rows.dict_row,
        )
    ) as console:
        listed = console.execute("SHOW CLIENTS").fetchall()
    return sum(client["database"] == database for client in listed)


@pytest.mark.parametrize("pool_mode", ["session", "transaction"])
def test_pgbouncer_in_front(pool_mode, tree, around):
    """Threads save rows and leave nothing, and sessions have their time zones."""
    before = around.count_rows()
    with pgbouncer(around.environment, pool_mode) as front:
        environment = around.environment | with_django(tree, 600) | front
        arguments = ["8", "0.01", str(THREADS)]
        with Script(
            FOLDER / "fleet_threads.py", tree, "postgres", environment, *arguments
        ) as script:
            script.hear()
            script.go_on()
            assert script.hear()["errors"] == []
            assert clients(front, environment["DATABASE"]) == 0
        with Script(FOLDER / "time_zones.py", tree, "postgres", environment) as script:
            zones, sessions = zip(*script.hear()["found"], strict=True)
            assert clients(front, environment["DATABASE"]) == 3
    assert around.count_rows() == before + THREADS
    # Debian's servers have another name for the first.
    zones = [zone.removeprefix("Etc/") for zone in zones]
    assert zones == ["UTC", "Europe/Paris", "Asia/Tokyo"] * 3
    assert len(set(sessions)) == (3 if pool_mode == "session" else 1)


def test_a_missing_pgbouncer_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("lab.servers.FOLDERS", {"pgbouncer": []})
    server = dict.fromkeys(["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD"], "")
    with (
        pytest.raises(OverlayError, match="apt-get install pgbouncer"),
        pgbouncer(server, "session"),
    ):
        pass
