"""soak with a script of our own that grows, or does not, without Django."""

from dataclasses import replace

import pytest
from rich.console import Console

from lab import soak
from lab.soak import Result, State

from .conftest import write

# Two reports; what the second one has more than the first is to be filled in.
SCRIPT = """
import json, sqlite3, sys, tempfile, threading
name = tempfile.gettempdir() + "/database"
def say(**facts):
    print(json.dumps(facts), flush=True)
    sys.stdin.readline()
say(database=name, threads=10, alive=1)
{more}
say(database=name, threads=20, alive=1)
say(rows=5, rows_expected=5, forks=1)
"""


@pytest.mark.parametrize(
    ("more", "problems"),
    [
        ("", []),
        (
            "left = sqlite3.connect(name); left.execute('CREATE TABLE t (i)')",
            [
                "1 connection is left open.",
                "There are more file descriptors than before.",
            ],
        ),
        ("left = b'x' * 2**27", ["It uses more memory than before."]),
    ],
)
def test_what_grows_is_a_problem(more, problems, tmp_path, monkeypatch):
    write(tmp_path / "script.py", SCRIPT.format(more=more))
    monkeypatch.setattr(soak, "SCRIPT", tmp_path / "script.py")
    result = soak.run(tmp_path, "sqlite", 20, Console(quiet=True))
    assert result.problems == problems
    assert (result.threads, result.forks, result.rows) == (20, 1, 5)


STATE = State(connections=0, descriptors=3, alive_threads=1, memory=50.0)
RESULT = Result(STATE, STATE, 20, 1, 5, 5, 1.0)


def test_more_threads_or_lost_rows_are_a_problem():
    assert not RESULT.problems
    last = replace(STATE, alive_threads=2)
    assert len(replace(RESULT, last=last, rows=4).problems) == 2


def test_the_table_puts_first_and_last_side_by_side():
    console = Console(record=True, width=80)
    soak.show(replace(RESULT, last=replace(STATE, memory=51.2)), "A", console)
    rows = [line.split() for line in console.export_text().splitlines()]
    assert ["memory,", "MiB", "50", "51.2"] in rows
