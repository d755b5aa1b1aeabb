"""The patch series of each Django line, as they stand in patches/."""

import ast
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from overlay.errors import OverlayError
from overlay.git import decode, git

# Every patch carries these.
TRAILERS = ("Upstream-Status", "Ticket", "Drop-When", "Overlay-Tests")


class UnknownVersionError(OverlayError):
    """No series was tested on the Django version of a tree."""


@dataclass(frozen=True)
class Line:
    """
    One Django line: the contents of patches/<name>/.

    `release` is the release that the patches are kept on; `requires_python` says as
    in Django's own metadata which Pythons it runs on; `sha256` maps each release that
    the patches were tested on to the hash of its source distribution.
    """

    name: str
    release: str
    requires_python: str
    sha256: dict[str, str]
    directory: Path

    @property
    def patches(self) -> list[Path]:
        """The patch files in the order of `series`. Raise OverlayError if one lacks."""
        series = self.directory / "series"
        if not series.is_file():
            raise OverlayError(f"{series} is missing.")
        lines = map(str.strip, series.read_text().splitlines())
        patches = [self.directory / line for line in lines if line and line[0] != "#"]
        for patch in patches:
            if not patch.is_file():
                raise OverlayError(f"{series} names {patch.name}, which is missing.")
        return patches

    @property
    def test_apps(self) -> list[str]:
        """The names in django_tests/ that the patches' Overlay-Tests trailers give."""
        texts = (decode(patch.read_bytes()) for patch in self.patches)
        names = (trailers(text).get("Overlay-Tests", "") for text in texts)
        return list(dict.fromkeys(" ".join(names).split()))

    @property
    def tested(self) -> list[str]:
        """The releases that the series was tested on, oldest first."""
        return sorted(self.sha256, key=_number)


def lines(patches: Path) -> list[Line]:
    """Return the lines in the directory `patches`, newest first.

    Raise OverlayError if there is none, or if a BASE file is wrong.
    """
    found = [_read_base(base) for base in patches.glob("*/BASE")]
    if not found:
        raise OverlayError(
            f"There is no patch series in {patches}: "
            "run the tool from a checkout of its repository."
        )
    return sorted(found, key=lambda line: _number(line.name), reverse=True)


def line_for(version: str, lines: list[Line]) -> Line:
    """
    Return the line whose tested releases span `version`.

    Raise UnknownVersionError if none does; one that is not a final release never is.
    """
    for line in lines:
        oldest, newest = line.tested[0], line.tested[-1]
        if _is_release(version) and (
            _number(oldest) <= _number(version) <= _number(newest)
        ):
            return line
    ranges = ", ".join(f"{line.tested[0]} to {line.tested[-1]}" for line in lines)
    raise UnknownVersionError(
        f"No patch series was tested on Django {version}; there are series for "
        f"{ranges}."
    )


def django_version(tree: Path) -> str:
    """
    Return the version of the Django source in `tree`, such as "6.1.3" or "6.2a0".

    It is read from django/__init__.py without running it. Raise OverlayError if
    that is not Django's.
    """
    try:
        source = ast.parse((tree / "django" / "__init__.py").read_bytes())
        (version,) = (
            ast.literal_eval(statement.value)
            for statement in source.body
            if isinstance(statement, ast.Assign)
            and [ast.unparse(target) for target in statement.targets] == ["VERSION"]
        )
        major, minor, micro, level, serial = version
    except (OSError, SyntaxError, TypeError, ValueError):
        raise OverlayError(f"{tree} is not a Django source tree.") from None
    release = f"{major}.{minor}.{micro}" if micro else f"{major}.{minor}"
    stage = {"alpha": "a", "beta": "b", "rc": "rc", "final": ""}.get(level, level)
    return f"{release}{stage}{serial}" if stage else release


def trailers(message: str) -> dict[str, str]:
    """Return the trailers of a commit message or of a patch file, as git reads them."""
    parsed = git(Path("/"), "interpret-trailers", "--parse", stdin=message)
    pairs = (line.partition(":") for line in parsed.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def patch_subject(patch: str) -> str:
    """Return the first line of the commit message that git am makes of a patch file."""
    # -b: like `git am --keep-non-patch`, drop "[PATCH]" but no other brackets.
    command = ("mailinfo", "-b", "--encoding=UTF-8", os.devnull, os.devnull)
    (subject,) = re.findall(
        r"^Subject: (.*)$", git(Path("/"), *command, stdin=patch), re.MULTILINE
    )
    return subject


def _read_base(base: Path) -> Line:
    try:
        content = tomllib.loads(base.read_text())
        line = Line(
            name=base.parent.name,
            release=content["release"],
            requires_python=content["requires_python"],
            sha256=content["sha256"],
            directory=base.parent,
        )
        well_formed = line.release in line.sha256 and all(
            _is_release(release) for release in [line.name, *line.sha256]
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise OverlayError(f"{base} cannot be read: {error}.") from None
    if not well_formed:
        raise OverlayError(
            f"{base} must give a release, and the sha256 of that and any other "
            "release that was tested."
        )
    return line


def _is_release(version: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)+", version) is not None


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
