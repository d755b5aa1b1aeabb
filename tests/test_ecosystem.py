"""ecosystem with a project and a pytest of our own, without an index."""

import io
import sys
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from lab import ecosystem
from lab.cli import main
from lab.ecosystem import Comparison, Project
from lab.redgreen import FAILED, PASSED, SKIPPED, Outcome
from overlay import sdist
from overlay.errors import OverlayError

from .conftest import write
from .test_install import SOURCES, wheel

DEMO = {
    "pyproject.toml": """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
""",
    "backend.py": """\
from pathlib import Path
from zipfile import ZipFile
METADATA = "Metadata-Version: 2.1\\nName: demo\\nVersion: 1.5\\n"
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    info = Path(directory, "demo-1.5.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text(METADATA)
    return info.name
def build_wheel(directory, config_settings=None, metadata_directory=None):
    with ZipFile(Path(directory, "demo-1.5-py3-none-any.whl"), "w") as opened:
        info = "demo-1.5.dist-info"
        opened.writestr(f"{info}/METADATA", METADATA)
        opened.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\n"
            "Root-Is-Purelib: true\\nTag: py3-none-any\\n")
        opened.writestr(f"{info}/RECORD", "")
        opened.writestr("demo.py", "")
    return "demo-1.5-py3-none-any.whl"
""",
    "PKG-INFO": "Metadata-Version: 2.1\nName: demo\nVersion: 1.5\n",
    "pytest.ini": "[pytest]\naddopts = --no-such-option\n",
    "tests/here": "",
}
# A test of its has the name of the Django that it has found.
PYTEST = """
import os, sys
from pathlib import Path
import demo, django
[report] = [a.partition("=")[2] for a in sys.argv if a.startswith("--junitxml=")]
assert Path("here").exists() and sys.argv[-2:] == ["-x", "all"]
Path("here").unlink()
Path(report).write_text(f'''<testsuite>
<testcase classname="t" name="same[a b]"/>
<testcase classname="t" name="same[a c]"><skipped/></testcase>
<testcase classname="{os.environ["KIND"]}" name="{django.KIND}"/>
</testsuite>''')
"""


@pytest.fixture
def demo(tmp_path, monkeypatch) -> dict[str, Path]:
    """The trees to run the tests of the project "demo" with."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    # Were it heeded, this Django would be the one that is tested.
    write(tmp_path / "path/django/__init__.py", "KIND = 'wrong'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("MYSQL_HOST", "kind")  # it isn't asked for anything
    monkeypatch.setattr(sdist, "CACHE", tmp_path / "cache")
    monkeypatch.setitem(SOURCES, "pytest", ("pytest.py", PYTEST))
    for name in ("django", "pytest"):
        wheel(tmp_path, name)
    with tarfile.open(tmp_path / "demo-1.5.tar.gz", "w:gz") as tar:
        for name, content in DEMO.items():
            member = tarfile.TarInfo(f"demo-1.5/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    project = Project(
        version="1.5",
        sha256=sdist.hash_of(tmp_path / "demo-1.5.tar.gz"),
        tests="-x all",
        requires="pytest==1.5",
        folder="tests",
        db="mysql",
        environment={"KIND": "{MYSQL_HOST}"},
    )
    monkeypatch.setitem(ecosystem.PROJECTS, "demo", project)
    for side in ("stock", "patched"):
        write(tmp_path / side / "django/__init__.py", f"KIND = {side!r}")
    (tmp_path / "new").mkdir()
    return {side: tmp_path / side for side in ("stock", "patched")}


def compare(trees: dict[str, Path], release: str, folder: Path) -> Comparison:
    with Console(quiet=True).status("") as status:
        return ecosystem.compare("demo", trees, release, folder / "new", status)


def test_both_sides_are_tested_in_one_environment(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(ecosystem, "AGAIN", 0)
    found = compare(demo, "1.5", tmp_path)
    same = {"t.same[a b]": Outcome(PASSED), "t.same[a c]": Outcome(SKIPPED)}
    assert found.stock == [same | {"kind.stock": Outcome(PASSED)}]
    assert found.patched == [same | {"kind.patched": Outcome(PASSED)}]


@pytest.mark.parametrize(
    ("tests", "patience", "problem"),
    [
        ("--version", 60, r"(?s)^demo: its tests left no report:\npytest "),
        ("nowhere", 60, r"(?s)^demo: its tests ended with exit code 4:.* nowhere"),
        ("--version", 0, r"^demo: its tests did not end within 0 s:"),
    ],
)
def test_tests_that_are_not_run_are_an_error_with_the_output(
    demo, tmp_path, monkeypatch, tests, patience, problem
):
    project = ecosystem.PROJECTS["demo"]._replace(tests=tests, folder=".")
    monkeypatch.setitem(ecosystem.PROJECTS, "demo", project)
    monkeypatch.setattr(ecosystem, "PATIENCE", patience)
    monkeypatch.delenv("PYTHONPATH")
    python = tmp_path / "new/env/bin/python"
    write(python, f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(OverlayError, match=problem):
        ecosystem._run("demo", tmp_path / "demo-1.5.tar.gz", tmp_path / "new")


def test_what_pip_cannot_install_is_one_sentence(demo, tmp_path):
    with pytest.raises(OverlayError, match=r"^demo: pip could not install ") as error:
        compare(demo, "1.6", tmp_path)
    assert "\n" not in error.value.message


def outcomes(**statuses: str) -> dict[str, Outcome]:
    return {test: Outcome(status) for test, status in statuses.items()}


STOCK = outcomes(same=PASSED, lost=PASSED, flaky=PASSED)
FOUND = {
    "huey": Comparison([STOCK], [STOCK]),
    "celery": Comparison(
        [STOCK, STOCK],
        [
            outcomes(same=PASSED, flaky=FAILED, new=SKIPPED),
            outcomes(same=PASSED, flaky=PASSED, new=SKIPPED),
        ],
    ),
}


@pytest.mark.parametrize(
    ("stock", "patched", "runs", "differs"),
    [
        ([PASSED], [PASSED], 1, False),
        ([PASSED], [FAILED], 4, True),
        ([PASSED], [FAILED, PASSED], 2, False),
        ([FAILED, FAILED, PASSED], [PASSED], 3, False),
    ],
)
def test_a_suite_is_run_again_until_tests_that_differ_are_flaky(
    stock, patched, runs, differs
):
    sides = {"stock": [*stock], "patched": [*patched]}

    def run_on(side: str) -> dict[str, Outcome]:
        left = sides[side]
        return outcomes(test=left.pop(0) if len(left) > 1 else left[0])

    found = ecosystem.repeat(run_on)
    assert (len(found.stock), len(found.patched)) == (runs, runs)
    assert found.differences() == (["test"] if differs else [])


def test_a_test_that_is_not_run_on_one_side_differs():
    assert FOUND["celery"].differences() == ["lost", "new"]
    sentence = "celery: 2 tests end differently on patched Django."
    assert ecosystem.problems(FOUND) == [sentence]


def test_a_suite_that_fails_as_a_whole_is_a_problem():
    failed = [outcomes(test=FAILED, other=SKIPPED)]
    found = {"huey": Comparison(failed, failed)}
    assert ecosystem.problems(found) == ["huey: no test passes on stock Django."]


def test_the_table_has_stock_beside_patched_and_the_tests_that_differ():
    console = Console(record=True, width=80)
    ecosystem.show(FOUND, "A", console)
    text = console.export_text()
    rows = [line.split() for line in text.splitlines()]
    assert ["huey", "3.5.4", "3", "3/0/0", "3/0/0", "0", "0"] in rows
    assert ["celery", "5.7.0", "4", "3/0/0", "1/1/1", "1", "2"] in rows
    assert "celery: flaky: flaky: passed, passed → failed, passed" in text
    assert "celery: lost: differs: passed, passed → not run, not run" in text


@pytest.mark.parametrize(
    ("release", "is_tested"), [("5.2.19", False), ("6.0", True), ("6.1.3", True)]
)
def test_a_project_needs_a_django_that_it_has_tests_for(release, is_tested):
    names = ecosystem.projects_for(release)
    assert ("huey" in names) is is_tested
    assert "celery" in names


def test_a_project_that_is_not_known_is_refused():
    result = CliRunner().invoke(main, ["ecosystem", "django"])
    assert result.exit_code == 2
    assert "'django' is not one of" in result.stderr
