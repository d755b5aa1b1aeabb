"""Check that a series is fit for Django: whole, and clean to Django's own linters."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from overlay.checkout import series_base
from overlay.export import exported
from overlay.git import git
from overlay.series import Series

# As Django's own tox.ini calls them. Its .flake8 is not in source distributions.
LINTERS = (
    ("black", "--check", "--quiet", "--diff"),
    ("isort", "--check-only", "--diff"),
    ("flake8", "--max-line-length=88", "--extend-ignore=E203"),
)


def check(tree: Path, series: Series) -> list[str]:
    """
    Return what is wrong with `series`, given a `tree` that has it.

    That is each file that an export would write otherwise, and whatever Django's
    linters say of the code that the series changes and of the documentation.
    """
    problems = [
        f"{path} is not as django-overlay export writes it."
        for path in exported(tree, series)
    ]
    changed = git(tree, "diff", "--name-only", "-z", series_base(tree), "HEAD")
    modules = [name for name in changed.split("\0") if name.endswith(".py")]
    for linter, *options in LINTERS:
        problems += _complaints(tree, ["-m", linter, *options, *modules])
    # Django 5.2 has no linter for its documentation.
    if (tree / "docs" / "lint.py").is_file():
        problems += _complaints(tree / "docs", ["lint.py"])
    return problems


def _complaints(folder: Path, arguments: Sequence[str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return [done.stdout + done.stderr] if done.returncode else []
