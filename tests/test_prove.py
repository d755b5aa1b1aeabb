"""prove with a script of our own that leaves real connections open, without Django."""

from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from rich.console import Console

from lab import plot, prove
from lab.cli import main
from lab.servers import server
from overlay.errors import OverlayError

from .conftest import write

OPEN = {
    "sqlite": "import sqlite3; opened = sqlite3.connect(name)",
    "mysql": "import MySQLdb; opened = MySQLdb.connect("
    "unix_socket=os.environ['MYSQL_UNIX_SOCKET'], user='root')",
    "postgres": "import psycopg; opened = psycopg.connect("
    "host=os.environ['PGHOST'], user='postgres', dbname='postgres')",
}
# Four threads: four connections at a time, of which two stay until the collection.
SCRIPT = """
import json, os, sys, tempfile, time
def say(**facts):
    print(json.dumps(facts), flush=True)
    sys.stdin.readline()
def connect():
    {open}
    return opened
name = os.path.join(tempfile.gettempdir(), "database")
say(database=name)
started = time.monotonic()
connections = [connect() for number in range(int(sys.argv[1]))]
time.sleep(0.2)
for connection in connections[2:]:
    connection.close()
say(started=started, joined=time.monotonic())
for connection in connections[:2]:
    connection.close()
say(collected=time.monotonic())
say(rows_saved=int(sys.argv[1]))
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Write the script that is run instead of the ticket's."""

    def install(text: str) -> None:
        write(tmp_path / "script.py", text)
        monkeypatch.setattr(prove, "SCRIPT", tmp_path / "script.py")

    return install


@pytest.mark.parametrize("db", OPEN)
def test_connections_are_counted_at_each_stage(db, script, tmp_path):
    script(SCRIPT.format(open=OPEN[db]))
    watched = []
    with server(db) as environment:
        result = prove.run(tmp_path, db, environment, 4, watched.append)
    assert result.figures() == {
        "threads": 4,
        "rows_saved": 4,
        "left_open": 2,
        "left_open_after_1s": 2,
        "left_open_after_gc": 0,
        "peak_open": 4,
        "seconds": pytest.approx(0.2, abs=2),
    }
    assert watched == [number for _, number in result.samples]


def test_a_script_that_fails_is_an_error_with_its_reason(script, tmp_path):
    script("raise SystemExit('No such luck.')")
    with pytest.raises(OverlayError, match="No such luck"):
        prove.run(tmp_path, "sqlite", {}, 4)


def test_a_script_that_fails_at_its_end_is_an_error(script, tmp_path):
    script(SCRIPT.format(open=OPEN["sqlite"]) + "raise SystemExit('Too late.')")
    with pytest.raises(OverlayError, match="Too late"):
        prove.run(tmp_path, "sqlite", {}, 4)


def result(seconds: float = 0.1, left_open: int = 0, rows_saved: int = 4):
    samples = [(0.0, 1), (seconds, left_open)]
    return prove.Result(4, rows_saved, left_open, left_open, 0, 4, seconds, samples)


def test_the_result_shown_is_the_one_of_median_duration():
    assert prove.median([result(0.3), result(0.1), result(0.2)]).seconds == 0.2


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        ([result(), result()], None),
        ([result(), result(left_open=1)], "left 1 connection open"),
        ([result(left_open=2)], "left 2 connections open"),
        ([result(), result(rows_saved=3)], "saved 3 objects in 4 threads"),
    ],
)
def test_any_result_that_is_not_right_is_a_problem(results, problem):
    assert prove.problem(results) == problem


@pytest.mark.parametrize(
    ("number", "phrase"),
    [
        (0, "0 connections are open"),
        (1, "1 connection is open"),
        (2, "2 connections are open"),
    ],
)
def test_what_is_counted_is_said_in_singular_or_plural(number, phrase):
    assert prove.are_open(number) == phrase


def test_it_says_beforehand_how_long_it_takes():
    assert prove.forecast("sqlite", 200, 1) == "This takes about 10 s."
    assert prove.forecast("mysql", 200, 5) == "This takes about 55 s."


def test_the_table_puts_the_results_side_by_side():
    console = Console(record=True, width=80)
    prove.show({"stock": result(left_open=3), "patched": result()}, "A", console)
    rows = [line.split() for line in console.export_text().splitlines()]
    assert ["left", "open", "right", "after", "the", "joins", "3", "0"] in rows


def test_the_figure_is_drawn_the_same_each_time(tmp_path):
    results = {"stock": result(left_open=3), "patched": result()}
    for name in ("one.svg", "two.svg"):
        plot.draw(results, "A title", tmp_path / name)
    assert ElementTree.parse(tmp_path / "one.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_figure_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(OverlayError, match="cannot be written"):
        plot.draw({"stock": result()}, "A title", tmp_path / "missing" / "one.svg")


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_file_that_cannot_be_written_is_refused_before_the_rounds(
    option, tmp_path, monkeypatch
):
    monkeypatch.setattr(prove, "compare", None)  # which would run them
    arguments = ["prove", option, str(tmp_path / "missing" / "file")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "file can't be written: No such file or directory" in result.output
