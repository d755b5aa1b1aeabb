"""Scratch trees of stock and patched Django, with our tests in place."""

import hashlib
import platform
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from overlay import sdist, testapps
from overlay.apply import apply
from overlay.errors import OverlayError
from overlay.sdist import CACHE
from overlay.series import Series, candidates
from overlay.status import series_revision

UNUSED = 3600.0  # seconds after which an outdated tree is taken to be in nobody's use


def choose(wanted: str | None, known: list[Series]) -> tuple[Series, str]:
    """
    Return the series and the release that `wanted` means.

    They are as in candidates(), and run on this Python. Raise OverlayError if there is
    none, or if it does not run.
    """
    series, release = candidates(wanted, known)[0]
    require_python(series, release)
    return series, release


def require_python(series: Series, release: str) -> None:
    """Raise OverlayError if this Python is none that `release` of `series` runs on."""
    if not series.runs_here:
        raise OverlayError(
            f"Django {release} needs Python {series.requires_python}; "
            f"this is {platform.python_version()}."
        )


def build(series: Series, release: str, patched: bool, cache: Path = CACHE) -> Path:
    """
    Return a tree of a Django release below `cache`, stock or patched.

    The test apps of `series` are in both. A tree is built once for the same release,
    patches and tests. Raise OverlayError if the source distribution cannot be had or
    the series does not apply.
    """
    kind = f"{release}-{'patched' if patched else 'stock'}"
    trees = cache / "trees"
    tree = trees / f"{kind}-{_digest(series, release, patched)}"
    if tree.is_dir():
        tree.touch()
        return tree
    trees.mkdir(parents=True, exist_ok=True)
    _remove_outdated(trees, kind)
    sdist.fetch(release, series.sha256[release], cache)
    with (
        Console(stderr=True).status(f"Building the tree {kind} …"),
        tempfile.TemporaryDirectory(dir=trees, prefix=f"{kind}-") as scratch,
    ):
        # Its own repository: the cache may lie inside of another one.
        new = sdist.repository(series, release, Path(scratch), cache)
        if patched:
            apply(new, series)
        else:
            testapps.place(new, series)
        new.touch()
        try:
            new.rename(tree)
        except OSError:
            if not tree.is_dir():  # another process was faster
                raise
    return tree


def build_each(series: Series, release: str) -> dict[str, Path]:
    """Return the trees of build(), stock, patched without extras, and patched."""
    lean = replace(series, extras=False)
    return {
        "stock": build(series, release, patched=False),
        "without extras": build(lean, release, patched=True),
        "patched": build(series, release, patched=True),
    }


def _digest(series: Series, release: str, patched: bool) -> str:
    """Return a name for all that a tree is made of: an edit makes another tree."""
    made_of = f"{series.sha256[release]} {series_revision(series, patches=patched)}"
    return hashlib.sha256(made_of.encode()).hexdigest()[:12]


def _remove_outdated(trees: Path, kind: str) -> None:
    for tree in trees.glob(f"{kind}-*"):
        with suppress(FileNotFoundError):  # another process may remove it, too
            # A run that is still going on may use it.
            if time.time() - tree.stat().st_mtime > UNUSED:
                shutil.rmtree(tree, ignore_errors=True)
