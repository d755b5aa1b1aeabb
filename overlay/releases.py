"""To which point releases of its Django line does a series apply?"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.version import Version

from overlay.apply import commit_series
from overlay.checkout import head
from overlay.errors import OverlayError
from overlay.sdist import CACHE, releases, repository
from overlay.series import Series

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


def _outcome(series: Series, release: str, cache: Path) -> str:
    with TemporaryDirectory(prefix="django-overlay-") as folder:
        try:
            tree = repository(series, release, Path(folder), cache)
            commit_series(tree, series, head(tree))
        except OverlayError as error:
            return error.message
    return APPLIES
