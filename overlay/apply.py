"""Put a patch series into a Django tree, and take it out again."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from overlay import testapps
from overlay.checkout import (
    check_move,
    commit_index,
    commits_since,
    create_repository,
    enumeration,
    has_repository,
    head,
    move,
    require_quiet,
    require_writable,
)
from overlay.errors import OverlayError
from overlay.git import GitError, git
from overlay.series import Series, django_version
from overlay.signals import uninterrupted
from overlay.status import (
    HALF_APPLIED,
    NOT_APPLIED,
    OTHER_REVISION,
    RECORD,
    Status,
    fingerprint,
    series_revision,
    status,
)


def apply(tree: Path, series: Series, *, replace: bool = False) -> str:
    """
    Commit `series` and its tests to the Django source in `tree`.

    A tree without a repository gets one, with its files as the first commit. With
    `replace`, what apply() or git am put there before goes first, as in unapply().
    Return the id of the new commit.

    All or nothing: raise OverlayError with `tree` as it was.
    """
    tree = tree.resolve()
    version = django_version(tree)
    require_writable(tree)
    if not series.test_apps:
        raise OverlayError(
            f"The {series.name} series has no patch with an Overlay-Tests trailer."
        )
    is_new = not has_repository(tree)
    try:
        if is_new:
            create_repository(tree, version)
        else:
            require_quiet(tree)
        start = head(tree)
        found = status(tree, series)
        base = found.base
        if found.overall != NOT_APPLIED:
            if not replace:
                raise _already_applied(tree, series, found)
            _require_removable(tree, series, found)
        commit = commit_series(tree, series, base)
        check_move(tree, commit)
    except BaseException:
        if is_new:
            with uninterrupted():
                shutil.rmtree(tree / ".git", ignore_errors=True)
        raise
    move(tree, start, commit, f"apply {series.name}")
    return commit


def unapply(tree: Path, series: Series) -> str:
    """
    Take `series` and its tests, as apply() or git am put them, away again.

    Return the id of the commit that `tree` is then at. Raise OverlayError, with
    `tree` as it was, if anything would be lost that is not in the series.
    """
    tree = tree.resolve()
    start = head(tree) if has_repository(tree) else ""
    found = status(tree, series)
    if not start or found.overall == NOT_APPLIED:
        raise OverlayError(f"The {series.name} series is not applied to {tree}.")
    require_writable(tree)
    require_quiet(tree)
    _require_removable(tree, series, found)
    check_move(tree, found.base)
    move(tree, start, found.base, f"unapply {series.name}")
    return found.base


def _already_applied(tree: Path, series: Series, found: Status) -> OverlayError:
    if found.overall == HALF_APPLIED:
        return OverlayError(f"{_half_applied(tree, series, found)}.")
    if found.overall == OTHER_REVISION:
        return OverlayError(
            f"Another revision of the {series.name} series is applied to {tree}: "
            "--replace puts this one in its place."
        )
    if {
        patch.name for patch in series.patches
    } != found.patches.keys() - found.left_out:
        which = "without" if found.left_out else "with"
        return OverlayError(
            f"The {series.name} series is already applied to {tree}, {which} its extra "
            "patches: --replace changes that."
        )
    but = f", with changes in {enumeration(found.changed)}" if found.changed else ""
    return OverlayError(f"The {series.name} series is already applied to {tree}{but}.")


def _require_removable(tree: Path, series: Series, found: Status) -> None:
    """Raise OverlayError if something would be lost with the series in `tree`."""
    if found.own:
        raise OverlayError(
            f"{tree} has commits of its own on top of the series: "
            f"{enumeration(map(str, found.own))}; `git rebase --rebase-merges --onto "
            f"{found.base[:10]} {found.top[:10]}` keeps them and drops the series."
        )
    if found.is_as_recorded:
        return
    by_hand = f"`git reset --keep {found.base[:10]}` drops all that is above its base"
    if found.overall == HALF_APPLIED:
        raise OverlayError(f"{_half_applied(tree, series, found)}; {by_hand}.")
    if found.changed:
        raise OverlayError(
            f"{enumeration(found.changed)} in {tree} is not as in the series: "
            f"export it first; {by_hand}."
        )


def _half_applied(tree: Path, series: Series, found: Status) -> str:
    return (
        f"The {series.name} series is half applied to {tree}, "
        f"without {enumeration(found.missing)}"
    )


def commit_series(tree: Path, series: Series, base: str) -> str:
    """Return the id of a new commit: `base` with the series and its tests on top."""
    with worktree(tree, base) as scratch:
        for patch in series.patches:
            _am(scratch, patch)
        apps = series.test_apps
        folders = [f"tests/{app}" for app in apps]
        if taken := git(scratch, "ls-files", "--", *folders).split():
            raise OverlayError(f"{tree} has its own {enumeration(taken)}.")
        testapps.place(scratch, series)
        git(scratch, "add", "--force", "--", *folders)
        # The date of the last patch: two runs must give the same commit.
        date = git(scratch, "show", "--no-patch", "--format=%aI", "HEAD").strip()
        made = fingerprint(
            scratch,
            commits_since(scratch, base),
            git(scratch, "write-tree").strip(),
        )
        message = (
            "Placed the overlay's tests.\n\n"
            f"{RECORD}: {series_revision(series)} {made}\n"
            f"Overlay-Tests: {' '.join(apps)}"
        )
        return commit_index(scratch, message, date, "-p", head(scratch))


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
            raise OverlayError(f"{patch} can't be applied: {error.message}") from None
        raise OverlayError(
            f"{patch.name} does not apply: it conflicts in {enumeration(files)}."
        ) from None


@contextmanager
def worktree(tree: Path, commit: str) -> Iterator[Path]:
    """Give a detached worktree of `commit`, without files, in a temporary folder."""
    _remove_orphans(tree)
    with TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-") as temporary:
        scratch = Path(temporary, tree.name)
        try:
            # A git that is killed in here would leave the worktree registered.
            with uninterrupted():
                git(
                    tree,
                    "worktree",
                    "add",
                    "--detach",
                    "--no-checkout",
                    str(scratch),
                    commit,
                )
            # Thousands of files need not be written: git am checks out what it patches.
            git(scratch, "read-tree", "HEAD")
            yield scratch
        finally:
            with uninterrupted(), suppress(GitError):
                _remove(tree, scratch)


# How the folders of worktrees are named; the number of their process follows.
SCRATCH = "django-overlay-"


def _remove_orphans(tree: Path) -> None:
    """Remove the worktrees of runs that could not do so, as after SIGKILL."""
    listed = git(tree, "worktree", "list", "--porcelain")
    for path in re.findall(r"^worktree (.+)$", listed, re.MULTILINE):
        folder = Path(path).parent
        owner = re.match(rf"{SCRATCH}(\d+)-", folder.name)
        if owner and not _is_alive(int(owner[1])):
            with suppress(GitError):
                _remove(tree, Path(path))
            shutil.rmtree(folder, ignore_errors=True)
            git(tree, "worktree", "prune")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True


def _remove(tree: Path, scratch: Path) -> None:
    # Twice: even if it is locked, as it is while git makes it.
    git(tree, "worktree", "remove", "--force", "--force", str(scratch))
