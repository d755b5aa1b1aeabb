"""Write the commits of an applied branch back into patches/ and django_tests/."""

import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from overlay import testapps
from overlay.apply import commit_series
from overlay.checkout import (
    Commit,
    commits_since,
    enumeration,
    has_repository,
    require_quiet,
    series_base,
    test_apps,
)
from overlay.errors import OverlayError
from overlay.git import GitError, decode, encode, git
from overlay.mail import written
from overlay.series import (
    TRAILERS,
    Series,
    django_version,
    patch_subject,
    read_text,
    trailers,
)
from overlay.signals import uninterrupted
from overlay.status import applied_revision, series_revision

# A ref in the tree to what the last export wrote, beside what apply() has recorded.
EXPORTED = "refs/django-overlay/exported"

# The lines around a conflict, as an extended regular expression.
MARKERS = "^(<<<<<<<|>>>>>>>) "

# What Django has in a subject before the summary.
SUBJECT_PREFIX = r"^(\[.+?\] )?((Fixed|Refs) #[\d, #]+ -- )?"


def export(tree: Path, series: Series) -> list[Path]:
    """
    Make the patches and the test apps of `series` what `tree` has committed.

    Each commit above the base of the series becomes a patch of what it changes
    outside of the tests. A commit whose subject is that of a patch keeps its file
    name. Return the files that changed, among them the ones that were removed.

    Raise OverlayError, having written nothing, if `tree` has uncommitted work, a
    commit lacks its reason or a trailer or has conflict markers, a file would be
    overwritten whose contents git has not stored, or the series is not the one that
    was applied to `tree`, with all of its patches.
    """
    changed = exported(tree, series)
    _require_stored(series.directory, changed)
    if changed:
        _require_same_series(tree, series)
        _require_same_tree(tree, series, changed)
    with uninterrupted():
        for path, content in changed.items():
            _write(path, content)
    if changed:
        revision = git(
            tree, "hash-object", "-w", "--stdin", stdin=series_revision(series)
        ).strip()
        git(tree, "update-ref", EXPORTED, revision)
    return sorted(changed)


def exported(tree: Path, series: Series) -> dict[Path, bytes | None]:
    """
    Return what export() would write, by file, with None for what it would remove.

    Raise OverlayError as it does, except for files that it would overwrite.
    """
    tree = tree.resolve()
    version = django_version(tree)
    if version != series.release:
        raise OverlayError(
            f"The {series.name} series is kept on Django {series.release}; "
            f"{tree} is Django {version}."
        )
    if not has_repository(tree):
        raise OverlayError(f"The {series.name} series is not applied to {tree}.")
    require_quiet(tree)
    base = series_base(tree)
    commits = commits_since(tree, base)
    if not commits:
        raise OverlayError(f"The {series.name} series is not applied to {tree}.")
    _require_solved(tree, base)
    apps = test_apps(commits)
    new = _patches(tree, base, series, commits) | testapps.exported(tree, apps, series)
    return {
        path: content
        for path, content in new.items()
        if content != (path.read_bytes() if path.is_file() else None)
    }


def _patches(
    tree: Path, base: str, series: Series, commits: list[Commit]
) -> dict[Path, bytes | None]:
    """Return the new contents of patches/<line>/, with None for what goes away."""
    names = {patch_subject(patch): patch.name for patch in series.patches}
    new: dict[Path, bytes | None] = dict.fromkeys(series.patches)
    outside = testapps.outside(test_apps(commits))
    order = []
    for commit in commits:
        if commit.is_merge:
            raise OverlayError(f"{commit} is a merge, which cannot be a patch.")
        if not commit.content:
            continue
        _require_documented(commit)
        name = names.get(commit.subject) or f"{slug(commit.subject)}.patch"
        if name in order:
            raise OverlayError(f"Two commits would become {name}: reword one subject.")
        order.append(name)
        new[series.directory / name] = encode(written(tree, commit.id, base, outside))
    return new | {series.order: encode(reordered(read_text(series.order), order))}


def _require_same_series(tree: Path, series: Series) -> None:
    """Raise OverlayError if the files of `series` are of another revision."""
    commits = commits_since(tree, series_base(tree))
    applied = applied_revision(commits)
    last = git(tree, "for-each-ref", "--format=%(objectname)", EXPORTED).strip()
    known = {applied, git(tree, "cat-file", "blob", last) if last else None}
    if (
        applied
        == series_revision(replace(series, extras=False))
        != series_revision(series)
    ):
        raise OverlayError(
            f"The {series.name} series was applied to {tree} without its extra patches, "
            "and an export would drop them: `django-overlay apply --replace` adds them."
        )
    if applied and series_revision(series) not in known:
        raise OverlayError(
            f"The {series.name} series has changed since it was applied to {tree}, and "
            "an export would undo that: check out the revision that was applied, export "
            "there, and merge."
        )


def _require_same_tree(
    tree: Path, series: Series, changed: dict[Path, bytes | None]
) -> None:
    """Raise OverlayError if the exported files, applied, give another tree."""
    with TemporaryDirectory(prefix="django-overlay-") as folder:
        new = replace(
            series, directory=Path(folder, "patches"), tests=Path(folder, "tests")
        )
        files = {path: path.read_bytes() for path in [series.order, *series.patches]}
        # A new app is not named by the old patches, but may be there for another line.
        for app in test_apps(commits_since(tree, series_base(tree))):
            for path in testapps.files(series.tests, app):
                files[path] = path.read_bytes()
        for path, content in (files | changed).items():
            if content is not None:
                inside = path.is_relative_to(series.tests)
                _write(
                    new.tests / path.relative_to(series.tests)
                    if inside
                    else new.directory / path.name,
                    content,
                )
        commit = commit_series(tree, new, series_base(tree))
        if different := git(tree, "diff", "--name-only", commit, "HEAD").split():
            raise OverlayError(
                f"The exported patches would give another {enumeration(different)} than "
                f"in {tree}: its lines are there more than once, or are changed and "
                "changed back on the way."
            )


def _require_solved(tree: Path, base: str) -> None:
    """Raise OverlayError if a commit since `base` has conflict markers."""
    walk = ("log", "--first-parent", "--reverse", "--format=%h (%s)")
    if marked := git(tree, *walk, f"-G{MARKERS}", f"{base}..HEAD").splitlines():
        raise OverlayError(
            f"{marked[0]} has conflict markers: edit it, with `git rebase "
            f"--interactive {base[:10]}`."
        )


def _require_documented(commit: Commit) -> None:
    found = trailers(commit.message)
    missing = [name for name in TRAILERS if not found.get(name)]
    if missing:
        raise OverlayError(f"{commit} lacks the trailer {enumeration(missing)}.")
    paragraphs = commit.message.strip().split("\n\n")
    if len(paragraphs) < 3:
        raise OverlayError(f"{commit} lacks a reason between subject and trailers.")


def _require_stored(repository: Path, changed: dict[Path, bytes | None]) -> None:
    """
    Have git store the contents to write; raise OverlayError if it lacks the old ones.

    So whatever an export replaces, committed or left by the last export, can be
    had back from git; what somebody wrote by hand has to be committed first.
    """
    lost = [path for path in changed if path.is_file() and not _is_stored(path)]
    if lost:
        raise OverlayError(
            f"{enumeration(map(str, lost))} would be overwritten, and git does not "
            "have its contents: commit or stash them first."
        )
    for content in changed.values():
        if content is not None:
            git(repository, "hash-object", "-w", "--stdin", stdin=decode(content))


def _is_stored(path: Path) -> bool:
    blob = git(path.parent, "hash-object", "--no-filters", path.name).strip()
    try:
        git(path.parent, "cat-file", "-e", blob)
    except GitError:
        return False
    return True


def _write(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def slug(subject: str) -> str:
    """Return a commit's subject as a file name: "Fixed #1 -- Did it." as "did-it"."""
    summary = re.sub(SUBJECT_PREFIX, "", subject)
    return re.sub(r"[^a-z0-9]+", "-", summary.lower()).strip("-")


def reordered(order: str, names: list[str]) -> str:
    """
    Return the contents of a `series` file, `order`, with `names` in their order.

    The comments and blank lines above a name stay with it.
    """
    above: dict[str, str] = {}
    pending = ""
    for line in order.splitlines(keepends=True):
        pending += line
        name = line.strip()
        if name and name[0] != "#":
            above[name], pending = pending, ""
    return "".join(above.get(name, f"{name}\n") for name in names) + pending
