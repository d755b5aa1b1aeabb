"""Check that a series is fit for Django: whole, and clean to Django's own linters."""

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from overlay.apply import apply
from overlay.errors import OverlayError
from overlay.export import exported
from overlay.git import decode
from overlay.linters import complaints
from overlay.sdist import CACHE, repository
from overlay.series import (
    EXTRA,
    GROUP,
    TRAILERS,
    Series,
    is_extra,
    patch_subject,
    trailers,
    without_trailers,
)

# The longest line of a commit message, as in Django's history; addresses may be longer.
MESSAGE_WIDTH = 72

UPSTREAM_STATUS = r"Pending|(Submitted|Accepted|Inappropriate) \S.*"


def check(series: Series, cache: Path = CACHE) -> list[str]:
    """
    Return what is wrong with `series`, each in a line.

    That is each patch that `series` doesn't name or that is not written as
    CONTRIBUTING.md says, each file that an export would write otherwise, and whatever
    Django's linters say of what the series changes in the release that it is kept on.
    An OverlayError that is raised on the way is one of them.
    """
    problems: list[str] = []
    try:
        problems += unnamed(series)
        problems += misplaced(series)
        for patch in series.patches:
            problems += malformed(patch, series.tests)
        problems += on_release(series, cache)
    except OverlayError as error:
        problems.append(error.message)
    return problems


def unnamed(series: Series) -> list[str]:
    """Return a problem for each patch on disk that the file `series` doesn't name."""
    return [
        f"{patch.name} is not named in {series.order}."
        for patch in sorted(series.directory.glob("*.patch"))
        if patch not in series.patches
    ]


def misplaced(series: Series) -> list[str]:
    """Return a problem for each patch that comes after one that may be left out."""
    extras = False
    problems = []
    for patch in series.patches:
        if is_extra(patch):
            extras = True
        elif extras:
            problems.append(f"{patch.name} comes after an extra patch.")
    return problems


def malformed(patch: Path, tests: Path) -> list[str]:
    """
    Return what is wrong with the header, message and trailers of a patch file.

    `tests` has the test apps. Raise OverlayError if the patch has no subject.
    """
    content = patch.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError:
        return [f"{patch.name} is not UTF-8."]
    text = decode(content)
    subject, body = patch_subject(patch), _body(text)
    found = trailers(text)
    problems = []
    if not subject.endswith("."):
        problems.append("the subject does not end with a full stop")
    for line in [subject, *body.splitlines()]:
        if len(line) > MESSAGE_WIDTH and "://" not in line:
            problems.append(
                f"a line of the message is {len(line)} long, not {MESSAGE_WIDTH} at "
                f"most: {line}"
            )
    if not without_trailers(body):
        problems.append("there is no reason between subject and trailers")
    problems += [
        f"the trailer {name} lacks" for name in TRAILERS if not found.get(name)
    ]
    problems += _wrong_trailers(found, tests)
    return [f"{patch.name}: {problem}." for problem in problems]


def shared(series: Series) -> dict[str, list[str]]:
    """
    Return which patches touch a file of Django, for files that several of them touch.

    The release notes are left out: each patch has its own.
    """
    touched: dict[str, list[str]] = {}
    for patch in series.patches:
        text = decode(patch.read_bytes())
        for path in re.findall(r"^diff --git a/.+ b/(.+)$", text, re.MULTILINE):
            if not path.startswith("docs/releases/"):
                touched.setdefault(path, []).append(patch.stem)
    return {path: names for path, names in touched.items() if len(names) > 1}


def on_release(series: Series, cache: Path = CACHE) -> list[str]:
    """
    Return what is wrong with `series` once it is applied to the release it is kept on.

    Raise OverlayError if it can't be applied or exported.
    """
    with TemporaryDirectory(prefix="django-overlay-") as folder:
        tree = repository(series, series.release, Path(folder), cache)
        apply(tree, series)
        return [
            f"{path} is not as django-overlay export writes it."
            for path in exported(tree, series)
        ] + complaints(tree)


def line_count(series: Series) -> str:
    """Return a summary of `series`: how many patches and tested releases it has."""
    return (
        f"{series.name}: {_count(series.patches, 'patch', 'patches')}, "
        f"{_count(series.tested, 'release', 'releases')}"
    )


def _count(things: list, one: str, many: str) -> str:
    return f"{len(things)} {one if len(things) == 1 else many}"


def _body(text: str) -> str:
    """Return the commit message of a patch, without the subject."""
    head = re.split(r"^---$", text, maxsplit=1, flags=re.MULTILINE)[0]
    return head.partition("\n\n")[2]


def _wrong_trailers(found: dict[str, str], tests: Path) -> Iterator[str]:
    status = found.get("Upstream-Status")
    if status and not re.fullmatch(UPSTREAM_STATUS, status):
        yield (
            f"Upstream-Status is {status!r}: neither Pending, nor Submitted, Accepted "
            "or Inappropriate with what CONTRIBUTING.md asks for"
        )
    if found.get(GROUP, EXTRA) != EXTRA:
        yield f"{GROUP} is {found[GROUP]!r}, not {EXTRA!r}"
    for app in found.get("Overlay-Tests", "").split():
        if not (tests / app).is_dir():
            yield f"Overlay-Tests names {app}, which is not in {tests.name}/"
