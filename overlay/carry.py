"""Take a series, or what changed in one, to another release or line of Django."""

import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.version import Version

from overlay import sdist
from overlay.apply import commit_series
from overlay.checkout import (
    BASE_DATE,
    commit_folder,
    commit_index,
    commit_message,
    create_repository,
    has_repository,
    head,
    series_base,
)
from overlay.errors import OverlayError
from overlay.git import GitError, git, require
from overlay.history import series_at
from overlay.notes import Index
from overlay.rebase import Conflict, rebase
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
        base = commit_release(tree, source, cache)
        commits = patch_commits(tree, source, base)

        def with_note(index: Index, commit: str) -> None:
            index.place_note(base, commit, source.name, target, name)

        picked = _for_line(tree, [base, *commits], source.name, name, with_note)
        rebase(tree, {commit: [] for commit in picked[1:]})


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
        base = commit_release(tree, source, cache)

        def with_note(index: Index, commit: str) -> None:
            index.move_note(source.name, target.name)

        def for_target(series: Series) -> dict[str, str]:
            commits = [base, *patch_commits(tree, series, base)]
            lines = (source.name, target.name)
            return _by_name(series, _for_line(tree, commits, *lines, with_note))

        top = head(tree)
        theirs = _by_name(target, [top, *patch_commits(tree, target, top)])
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
            like, message = new[name], commit_message(tree, new[name])
            if (
                name in old
                and name in theirs
                and commit_message(tree, old[name]) == message
            ):
                like, message = theirs[name], commit_message(tree, theirs[name])
            with Index(tree, merged) as index:
                top = index.commit(message, top, like=like)
            # What was solved in a patch is not asked for again in those above it.
            todo[top] = sorted({file for file, _ in conflicts - below})
            below = conflicts
        rebase(tree, todo | {new[TESTS]: []})


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
    carried = trailers(commit_message(tree, series_base(tree)))
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


def commit_release(tree: Path, series: Series, cache: Path) -> str:
    """Return the id of a new commit in `tree`: the release that `series` is kept on."""
    archive = sdist.fetch(series.release, series.sha256[series.release], cache)
    with TemporaryDirectory(prefix="django-overlay-") as folder:
        source = sdist.unpack(archive, Path(folder))
        return commit_folder(tree, source, f"Django {series.release}")


def patch_commits(tree: Path, series: Series, base: str) -> list[str]:
    """Return the ids of new commits: each patch of `series` on `base`, and its tests."""
    top = commit_series(tree, series, base)
    *patches, _ = git(tree, "rev-list", "--reverse", f"{base}..{top}").split()
    # Without the record of what was applied: something else will be.
    message = (
        f"Placed the overlay's tests.\n\nOverlay-Tests: {' '.join(series.test_apps)}"
    )
    with Index(tree, top) as index:
        return [*patches, index.commit(message, patches[-1])]


def _for_line(
    tree: Path,
    commits: list[str],
    source: str,
    target: str,
    with_note: Callable[[Index, str], None],
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
        with Index(tree, commit) as index:
            index.replace_versions(base, commit, source, target)
            with_note(index, commit)
            message = commit_message(tree, commit)
            new.append(index.commit(message, *new[-1:], like=commit))
    return new


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
