"""A Django source tree in git: what state it is in, and the series' commits in it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from overlay import testapps
from overlay.errors import OverlayError
from overlay.git import GitError, git
from overlay.signals import uninterrupted

# How a change is written as text, wherever that text is kept or compared.
DIFF_OPTIONS = (
    "--binary",
    "--full-index",
    "--no-color",
    "--no-ext-diff",
    "--no-renames",
    "--no-textconv",
    "--patch",
)

# What git keeps while an operation waits for the user, and the operation.
UNFINISHED = {
    "BISECT_LOG": "bisect",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "MERGE_HEAD": "merge",
    "REVERT_HEAD": "revert",
    "rebase-apply": "am or rebase",
    "rebase-merge": "rebase",
    "sequencer": "cherry-pick or revert",
}

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
class Commit:
    """
    A commit on a branch that the series was applied to.

    `content` is the patch id of what it changes outside of the overlay's tests,
    and empty if it changes nothing there; `apps` are the tests in its trailer.
    """

    id: str
    subject: str
    message: str
    apps: list[str]
    is_merge: bool
    content: str

    def __str__(self) -> str:
        return f"{self.id[:10]} ({self.subject})"


def has_repository(tree: Path) -> bool:
    """
    Return whether `tree` is the top of a git repository, rather than in none.

    Raise OverlayError if it lies inside of another repository, where git would
    patch nothing or commit to that one.
    """
    try:
        top = git(tree, "rev-parse", "--show-toplevel").removesuffix("\n")
    except GitError as error:
        if "not a git repository" in error.stderr and not (tree / ".git").exists():
            return False
        raise
    if not Path(top).samefile(tree):
        raise OverlayError(
            f"{tree} lies inside another git repository, {top}: move it out of there."
        )
    return True


def head(tree: Path) -> str:
    """Return the id of the commit at HEAD. Raise OverlayError if there is none yet."""
    try:
        return git(tree, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
    except GitError:
        raise OverlayError(f"The branch in {tree} has no commit yet.") from None


def commit_message(tree: Path, commit: str) -> str:
    """Return the message of a commit, without the line end."""
    return git(tree, "show", "--no-patch", "--format=%B", commit).rstrip("\n")


def create_repository(tree: Path, version: str) -> None:
    """Make `tree`, the source of a Django release, a repository with one commit."""
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
    git(tree, "update-ref", "HEAD", commit_index(tree, f"Django {version}", BASE_DATE))


def commit_index(
    tree: Path,
    message: str,
    date: str,
    *parent: str,
    env: dict[str, str] | None = None,
) -> str:
    """
    Return the id of a commit of what is in the index; no branch moves.

    `env` may name another index.
    """
    env = env or {}
    return git(
        tree,
        "commit-tree",
        *parent,
        git(tree, "write-tree", env=env).strip(),
        stdin=f"{message}\n",
        env=env | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
    ).strip()


def commit_folder(tree: Path, folder: Path, message: str) -> str:
    """Return the id of a new commit, without a parent, of the files in `folder`."""
    with TemporaryDirectory(prefix="django-overlay-") as scratch:
        env = {
            "GIT_DIR": git(tree, "rev-parse", "--absolute-git-dir").removesuffix("\n"),
            "GIT_INDEX_FILE": f"{scratch}/index",
            "GIT_WORK_TREE": str(folder),
        }
        git(folder, "add", "--all", "--force", env=env | ONE_PACK)
        return commit_index(folder, message, BASE_DATE, env=env)


def require_writable(folder: Path) -> None:
    """Raise OverlayError if the user may not write to `folder`."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OverlayError(f"{folder} is read-only.")


def unfinished(tree: Path) -> str | None:
    """Return the git operation that is under way in `tree`, such as "rebase"."""
    questions = [part for name in UNFINISHED for part in ("--git-path", name)]
    paths = git(tree, "rev-parse", *questions).splitlines()
    for path, operation in zip(paths, UNFINISHED.values(), strict=True):
        if (tree / path).exists():
            return operation
    return None


def require_quiet(tree: Path) -> None:
    """Raise OverlayError if `tree` has work in it that is not committed."""
    head(tree)
    if operation := unfinished(tree):
        raise OverlayError(
            f"A git {operation} is under way in {tree}: finish or abort it first."
        )
    if git(tree, "config", "--type=bool", "--default=0", "core.sparseCheckout") == (
        "true\n"
    ):
        raise OverlayError(
            f"{tree} is a sparse checkout: run `git sparse-checkout disable` in it "
            "first."
        )
    if not _changed(tree):
        return
    changed = _changed(tree, "core.autocrlf=true")
    if not changed:
        raise OverlayError(
            f"The text files in {tree} have the line ends of Windows, which the "
            "series doesn't apply to: clone it with `git clone -c core.autocrlf=false`."
        )
    raise OverlayError(
        f"{tree} has changes that are not committed, in {enumeration(changed)}: "
        "commit or stash them first."
    )


def _changed(tree: Path, *settings: str) -> list[str]:
    listed = git(
        tree,
        "status",
        "--porcelain",
        "-z",
        "--ignore-submodules=none",
        "--no-renames",
        "--untracked-files=no",
        settings=settings,
    )
    return [entry[3:] for entry in listed.split("\0") if entry]


def series_base(tree: Path) -> str:
    """
    Return the commit that the series in `tree` stands on; HEAD if there is none.

    The series begins at the oldest commit on HEAD's line of first parents that has
    an Overlay-Tests trailer, as each patch and the commit of the tests has.
    """
    marked = git(
        tree, "rev-list", "--first-parent", "--grep=^Overlay-Tests: ", "HEAD"
    ).split()
    return git(tree, "rev-parse", f"{marked[-1]}^").strip() if marked else head(tree)


def commits_since(tree: Path, base: str) -> list[Commit]:
    """Return the commits from `base` to HEAD, oldest first, without merged branches."""
    walk = ("log", "--first-parent", "--reverse")
    apps = "%(trailers:key=Overlay-Tests,valueonly,unfold,separator=%x20)"
    fields = git(
        tree, *walk, "-z", f"--format=%H%x00%s%x00%B%x00{apps}%x00%P", f"{base}..HEAD"
    ).split("\0")[:-1]
    commits = [
        Commit(id, subject, message, apps.split(), " " in parents, content="")
        for id, subject, message, apps, parents in zip(*[iter(fields)] * 5, strict=True)
    ]
    diffs = git(
        tree,
        *walk,
        "--diff-merges=first-parent",
        "--format=commit %H",
        *DIFF_OPTIONS,
        f"{base}..HEAD",
        "--",
        *testapps.outside(test_apps(commits)),
    )
    contents = patch_ids(diffs)
    return [replace(commit, content=contents.get(commit.id, "")) for commit in commits]


def test_apps(commits: list[Commit]) -> list[str]:
    """Return the test apps that the trailers of `commits` name, each once."""
    return list(dict.fromkeys(app for commit in commits for app in commit.apps))


def patch_ids(diffs: str) -> dict[str, str]:
    """Return the patch id of each commit in `diffs`, mail or git log, by its id."""
    pairs = git(Path("/"), "patch-id", "--stable", stdin=diffs).splitlines()
    return {commit: content for content, commit in map(str.split, pairs)}


def enumeration(names: Iterable[str]) -> str:
    """Return `names` as a phrase; of more than five only the first five."""
    names = list(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def check_move(tree: Path, target: str) -> None:
    """Raise OverlayError if move() to the commit `target` would be refused."""
    fields = git(
        tree, "diff", "--name-status", "--no-renames", "-z", "HEAD", target
    ).split("\0")[:-1]
    changes = list(zip(fields[1::2], fields[::2], strict=True))
    in_the_way = [
        path for path, change in changes if change == "A" and _is_taken(tree, path)
    ]
    if in_the_way:
        raise OverlayError(
            f"{enumeration(in_the_way)} in {tree} would be overwritten, and git does "
            "not track it: move it away first."
        )
    for path, _ in changes:
        require_writable(next(f for f in (tree / path).parents if f.is_dir()))
    # A copied tree has other inodes than its index says.
    git(tree, "update-index", "--refresh")
    git(tree, "read-tree", "--dry-run", "-m", "-u", "HEAD", target)


def move(tree: Path, start: str, target: str, reason: str) -> None:
    """
    Move the branch (or the detached HEAD) and the files of `tree` to `target`.

    `start` is the commit that it was at when the move was found to lose nothing.

    Call check_move() first. As with `git reset --keep`, local changes are kept, and
    the move is refused if it touches them. The branch goes first: if it is locked,
    or has moved meanwhile, no file has been touched. Raise GitError.
    """
    with uninterrupted():
        git(
            tree, "update-ref", "-m", f"django-overlay: {reason}", "HEAD", target, start
        )
        try:
            git(tree, "read-tree", "-m", "-u", start, target)
        except GitError:
            git(tree, "update-ref", "HEAD", start, target)
            raise


def _is_taken(tree: Path, path: str) -> bool:
    """Return whether writing `path` would replace it, or a file that is its parent."""
    taken = tree / path
    return os.path.lexists(taken) or any(
        parent.is_symlink() or parent.is_file()
        for parent in taken.parents
        if tree in parent.parents
    )
