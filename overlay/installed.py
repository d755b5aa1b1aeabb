"""Say whether the Django that a Python imports carries a series."""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.version import Version

from overlay.errors import OverlayError
from overlay.git import MINIMUM, GitError, decode, git, require
from overlay.series import Series, UnknownVersionError, django_version
from overlay.wheel import IDENTITY, patch_hashes

WHOLLY = "wholly"
PARTLY = "partly"
OTHER_REVISION = "another revision"
NOT = "not"

# What a file of the package is like.
SERIES = "as in the series"
RELEASE = "as in the release"
OTHER = "as in neither"


@dataclass(frozen=True)
class Installed:
    """
    What of a series is in an installed Django.

    `version` is that of a wheel of ours, or of the code; `overall` is WHOLLY, PARTLY,
    OTHER_REVISION or NOT; `files` maps each file of the package that the series changes
    to SERIES, RELEASE or OTHER.
    """

    package: Path
    version: str
    series: str
    overall: str
    files: dict[str, str]


def find_django() -> Path:
    """
    Return the folder of the Django that this Python imports, without importing it.

    Raise OverlayError if there is none.
    """
    spec = find_spec("django")
    if spec is None or spec.origin is None:
        raise OverlayError("This Python has no Django.")
    return Path(spec.origin).parent


def verify(package: Path, known: list[Series]) -> Installed:
    """
    Return what the Django in the folder `package` carries of the series of its line,
    the extra patches of which may be left out.

    A wheel of ours has the hashes of its files. Where there is none, or one of another
    revision, git says whether the changes of the patches can be taken back, or made: an
    edit of other lines is no difference then.

    Raise OverlayError if that can't be told: it is no Django, there is no series for
    it, or no git.
    """
    top = package.parent
    release = django_version(top)
    line = Version(release).release[:2]
    series = next((s for s in known if Version(s.name).release == line), None)
    if series is None:
        raise UnknownVersionError(
            f"{package} is Django {release}; there are series for "
            f"{', '.join(series.name for series in known)}."
        )
    found = next(iter(distributions(name="django", path=[str(top)])), None)
    identity = json.loads((found and found.read_text(IDENTITY)) or "null")
    version = found.version if identity else release
    variants = [series, replace(series, extras=False)]
    if identity:
        ours = [v for v in variants if patch_hashes(v) == identity["patches"]]
        variants = ours[:1] or variants
    states = [_state(package, version, variant, identity) for variant in variants]
    return next((state for state in states if state.overall == WHOLLY), states[0])


def _state(
    package: Path, version: str, series: Series, identity: dict | None
) -> Installed:
    """Return what of `series` is in `package`, which may have the identity of a wheel."""
    top = package.parent
    is_ours = identity and identity["patches"] == patch_hashes(series)
    files = _by_hashes(top, identity["files"]) if is_ours else _by_git(top, series)
    states = {*files.values()}
    if states == {SERIES}:
        overall = WHOLLY
    elif SERIES not in states:
        overall = NOT
    elif OTHER in states or (identity and not is_ours):
        overall = OTHER_REVISION
    else:
        overall = PARTLY
    return Installed(package, version, series.name, overall, files)


def _by_hashes(top: Path, hashes: dict[str, dict[str, str | None]]) -> dict[str, str]:
    """Return the state of each file below `top` that a wheel has `hashes` of."""
    files = {}
    for name, expected in hashes.items():
        content = _content(top / name)
        actual = None if content is None else hashlib.sha256(content).hexdigest()
        if actual == expected["series"]:
            files[name] = SERIES
        else:
            files[name] = RELEASE if actual == expected["release"] else OTHER
    return files


def _by_git(top: Path, series: Series) -> dict[str, str]:
    """Return the state of each file below `top` that `series` changes in the package."""
    try:
        require(MINIMUM)
    except OverlayError as error:
        raise OverlayError(
            f"The Django in {top} does not come from a wheel of this revision of the "
            f"series, so that only git can tell: {error.message}"
        ) from None
    patches: dict[str, list[Path]] = {}
    for patch in series.patches:
        text = decode(patch.read_bytes())
        for name in re.findall(r"^diff --git a/.+ b/(django/.+)$", text, re.MULTILINE):
            patches.setdefault(name, []).append(patch)
    with TemporaryDirectory(prefix="django-overlay-") as folder:
        scratch = Path(folder)
        # In a repository around the folder git would patch nothing.
        git(scratch, "init", "--quiet", "--template=")
        files = {}
        for name in sorted(patches):
            content = _content(top / name)
            if _applies(scratch, name, content, patches[name][::-1], "--reverse"):
                files[name] = SERIES
            elif _applies(scratch, name, content, patches[name]):
                files[name] = RELEASE
            else:
                files[name] = OTHER
        return files


def _applies(
    scratch: Path, name: str, content: bytes | None, patches: list[Path], *options: str
) -> bool:
    """Return whether what `patches` change in a file can be made, or taken back."""
    file = scratch / name
    if content is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    try:
        for patch in patches:
            git(scratch, "apply", f"--include={name}", *options, str(patch))
    except GitError:
        return False
    return True


def _content(file: Path) -> bytes | None:
    """Return what is in a file, with the line ends of Unix, or None if there is none."""
    return file.read_bytes().replace(b"\r\n", b"\n") if file.is_file() else None
