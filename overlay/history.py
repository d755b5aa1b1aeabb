"""The series as they were in another revision of this repository."""

import io
import tarfile
from pathlib import Path

from overlay.errors import OverlayError
from overlay.git import GitError, encode, git
from overlay.series import HOME, Series, read_all


def series_at(revision: str, into: Path, home: Path = HOME) -> list[Series]:
    """
    Return the series of `revision`, a git revision of `home`, newest line first.

    Their files are written below `into`. Raise OverlayError if there is no such
    revision, or no repository.
    """
    try:
        git(home, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except GitError:
        raise OverlayError(f"{home} has no revision {revision}.") from None
    archive = git(home, "archive", "--format=tar", revision, "patches", "django_tests")
    with tarfile.open(fileobj=io.BytesIO(encode(archive))) as tar:
        # Before Python 3.11.4, as in Debian 12, there are no filters.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(into)
    return read_all(into)
