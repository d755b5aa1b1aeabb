"""Run test suites of others on stock and on patched Django, and compare each test."""

import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version
from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table

from lab.install import create_environment
from lab.processes import run
from lab.redgreen import FAILED, NOT_RUN, PASSED, SKIPPED, Outcome, Outcomes, outcomes
from lab.servers import server
from overlay import sdist
from overlay.errors import OverlayError

AGAIN = 3  # times that a suite is run again, on either side, if a test differs
PATIENCE = 1200.0  # seconds for a suite


class Project(NamedTuple):
    """A source distribution with tests, and how pytest runs them."""

    version: str
    sha256: str
    tests: str  # pytest's arguments
    requires: str  # what the tests need besides the project and Django
    folder: str = "."  # where pytest is run, in the source distribution
    db: str = "sqlite"  # which server they need, as in lab.servers.server()
    # Added to that of the server, whose variables the values may name in braces.
    environment: Mapping[str, str] = {}
    django: str = "5.2"  # the least whose features they test


PYTEST = "pytest==9.2.0 pytest-django==4.14.0"
PROJECTS = {
    "celery": Project(
        "5.7.0",
        "6a5dfcf6662287204f009a02002b9e66c83d4105e47ebabdc7079108772fc6f0",
        "t/unit/fixups/test_django.py",
        f"{PYTEST} pytest-celery",
    ),
    "django-filter": Project(
        "26.2",
        "fd5cc83995fbe9f5f07fb5dcda16fde0f04de1ecf8ef82628b6c0ec921b751af",
        "--ds=tests.settings tests",
        f"{PYTEST} djangorestframework==3.18.3 django-crispy-forms pytz",
    ),
    "django-import-export": Project(
        "4.4.3",
        "2024e6e64ecb2cbd9835bbbfbfe08bc31e9c7f6cc8923f3b9ab0ffdad0308c22",
        "--ds=settings core",
        f"{PYTEST} tablib[all] chardet psycopg2-binary django-extensions",
        folder="tests",
    ),
    "django-silk": Project(
        "5.6.0",
        "bb741fb8af45eba663e8ed832207d16ecd731496313311f6dfae5fe776bed38e",
        "--ds=project.settings tests",
        f"{PYTEST} factory-boy freezegun networkx pillow pydot pygments",
        folder="project",
        environment={"DB_ENGINE": "sqlite3", "DB_NAME": ":memory:"},
    ),
    "django-tenants": Project(
        "4.0.1",
        "769a0934507305c55b7b6e49b788df6627dcc546d7f4e187812285bad1c6270b",
        "--ds=dts_test_project.settings --pyargs django_tenants.tests",
        f"{PYTEST} psycopg[binary]==3.3.4",
        folder="dts_test_project",
        db="postgres",
        environment={
            "DATABASE_HOST": "{PGHOST}",
            "DATABASE_PORT": "{PGPORT}",
            "DATABASE_USER": "{PGUSER}",
            "DATABASE_PASSWORD": "{PGPASSWORD}",
        },
    ),
    "djangorestframework": Project(
        "3.18.3",
        "446a9b352e7eff630421ab3f2328bd2401b109a9470afa4a31189994911ed030",
        "--no-migrations tests",
        f"{PYTEST} dj-database-url inflection==0.5.1 django-guardian==3.5.2",
    ),
    "huey": Project(
        "3.5.4",
        "328f5a2dd1406621e5edb17d45655ae232ad9f32c0795ca8dc0bfc121dd7b30c",
        "huey/tests/test_django_tasks.py",
        f"{PYTEST}",
        django="6.0",  # which has django.tasks
    ),
    "pytest-django": Project(
        "4.14.0",
        "26787dd3f422cfbab8f55b80a776e2edea7a11092cb74e960bef1312515708ef",
        "tests/test_database.py tests/test_db_setup.py tests/test_fixtures.py",
        "pytest==9.2.0 django-configurations==2.5.1 pytest-xdist==3.8.0",
    ),
    "wagtail": Project(
        "8.0.1",
        "819865a10bce86b16288cfaefa4195b90ffb5e7ac494fb18659e7be099ef386f",
        "--ds=wagtail.test.settings wagtail/tests/test_page_model.py "
        "wagtail/tests/test_page_queryset.py wagtail/tests/test_workflow.py",
        f"{PYTEST} jinja2 freezegun responses factory-boy django-pattern-library boto3",
    ),
}


def projects_for(release: str) -> list[str]:
    """Return the names of the projects whose tests are of use on a Django release."""
    return [
        name
        for name, project in PROJECTS.items()
        if Version(release) >= Version(project.django)
    ]


class Comparison(NamedTuple):
    """The outcomes of a suite, by test, in each of its runs on either side."""

    stock: list[Outcomes]
    patched: list[Outcomes]

    def statuses(self, test: str) -> list[list[str]]:
        """Return how `test` ended in each run, on stock and then on patched Django."""
        return [
            [outcomes.get(test, Outcome(NOT_RUN)).status for outcomes in runs]
            for runs in self
        ]

    def differing(self) -> list[str]:
        """Return the tests that ended differently in the first run on each side."""
        tests = sorted({*self.stock[0], *self.patched[0]})
        return [t for t in tests if len({side[0] for side in self.statuses(t)}) > 1]

    def flaky(self, test: str) -> bool:
        """Return whether `test` ended in several ways on one and the same side."""
        return any(len(set(statuses)) > 1 for statuses in self.statuses(test))

    def differences(self) -> list[str]:
        """Return the tests that differ between the sides and are not flaky."""
        return [test for test in self.differing() if not self.flaky(test)]


def repeat(run_on: Callable[[str], Outcomes]) -> Comparison:
    """
    Return the outcomes of a suite that `run_on(side)` runs on "stock" or "patched".

    If a test differs all of it is run again, up to AGAIN times, until those that differ
    are known to be flaky. A test that is run alone may end otherwise.
    """
    found = Comparison([], [])
    for _ in range(1 + AGAIN):
        for side in found._fields:
            getattr(found, side).append(run_on(side))
        if not found.differences():
            break
    return found


def compare(
    name: str, trees: Mapping[str, Path], release: str, folder: Path, status: Status
) -> Comparison:
    """
    Run the tests of the project `name` in PROJECTS on stock and patched Django.

    `trees` are those of `release`, by side. The project and what its tests need are
    installed in `folder`, where `release` gives way to each tree in turn. What is going
    on is shown as `status`. Raise OverlayError if that can't be installed, or the tests
    can't be run.
    """
    project = PROJECTS[name]
    status.update(f"{name}: installing …")
    archive = sdist.fetch(project.version, project.sha256, sdist.CACHE, name)
    (folder / "source").mkdir()
    source = sdist.unpack(archive, folder / "source")
    requirements = [str(source), f"django=={release}", *project.requires.split()]
    if why := create_environment(folder / "env", requirements):
        raise OverlayError(f"{name}: pip could not install it: {why}")
    (installed,) = (folder / "env").glob("lib/*/site-packages/django")
    installed.rename(folder / "django")

    def run_on(side: str) -> Outcomes:
        status.update(f"{name}: its tests on {side} Django …")
        installed.symlink_to(trees[side] / "django")
        found = _run(name, archive, folder)
        installed.unlink()
        return found

    return repeat(run_on)


def _run(name: str, archive: Path, folder: Path) -> Outcomes:
    """Run the tests in `archive` once, with the environment in `folder`."""
    project = PROJECTS[name]
    output = folder / "output.txt"
    with (
        server(project.db) as environment,
        tempfile.TemporaryDirectory(dir=folder) as scratch,
    ):
        for key, value in project.environment.items():
            environment[key] = value.format(**environment)
        source = sdist.unpack(archive, Path(scratch))
        report = source / "report.xml"
        # Their own options would measure coverage.
        command = [str(folder / "env/bin/python"), "-m", "pytest", "-o", "addopts="]
        command += [f"--junitxml={report}", *project.tests.split()]
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        try:
            code = run(
                command,
                cwd=source / project.folder,
                env={**inherited, "PYTHONDONTWRITEBYTECODE": "1", **environment},
                output=output,
                timeout=PATIENCE,
            )
            if code <= 1:  # none or some failed
                return outcomes(report, pytest=True)
            problem = f"ended with exit code {code}"
        except subprocess.TimeoutExpired:
            problem = f"did not end within {PATIENCE:.0f} s"
        except FileNotFoundError:
            problem = "left no report"
    tail = output.read_text(errors="replace").splitlines()[-30:]
    raise OverlayError("\n".join([f"{name}: its tests {problem}:", *tail]))


def show(found: Mapping[str, Comparison], title: str, console: Console) -> None:
    """Print a row for each project, and below the table each test that differed."""
    table = Table(
        *("project", "version", "tests", "stock", "patched", "flaky", "differences"),
        title=title,
        caption="stock, patched: passed/failed/skipped",
        box=box.SIMPLE,
        padding=0,  # for a terminal of 80 columns
    )
    for name, comparison in found.items():
        differences = len(comparison.differences())
        table.add_row(
            name,
            PROJECTS[name].version,
            str(len({*comparison.stock[0], *comparison.patched[0]})),
            *(_counts(runs[0]) for runs in comparison),
            str(len(comparison.differing()) - differences),
            str(differences),
        )
    console.print(table)
    for name, comparison in found.items():
        for test in comparison.differing():
            what = "flaky" if comparison.flaky(test) else "differs"
            sides = " → ".join(map(", ".join, comparison.statuses(test)))
            console.print(f"{name}: {test}: {what}: {sides}", markup=False)


def _counts(found: Outcomes) -> str:
    counts = Counter(outcome.status for outcome in found.values())
    return "/".join(str(counts[status]) for status in (PASSED, FAILED, SKIPPED))


def problems(found: Mapping[str, Comparison]) -> list[str]:
    """Return what is wrong, a sentence each: nothing was tested, or tests differ."""
    sentences = []
    for name, comparison in found.items():
        if not any(o.status == PASSED for o in comparison.stock[0].values()):
            sentences.append(f"{name}: no test passes on stock Django.")
        if tests := comparison.differences():
            sentences.append(
                f"{name}: {len(tests)} tests end differently on patched Django."
            )
    return sentences
