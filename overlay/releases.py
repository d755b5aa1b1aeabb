"""To which releases does a series apply, and which ones is there no series for?"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.version import Version

from overlay.apply import commit_series
from overlay.checkout import head
from overlay.errors import OverlayError
from overlay.sdist import CACHE, published, releases, repository
from overlay.series import Series, line_of

APPLIES = "applies"


@dataclass(frozen=True)
class Trial:
    """
    What came of the application of a series to a release.

    `outcome` is APPLIES or why it doesn't; `in_base` says whether BASE names it.
    """

    line: str
    release: str
    outcome: str
    in_base: bool

    @property
    def problem(self) -> str | None:
        """What is wrong in BASE, if anything is."""
        if self.in_base and self.outcome != APPLIES:
            return f"BASE names {self.release}: {self.outcome}"
        if not self.in_base and self.outcome == APPLIES:
            return f"the series applies to {self.release}, which BASE does not name."
        return None


def trials(series: Series, cache: Path = CACHE) -> Iterator[Trial]:
    """
    Try `series` on each final release of its line, oldest first.

    Raise OverlayError if the releases can't be listed.
    """
    final = [r for r in releases(series.name) if not Version(r).is_prerelease]
    for release in sorted({*final, *series.tested}, key=Version):
        in_base = release in series.sha256
        yield Trial(series.name, release, _outcome(series, release, cache), in_base)


def newer_releases(known: list[Series]) -> list[tuple[str, str]]:
    """
    Return the releases that no series is kept on yet, each with the line to carry.

    These are the last point release of each line in `known`, newest line first, and the
    last release of any newer line, which may be a pre-release. Raise OverlayError if the
    releases can't be listed.
    """
    versions = published()
    found = []
    for series in known:
        found += [
            (series.name, str(version))
            for version in versions
            if line_of(version) == series.name
            and not version.is_prerelease
            and version > Version(series.release)
        ][-1:]
    newest = known[0].name
    found += [
        (newest, str(version))
        for version in versions
        if Version(line_of(version)) > Version(newest)
    ][-1:]
    return found


def _outcome(series: Series, release: str, cache: Path) -> str:
    with TemporaryDirectory(prefix="django-overlay-") as folder:
        try:
            tree = repository(series, release, Path(folder), cache)
            commit_series(tree, series, head(tree))
        except OverlayError as error:
            return error.message
    return APPLIES
