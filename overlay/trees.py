"""Scratch trees of stock and patched Django, with our tests in place."""

import hashlib
import platform
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from packaging.specifiers import SpecifierSet
from rich.console import Console

from overlay import sdist
from overlay.apply import apply, create_repository, place_tests, test_files
from overlay.errors import OverlayError
from overlay.series import Line

UNUSED = 3600.0  # seconds after which an outdated tree is taken to be in nobody's use


def choose(wanted: str | None, lines: list[Line]) -> tuple[Line, str]:
    """Return the line and the release that `wanted` means.

    It is the name of a line ("6.1"), for the release that the series is kept on, or a
    tested release ("6.1.3"; "6.1.0" for the first). None means the newest line that
    runs on this Python. Raises OverlayError if there is none, or if it does not run.
    """
    candidates = [
        (line, release)
        for line in lines
        for release in [line.release, *line.sha256]
        if wanted in (None, line.name) or release == wanted.removesuffix(".0")
    ]
    if not candidates:
        known = dict.fromkeys(
            name for line in lines for name in (line.name, *line.sha256)
        )
        raise OverlayError(
            f"There is no patch series for Django {wanted}; there are "
            f"{', '.join(known)}."
        )
    line, release = next(
        ((line, release) for line, release in candidates if _runs_here(line)),
        candidates[0],
    )
    require_python(line, release)
    return line, release


def require_python(line: Line, release: str) -> None:
    """Raise OverlayError if this Python is none that `release` of `line` runs on."""
    if not _runs_here(line):
        raise OverlayError(
            f"Django {release} needs Python {line.requires_python}; "
            f"this is {platform.python_version()}."
        )


def build(line: Line, release: str, patched: bool, tests: Path, cache: Path) -> Path:
    """Return a tree of a Django release below `cache`, stock or patched.

    The line's test apps from the folder `tests` are in both. A tree is built once for
    the same release, patches and tests. Raises OverlayError if the source distribution
    cannot be had or the series does not apply.
    """
    kind = f"{release}-{'patched' if patched else 'stock'}"
    files = [file for app in line.test_apps for file in test_files(tests, app)]
    if patched:
        files += line.patches
    trees = cache / "trees"
    tree = trees / f"{kind}-{_digest(line.sha256[release], files)}"
    if tree.is_dir():
        tree.touch()
        return tree
    trees.mkdir(parents=True, exist_ok=True)
    _remove_outdated(trees, kind)
    archive = sdist.fetch(release, line.sha256[release], cache)
    with (
        Console(stderr=True).status(f"Building the tree {kind} …"),
        tempfile.TemporaryDirectory(dir=trees, prefix=f"{kind}-") as scratch,
    ):
        new = sdist.unpack(archive, Path(scratch))
        if patched:
            # Its own repository: the cache may lie inside of another one.
            create_repository(new, release)
            apply(new, line, tests)
        else:
            place_tests(new, line.test_apps, tests)
        new.touch()
        try:
            new.rename(tree)
        except OSError:
            if not tree.is_dir():  # another process was faster
                raise
    return tree


def _runs_here(line: Line) -> bool:
    python = platform.python_version()
    return SpecifierSet(line.requires_python).contains(python, prereleases=True)


def _digest(sha256: str, files: list[Path]) -> str:
    """Return a name for all that a tree is made of: an edit makes another tree."""
    digest = hashlib.sha256(sha256.encode())
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file} {content}\n".encode())
    return digest.hexdigest()[:12]


def _remove_outdated(trees: Path, kind: str) -> None:
    for tree in trees.glob(f"{kind}-*"):
        with suppress(FileNotFoundError):  # another process may remove it, too
            # A run that is still going on may use it.
            if time.time() - tree.stat().st_mtime > UNUSED:
                shutil.rmtree(tree, ignore_errors=True)
