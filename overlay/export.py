"""Write the commits of an applied branch back into patches/ and django_tests/."""

import re
from pathlib import Path

from overlay.apply import test_files
from overlay.checkout import (
    DIFF_OPTIONS,
    Commit,
    commits_since,
    enumeration,
    has_repository,
    outside_tests,
    require_quiet,
    series_base,
    test_apps,
    uninterrupted,
)
from overlay.errors import OverlayError
from overlay.git import GitError, decode, encode, git
from overlay.series import (
    TRAILERS,
    Line,
    django_version,
    patch_subject,
    trailers,
)

# With DIFF_OPTIONS and the pinned configuration: a patch has the same bytes
# wherever and whenever it is written.
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


def export(tree: Path, line: Line, tests: Path) -> list[Path]:
    """
    Make the patches of `line` and the test apps in `tests` what `tree` has committed.

    Each commit above the base of the series becomes a patch of what it changes
    outside of the tests. A commit whose subject is that of a patch keeps its file
    name. Return the files that changed, among them the ones that were removed.

    Raise OverlayError, having written nothing, if `tree` has uncommitted work, a
    commit lacks its reason or a trailer, or a file would be overwritten whose
    contents git has not stored.
    """
    changed = exported(tree, line, tests)
    _require_stored(line.directory, changed)
    with uninterrupted():
        for path, content in changed.items():
            _write(path, content)
    return sorted(changed)


def exported(tree: Path, line: Line, tests: Path) -> dict[Path, bytes | None]:
    """
    Return what export() would write, by file, with None for what it would remove.

    Raise OverlayError as it does, except for files that it would overwrite.
    """
    tree = tree.resolve()
    version = django_version(tree)
    if version != line.release:
        raise OverlayError(
            f"The {line.name} series is kept on Django {line.release}; "
            f"{tree} is Django {version}."
        )
    if not has_repository(tree):
        raise OverlayError(f"The {line.name} series is not applied to {tree}.")
    require_quiet(tree)
    commits = commits_since(tree, series_base(tree))
    if not commits:
        raise OverlayError(f"The {line.name} series is not applied to {tree}.")
    apps = test_apps(commits)
    new = _patches(tree, line, commits, apps) | _tests(tree, apps, tests)
    return {
        path: content
        for path, content in new.items()
        if content != (path.read_bytes() if path.is_file() else None)
    }


def _patches(
    tree: Path, line: Line, commits: list[Commit], apps: list[str]
) -> dict[Path, bytes | None]:
    """Return the new contents of patches/<line>/, with None for what goes away."""
    names = {patch_subject(decode(p.read_bytes())): p.name for p in line.patches}
    new: dict[Path, bytes | None] = dict.fromkeys(line.patches)
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
        mail = git(
            tree,
            "format-patch",
            *MAIL_OPTIONS,
            *DIFF_OPTIONS,
            f"{commit.id}^..{commit.id}",
            "--",
            *outside_tests(apps),
        )
        new[line.directory / name] = encode(mail)
    series = line.directory / "series"
    return new | {series: encode(reordered(decode(series.read_bytes()), order))}


def _require_documented(commit: Commit) -> None:
    found = trailers(commit.message)
    missing = [name for name in TRAILERS if not found.get(name)]
    if missing:
        raise OverlayError(f"{commit} lacks the trailer {enumeration(missing)}.")
    paragraphs = commit.message.strip().split("\n\n")
    if len(paragraphs) < 3:
        raise OverlayError(f"{commit} lacks a reason between subject and trailers.")


def _tests(tree: Path, apps: list[str], tests: Path) -> dict[Path, bytes | None]:
    """Return the new contents of the test apps, with None for what goes away."""
    new: dict[Path, bytes | None] = {}
    for app in apps:
        new |= dict.fromkeys(test_files(tests, app))
        listed = git(tree, "ls-tree", "-r", "-z", "HEAD", f"tests/{app}/")
        if not listed:
            raise OverlayError(
                f"A trailer names the test app {app}; it is not in HEAD."
            )
        for entry in listed.split("\0")[:-1]:
            details, name = entry.split("\t")
            content = encode(git(tree, "cat-file", "blob", details.split()[2]))
            new[tests / Path(name).relative_to("tests")] = content
    return new


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
    summary = re.sub(r"^(\[.+?\] )?((Fixed|Refs) #[\d, #]+ -- )?", "", subject)
    return re.sub(r"[^a-z0-9]+", "-", summary.lower()).strip("-")


def reordered(series: str, names: list[str]) -> str:
    """
    Return the contents of a `series` file with `names` in their order.

    The comments and blank lines above a name stay with it.
    """
    above: dict[str, str] = {}
    pending = ""
    for line in series.splitlines(keepends=True):
        pending += line
        name = line.strip()
        if name and name[0] != "#":
            above[name], pending = pending, ""
    return "".join(above.get(name, f"{name}\n") for name in names) + pending
