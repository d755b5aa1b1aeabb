"""runtests.py: what it refuses, what it hands on, and when a test is proven."""

import io
import json
import re
import shutil
import subprocess
import sys
import unittest
from dataclasses import astuple
from pathlib import Path

import pytest
import xmlrunner
from click.testing import CliRunner
from rich.console import Console

from lab import ROOT, trees
from lab.redgreen import (
    FAILED,
    NOT_RUN,
    PASSED,
    SKIPPED,
    Outcome,
    compare,
    outcomes,
    prove,
    proven,
    show,
)
from overlay.errors import OverlayError
from overlay.series import read_all
from runtests import how_many, main, run_again, verdicts_of_parts

from .conftest import snapshot, write


def run(*args: str):
    return CliRunner().invoke(main, args)


@pytest.fixture
def django(checkout) -> Path:
    """A user's checkout, whose runner says how it was called and exits with code 3."""
    # The oldest line runs on every Python that the tool runs on.
    write(checkout / "django/__init__.py", 'VERSION = (5, 2, 19, "final", 0)\n')
    write(
        checkout / "tests/runtests.py",
        "import pathlib, os, sys\n"
        "said = pathlib.Path(__file__).parents[2] / 'said'\n"
        "said.write_text(' '.join([os.environ['PYTHONPATH'], *sys.argv[1:]]))\n"
        "sys.exit(3)\n",
    )
    return checkout


def test_a_checkout_is_run_as_it_is_and_its_exit_code_returned(django, tmp_path):
    before = snapshot(django)
    arguments = ["--jobs=1", "basic", "--", "-v", "2"]
    assert run("--django", str(django), *arguments).exit_code == 3
    path, *arguments = (tmp_path / "said").read_text().split()
    assert path.startswith(f"{django}:")
    assert arguments[0] == "--settings=settings.test_sqlite_in_memory"
    assert arguments[-3:] == ["basic", "-v", "2"]
    assert snapshot(django) == before


def test_labels_may_follow_options_but_are_not_their_values(django, tmp_path):
    words = ["--failfast", "basic", "--tag", "backends", "--timing", "servers"]
    run("--django", str(django), "--jobs=1", "--", *words)
    *_, arguments = (tmp_path / "said").read_text().partition("--noinput ")
    expected = "basic servers --failfast --tag backends --timing"
    assert arguments == expected


def test_all_of_djangos_own_tests_are_run_with_sqlite_in_memory(django, tmp_path):
    for app in ["basic", "servers", "gis_tests", "thread_connections"]:
        write(django / "tests" / app / "__init__.py", "")
    run("--django", str(django), "--all", "--", "--timing")
    said = (tmp_path / "said").read_text()
    assert "--settings=settings.test_sqlite_in_memory" in said
    assert said.endswith("--noinput basic servers --timing")


@pytest.mark.parametrize(
    ("wanted", "db", "labels", "options", "expected"),
    [
        (None, "mysql", ["basic", "servers.tests"], ["--timing"], 4),
        (None, "mysql", ["basic.tests", "servers.tests"], [], 1),
        (2, "sqlite", ["basic.tests"], [], 2),
        (2, "sqlite", ["basic"], ["--pdb"], 1),
        (2, "sqlite", ["basic"], ["--bisect=basic"], 1),
        (2, "postgres", ["basic"], [], 1),
    ],
)
def test_parts_run_side_by_side_if_that_makes_sense(
    wanted, db, labels, options, expected, monkeypatch
):
    monkeypatch.delenv("MYSQL_HOST", raising=False)
    monkeypatch.delenv("MYSQL_UNIX_SOCKET", raising=False)
    monkeypatch.setenv("PGHOST", "/somewhere")
    assert how_many(wanted, db, labels, options) == expected


PARTS = """
from django.test import SimpleTestCase

class Tests(SimpleTestCase):
    def setUp(self):
        with open(FILE, "a") as file:
            print(self.id().rpartition(".")[2], file=file)
"""


@pytest.fixture
def with_five_tests(tmp_path, monkeypatch):
    """Django 5.2 with an app of five tests, the last of which fails."""
    series, release = trees.choose("5.2", read_all())
    tree = shutil.copytree(
        trees.build(series, release, patched=True), tmp_path / "tree"
    )
    tests = PARTS.replace("FILE", repr(str(tmp_path / "ran")))
    for number in range(5):
        tests += f"    def test_{number}(self):\n        self.assertLess({number}, 4)\n"
    write(tree / "tests/five/__init__.py", "")
    write(tree / "tests/five/tests.py", tests)
    return tree


def test_each_test_is_in_one_part_and_a_failure_in_any_of_them_fails(
    with_five_tests, tmp_path
):
    command = [sys.executable, ROOT / "runtests.py", "--django", with_five_tests]
    done = subprocess.run(
        [*command, "--jobs=3", "five"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    ran = re.findall(r"^Ran (\d) tests? in", done.stdout, re.MULTILINE)
    assert sorted(ran) == ["1", "2", "2"]
    assert "FAIL: test_4 (five.tests.Tests.test_4)" in done.stdout
    ran = (tmp_path / "ran").read_text().split()
    assert sorted(ran) == [f"test_{number}" for number in range(5)]


@pytest.mark.parametrize("other", ["--red-green", "basic"])
def test_all_goes_with_nothing_that_chooses_tests(other):
    result = run("--all", other)
    assert result.exit_code == 1
    assert "goes with neither labels nor --red-green" in result.output


def test_only_one_option_says_which_django_is_run():
    for option in ("--stock", "--red-green"):
        result = run(option, "--compare", "basic")
        assert result.exit_code == 1
        assert "choose one of them" in result.output


COMPARED = """
import sys
from unittest import TestCase

class Tests(TestCase):
    def test_alike(self):
        self.fail("so on both")

    def test_other(self):
        self.assertNotIn({failing!r}, sys.path[0])
"""


def two_trees(with_five_tests, contents):
    """Return two trees, stock and patched, with an app of `contents(side)`."""
    trees = {}
    for side in ("stock", "patched"):
        trees[side] = shutil.copytree(with_five_tests, with_five_tests.parent / side)
        write(trees[side] / "tests/five/tests.py", contents(side))
    return trees


@pytest.mark.parametrize(
    ("contents", "exit_code", "said"),
    [
        (
            lambda side: COMPARED.format(failing="/patched/"),
            1,
            "test_other: passed on stock, failed when patched\n",
        ),
        (
            lambda side: COMPARED.format(failing="/nowhere/"),
            0,
            "\n0 ended differently",
        ),
        (
            lambda side: COMPARED.format(failing="/stock/") + f"# {side}",
            0,
            "test_other: failed on stock, passed when patched; a patch changes its file",
        ),
    ],
)
def test_a_test_that_ends_differently_fails_unless_a_patch_changes_it(
    with_five_tests, monkeypatch, contents, exit_code, said
):
    both = two_trees(with_five_tests, contents)
    monkeypatch.setattr(
        "lab.trees.build",
        lambda series, release, patched: both["patched" if patched else "stock"],
    )
    result = run("--compare", "--django=5.2", "--jobs=1", "five")
    assert said in result.output
    assert result.exit_code == exit_code


def test_only_what_ended_differently_is_run_again_and_a_lost_test_stays_different():
    stock = {"a.T.test_x": red["t"], "a.T.test_y": red["t"], "b.T.test_z": green["t"]}
    patched = dict.fromkeys(stock, green["t"])
    asked = []

    def run(labels):
        asked.append(labels)
        return compare(({}, {}), ({"a.T.test_x": green["t"]},) * 2)

    first = compare(({}, {}), (stock, patched))
    x, y, z = run_again(first, run)
    assert asked == [["a.T"]]
    assert (x.stock, y.stock) == (green["t"], red["t"])
    assert z == first[2]
    assert run_again([z], run) == [z]
    assert len(asked) == 1


def test_a_checkout_without_our_tests_has_to_be_patched_first(django):
    result = run("--django", str(django))
    assert result.exit_code == 1
    assert f"run `django-overlay apply {django}` first" in result.output


@pytest.mark.parametrize("option", ["--stock", "--red-green", "--compare"])
def test_a_checkout_is_neither_patched_nor_unpatched(django, option):
    result = run("--django", str(django), option)
    assert result.exit_code == 1
    assert "A checkout is run as it is" in result.output


def test_a_checkout_for_other_pythons_is_refused(django, monkeypatch):
    monkeypatch.setattr("platform.python_version", lambda: "3.2.1")
    result = run("--django", str(django), "basic")
    assert result.exit_code == 1
    assert re.search(r"needs Python >=3\.\d+; this is 3\.2\.1\.", result.output)


def test_what_is_no_django_is_refused(tmp_path):
    result = run("--django", str(tmp_path), "basic")
    assert result.exit_code == 1
    assert "is not a Django source tree" in result.output


def test_an_unknown_release_is_refused():
    result = run("--django", "1.0")
    assert result.exit_code == 1
    assert "There is no patch series for Django 1.0" in result.output


def test_a_missing_driver_is_refused_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    result = run("--db", "mysql", "basic")
    assert result.exit_code == 1
    assert "lacks MySQLdb" in result.output
    assert "pip install --editable '.[django,lab,mysql]'" in result.output


def test_our_tests_need_more_than_djangos_so_that_none_of_them_skips(monkeypatch):
    monkeypatch.setattr("lab.runner.OURS", {"no_such": "tests"})
    result = run("thread_connections")
    assert result.exit_code == 1
    assert "lacks no_such" in result.output
    assert "'.[django,lab,tests]'" in result.output


red, green, skipped = (
    {"t": Outcome(status, "why")} for status in (FAILED, PASSED, SKIPPED)
)
absent: dict = {}
elsewhere = {"t": Outcome(SKIPPED, "another reason")}


@pytest.mark.parametrize(
    ("stock", "patched", "is_proven"),
    [
        (red, green, True),
        (green, green, False),
        (red, red, False),
        (green, red, False),
        (skipped, green, False),
        (red, skipped, False),
        (absent, green, False),
        (red, absent, False),
    ],
)
def test_a_claim_is_proven_if_red_on_stock_and_green_when_patched(
    stock, patched, is_proven
):
    assert proven(compare((stock, patched), ({}, {}))) is is_proven


@pytest.mark.parametrize(
    ("stock", "patched", "is_right"),
    [
        (green, green, True),
        (skipped, skipped, True),
        (skipped, elsewhere, False),
        (red, green, False),
        (green, red, False),
        (absent, green, False),
    ],
)
def test_any_other_test_is_green_on_both(stock, patched, is_right):
    claim = {"claim": red["t"]}, {"claim": green["t"]}
    assert proven(compare(claim, (stock, patched))) is is_right


def test_a_claim_for_another_database_is_skipped_but_proves_nothing():
    claim = {"claim": red["t"]}, {"claim": green["t"]}
    with_skipped = ({**claim[0], **skipped}, {**claim[1], **skipped})
    assert proven(compare(with_skipped, ({}, {})))
    assert not proven(compare((skipped, skipped), ({}, {})))


def test_the_verdicts_of_all_parts_are_judged_together(monkeypatch):
    """A part without a claim proves nothing, but the others may."""
    parts = [
        compare(({}, {}), (green, green)),
        compare(({"claim": red["t"]}, {"claim": green["t"]}), ({}, {})),
    ]

    def run_parts(number, folder):
        for part, verdicts in enumerate(parts):
            rows = [astuple(verdict) for verdict in verdicts]
            (folder / str(part)).write_text(json.dumps(rows))
        return [0, 0]

    monkeypatch.setattr("runtests.run_parts", run_parts)
    verdicts = verdicts_of_parts(2)
    assert verdicts == parts[0] + parts[1]
    assert proven(verdicts)


def test_a_part_that_fails_to_prove_anything_ends_the_run(monkeypatch):
    monkeypatch.setattr("runtests.run_parts", lambda number, folder: [0, 1])
    with pytest.raises(SystemExit) as raised:
        verdicts_of_parts(2)
    assert raised.value.code == 1


def test_no_claim_at_all_proves_nothing():
    assert not proven(compare(({}, {}), (green, green)))


class Sample(unittest.TestCase):
    """Not collected: what a report is made of."""

    __test__ = False

    def test_green(self):
        pass

    def test_red(self):
        self.assertEqual([1], [], "open\nconnections")

    def test_error(self):
        raise OSError("gone")

    def test_subtest_red(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertNotEqual(number, 1)

    def test_skipped(self):
        self.skipTest("not here")

    @unittest.expectedFailure
    def test_expected(self):
        self.fail()


class Broken(unittest.TestCase):
    __test__ = False

    @classmethod
    def setUpClass(cls):
        raise OSError("gone")

    def test_never_runs(self):
        pass


def test_the_outcomes_are_read_from_the_report(tmp_path):
    report = tmp_path / "report.xml"
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    with report.open("wb") as output:
        xmlrunner.XMLTestRunner(output=output, stream=io.StringIO()).run(
            unittest.TestSuite([load(Sample), load(Broken)])
        )
    assert outcomes(report) == {
        f"{__name__}.Sample.test_green": Outcome(PASSED),
        f"{__name__}.Sample.test_red": Outcome(
            FAILED, "AssertionError: Lists differ: [1] != []"
        ),
        f"{__name__}.Sample.test_error": Outcome(FAILED, "OSError: gone"),
        f"{__name__}.Sample.test_subtest_red": Outcome(
            FAILED, "AssertionError: 1 == 1"
        ),
        f"{__name__}.Sample.test_skipped": Outcome(SKIPPED, "not here"),
        f"{__name__}.Sample.test_expected": Outcome(PASSED),
        f"{__name__}.Broken.setUpClass": Outcome(FAILED, "OSError: gone"),
    }


def test_a_run_without_a_report_is_an_error_that_shows_what_it_said(tmp_path):
    def crash(patched, options, report, output):
        output.write_text("Segmentation fault")

    with pytest.raises(OverlayError, match=r"(?s)on stock Django left no report.*Segm"):
        prove(crash, [], tmp_path)


def test_each_claim_is_listed_with_both_outcomes_and_why():
    console = Console(file=io.StringIO(), width=80)
    show(compare(({"a.T.test_x": Outcome(FAILED, "E: 3")}, {}), ({}, {})), console)
    output = console.file.getvalue().splitlines()
    assert "a.T" in output[1]
    assert output[2].split() == ["test_x", FAILED, *NOT_RUN.split(), "WRONG"]
