"""Say what of a series is in a Django tree."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from overlay import testapps
from overlay.checkout import (
    Commit,
    commits_since,
    has_repository,
    head,
    patch_ids,
    series_base,
    test_apps,
    unfinished,
)
from overlay.git import decode, git
from overlay.series import (
    Series,
    django_version,
    is_extra,
    patch_subject,
    trailers,
)

APPLIED = "applied"
CHANGED = "changed"
HALF_APPLIED = "half applied"
LEFT_OUT = "left out"
NOT_APPLIED = "not applied"
OTHER_REVISION = "applied in another revision"

# The trailer by which apply() records what it applied, and what came of it.
RECORD = "Overlay-Series"


@dataclass(frozen=True)
class Status:
    """
    What of a series is in a tree.

    `overall` is APPLIED, HALF_APPLIED, OTHER_REVISION or NOT_APPLIED; `patches` and
    `tests` map the name of each to APPLIED, CHANGED or NOT_APPLIED, and the patches that
    apply() was told to leave out to LEFT_OUT. `base` is the
    commit below the series, `top` the last one that is the series'; `own` are commits
    that do not belong to it. `is_as_recorded` says that the series' commits are just
    those that apply() made; `unfinished` is the git operation that is under way.
    """

    overall: str
    patches: dict[str, str]
    tests: dict[str, str]
    base: str
    top: str
    own: list[Commit]
    is_as_recorded: bool
    unfinished: str | None

    @property
    def changed(self) -> list[str]:
        """The names of the patches and tests that differ from ours."""
        both = self.patches | self.tests
        return [name for name, state in both.items() if state == CHANGED]

    @property
    def missing(self) -> list[str]:
        """The names of the patches that are not there."""
        return [name for name, state in self.patches.items() if state == NOT_APPLIED]

    @property
    def left_out(self) -> list[str]:
        """The names of the patches that are not there because nobody wanted them."""
        return [name for name, state in self.patches.items() if state == LEFT_OUT]


def status(tree: Path, series: Series) -> Status:
    """
    Return what of `series` is in `tree`, where its extra patches may be left out.

    A patch is known by its patch id, so it does not matter who applied it; a commit
    with the subject of a patch and another content is a changed one. If the commits
    are as apply() recorded them, of other patches, it is another revision.
    """
    tree = tree.resolve()
    django_version(tree)
    base, commits, operation = "", [], None
    if has_repository(tree):
        head(tree)
        operation = unfinished(tree)
        base = series_base(tree)
        commits = commits_since(tree, base)
    series, left_out = replace(series, extras=True), []
    lean = replace(series, extras=False)
    if applied_revision(commits) == series_revision(lean):
        left_out = [patch.name for patch in series.patches if is_extra(patch)]
        series = lean
    ours = {
        patch.name: (
            patch_subject(patch),
            "".join(patch_ids(decode(patch.read_bytes())).values()),
        )
        for patch in series.patches
    }
    contents = {commit.content for commit in commits}
    subjects = {commit.subject for commit in commits}
    patches = {}
    for name, (subject, content) in ours.items():
        if content in contents:
            patches[name] = APPLIED
        else:
            patches[name] = CHANGED if subject in subjects else NOT_APPLIED
    apps = dict.fromkeys([*series.test_apps, *test_apps(commits)])
    tests = {app: _tests_state(tree, base, app, series) for app in apps}
    recorded, revision = _recorded(tree, commits)
    known = {part for pair in ours.values() for part in pair} | {""}
    own = commits[recorded:]
    if not recorded:
        own = [c for c in own if c.is_merge or not {c.content, c.subject} & known]
    is_ours = {*patches.values(), *tests.values()} == {APPLIED}
    if not commits:
        overall = NOT_APPLIED
    elif recorded and not is_ours and revision != series_revision(series):
        overall = OTHER_REVISION
    elif operation or NOT_APPLIED in patches.values():
        overall = HALF_APPLIED
    else:
        overall = APPLIED
    return Status(
        overall=overall,
        patches=patches | dict.fromkeys(left_out, LEFT_OUT),
        tests=tests,
        base=base,
        top=next((c.id for c in reversed(commits) if c not in own), base),
        own=own,
        is_as_recorded=bool(recorded),
        unfinished=operation,
    )


def series_revision(series: Series, *, patches: bool = True) -> str:
    """Return a hash of the tests of `series` and, unless told not to, its patches."""
    named = {patch.name: patch for patch in series.patches} if patches else {}
    for app in series.test_apps:
        for file in testapps.files(series.tests, app):
            named[str(file.relative_to(series.tests))] = file
    return _digest(
        part
        for name, file in named.items()
        for part in (name.encode(), file.read_bytes())
    )


def applied_revision(commits: list[Commit]) -> str | None:
    """Return the series_revision() that apply() recorded in one of `commits`."""
    for commit in commits:
        if found := trailers(commit.message).get(RECORD):
            return found.split()[0]
    return None


def fingerprint(tree: Path, commits: list[Commit], with_tests: str) -> str:
    """
    Return a hash of `commits`, those of patches, and of their tests in `with_tests`.

    `with_tests` is a commit or a tree.
    """
    apps = test_apps(commits)
    folders = git(tree, "ls-tree", "-d", with_tests, *(f"tests/{app}" for app in apps))
    parts = [part for c in commits for part in (c.message, c.content)]
    return _digest(
        part.encode("utf-8", "surrogateescape") for part in [*parts, folders]
    )


def _recorded(tree: Path, commits: list[Commit]) -> tuple[int, str]:
    """
    Return how many of `commits` are just as apply() made them, and of which revision.

    It is all of a series or none.
    """
    for number, commit in enumerate(commits):
        if found := trailers(commit.message).get(RECORD):
            revision, expected = found.split()
            if expected == fingerprint(tree, commits[:number], commit.id):
                return number + 1, revision
            break
    return 0, ""


def _tests_state(tree: Path, base: str, app: str, series: Series) -> str:
    """Return APPLIED, CHANGED or NOT_APPLIED: what is committed of a test app."""
    if not base or not testapps.committed(tree, app):
        return NOT_APPLIED
    return APPLIED if testapps.is_committed(tree, app, series) else CHANGED


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:12]
