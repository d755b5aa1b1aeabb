"""Versions and release notes, in the commits that go to another line of Django."""

import re
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from overlay.checkout import commit_index
from overlay.git import git


class Index:
    """A scratch index of `tree` with the files of a commit."""

    def __init__(self, tree: Path, commit: str) -> None:
        self.tree = tree
        self.folder = TemporaryDirectory(prefix="django-overlay-")
        self.env = {"GIT_INDEX_FILE": f"{self.folder.name}/index"}
        self.git("read-tree", commit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.folder.cleanup()

    def git(self, *args: str, stdin: str = "") -> str:
        return git(self.tree, *args, stdin=stdin, env=self.env)

    def commit(self, message: str, *parent: str, like: str = "") -> str:
        """Return the id of a commit, with the author and the date of that in `like`."""
        name, email, date = git(
            self.tree, "show", "--no-patch", "--format=%an%n%ae%n%aI", like or parent[0]
        ).splitlines()
        author = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email}
        options = [part for commit in parent for part in ("-p", commit)]
        return commit_index(self.tree, message, date, *options, env=self.env | author)

    def replace_versions(
        self, base: str, commit: str, source: str, target: str
    ) -> None:
        """Give what `commit` adds to the documentation of `base` another version."""
        diff = git(self.tree, "diff", "--full-index", base, commit, "--", "docs")
        if not diff:
            return
        self.git("apply", "--cached", "--reverse", stdin=diff)
        pattern = rf"^(\+\s*\.\. version(?:added|changed):: ){re.escape(source)}$"
        diff = re.sub(pattern, rf"\g<1>{target}", diff, flags=re.MULTILINE)
        self.git("apply", "--cached", stdin=diff)

    def move_note(self, source: str, target: str) -> None:
        """Let the release notes of the line `source` be those of `target`."""
        blob = self.git("rev-parse", f":{notes_of(source)}").strip()
        self._put(blob, notes_of(target))
        self.git("rm", "--cached", "--quiet", "--", notes_of(source))

    def place_note(
        self, base: str, commit: str, source: str, target: str, name: str
    ) -> None:
        """
        Give `target`'s release notes, of the line `name`, what `commit` does to `base`'s.

        `base` and `commit` are commits of the line `source`, `target` is any commit. The
        notes of `source` are as in `base` then.
        """
        text = git(self.tree, "cat-file", "blob", f"{target}:{notes_of(name)}")
        diff = git(self.tree, "diff", "-U0", base, commit, "--", notes_of(source))
        new = git(self.tree, "cat-file", "blob", f"{commit}:{notes_of(source)}")
        for start, removed, added in _hunks(diff):
            if removed and removed in text:
                text = text.replace(removed, added, 1)
            else:
                text = placed(text, added, titles(new.splitlines(), start))
        self.put(text, notes_of(name))
        old = git(self.tree, "rev-parse", f"{base}:{notes_of(source)}").strip()
        self._put(old, notes_of(source))

    def put(self, text: str, path: str) -> None:
        """Make `text` what the file of that path has."""
        blob = git(self.tree, "hash-object", "-w", "--stdin", stdin=text).strip()
        self._put(blob, path)

    def _put(self, blob: str, path: str) -> None:
        self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")


def notes_of(line: str) -> str:
    """Return the path of the release notes of a line of Django."""
    return f"docs/releases/{line}.txt"


def _hunks(diff: str) -> list[tuple[int, str, str]]:
    """
    Return what each hunk of a diff -U0 removes and adds.

    The number is that of the line, from 1, at which it begins in the new file.
    """
    found = []
    for hunk in re.split(r"^(?=@@ )", diff, flags=re.MULTILINE)[1:]:
        header, *lines = hunk.splitlines(keepends=True)
        start = int(re.findall(r"\+(\d+)", header)[0])
        sides = ("".join(x[1:] for x in lines if x[0] == sign) for sign in "-+")
        found.append((start, *sides))
    return found


def titles(lines: list[str], number: int) -> dict[int, str]:
    """Return the titles of the sections, by level, that a line, from 1, is in."""
    above = [found for start, found in _headings(lines) if start < number - 1]
    return above[-1] if above else {}


def placed(text: str, added: str, wanted: dict[int, str]) -> str:
    """
    Return release notes with lines added at the end of the section with these titles.

    The titles may have another version. If no section has all of them, the innermost
    one counts, and where there is none of that title, the lines go to the end. If they
    begin with a title, that of a section that is there already, it is left out, and so
    is Django's "* ...", which stands for a note that isn't written yet.
    """
    lines = text.splitlines()
    headings = _headings(lines)
    body = added.strip("\n").splitlines()
    if own := dict(_headings(body)).get(0):
        ((level, title),) = own.items()
        inside = {**_above(wanted, level), level: title}
        if any(_unversioned(found) == _unversioned(inside) for _, found in headings):
            return placed(text, "\n".join(body[2:]), inside)
    starts = [
        start
        for start, found in headings
        if _unversioned(found) == _unversioned(wanted)
    ] or [
        start
        for start, found in headings
        if list(found.values())[-1:] == list(wanted.values())[-1:]
    ]
    after = [start for start, _ in headings if starts and start > starts[-1]]
    end = after[0] if after else len(lines)
    # What is referred to by the next title stays above it.
    while end and re.fullmatch(r"\s*|\.\. _.+:", lines[end - 1]):
        end -= 1
    kept = lines[: end - 2 if lines[end - 1] == "* ..." else end]
    return "\n".join([*kept, "", *body, *lines[end:]]) + "\n"


def _headings(lines: list[str]) -> list[tuple[int, dict[int, str]]]:
    """Return where each title is, from 0, with those of its section by their level."""
    found: list[tuple[int, dict[int, str]]] = []
    path: dict[int, str] = {}
    for number, (title, under) in enumerate(pairwise(lines)):
        if title.strip() and re.fullmatch(r"([=\-~])\1{2,}", under):
            level = "=-~".index(under[0])
            path = {**_above(path, level), level: title}
            found.append((number, path))
    return found


def _above(path: dict[int, str], level: int) -> dict[int, str]:
    """Return the titles that enclose one of that level."""
    return {depth: title for depth, title in path.items() if depth < level}


def _unversioned(path: dict[int, str]) -> dict[int, str]:
    """Return titles without a version at their end."""
    return {level: re.sub(r"[\d.]+$", "", title) for level, title in path.items()}
