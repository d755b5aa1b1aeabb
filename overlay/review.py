"""Show what a change of the patches means for Django's code."""

from pathlib import Path
from tempfile import TemporaryDirectory

from overlay import sdist
from overlay.apply import commit_series
from overlay.checkout import commit_folder, head
from overlay.git import git
from overlay.history import series_at
from overlay.series import HOME, Series, read_all


def review(
    revision: str, *, color: bool, home: Path = HOME, cache: Path = sdist.CACHE
) -> dict[str, str]:
    """
    Return git's range-diff between each series of `revision` and what it is now.

    The key is the name of a line. A series that did not change is left out; one that
    is new or gone has only a sentence. The tests are left to git diff: they are no
    patches. Raise OverlayError if a series does not apply.
    """
    with TemporaryDirectory(prefix="django-overlay-") as folder:
        before = {s.name: s for s in series_at(revision, Path(folder, "old"), home)}
        after = {series.name: series for series in read_all(home)}
        texts = dict.fromkeys(before.keys() - after.keys(), "The line is gone.\n")
        for name, series in after.items():
            if name not in before:
                texts[name] = "The line is new.\n"
                continue
            work = Path(folder, name)
            text = _range_diff(before[name], series, work, color=color, cache=cache)
            if text:
                texts[name] = text
        return texts


def _range_diff(
    before: Series, after: Series, work: Path, *, color: bool, cache: Path
) -> str:
    """Return the range-diff of two series, made in a repository in `work`; or ""."""
    tree = sdist.repository(after, after.release, work / "new", cache)
    base = head(tree)
    new = commit_series(tree, after, base)
    if before.release != after.release:
        archive = sdist.fetch(before.release, before.sha256[before.release], cache)
        other = sdist.unpack(archive, work / "old")
        base = commit_folder(tree, other, f"Django {before.release}")
    old = commit_series(tree, before, base)
    # Above the patches is the commit of the tests.
    ranges = (f"{base}..{old}^", f"HEAD..{new}^")
    same = git(tree, "range-diff", "--no-patch", *ranges)
    # "1:  1234567 = 1:  7654321 Subject": nothing to look at.
    if all(line.split()[2] == "=" for line in same.splitlines()):
        return ""
    return git(tree, "range-diff", "--color=always" if color else "--no-color", *ranges)
