"""Install a wheel of patched Django beside what its users install, and try it there."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from lab import ROOT, prove
from lab.servers import server
from overlay.errors import OverlayError
from overlay.sdist import PIP, pip_error

PACKAGES = (
    "celery",
    "channels",
    "django-debug-toolbar",
    "django-stubs",
    "djangorestframework",
    "pytest-django",
    "wagtail",
)


@dataclass(frozen=True)
class Outcome:
    """How the wheel does in a virtual environment with `package` of PyPI."""

    package: str
    version: str
    conflicts: str  # what pip check says, if it finds any
    verified: int  # the exit code of verify-installed
    result: prove.Result

    @property
    def problem(self) -> str | None:
        """What is wrong, if anything is."""
        if self.conflicts:
            return f"{self.package}: {self.conflicts}"
        if self.verified:
            return f"{self.package}: verify-installed exits with {self.verified}"
        if problem := prove.problem([self.result]):
            return f"{self.package}: the script {problem}"
        return None


def attempt(package: str, wheels: list[Path], threads: int, folder: Path) -> Outcome:
    """
    Install `wheels`, of Django and of this tool, and `package` in a new environment.

    It is made in `folder`. Then the ticket's script runs there, with SQLite. Raise
    OverlayError if pip can't install them or the script fails.
    """
    python = folder / "env/bin/python"
    if why := create_environment(folder / "env", [*map(str, wheels), package]):
        raise OverlayError(f"pip could not install {package} beside the wheel: {why}")
    check = _run(*PIP, "--python", str(python), "check")
    verify = _run(str(python), "-m", "overlay", "verify-installed")
    version = f"import importlib.metadata as m; print(m.version({package!r}))"
    # As a tree it has our tests, and no Django: that is the environment's.
    tree = folder / "tree"
    tree.mkdir()
    (tree / "tests").symlink_to(ROOT / "django_tests")
    with server("sqlite") as environment:
        result = prove.run(tree, "sqlite", environment, threads, python=python)
    return Outcome(
        package=package,
        version=_run(str(python), "-c", version).stdout.strip(),
        conflicts=check.stdout.strip() if check.returncode else "",
        verified=verify.returncode,
        result=result,
    )


def create_environment(folder: Path, requirements: Sequence[str]) -> str | None:
    """
    Make `folder` a virtual environment with `requirements`, which pip installs.

    Return what pip says if it can't.
    """
    _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    pip = (*PIP, "--python", str(folder / "bin/python"))
    done = _run(*pip, "install", "--quiet", *requirements)
    return pip_error(done.stdout + done.stderr) if done.returncode else None


def show(outcomes: list[Outcome], title: str, console: Console) -> None:
    """Print a row for each of `outcomes`."""
    table = Table(
        *("package", "version", "pip check", "verify-installed", "left open"),
        title=title,
        box=box.SIMPLE,
    )
    for outcome in outcomes:
        result = outcome.result
        table.add_row(
            outcome.package,
            outcome.version,
            outcome.conflicts or "clean",
            str(outcome.verified),
            f"{result.left_open} of {result.threads}",
        )
    console.print(table)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command where the packages of the checkout are not to be found."""
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        cwd=sys.prefix,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        text=True,
    )
