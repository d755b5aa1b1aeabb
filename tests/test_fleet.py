"""fleet: threads of many processes on one server, and outcomes of our own."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from rich.console import Console

from lab import clients, fleet
from lab.cli import main
from lab.clients import ROWS
from lab.fleet import Load, Outcome

SERVED = Outcome(
    tasks=40, refused=0, errors=[], rows=40, connections=40, peak=4, seconds=0.5
)


def test_threads_of_processes_are_all_served_when_patched(tmp_path, monkeypatch):
    monkeypatch.setattr(clients, "require", lambda names: None)
    monkeypatch.setattr(fleet, "PROCESSES", 2)
    monkeypatch.setattr(fleet, "MAX_CONNECTIONS", 20)
    monkeypatch.setattr(fleet, "LOADS", {"threads": Load(5, wait=0.01)})
    arguments = ["fleet", "--threads", "200", "--json", str(tmp_path / "figures")]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    sides = json.loads((tmp_path / "figures").read_text())["loads"]["threads"]
    stock, lean, patched = (
        sides[side] for side in ("stock", "without extras", "patched")
    )
    # One more than the maximum is for the superuser.
    assert stock["peak"] in (20, 21)
    assert stock["refused"] > 0
    assert stock["rows"] == 200 - stock["refused"] - len(stock["errors"])
    for side in lean, patched:
        assert (side["rows"], side["refused"], side["errors"]) == (200, 0, [])
    # Django 6.0 and later first ask over another one in each thread.
    assert lean["connections"] in (200, 400)
    assert patched["connections"] < 250


@pytest.mark.parametrize(
    ("load", "changes", "problem"),
    [
        (Load(15), {}, None),
        (Load(15), {"refused": 1, "rows": 39}, "39 tasks are served of 40"),
        (Load(15), {"errors": ["e"], "rows": 39}, "39 tasks are served of 40"),
        (Load(15), {"rows": 39}, "39 rows are saved by 40 tasks"),
        (Load(40), {"refused": 1, "errors": ["e"], "rows": 38}, None),
        (Load(40), {"refused": 1, "rows": 38}, "38 rows are saved by 39 tasks"),
        (Load(15, celery=True), {"rows": 40 * ROWS}, None),
        (Load(15, celery=True), {}, "40 rows are saved by 40 tasks"),
    ],
)
def test_what_is_wrong_when_patched_is_a_problem(load, changes, problem, monkeypatch):
    monkeypatch.setattr(fleet, "LOADS", {"some": load})
    failed = replace(SERVED, refused=40, rows=0)
    sides = {"stock": failed, "patched": replace(SERVED, **changes)}
    expected = [f"some, patched: {problem}."] if problem else []
    assert fleet.problems({"some": sides}) == expected


def test_the_server_of_the_user_is_not_filled(monkeypatch):
    monkeypatch.setattr(clients, "require", lambda names: None)
    monkeypatch.setenv("MYSQL_HOST", "db.example.com")
    result = CliRunner().invoke(main, ["fleet"])
    assert result.exit_code == 1
    assert "uses up all connections of its server: name none" in result.stderr


def test_the_table_has_a_row_for_each_django():
    stock = replace(SERVED, refused=9, errors=["e"], rows=30)
    console = Console(record=True, width=80)
    fleet.show({"Celery": {"stock": stock, "patched": SERVED}}, "A", console)
    text = " ".join(console.export_text().split())
    assert "Celery, 8 by 12 stock 40 30 9 1 30 40 4 0.5 patched 40 40 0 0 40" in text
