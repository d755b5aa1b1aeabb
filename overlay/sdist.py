"""Source distributions, mostly Django's: downloaded once with pip, checked, unpacked."""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from packaging.version import Version
from rich.console import Console

from overlay.checkout import create_repository
from overlay.errors import OverlayError
from overlay.series import HOME, Series, line_of

# In a checkout of ours, or where an installed program may keep files.
CACHE = (
    HOME / ".cache"
    if (HOME / "pyproject.toml").is_file()
    else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    / "django-overlay"
)

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def fetch(
    release: str, sha256: str | None, cache: Path, package: str = "Django"
) -> Path:
    """
    Return the path of the source distribution of a release of `package`, in `cache`.

    It comes from the index that the user's pip is set to use; pip checks its hash
    before it looks inside. A file in the cache is checked each time, and replaced if it
    is not what it should be. `sha256` is None for a release that nobody has looked at
    yet. Raise OverlayError if it cannot be had.
    """
    archive = cache / f"{package.lower()}-{release}.tar.gz"
    if archive.is_file() and sha256 in (None, hash_of(archive)):
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        requirements = folder / "requirements.txt"
        with_hash = f" --hash=sha256:{sha256}" if sha256 else ""
        requirements.write_text(f"{package}=={release}{with_hash}\n")
        command = [*PIP, "download", f"--dest={folder}", "--ignore-requires-python"]
        command += [
            f"--requirement={requirements}",
            "--no-deps",
            f"--no-binary={package}",
        ]
        # pip insists on building the metadata, which takes it up to 15 s.
        what = f"{package} {release}"
        with Console(stderr=True).status(f"Downloading {what} …"):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        found = list(folder.glob("*.tar.gz"))
        if done.returncode or len(found) != 1:
            raise OverlayError(_why_not(what, done.stdout + done.stderr))
        found[0].replace(archive)
    return archive


def unpack(archive: Path, into: Path) -> Path:
    """Unpack a source distribution below `into` and return its top folder."""
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        for member in members:  # git refuses a tree of somebody else's
            member.uid, member.gid = os.getuid(), os.getgid()
            member.uname = member.gname = ""
        # Before Python 3.11.4, as in Debian 12, there are no filters.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(into, members)
    (top,) = into.iterdir()
    return top


def repository(series: Series, release: str, into: Path, cache: Path = CACHE) -> Path:
    """Return the source of a release of `series`, as a repository below `into`."""
    tree = unpack(fetch(release, series.sha256.get(release), cache), into)
    create_repository(tree, release)
    return tree


def releases(name: str) -> list[str]:
    """
    Return the releases of the Django line `name` in the index of pip, oldest first.

    Raise OverlayError if pip can't ask it.
    """
    return [str(version) for version in published() if name == line_of(version)]


def published() -> list[Version]:
    """
    Return all releases of Django in the index of pip, also pre-releases, oldest first.

    Raise OverlayError if pip can't ask it.
    """
    command = [*PIP, "index", "versions", "django", "--pre", "--ignore-requires-python"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    listed = re.search(r"^Available versions: (.+)$", done.stdout, re.MULTILINE)
    if not listed:
        why = pip_error(done.stdout + done.stderr)
        raise OverlayError(f"pip could not list the releases of Django: {why}")
    return sorted(map(Version, listed[1].split(", ")))


def hash_of(archive: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why_not(what: str, said: str) -> str:
    if "DO NOT MATCH THE HASHES" in said:
        return (
            f"The source distribution of {what} that pip found does not have the sha256 "
            "that is noted here; it was thrown away."
        )
    return (
        f"pip could not download {what}, which is not in the cache: {pip_error(said)}"
    )


def pip_error(said: str) -> str:
    """Return the line of pip's output that tells what went wrong."""
    # It goes on after that and says that there is no matching distribution.
    if unreachable := re.search(r"connection broken by '(?:.+: )?(.+?)\W*': ", said):
        return f"its index can't be reached: {unreachable[1]}"
    errors = re.findall(r"^(?:ERROR: )?(.*\S)", said, re.MULTILINE) or ["no reason"]
    return errors[-1]
