"""The overlay's test apps: in django_tests/, in a Django tree, and in its commits."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from overlay.errors import OverlayError
from overlay.git import encode, git
from overlay.series import Series


def files(tests: Path, app: str) -> list[Path]:
    """Return the files of the test app `app` below `tests`, without compiled ones."""
    return sorted(
        path
        for path in (tests / app).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def place(tree: Path, series: Series) -> None:
    """
    Copy the test apps of `series` to tests/ in `tree`.

    Raise OverlayError if one is missing, or if `tree` has one of that name.
    """
    for app in series.test_apps:
        ours = files(series.tests, app)
        if not ours:
            raise OverlayError(
                f"The series names the test app {app}, not in {series.tests}."
            )
        if files(tree / "tests", app):
            raise OverlayError(f"{tree} has its own tests/{app}.")
        for file in ours:
            target = tree / "tests" / file.relative_to(series.tests)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def outside(apps: Iterable[str]) -> list[str]:
    """Return the pathspecs of all of a Django tree but the test `apps`."""
    return [".", *(f":(exclude,literal)tests/{app}" for app in apps)]


def committed(tree: Path, app: str) -> dict[Path, str]:
    """Return the blob of each file of a test app at HEAD, by its path below tests/."""
    listed = git(tree, "ls-tree", "-r", "-z", "HEAD", f"tests/{app}/").split("\0")[:-1]
    entries = (entry.split("\t") for entry in listed)
    return {
        Path(name).relative_to("tests"): details.split()[2] for details, name in entries
    }


def is_committed(tree: Path, app: str, series: Series) -> bool:
    """Return whether HEAD has the test app as `series` has it."""
    ours = files(series.tests, app)
    hashes = git(
        tree,
        "hash-object",
        "--stdin-paths",
        stdin="".join(f"{file.resolve()}\n" for file in ours),
    ).split()
    names = [file.relative_to(series.tests) for file in ours]
    return dict(zip(names, hashes, strict=True)) == committed(tree, app)


def exported(
    tree: Path, apps: Iterable[str], series: Series
) -> dict[Path, bytes | None]:
    """Return the contents of the test apps at HEAD, with None for what goes away."""
    new: dict[Path, bytes | None] = {}
    for app in apps:
        theirs = committed(tree, app)
        if not theirs:
            raise OverlayError(
                f"A trailer names the test app {app}; it is not in HEAD."
            )
        new |= dict.fromkeys(files(series.tests, app))
        new |= {
            series.tests / name: encode(git(tree, "cat-file", "blob", blob))
            for name, blob in theirs.items()
        }
    return new
