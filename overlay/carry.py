"""Take a series, or what changed in one, to another release or line of Django."""

import re
import shlex
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from packaging.version import Version

from overlay import sdist
from overlay.apply import commit_series
from overlay.checkout import (
    BASE_DATE,
    commit_folder,
    commit_index,
    create_repository,
    enumeration,
    has_repository,
    head,
    series_base,
    unfinished,
)
from overlay.errors import OverlayError
from overlay.export import MARKERS
from overlay.git import GitError, git, require
from overlay.history import series_at
from overlay.series import (
    HOME,
    Series,
    django_version,
    line_of,
    read_text,
    trailers,
)

# The trailers of the release that a series is taken to.
SHA256 = "Overlay-SHA256"
SOURCE = "Overlay-Source"

# The commits of a series that are no patch.
RELEASE = "release"
TESTS = "tests"

# The oldest git that has `git merge-tree --write-tree` (its release notes for 2.38).
MERGES_TREES = (2, 38)


class Conflict(OverlayError):
    """git has left conflicts in the repository for the user to solve."""


def carry_series(
    source: Series, release: str, tree: Path, cache: Path = sdist.CACHE
) -> None:
    """
    Make `tree` a repository of a Django release with the patches of `source` on top.

    Versions in the documentation and the release note become those of the release's
    line; the note goes to the section of the same title. begun() gives the series that
    export() writes then.

    Raise Conflict if the patches conflict with the release: the user ends the git
    rebase in `tree` then. Raise OverlayError if `tree` exists.
    """
    archive = sdist.fetch(release, source.sha256.get(release), cache)
    name = line_of(Version(release))
    with _new_repository(tree, archive, release):
        message = (
            f"Django {release}\n\n"
            f"{SHA256}: {sdist.hash_of(archive)}\n{SOURCE}: {source.name}"
        )
        target = commit_index(tree, message, BASE_DATE)
        git(tree, "update-ref", "HEAD", target)
        base = _commit_release(tree, source, cache)
        commits = _commits(tree, source, base)

        def with_note(index: "_Index", commit: str) -> None:
            index.place_note(base, commit, source.name, target, name)

        picked = _for_line(tree, [base, *commits], source.name, name, with_note)
        _rebase(tree, {commit: [] for commit in picked[1:]})


def carry_change(
    source: Series,
    revision: str,
    target: Series,
    tree: Path,
    home: Path = HOME,
    cache: Path = sdist.CACHE,
) -> None:
    """
    Make `tree` a repository with `target`, and what changed in `source`, on top.

    That is what changed since `revision` of the repository `home`, in the tree that
    each patch, by its file name, and those below it make: it does not matter which
    patch a line was in. A new patch is added, a dropped one is left out, and the order
    is that of `source`. export() then writes the patches.

    Raise Conflict and OverlayError as carry_series() does.
    """
    require(MERGES_TREES)
    archive = sdist.fetch(target.release, target.sha256[target.release], cache)
    with (
        TemporaryDirectory(prefix="django-overlay-") as folder,
        _new_repository(tree, archive, target.release),
    ):
        before = {s.name: s for s in series_at(revision, Path(folder), home)}.get(
            source.name
        )
        if before is None or before.release != source.release:
            raise OverlayError(
                f"There is no {source.name} series for Django {source.release} in "
                f"{revision}."
            )
        base = _commit_release(tree, source, cache)

        def with_note(index: "_Index", commit: str) -> None:
            index.move_note(source.name, target.name)

        def for_target(series: Series) -> dict[str, str]:
            commits = [base, *_commits(tree, series, base)]
            lines = (source.name, target.name)
            return _by_name(series, _for_line(tree, commits, *lines, with_note))

        top = head(tree)
        theirs = _by_name(target, [top, *_commits(tree, target, top)])
        old, new = for_target(before), for_target(source)
        labels = (target.name, f"changed-{source.name}")
        todo: dict[str, list[str]] = {}
        below: Counter[tuple[str, str]] = Counter()
        names = [RELEASE]
        for patch in source.patches:
            name = patch.name
            names.append(name)
            # As far as one of the patches up to here reached, whatever the order was.
            sides = [_last(commits, names) for commits in (old, theirs)]
            merged, conflicts = _merged(tree, *sides, new[name], labels)
            like, message = new[name], _message(tree, new[name])
            if name in old and name in theirs and _message(tree, old[name]) == message:
                like, message = theirs[name], _message(tree, theirs[name])
            with _Index(tree, merged) as index:
                top = index.commit(message, top, like=like)
            # What was solved in a patch is not asked for again in those above it.
            todo[top] = sorted({file for file, _ in conflicts - below})
            below = conflicts
        _rebase(tree, todo | {new[TESTS]: []})


@contextmanager
def begun(tree: Path, known: list[Series]) -> Iterator[Series | None]:
    """
    Give the series that carry_series() has begun in `tree`, None if it has not.

    It is one of `known` on a new release, or one of a new line. It has a BASE, with the
    comments of the one that it comes from, and if it is new the patches to be written
    over; unless all goes well they are as before again. Raise OverlayError if the release
    is a pre-release.
    """
    if not has_repository(tree):
        yield None
        return
    carried = trailers(_message(tree, series_base(tree)))
    if SOURCE not in carried:
        yield None
        return
    by_name = {series.name: series for series in known}
    source = by_name[carried[SOURCE]]
    release = django_version(tree)
    if Version(release).is_prerelease:
        raise OverlayError(
            f"{release} is a pre-release, and BASE is for final releases."
        )
    name = line_of(Version(release))
    old = by_name.get(name)
    project = tomllib.loads(read_text(tree / "pyproject.toml"))["project"]
    series = replace(
        source,
        name=name,
        release=release,
        requires_python=project["requires-python"].replace(" ", ""),
        sha256={**(old.sha256 if old else {}), release: carried[SHA256]},
        directory=source.directory.with_name(name),
    )
    before = read_text(old.directory / "BASE") if old else None
    text = _base(read_text((old or source).directory / "BASE"), series)
    try:
        if not old:
            shutil.copytree(source.directory, series.directory)
        (series.directory / "BASE").write_text(text, encoding="utf-8")
        yield series
    except BaseException:
        if before is None:
            shutil.rmtree(series.directory, ignore_errors=True)
        else:
            (series.directory / "BASE").write_text(before, encoding="utf-8")
        raise


def _base(text: str, series: Series) -> str:
    """Return a BASE file, `text`, with what `series` has, and with its comments."""
    for name in ("release", "requires_python"):
        line = f'{name} = "{getattr(series, name)}"'
        text = re.sub(
            rf"^{name} = .*$", lambda _, line=line: line, text, flags=re.MULTILINE
        )
    hashes = "".join(f'"{r}" = "{series.sha256[r]}"\n' for r in series.tested)
    table = r'^\[sha256\]\n("[^\n]+\n)*'
    return re.sub(table, lambda _: f"[sha256]\n{hashes}", text, flags=re.MULTILINE)


def _by_name(series: Series, commits: list[str]) -> dict[str, str]:
    """Return the commits, a release with the series on top, by the patches' names."""
    names = [RELEASE, *(patch.name for patch in series.patches), TESTS]
    return dict(zip(names, commits, strict=True))


def _last(commits: dict[str, str], names: Container[str]) -> str:
    """Return the last of the commits that has one of the names."""
    return [commit for name, commit in commits.items() if name in names][-1]


def _message(tree: Path, commit: str) -> str:
    return git(tree, "show", "--no-patch", "--format=%B", commit).rstrip("\n")


@contextmanager
def _new_repository(tree: Path, archive: Path, release: str) -> Iterator[None]:
    """Make `tree` a repository of a release; remove it unless all goes well."""
    if tree.exists():
        raise OverlayError(f"{tree} exists: name a folder that does not.")
    if not tree.parent.is_dir():
        raise OverlayError(f"There is no folder {tree.parent}.")
    try:
        with TemporaryDirectory(dir=tree.parent, prefix=f".{tree.name}-") as folder:
            sdist.unpack(archive, Path(folder)).rename(tree)
        create_repository(tree, release)
        yield
    except Conflict:
        raise
    except BaseException:
        shutil.rmtree(tree, ignore_errors=True)
        raise


def _commit_release(tree: Path, series: Series, cache: Path) -> str:
    """Return the id of a new commit in `tree`: the release that `series` is kept on."""
    archive = sdist.fetch(series.release, series.sha256[series.release], cache)
    with TemporaryDirectory(prefix="django-overlay-") as folder:
        source = sdist.unpack(archive, Path(folder))
        return commit_folder(tree, source, f"Django {series.release}")


def _commits(tree: Path, series: Series, base: str) -> list[str]:
    """Return the ids of new commits: each patch of `series` on `base`, and its tests."""
    top = commit_series(tree, series, base)
    *patches, _ = git(tree, "rev-list", "--reverse", f"{base}..{top}").split()
    # Without the record of what was applied: something else will be.
    message = (
        f"Placed the overlay's tests.\n\nOverlay-Tests: {' '.join(series.test_apps)}"
    )
    with _Index(tree, top) as index:
        return [*patches, index.commit(message, patches[-1])]


def _for_line(
    tree: Path,
    commits: list[str],
    source: str,
    target: str,
    with_note: Callable[["_Index", str], None],
) -> list[str]:
    """
    Return `commits` with the versions of the line `source` replaced by `target`.

    The first one is the base of the others: its versions stay. `with_note` puts the
    release note where it belongs, given an index and the commit that it is of.
    """
    if source == target:
        return commits
    base, new = commits[0], []
    for commit in commits:
        with _Index(tree, commit) as index:
            index.replace_versions(base, commit, source, target)
            with_note(index, commit)
            message = _message(tree, commit)
            new.append(index.commit(message, *new[-1:], like=commit))
    return new


class _Index:
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
        blob = self.git("rev-parse", f":{_notes(source)}").strip()
        self._put(blob, target)
        self.git("rm", "--cached", "--quiet", "--", _notes(source))

    def place_note(
        self, base: str, commit: str, source: str, target: str, name: str
    ) -> None:
        """
        Move what `commit` adds to the release notes of `base` to those of `target`.

        `target` is a commit, `name` its line. The notes of `source` are as in `base`.
        """
        text = git(self.tree, "cat-file", "blob", f"{target}:{_notes(name)}")
        diff = git(self.tree, "diff", "-U0", base, commit, "--", _notes(source))
        new = git(self.tree, "cat-file", "blob", f"{commit}:{_notes(source)}")
        for start, added in _added(diff):
            text = placed(text, added, heading(new.splitlines(), start))
        blob = git(self.tree, "hash-object", "-w", "--stdin", stdin=text).strip()
        self._put(blob, name)
        old = git(self.tree, "rev-parse", f"{base}:{_notes(source)}").strip()
        self._put(old, source)

    def _put(self, blob: str, line: str) -> None:
        self.git(
            "update-index", "--add", "--cacheinfo", f"100644,{blob},{_notes(line)}"
        )


def _notes(line: str) -> str:
    return f"docs/releases/{line}.txt"


def _added(diff: str) -> list[tuple[int, list[str]]]:
    """Return the lines that each hunk of a diff -U0 adds, and where they begin."""
    found: list[tuple[int, list[str]]] = []
    for line in diff.splitlines():
        if hunk := re.match(r"@@ -\S+ \+(\d+)", line):
            found.append((int(hunk[1]), []))
        elif found and line.startswith("+"):
            found[-1][1].append(line[1:])
    return found


def heading(lines: list[str], number: int) -> str:
    """Return the title of the section that the line of that number, from 1, is in."""
    for title, under in zip(
        reversed(lines[: number - 1]), reversed(lines[1:number]), strict=True
    ):
        if _underlines(title, under):
            return title
    return ""


def placed(text: str, added: list[str], title: str) -> str:
    """
    Return release notes with lines added at the end of the section with that title.

    Where there is none of that title, they go to the end.
    """
    lines = text.splitlines()
    headings = [
        number
        for number in range(len(lines) - 1)
        if _underlines(lines[number], lines[number + 1])
    ]
    starts = [number for number in headings if lines[number] == title]
    after = [number for number in headings if starts and number > starts[-1]]
    end = after[0] if after else len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    body = "\n".join(added).strip("\n").split("\n")
    rest = lines[end:]
    return "\n".join([*lines[:end], "", *body, *rest]) + "\n"


def _underlines(title: str, under: str) -> bool:
    return bool(title.strip()) and re.fullmatch(r"([=\-~])\1{2,}", under) is not None


def _merged(
    tree: Path, base: str, ours: str, theirs: str, labels: tuple[str, str]
) -> tuple[str, Counter[tuple[str, str]]]:
    """
    Return the tree that merges the files of two commits, and what conflicts in it.

    A conflict is a file, and the lines from marker to marker. Where git makes no
    markers, as if one side has deleted the file, it is what the sides have. The
    markers have the labels, so that the same conflict always is the same text.
    """
    # Before git 2.40 the base can't be given: it is the parent of both.
    parent = _commit_tree(tree, base)
    refs = [f"refs/heads/{label}" for label in labels]
    for ref, commit in zip(refs, (ours, theirs), strict=True):
        git(tree, "update-ref", ref, _commit_tree(tree, commit, "-p", parent))
    try:
        said = git(tree, "merge-tree", "--write-tree", "--no-messages", "-z", *labels)
    except GitError as error:
        if not error.stdout:
            raise
        said = error.stdout
    for ref in refs:
        git(tree, "update-ref", "-d", ref)
    merged, *entries = said.split("\0")
    sides: dict[str, str] = {}
    for entry in filter(None, entries):
        side, file = entry.split("\t", 1)
        sides[file] = sides.get(file, "") + side
    conflicts: Counter[tuple[str, str]] = Counter()
    for file, both in sides.items():
        text = git(tree, "cat-file", "--batch", stdin=f"{merged}:{file}\n")
        found = re.findall(r"^<{7} .*?^>{7} ", text, re.DOTALL | re.MULTILINE)
        conflicts.update((file, conflict) for conflict in found or [both])
    return merged, conflicts


def _commit_tree(tree: Path, commit: str, *options: str) -> str:
    """Return the id of a commit of the files of `commit` that is for a merge only."""
    files = f"{commit}^{{tree}}"
    return git(tree, "commit-tree", "-m", "Merged", *options, files).strip()


def _rebase(tree: Path, todo: dict[str, list[str]]) -> None:
    """
    Let git rebase pick the commits in `todo`; raise Conflict if the user has to help.

    It also stops at a commit that has conflicts in files of its own, given as a list.
    """
    with TemporaryDirectory(prefix="django-overlay-") as folder:
        file = Path(folder, "todo")
        file.write_text("".join(_steps(tree, *item) for item in todo.items()))
        editor = {
            "GIT_EDITOR": "true",
            "GIT_SEQUENCE_EDITOR": f"cp {shlex.quote(str(file))}",
        }
        options = ("--interactive", "--empty=keep", "--reschedule-failed-exec")
        try:
            git(tree, "rebase", *options, "HEAD", env=editor)
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
