"""clients: those that need no package of others, and outcomes of our own."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from lab import clients
from lab.cli import main
from lab.clients import ROWS, Client, Outcome
from lab.servers import free_port
from overlay.errors import OverlayError


def test_python_and_django_leave_connections_on_stock_and_none_when_patched(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(clients, "AGES", (600,))
    arguments = ["clients", "concurrent.futures", "runserver"]
    arguments += ["--json", str(tmp_path / "figures")]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    figures = json.loads((tmp_path / "figures").read_text())["clients"]
    executor, runserver = figures["concurrent.futures"], figures["runserver"]
    saved = {"rows": ROWS, "errors": []}
    # The collector may have closed some on stock.
    assert 0 < executor["stock"]["600"]["left"] <= ROWS
    assert 0 < runserver["stock"]["600"]["left"] <= ROWS
    # An executor may need less than four threads.
    alive, kept = (executor["patched"]["600"].pop(name) for name in ("alive", "kept"))
    assert 0 < kept <= alive <= 4
    assert executor["patched"]["600"] == {"left": 0, **saved}
    assert runserver["patched"]["600"] == {"alive": 0, "kept": None, "left": 0, **saved}


KEPT = Outcome(alive=4, kept=4, left=0, rows=ROWS, errors=[])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"kept": None}, None),
        ({"left": None}, None),
        ({"left": 1}, "left open"),
        ({"kept": 5}, "5 connections are open for 4 threads"),
        ({"kept": 0}, "no connection is kept"),
        ({"rows": ROWS - 1}, "rows are saved"),
        ({"rows": ROWS + 1}, "rows are saved"),
        ({"errors": ["TypeError: x"]}, "errors, such as TypeError: x"),
    ],
)
def test_what_is_wrong_when_patched_is_a_problem(changes, problem):
    stock = replace(KEPT, left=40, errors=["e"])
    sides = {"stock": {600: stock}, "patched": {600: replace(KEPT, **changes)}}
    found = clients.problems({"huey": sides})
    if problem is None:
        assert not found
    else:
        (sentence,) = found
        assert sentence.startswith("huey, CONN_MAX_AGE=600: ")
        assert problem in sentence


def test_a_client_that_keeps_nothing_on_stock_either_is_none():
    ages = {0: replace(KEPT, kept=0)}
    assert not clients.problems({"huey": {"stock": ages, "patched": ages}})


def test_a_package_that_is_missing_is_named(monkeypatch):
    missing = Client("django-no-such-package", "no_such_script.py")
    monkeypatch.setitem(clients.CLIENTS, "huey", missing)
    result = CliRunner().invoke(main, ["clients", "huey", "concurrent.futures"])
    assert result.exit_code == 1
    assert "lacks django-no-such-package: `tox -e clients`" in result.stderr


def test_a_client_that_cannot_be_run_leaves_the_others_their_figures(monkeypatch):
    def run(client: Client, *args: object) -> Outcome:
        if client.script is None:
            raise OverlayError("No such luck.")
        return KEPT

    monkeypatch.setattr(clients, "run", run)
    monkeypatch.setattr(clients, "surroundings", lambda *args: nullcontext())
    trees = {"stock": Path("stock"), "patched": Path("patched")}
    console = Console(quiet=True)
    outcomes, failures = clients.compare(["daphne", "huey"], trees, "mysql", console)
    ages = {0: KEPT, 600: KEPT}
    assert outcomes == {"huey": {"stock": ages, "patched": ages}}
    assert failures == ["daphne, stock, CONN_MAX_AGE=0: No such luck."]


def test_the_table_has_stock_beside_patched():
    failed = replace(KEPT, left=40, errors=["a", "b"])
    stock = {0: failed, 600: replace(KEPT, kept=None, left=36)}
    sides = {"stock": stock, "patched": {0: KEPT, 600: KEPT}}
    console = Console(record=True, width=80)
    clients.show({"concurrent.futures": sides}, "A", console)
    text = " ".join(console.export_text().split())
    assert "4 4 - → 4 4 40 36 → 0 0 80 → 80 2 → 0" in text


def test_errors_in_the_output_are_found(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "Fine\nTraceback (most recent call last):\n  File x\n    x()\nTypeError: x\n"
        "Exception ignored in: <x>\nTraceback (most recent call last):\nValueError\n"
    )
    assert clients._errors(log) == ["TypeError: x", "ValueError"]


def test_failed_requests_are_counted():
    errors = clients._request(f"http://127.0.0.1:{free_port()}/")
    assert len(errors) == ROWS
    assert "refused" in errors[0]


def test_a_server_that_does_not_come_up_is_an_error_with_its_log():
    around = clients.Surroundings("mysql", {}, lambda: 0, lambda: 0)
    with pytest.raises(OverlayError, match=r"(?s)did not come up.*No module named"):
        clients._run_command(
            Client(None, command="no_such_module"), around=around, tree=None
        )
