"""A wheel of patched Django, with the same bytes wherever it is built."""

import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from overlay import sdist
from overlay.apply import apply
from overlay.checkout import head
from overlay.errors import OverlayError
from overlay.git import encode, git
from overlay.series import Series

# In .dist-info: the patches, and the files of the package that they change.
IDENTITY = "django_overlay.json"


def build(series: Series, release: str, into: Path, cache: Path = sdist.CACHE) -> Path:
    """
    Write a wheel of a Django release with `series` to the folder `into`.

    Its bytes depend on the release, the patches, and the versions of setuptools (which
    the file WHEEL names) and zlib. Only the metadata has the local version: Django's
    own is part of what it pickles. Return the path of the wheel.

    Raise OverlayError if the source distribution cannot be had, the series does not
    apply, or pip can't build a wheel.
    """
    archive = sdist.fetch(release, series.sha256[release], cache)
    version = local_version(series, release)
    with TemporaryDirectory(prefix="django-overlay-") as scratch:
        tree = sdist.repository(series, release, Path(scratch, "source"), cache)
        base = head(tree)
        apply(tree, series)
        identity = {
            "series": series.name,
            "patches": patch_hashes(series),
            "files": _file_hashes(tree, base),
        }
        built = pip_wheel(tree, Path(scratch, "built"))
        into.mkdir(parents=True, exist_ok=True)
        # In the same file system, so that it is there whole or not at all.
        with TemporaryDirectory(dir=into, prefix=".django-overlay-") as unfinished:
            wheel = Path(unfinished, f"django-{version}-py3-none-any.whl")
            _rewrite(built, wheel, version, identity, _newest(archive))
            return wheel.replace(into / wheel.name)


def local_version(series: Series, release: str) -> str:
    """
    Return the version that the metadata of the wheel has, such as "6.1.3+conn.17".

    The number is the first 32 bits of a SHA-256 of the patches: it is no counter.
    """
    patches = json.dumps(patch_hashes(series)).encode()
    number = int.from_bytes(hashlib.sha256(patches).digest()[:4])
    return f"{release}+conn.{number}"


def patch_hashes(series: Series) -> dict[str, str]:
    """Return the SHA-256 of each patch of `series`, in their order, by file name."""
    return {patch.name: sdist.hash_of(patch) for patch in series.patches}


def _file_hashes(tree: Path, base: str) -> dict[str, dict[str, str | None]]:
    """
    Return the SHA-256 of each file that the series changes in the package, by path.

    That is in the release and with the series, None where there is no such file.
    """
    hashes: dict[str, dict[str, str | None]] = {}
    for path in git(tree, "diff", "--name-only", base, "HEAD", "--", "django").split():
        hashes[path] = {}
        for side, commit in (("release", base), ("series", "HEAD")):
            if git(tree, "ls-tree", commit, path):
                blob = encode(git(tree, "cat-file", "blob", f"{commit}:{path}"))
                hashes[path][side] = hashlib.sha256(blob).hexdigest()
            else:
                hashes[path][side] = None
    return hashes


def pip_wheel(tree: Path, into: Path) -> Path:
    """
    Return the wheel that pip builds of the source in `tree`, in a new folder, `into`.

    Raise OverlayError if it can't.
    """
    command = [*sdist.PIP, "wheel", "--no-deps", "--ignore-requires-python"]
    command += [f"--wheel-dir={into}", str(tree)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        why = sdist.pip_error(done.stdout + done.stderr)
        raise OverlayError(f"pip could not build a wheel of {tree}: {why}")
    (wheel,) = into.iterdir()
    return wheel


def _newest(archive: Path) -> int:
    """Return when the newest file in an archive was written, in seconds since 1970."""
    with tarfile.open(archive) as tar:
        return int(max(member.mtime for member in tar))


def _rewrite(
    built: Path, wheel: Path, version: str, identity: dict, written: int
) -> None:
    """Write to `wheel` what is in `built`, with another version and `identity`."""
    info = f"django-{version}.dist-info"
    files: dict[str, tuple[bytes, int]] = {}
    with ZipFile(built) as source:
        for item in source.infolist():
            name = re.sub(r"^[^/]+\.dist-info/", f"{info}/", item.filename)
            executable = item.external_attr >> 16 & 0o100
            files[name] = source.read(item), 0o755 if executable else 0o644
    metadata, mode = files[f"{info}/METADATA"]
    line = f"Version: {version}".encode()
    metadata = re.sub(rb"^Version: .+$", line, metadata, count=1, flags=re.MULTILINE)
    files[f"{info}/METADATA"] = metadata, mode
    files[f"{info}/{IDENTITY}"] = f"{json.dumps(identity, indent=2)}\n".encode(), 0o644
    del files[f"{info}/RECORD"]
    # As the format recommends, .dist-info comes last.
    names = sorted(files, key=lambda name: (name.startswith(f"{info}/"), name))
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for name in names:
        content, _ = files[name]
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
        rows.writerow([name, f"sha256={digest.decode().rstrip('=')}", len(content)])
    rows.writerow([f"{info}/RECORD", "", ""])
    files[f"{info}/RECORD"] = record.getvalue().encode(), 0o644
    with ZipFile(wheel, "w", ZIP_DEFLATED) as target:
        for name in [*names, f"{info}/RECORD"]:
            content, mode = files[name]
            item = ZipInfo(name, time.gmtime(written)[:6])
            item.compress_type = ZIP_DEFLATED
            item.create_system = 3  # Unix, which has modes
            item.external_attr = mode << 16
            target.writestr(item, content)
