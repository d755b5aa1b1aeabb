"""Put a patch series into a Django tree, take it out again, and say what is there."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from overlay.checkout import (
    Commit,
    check_move,
    commits_since,
    enumeration,
    has_repository,
    head,
    is_unfinished,
    move,
    patch_ids,
    require_quiet,
    require_writable,
    series_base,
    test_apps,
    uninterrupted,
)
from overlay.errors import OverlayError
from overlay.git import GitError, decode, git
from overlay.series import Line, django_version, patch_subject

APPLIED = "applied"
CHANGED = "changed"
HALF_APPLIED = "half applied"
NOT_APPLIED = "not applied"

# An sdist has no history to take a date from, and the same sdist must always give
# the same commit.
BASE_DATE = "2000-01-01T00:00:00+00:00"

# Stores the files that git add is given in one pack, in a third of the time that
# thousands of object files take.
ONE_PACK = {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.bigFileThreshold",
    "GIT_CONFIG_VALUE_0": "1",
}


@dataclass(frozen=True)
class Status:
    """
    What of a series is in a tree.

    `overall` is APPLIED, HALF_APPLIED or NOT_APPLIED; `patches` and `tests` map the
    name of each to APPLIED, CHANGED or NOT_APPLIED. `base` is the commit below
    the series, `own` are commits above it that do not belong to it.
    """

    overall: str
    patches: dict[str, str]
    tests: dict[str, str]
    base: str
    own: list[Commit]

    @property
    def changed(self) -> list[str]:
        """The names of the patches and tests that differ from ours."""
        both = self.patches | self.tests
        return [name for name, state in both.items() if state == CHANGED]


def apply(tree: Path, line: Line, tests: Path) -> str:
    """
    Commit the series of `line` and its tests to the Django source in `tree`.

    A tree without a repository gets one, with its files as the first commit. `tests`
    is the directory of the test apps, django_tests/. Return the id of the new commit.

    All or nothing: raise OverlayError with `tree` as it was.
    """
    tree = tree.resolve()
    version = django_version(tree)
    require_writable(tree)
    if not line.test_apps:
        raise OverlayError(
            f"The {line.name} series has no patch with an Overlay-Tests trailer."
        )
    is_new = not has_repository(tree)
    try:
        if is_new:
            create_repository(tree, version)
        else:
            require_quiet(tree)
            _require_not_applied(tree, line, tests)
        commit = _commit_series(tree, line, tests)
        check_move(tree, commit)
    except BaseException:
        if is_new:
            with uninterrupted():
                shutil.rmtree(tree / ".git", ignore_errors=True)
        raise
    move(tree, commit, f"apply {line.name}")
    return commit


def unapply(tree: Path, line: Line, tests: Path) -> str:
    """
    Take the series of `line` and its tests, as apply() or git am put them, away again.

    Return the id of the commit that `tree` is then at. Raise OverlayError, with
    `tree` as it was, if anything would be lost that is not in the series.
    """
    tree = tree.resolve()
    found = status(tree, line, tests)
    if found.overall == NOT_APPLIED:
        raise OverlayError(f"The {line.name} series is not applied to {tree}.")
    require_writable(tree)
    require_quiet(tree)
    by_hand = f"`git reset --keep {found.base[:10]}` drops all that is above its base"
    if found.own:
        raise OverlayError(
            f"{tree} has commits of its own on top of the series: "
            f"{enumeration(map(str, found.own))}; {by_hand}."
        )
    if found.overall == HALF_APPLIED:
        raise OverlayError(f"{_half_applied(tree, line, found)}; {by_hand}.")
    if found.changed:
        raise OverlayError(
            f"{enumeration(found.changed)} in {tree} is not as in the series: "
            f"export it first; {by_hand}."
        )
    check_move(tree, found.base)
    move(tree, found.base, f"unapply {line.name}")
    return found.base


def status(tree: Path, line: Line, tests: Path) -> Status:
    """
    Return what of the series of `line` is in `tree`.

    A patch is known by its patch id, so it does not matter who applied it; a commit
    with the subject of a patch and another content is a changed one.
    """
    tree = tree.resolve()
    django_version(tree)
    base, commits, unfinished = "", [], False
    if has_repository(tree):
        head(tree)
        unfinished = is_unfinished(tree)
        base = series_base(tree)
        commits = commits_since(tree, base)
    contents = {commit.content for commit in commits}
    subjects = {commit.subject for commit in commits}
    patches, ours = {}, {""}
    for patch in line.patches:
        text = decode(patch.read_bytes())
        subject = patch_subject(text)
        content = "".join(patch_ids(text).values())
        ours |= {subject, content}
        if content in contents:
            patches[patch.name] = APPLIED
        else:
            patches[patch.name] = CHANGED if subject in subjects else NOT_APPLIED
    if not commits and not unfinished:
        overall = NOT_APPLIED
    elif unfinished or NOT_APPLIED in patches.values():
        overall = HALF_APPLIED
    else:
        overall = APPLIED
    apps = dict.fromkeys([*line.test_apps, *test_apps(commits)])
    return Status(
        overall=overall,
        patches=patches,
        tests={app: _tests_state(tree, base, app, tests) for app in apps},
        base=base,
        own=[
            commit
            for commit in commits
            if commit.is_merge or not {commit.content, commit.subject} & ours
        ],
    )


def place_tests(tree: Path, names: list[str], tests: Path) -> None:
    """
    Copy the test apps `names` from `tests` to tests/ in `tree`.

    Raise OverlayError if `tests` lacks an app, or if `tree` has one of that name.
    """
    for name in names:
        files = test_files(tests, name)
        if not files:
            raise OverlayError(f"The series names the test app {name}, not in {tests}.")
        if test_files(tree / "tests", name):
            raise OverlayError(f"{tree} has its own tests/{name}.")
        for file in files:
            target = tree / "tests" / file.relative_to(tests)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def test_files(tests: Path, name: str) -> list[Path]:
    """Return the files of the test app `name` below `tests`, without compiled ones."""
    return sorted(
        path
        for path in (tests / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def create_repository(tree: Path, version: str) -> None:
    git(tree, "init", "--quiet", "--template=", "--initial-branch=main")
    git(
        tree,
        "add",
        "--all",
        "--force",
        "--",
        ".",
        ":(exclude,glob)**/__pycache__/**",
        env=ONE_PACK,
    )
    commit = _commit_index(tree, f"Django {version}", BASE_DATE)
    git(tree, "update-ref", "HEAD", commit)


def _require_not_applied(tree: Path, line: Line, tests: Path) -> None:
    found = status(tree, line, tests)
    if found.overall == HALF_APPLIED:
        raise OverlayError(f"{_half_applied(tree, line, found)}.")
    if found.overall == APPLIED:
        but = f", with changes in {enumeration(found.changed)}" if found.changed else ""
        raise OverlayError(f"The {line.name} series is already applied to {tree}{but}.")


def _half_applied(tree: Path, line: Line, found: Status) -> str:
    missing = [name for name, state in found.patches.items() if state == NOT_APPLIED]
    return (
        f"The {line.name} series is half applied to {tree}, "
        f"without {enumeration(missing)}"
    )


def _commit_series(tree: Path, line: Line, tests: Path) -> str:
    """Return the id of a new commit: HEAD with the series and its tests on top."""
    with _worktree(tree) as scratch:
        for patch in line.patches:
            _am(scratch, patch)
        apps = line.test_apps
        folders = [f"tests/{app}" for app in apps]
        if taken := git(scratch, "ls-files", "--", *folders).split():
            raise OverlayError(f"{tree} has its own {enumeration(taken)}.")
        place_tests(scratch, apps, tests)
        git(scratch, "add", "--force", "--", *folders)
        # The date of the last patch: two runs must give the same commit.
        date = git(scratch, "show", "--no-patch", "--format=%aI", "HEAD").strip()
        message = f"Placed the overlay's tests.\n\nOverlay-Tests: {' '.join(apps)}"
        return _commit_index(scratch, message, date, "-p", head(scratch))


def _am(scratch: Path, patch: Path) -> None:
    try:
        git(
            scratch,
            "am",
            "--quiet",
            "--keep-non-patch",
            "--committer-date-is-author-date",
            str(patch.resolve()),
        )
    except GitError as error:
        files = re.findall(
            r"^error: (.+): (?:patch does not apply|already exists in .+"
            r"|does not exist in .+|No such file or directory)$",
            error.stderr,
            re.MULTILINE,
        )
        if not files:
            raise
        raise OverlayError(
            f"{patch.name} does not apply: it conflicts in {enumeration(files)}."
        ) from None


def _commit_index(tree: Path, message: str, date: str, *parent: str) -> str:
    """Return the id of a commit of what is in the index; no branch moves."""
    return git(
        tree,
        "commit-tree",
        *parent,
        git(tree, "write-tree").strip(),
        stdin=f"{message}\n",
        env={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
    ).strip()


@contextmanager
def _worktree(tree: Path) -> Iterator[Path]:
    """Give a detached worktree of HEAD, without files, in a temporary folder."""
    with TemporaryDirectory(prefix="django-overlay-") as temporary:
        scratch = Path(temporary, tree.name)
        try:
            # A git that is killed in here would leave the worktree registered.
            with uninterrupted():
                git(tree, "worktree", "add", "--detach", "--no-checkout", str(scratch))
            # Thousands of files need not be written: git am checks out what it patches.
            git(scratch, "read-tree", "HEAD")
            yield scratch
        finally:
            with uninterrupted(), suppress(GitError):
                # Twice: even if it is locked.
                git(tree, "worktree", "remove", "--force", "--force", str(scratch))


def _tests_state(tree: Path, base: str, app: str, tests: Path) -> str:
    """Return APPLIED, CHANGED or NOT_APPLIED: what is committed of a test app."""
    if not base:
        return NOT_APPLIED
    listed = git(tree, "ls-tree", "-r", "-z", "HEAD", f"tests/{app}/").split("\0")[:-1]
    if not listed:
        return NOT_APPLIED
    theirs = {name: entry.split()[2] for entry, name in (e.split("\t") for e in listed)}
    files = test_files(tests, app)
    hashes = git(
        tree,
        "hash-object",
        "--no-filters",
        "--stdin-paths",
        stdin="".join(f"{file.resolve()}\n" for file in files),
    ).split()
    names = [f"tests/{file.relative_to(tests)}" for file in files]
    return APPLIED if dict(zip(names, hashes, strict=True)) == theirs else CHANGED
