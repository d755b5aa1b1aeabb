"""Django's source distributions: downloaded once with pip, checked, unpacked."""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from rich.console import Console

from overlay.errors import OverlayError


def fetch(release: str, sha256: str, cache: Path) -> Path:
    """Return the path of the source distribution of a Django release, in `cache`.

    It comes from the index that the user's pip is set to use; pip checks its hash
    before it looks inside. A file in the cache is checked each time, and replaced if it
    is not what it should be. Raises OverlayError if it cannot be had.
    """
    archive = cache / f"django-{release}.tar.gz"
    if archive.is_file() and _sha256(archive) == sha256:
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        requirements = folder / "requirements.txt"
        requirements.write_text(f"django=={release} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", f"--dest={folder}"]
        command += [f"--requirement={requirements}", "--no-deps", "--no-binary=django"]
        command += ["--ignore-requires-python", "--disable-pip-version-check"]
        # pip insists on building the metadata, which takes it up to 15 s.
        with Console(stderr=True).status(f"Downloading Django {release} …"):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        found = list(folder.glob("*.tar.gz"))
        if done.returncode or len(found) != 1:
            raise OverlayError(_why_not(release, done.stdout + done.stderr))
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why_not(release: str, said: str) -> str:
    if "DO NOT MATCH THE HASHES" in said:
        return (
            f"The source distribution of Django {release} that pip found does not have "
            "the sha256 in BASE; it was thrown away."
        )
    errors = re.findall(r"^(?:ERROR: )?(.*\S)", said, re.MULTILINE) or ["no reason"]
    return (
        f"pip could not download Django {release}, which is not in the cache: "
        f"{errors[-1]}"
    )
