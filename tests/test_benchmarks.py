"""The benchmarks run, and show each case."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from benchmarks.__main__ import Timed, compare
from lab import ROOT

DJANGOS = {"stock", "without extras", "patched"}


def run(*args: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, args)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_sets_that_are_asked_for_are_shown() -> None:
    sets = ("calls", "growth", "turns")
    done = run(*sets, "--rounds", 2, "--threads", 20, "--others", 10)
    assert done.returncode == 0, done.stderr
    assert "connections[alias]" in done.stdout
    assert "raw driver" not in done.stdout
    assert "fork beside 10 threads" in done.stdout
    assert "beside 100 threads" not in done.stdout
    for django in DJANGOS:
        assert f"{django}: " in done.stdout  # its memory


@pytest.mark.parametrize(
    "db, pools", [("mysql", set()), ("postgres", {"PgBouncer", "psycopg's pool"})]
)
def test_saves_are_compared_with_the_driver(db, pools, tmp_path) -> None:
    files = [tmp_path / "figures.json", tmp_path / "figure.svg"]
    options = ["--db", db, "--rounds", 2, "--json", files[0], "--plot", files[1]]
    done = run("saves", *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(files[0].read_text())["sets"]["saves"]
    ratios = {(row["case"], row["django"]): row["ratio"] for row in content["rows"]}
    for django in DJANGOS:
        assert ratios["raw driver", django] == 1
        assert ("ORM", django) in ratios
        assert {f"{pool}, closed by hand" for pool in pools} <= {
            case for case, found in ratios if found == django
        }
    assert ratios["left to Django", "patched"] > 0
    assert ("left to Django", "stock") not in ratios
    assert len(content["rounds"]["stock"]["rounds"]) == 2
    assert ElementTree.parse(files[1]).getroot().tag.endswith("svg")


def test_ratios_are_those_of_rounds() -> None:
    """The base is the raw driver if there is one, or else stock Django."""
    stock = Timed([{"fork": 1.0}, {"fork": 4.0}], [50.0, 50.0])
    patched = Timed([{"fork": 3.0, "live()": 1}, {"fork": 4.0, "live()": 1}], [50, 50])
    rows = compare({"stock": stock, "patched": patched})
    assert [row.ratio for row in rows] == [1, 2, None]
    assert (rows[1].quartiles, rows[1].least_ratio) == ((1.5, 2.5), 3)
    raw = Timed([{"raw driver": 2.0, "save": 3.0}] * 2, [50.0, 50.0])
    assert [row.ratio for row in compare({"patched": raw})] == [1, 1.5]


def test_a_file_that_cannot_be_written_is_refused_before_the_rounds(tmp_path) -> None:
    done = run("--json", tmp_path / "missing" / "file")
    assert done.returncode == 1
    assert "file can't be written: No such file or directory" in done.stderr
