"""Let git put commits on others, and leave conflicts to the user."""

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory

from overlay.checkout import enumeration, head, unfinished
from overlay.errors import OverlayError
from overlay.export import MARKERS
from overlay.git import GitError, git


class Conflict(OverlayError):
    """git has left conflicts in the repository for the user to solve."""


def rebase(
    tree: Path,
    todo: dict[str, list[str]],
    *,
    squash: bool = False,
    env: dict[str, str] | None = None,
) -> None:
    """
    Let git rebase pick the commits in `todo`; raise Conflict if the user has to help.

    It also stops at a commit that has conflicts in files of its own, given as a list.
    With `squash` they become one commit, with the message of the first. `env` is added
    to git's environment.
    """
    with TemporaryDirectory(prefix="django-overlay-") as folder:
        file = Path(folder, "todo")
        first, *others = (_steps(tree, *item) for item in todo.items())
        if squash:
            others = [steps.replace("pick", "fixup", 1) for steps in others]
        file.write_text("".join([first, *others]))
        editor = {
            "GIT_EDITOR": "true",
            "GIT_SEQUENCE_EDITOR": f"cp {shlex.quote(str(file))}",
        }
        options = ("--interactive", "--empty=keep", "--reschedule-failed-exec")
        try:
            git(tree, "rebase", *options, "HEAD", env=editor | (env or {}))
        except GitError:
            if not unfinished(tree):
                raise
    if unfinished(tree):
        unmerged = git(tree, "diff", "--name-only", "--diff-filter=U", "-z")
        names = enumeration(unmerged.split("\0")[:-1] or todo.get(head(tree), []))
        raise Conflict(
            f"git rebase has stopped in {tree}, with conflicts in {names}: edit "
            "them, `git add` them, and `git rebase --continue` until it is done."
        )


def _steps(tree: Path, commit: str, conflicts: list[str]) -> str:
    """Return the lines of a git rebase's todo for a commit with conflicts in files."""
    subject = git(tree, "show", "--no-patch", "--format=%s", commit).strip()
    if not conflicts:
        return f"pick {commit} {subject}\n"
    # git prints the line when it stops. It would go on with markers left: they are
    # committed.
    check = ["git", "grep", "-n", "-E", MARKERS, "--", *conflicts]
    return (
        f"edit {commit} {subject} (conflicts in {enumeration(conflicts)})\n"
        f"exec ! {shlex.join(check)}\n"
    )
