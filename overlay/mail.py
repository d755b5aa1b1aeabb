"""A commit as a patch for git am, with the same bytes wherever it is written."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from overlay.checkout import DIFF_OPTIONS
from overlay.git import GitError, git

# With DIFF_OPTIONS and the pinned configuration.
MAIL_OPTIONS = (
    "--encode-email-headers",
    "--no-add-header",
    "--no-attach",
    "--no-base",
    "--no-cc",
    "--no-cover-letter",
    "--no-from",
    "--no-notes",
    "--no-numbered",
    "--no-signature",
    "--no-thread",
    "--no-to",
    "--stat=72,50,20",
    "--stdout",
    "--subject-prefix=PATCH",
    "--summary",
    "--zero-commit",
)


def written(tree: Path, commit: str, base: str, paths: list[str]) -> str:
    """
    Return the patch for what `commit` changes in the pathspecs `paths`.

    Its line numbers are those of the release, the commit `base`, and so are its index
    lines where it applies to the release alone: an edit of a patch below it changes
    nothing in it then. Where it builds on one, git am -3 needs the blob that this one
    makes.
    """
    mail = git(
        tree,
        "format-patch",
        *MAIL_OPTIONS,
        *DIFF_OPTIONS,
        f"{commit}^..{commit}",
        "--",
        *paths,
    )
    head, *sections = re.split(r"^(?=diff --git )", mail, flags=re.MULTILINE)
    return head + "".join(
        _on_release(tree, f"{commit}^", base, section) for section in sections
    )


def _on_release(tree: Path, before: str, base: str, section: str) -> str:
    """Return the changes of one file, numbered by its lines in `base`."""
    # A tab follows a path with spaces.
    path = re.search(r"^--- a/(.+?)(\t?)\n\+\+\+ b/\1\2\n", section, re.MULTILINE)
    if not path:
        return section  # it is added, deleted or binary
    try:
        differences = git(
            tree,
            "diff",
            *DIFF_OPTIONS,
            "-U0",
            f"{base}:{path[1]}",
            f"{before}:{path[1]}",
        )
    except GitError:
        return section  # a patch below it adds the file
    hunks = [
        tuple(int(number or 1) for number in numbers)
        for numbers in re.findall(HUNK, differences, flags=re.MULTILINE)
    ]

    def renumbered(hunk: re.Match[str]) -> str:
        old, count, new, new_count = hunk.groups()
        start = _line_in_release(int(old), hunks)
        end = start + int(new) - int(old)
        sizes = [f",{size}" if size else "" for size in (count, new_count)]
        return f"@@ -{start}{sizes[0]} +{end}{sizes[1]} @@"

    section = re.sub(HUNK, renumbered, section, flags=re.MULTILINE)
    return re.sub(
        r"^index .+\.\.\S+",
        lambda index: _index(tree, base, path[1], section) or index[0],
        section,
        count=1,
        flags=re.MULTILINE,
    )


HUNK = r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@"


def _line_in_release(line: int, hunks: list[tuple[int, ...]]) -> int:
    """
    Return the number that a line had before `hunks`, those of a diff -U0.

    A line that they add has the number of the line that it stands above.
    """
    offset = 0
    for old, count, new, new_count in hunks:
        # Without lines, a side is numbered by the line above.
        first, after = old + (not count), new + (not new_count) + new_count
        if line < after:
            return first if line >= new + (not new_count) else line + offset
        offset = first + count - after
    return line + offset


def _index(tree: Path, base: str, path: str, section: str) -> str | None:
    """Return the index line of changes that apply to `path` in `base` alone."""
    with TemporaryDirectory(prefix="django-overlay-") as scratch:
        env = {"GIT_INDEX_FILE": f"{scratch}/index"}
        try:
            git(tree, "read-tree", base, env=env)
            git(tree, "apply", "--cached", stdin=section, env=env)
        except GitError:
            return None
        old, new = git(tree, "rev-parse", f"{base}:{path}", f":{path}", env=env).split()
        return f"index {old}..{new}"
