"""The patch series of each Django line, and the tests that go with it."""

import ast
import os
import platform
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from overlay.errors import OverlayError
from overlay.git import GitError, decode, git

# Every patch carries these.
TRAILERS = ("Upstream-Status", "Ticket", "Drop-When", "Overlay-Tests")

# The trailer, and its value, of patches at the end that a user may leave out.
GROUP = "Overlay-Group"
EXTRA = "extra"

_PACKAGE = Path(__file__).resolve().parent
# A wheel has patches/ and django_tests/ inside of the package, a checkout beside it.
HOME = _PACKAGE if (_PACKAGE / "patches").is_dir() else _PACKAGE.parent


class UnknownVersionError(OverlayError):
    """No series was tested on the Django version of a tree."""


@dataclass(frozen=True)
class Series:
    """
    The patches for one Django line, patches/<name>/, and their tests.

    `release` is the release that the patches are kept on; `requires_python` says as
    in Django's own metadata which Pythons it runs on; `sha256` maps each release that
    the patches were tested on to the hash of its source distribution. `directory` has
    the patches, `tests` the test apps of all lines. Without `extras`, the series ends
    before the extra patches.
    """

    name: str
    release: str
    requires_python: str
    sha256: dict[str, str]
    directory: Path
    tests: Path
    extras: bool = True

    @property
    def order(self) -> Path:
        """The file that names the patches in their order."""
        return self.directory / "series"

    @property
    def patches(self) -> list[Path]:
        """The patch files in the order of `series`. Raise OverlayError if one lacks."""
        lines = map(str.strip, read_text(self.order).splitlines())
        patches = [self.directory / line for line in lines if line and line[0] != "#"]
        for patch in patches:
            if not patch.is_file():
                raise OverlayError(
                    f"{self.order} names {patch.name}, which is missing."
                )
        return [patch for patch in patches if self.extras or not is_extra(patch)]

    @property
    def test_apps(self) -> list[str]:
        """The names in django_tests/ that the patches' Overlay-Tests trailers give."""
        texts = (decode(patch.read_bytes()) for patch in self.patches)
        names = (trailers(text).get("Overlay-Tests", "") for text in texts)
        return list(dict.fromkeys(" ".join(names).split()))

    @property
    def runs_here(self) -> bool:
        """Whether this Python is one that Django of this line runs on."""
        return SpecifierSet(self.requires_python).contains(
            platform.python_version(), prereleases=True
        )

    @property
    def tested(self) -> list[str]:
        """The releases that the series was tested on, oldest first."""
        return sorted(self.sha256, key=Version)


def read_all(home: Path = HOME) -> list[Series]:
    """
    Return the series below `home`, newest line first.

    Raise OverlayError if there is none, or if a BASE file is missing or wrong.
    """
    folders = [folder for folder in (home / "patches").glob("*") if folder.is_dir()]
    if not folders:
        raise OverlayError(f"There is no patch series in {home / 'patches'}.")
    found = [_read(folder, home / "django_tests") for folder in folders]
    return sorted(found, key=lambda series: Version(series.name), reverse=True)


def series_for(version: str, known: list[Series]) -> Series:
    """
    Return which of `known` was tested on the Django release `version`.

    Raise UnknownVersionError if none was.
    """
    for series in known:
        if version in series.sha256:
            return series
    tested = "; ".join(", ".join(series.tested) for series in known)
    raise UnknownVersionError(
        f"No patch series was tested on Django {version}; there are series for "
        f"{tested}."
    )


def candidates(wanted: str | None, known: list[Series]) -> list[tuple[Series, str]]:
    """
    Return the series and releases that `wanted` may mean, the likeliest first.

    It is the name of a line ("6.1"), for the release that its series is kept on, or a
    tested release ("6.1.3"; "6.1.0" for the first). None means any, newest line first.
    Those that run on this Python come before the others. Raise UnknownVersionError if
    there is none.
    """
    found = [
        (series, release)
        for series in known
        for release in [series.release, *series.sha256]
        if wanted in (None, series.name) or release == wanted.removesuffix(".0")
    ]
    if not found:
        names = dict.fromkeys(
            name for series in known for name in (series.name, *series.tested)
        )
        raise UnknownVersionError(
            f"There is no patch series for Django {wanted}; there are "
            f"{', '.join(names)}."
        )
    return sorted(found, key=lambda candidate: not candidate[0].runs_here)


def line_of(version: Version) -> str:
    """Return the name of the line of a version: "6.1" for 6.1.3, "6.2" for 6.2a1."""
    return f"{version.major}.{version.minor}"


def django_version(tree: Path) -> str:
    """
    Return the version of the Django source in `tree`, such as "6.1.3" or "6.2a0".

    It is read from django/__init__.py without running it. Raise OverlayError if
    that is not Django's.
    """
    try:
        source = ast.parse((tree / "django" / "__init__.py").read_bytes())
        (value,) = (
            statement.value
            for statement in source.body
            if isinstance(statement, ast.Assign)
            and [ast.unparse(target) for target in statement.targets] == ["VERSION"]
        )
        parts = value.args if isinstance(value, ast.Call) else value.elts
        *numbers, level, serial = map(ast.literal_eval, parts)
        release = ".".join(str(int(number)) for number in numbers)
    except (AttributeError, OSError, SyntaxError, TypeError, ValueError):
        raise OverlayError(f"{tree} is not a Django source tree.") from None
    release = re.sub(r"^(\d+\.\d+)\.0$", r"\1", release)
    stage = {"alpha": "a", "beta": "b", "rc": "rc", "final": ""}.get(level, level)
    return f"{release}{stage}{serial}" if stage else release


def trailers(message: str) -> dict[str, str]:
    """Return the trailers of a commit message or of a patch file, as git reads them."""
    parsed = git(Path("/"), "interpret-trailers", "--parse", stdin=message)
    pairs = (line.partition(":") for line in parsed.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def without_trailers(body: str) -> str:
    """Return the body of a commit message without the trailers of a patch."""
    ours = rf"^({'|'.join([*TRAILERS, GROUP])}):.*(\n .*)*"
    return re.sub(ours, "", body, flags=re.MULTILINE).strip()


def is_extra(patch: Path) -> bool:
    """Return whether a patch file is one that a user may leave out."""
    line = f"{GROUP}: {EXTRA}".encode()
    return line in patch.read_bytes().splitlines()


def patch_subject(patch: Path) -> str:
    """
    Return the first line of the commit message that git am makes of a patch file.

    Raise OverlayError if it has none.
    """
    # -b: like `git am --keep-non-patch`, drop "[PATCH]" but no other brackets.
    command = ("mailinfo", "-b", "--encoding=UTF-8", os.devnull, os.devnull)
    try:
        said = git(Path("/"), *command, stdin=decode(patch.read_bytes()))
    except GitError:
        said = ""  # it is empty
    subject = re.search(r"^Subject: (.+)$", said, re.MULTILINE)
    if not subject:
        raise OverlayError(f"{patch} is not a patch that git am takes: no subject.")
    return subject[1]


def read_text(file: Path) -> str:
    """Return the text of a file of ours; raise OverlayError if it can't be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise OverlayError(f"{file} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise OverlayError(f"{file} can't be read: it is not UTF-8.") from None


def _read(folder: Path, tests: Path) -> Series:
    base = folder / "BASE"
    text = read_text(base)
    try:
        content = tomllib.loads(text)
        series = Series(
            name=folder.name,
            release=content["release"],
            requires_python=content["requires_python"],
            sha256=content["sha256"],
            directory=folder,
            tests=tests,
        )
        well_formed = series.release in series.sha256 and all(
            re.fullmatch(r"\d+(\.\d+)+", release)
            for release in [series.name, *series.sha256]
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise OverlayError(f"{base} can't be read: {error}.") from None
    if not well_formed:
        raise OverlayError(
            f"{base} must give a release, and the sha256 of that and any other "
            "release that was tested."
        )
    return series
