"""install with packages and a script of our own, without an index."""

from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from rich.console import Console

from lab import install, prove
from lab.install import Outcome
from overlay.errors import OverlayError

from .conftest import write

SCRIPT = """
import json, os, sqlite3, sys, tempfile
from importlib.util import find_spec
import django
assert find_spec("thread_connections.models") and find_spec("settings.test_sqlite")
name = os.path.join(tempfile.gettempdir(), "database")
left = [sqlite3.connect(name) for number in range(django.LEFT)]
def say(**facts):
    print(json.dumps(facts), flush=True)
    sys.stdin.readline()
say(database=name)
say(started=0, joined=0)
say(collected=0)
say(rows_saved=int(sys.argv[1]))
"""
# A Django and a tool that tell that they are the ones that were installed.
SOURCES = {
    "django": ("django/__init__.py", "LEFT = 3\n"),
    "tool": ("overlay/__main__.py", "raise SystemExit(7)\n"),
    "demo": ("demo.py", ""),
}


def wheel(folder: Path, name: str, requires: str = "") -> Path:
    path, content = SOURCES[name]
    file = folder / f"{name}-1.5-py3-none-any.whl"
    info = f"{name}-1.5.dist-info"
    with ZipFile(file, "w") as opened:
        opened.writestr(path, content)
        opened.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n{requires}\n",
        )
        opened.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        opened.writestr(f"{info}/RECORD", "")
    return file


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> list[Path]:
    """Wheels of a Django and of a tool, and a folder that pip finds others in."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return [wheel(tmp_path, name) for name in ("django", "tool")]


def test_the_wheels_are_tried_beside_a_package(wheels, tmp_path, monkeypatch):
    wheel(tmp_path, "demo", "Requires-Dist: django>=1\n")
    write(tmp_path / "script.py", SCRIPT)
    monkeypatch.setattr(prove, "SCRIPT", tmp_path / "script.py")
    # Were it heeded, the tool of the checkout would be run.
    monkeypatch.setenv("PYTHONPATH", str(install.ROOT))
    (tmp_path / "new").mkdir()
    outcome = install.attempt("demo", wheels, 4, tmp_path / "new")
    assert (outcome.package, outcome.version, outcome.conflicts) == ("demo", "1.5", "")
    assert outcome.verified == 7
    assert (outcome.result.left_open, outcome.result.rows_saved) == (3, 4)


def test_what_pip_cannot_install_is_one_sentence(wheels, tmp_path):
    wheel(tmp_path, "demo", "Requires-Dist: django<1\n")
    (tmp_path / "new").mkdir()
    with pytest.raises(OverlayError, match=r"^pip could not install demo ") as error:
        install.attempt("demo", wheels, 4, tmp_path / "new")
    assert "\n" not in error.value.message


RESULT = prove.Result(4, 4, 0, 0, 0, 4, 0.1, [])
OUTCOME = Outcome("demo", "1.5", "", 0, RESULT)


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (OUTCOME, None),
        (replace(OUTCOME, conflicts="a needs b."), "demo: a needs b."),
        (replace(OUTCOME, verified=3), "demo: verify-installed exits with 3"),
        (
            replace(OUTCOME, result=replace(RESULT, left_open=2)),
            "demo: the script left 2 connections open",
        ),
    ],
)
def test_whatever_is_not_right_is_a_problem(outcome, problem):
    assert outcome.problem == problem


def test_the_table_has_a_row_for_each_package():
    console = Console(record=True, width=80)
    install.show([OUTCOME, replace(OUTCOME, conflicts="a needs b.")], "A", console)
    rows = [line.split() for line in console.export_text().splitlines()]
    assert ["demo", "1.5", "clean", "0", "0", "of", "4"] in rows
    assert ["demo", "1.5", "a", "needs", "b.", "0", "0", "of", "4"] in rows
