"""Make a branch of a series on a newer Django, for pull requests there."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from packaging.version import Version

from overlay import sdist, testapps
from overlay.carry import commit_release, patch_commits
from overlay.checkout import commit_message, enumeration, has_repository, head
from overlay.errors import OverlayError
from overlay.export import SUBJECT_PREFIX
from overlay.git import GitError, git, identity
from overlay.notes import Index, notes_of
from overlay.rebase import Conflict, rebase
from overlay.series import (
    Series,
    django_version,
    line_of,
    read_text,
    trailers,
    without_trailers,
)
from overlay.signals import uninterrupted

# The folder of a test app for what Django has no dependency for.
THIRD_PARTY = "third_party"

# What --red-green looks for.
REGRESSION = ast.unparse(ast.parse('tag("regression")'))

# Of Django's modules.
LINE_LENGTH = 88

# Patches of which Django has no need: what their Upstream-Status begins with.
SETTLED = ("Accepted", "Inappropriate")

# The ticket that the series is about.
INVALID = 9878

NOT_ACCEPTED = (
    "A script of Django's, scripts/pr_quality, closes a pull request whose ticket isn't "
    f"accepted, and #{INVALID} is closed as invalid: docs/upstream.md has what to write "
    "to have one accepted"
)


def contribute(
    tree: Path,
    series: Series,
    ticket: int,
    branch: str,
    folder: Path,
    names: Sequence[str] = (),
    *,
    squash: bool = False,
    cache: Path = sdist.CACHE,
) -> list[str]:
    """
    Make `branch` in the repository of `tree`: its HEAD with patches of `series` on top.

    `tree` is a checkout of a newer line of Django, such as its main branch. `names` are
    the patches, without ".patch"; by default, all that Django hasn't settled. Each
    becomes a commit for the Trac ticket of that number, or with `squash` all become one,
    as Django has it: versions, release notes and tests are at their place there, and
    nothing is left of the overlay. The committer is the user. Return the subjects.

    The branch is checked out in `folder`, a new worktree; `tree` isn't touched. Raise
    Conflict if the patches conflict with it: the user ends the git rebase in `folder`
    then. Raise OverlayError, having made nothing, if that can't be done.
    """
    if not has_repository(tree):
        raise OverlayError(f"{tree} is not a git checkout.")
    start = head(tree)
    line = _line(tree, series, start)
    patches = _chosen(series, names)
    apps = {patch: _apps(patch) for patch in patches}
    _require_place(tree, start, branch, folder, [a for p in patches for a in apps[p]])
    tests = {patch: _tests(series, apps[patch]) for patch in patches}
    _require_complete(tree, start, series, apps, tests)
    user = identity(tree)
    base = commit_release(tree, series, cache)
    commits = patch_commits(tree, series, base)[:-1]
    below = dict(zip(series.patches, [base, *commits], strict=False))
    made = dict(zip(series.patches, commits, strict=True))
    messages = _messages(tree, [made[patch] for patch in patches], ticket, squash)
    notes, todo = start, []
    for patch, message in zip(patches, messages, strict=True):
        before, after = below[patch], made[patch]
        with Index(tree, before) as index:
            index.replace_versions(base, before, series.name, line)
            index.place_note(before, before, series.name, notes, line)
            parent = index.commit(message, like=after)
        with Index(tree, after) as index:
            index.replace_versions(base, after, series.name, line)
            index.place_note(before, after, series.name, notes, line)
            for path, text in tests[patch].items():
                index.put(text, f"tests/{path}")
            notes = index.commit(message, parent, like=after)
        todo.append(notes)
    try:
        with uninterrupted():
            git(tree, "worktree", "add", "-b", branch, str(folder), start)
        rebase(folder, {commit: [] for commit in todo}, squash=squash, env=user)
    except Conflict:
        raise
    except BaseException:
        with uninterrupted():
            with suppress(GitError):  # git has removed it if it couldn't fill it
                git(tree, "worktree", "remove", "--force", str(folder))
            with suppress(GitError):
                git(tree, "update-ref", "-d", f"refs/heads/{branch}", start)
        raise
    subjects = git(folder, "log", "--reverse", "--format=%s", f"{start}..HEAD")
    return subjects.splitlines()


def run_changed_tests(tree: Path) -> int:
    """
    Run the test apps that HEAD of `tree` changes, and has, with Django's runner.

    The environment may name settings. Return the exit code, 0 if there are no such apps.
    """
    changed = git(tree, "diff", "--name-only", "HEAD^", "HEAD", "--", "tests/*/*")
    names = sorted({path.split("/")[1] for path in changed.split()})
    apps = [app for app in names if (tree / "tests" / app / "__init__.py").is_file()]
    if not apps:
        return 0
    path = filter(None, [str(tree), os.environ.get("PYTHONPATH")])
    return subprocess.run(
        [sys.executable, "runtests.py", "--parallel=1", *apps],
        check=False,
        cwd=tree / "tests",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
    ).returncode


def _line(tree: Path, series: Series, commit: str) -> str:
    """Return the name of the line of Django in `tree`: "6.2", or "2028"."""
    version = Version(django_version(tree))
    if version.release[:2] <= Version(series.name).release:
        raise OverlayError(
            f"{tree} is Django {version}: what is proposed to Django is for its main "
            f"branch, which is newer than {series.name}."
        )
    wanted = [notes_of(line_of(version)), notes_of(f"{version.major}")]
    found = git(tree, "ls-tree", "--name-only", commit, *wanted).split()
    if not found:
        raise OverlayError(f"{tree} has no {wanted[0]} for the release note.")
    return Path(found[0]).stem


def _chosen(series: Series, names: Sequence[str]) -> list[Path]:
    """Return the patches of these names in their order, or those to be proposed."""
    known = {patch.stem: patch for patch in series.patches}
    for name in names:
        if name not in known:
            raise OverlayError(
                f"The {series.name} series has no patch {name}; there are "
                f"{enumeration(known)}."
            )
    names = names or [
        name
        for name, patch in known.items()
        if not trailers(read_text(patch))["Upstream-Status"].startswith(SETTLED)
    ]
    return [patch for name, patch in known.items() if name in names]


def _apps(patch: Path) -> list[str]:
    return trailers(read_text(patch))["Overlay-Tests"].split()


def _require_place(
    tree: Path, commit: str, branch: str, folder: Path, apps: Iterable[str]
) -> None:
    """Raise OverlayError if something that is to be made is there already."""
    if git(tree, "branch", "--list", branch):
        raise OverlayError(
            f"{tree} has a branch {branch} already: name another one with --branch, or "
            f"delete it, and its worktree if it has one (`git worktree list`)."
        )
    if folder.exists():
        raise OverlayError(
            f"{folder} exists, where the worktree of {branch} would be: name another "
            "branch with --branch."
        )
    for app in apps:
        if git(tree, "ls-tree", commit, f"tests/{app}"):
            raise OverlayError(f"{tree} has its own tests/{app}.")


def _tests(series: Series, apps: Iterable[str]) -> dict[Path, str]:
    """Return the files of test apps, as Django would have them, by their paths."""
    return without_regression_tags(
        {
            file.relative_to(series.tests): read_text(file)
            for app in apps
            for file in testapps.files(series.tests, app)
            if THIRD_PARTY not in file.parts
        }
    )


def _require_complete(
    tree: Path,
    commit: str,
    series: Series,
    apps: dict[Path, list[str]],
    tests: dict[Path, dict[Path, str]],
) -> None:
    """Raise OverlayError if tests use those of a patch that isn't there."""
    there = {app for names in apps.values() for app in names}
    owners = {app: patch.stem for patch in series.patches for app in _apps(patch)}
    for patch, files in tests.items():
        imports = re.findall(r"^from (\w+)", "\n".join(files.values()), re.MULTILINE)
        for app in sorted({*imports} & {*owners} - there):
            if not git(tree, "ls-tree", commit, f"tests/{app}"):
                raise OverlayError(
                    f"The tests of {patch.stem} use those of {owners[app]}: name that "
                    "patch, too."
                )


def without_regression_tags(sources: dict[Path, str]) -> dict[Path, str]:
    """
    Return Python modules, by their paths, without what tags regression tests.

    It is tagged by decorators, and by functions in one of the modules that return such;
    these and their imports go.
    """
    makers = {
        maker.name
        for source in sources.values()
        for maker in _tag_makers(ast.parse(source))
    }
    return {path: _untagged(source, makers) for path, source in sources.items()}


def _tag_makers(module: ast.Module) -> list[ast.FunctionDef]:
    """Return the functions of a module that return a decorator for regression tests."""
    return [
        node
        for node in module.body
        if isinstance(node, ast.FunctionDef)
        and any(REGRESSION in ast.unparse(statement) for statement in node.body)
    ]


def _untagged(source: str, makers: set[str]) -> str:
    """Return Python source without tags, given the names of what makes them."""
    module = ast.parse(source)
    decorators = [
        decorator
        for node in ast.walk(module)
        for decorator in getattr(node, "decorator_list", [])
        if ast.unparse(decorator) == REGRESSION
        or ast.unparse(decorator).partition("(")[0] in makers
    ]
    source = _replaced(source, [*_tag_makers(module), *decorators])
    module = ast.parse(source)
    used = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    unused = {"tag", *makers} - used
    imports = [
        node
        for node in module.body
        if isinstance(node, ast.ImportFrom) and unused & {a.name for a in node.names}
    ]
    return _replaced(source, imports, unused)


def _replaced(source: str, nodes: Iterable[ast.AST], names: Container[str] = ()) -> str:
    """Return Python source without `nodes`, or without `names` that they import."""
    lines = source.splitlines(keepends=True)
    for node in sorted(nodes, key=lambda node: node.lineno, reverse=True):
        new = ""
        if isinstance(node, ast.ImportFrom):
            node.names = [name for name in node.names if name.name not in names]
            new = f"{ast.unparse(node)}\n" if node.names else ""
        if len(new) > LINE_LENGTH + 1:
            start, imported = new.rstrip().split(" import ")
            body = imported.replace(", ", ",\n    ")
            new = f"{start} import (\n    {body},\n)\n"
        lines[node.lineno - 1 : node.end_lineno] = [new]
    # Nothing else in Django's style has more than two blank lines.
    return re.sub(r"\n{4,}", "\n\n\n", "".join(lines))


def _messages(
    tree: Path, commits: Sequence[str], ticket: int, squash: bool
) -> list[str]:
    """
    Return the messages of commits as Django has them.

    The last one fixes the ticket. With `squash` each has what all of them say.
    """
    texts = [commit_message(tree, commit).partition("\n\n")[::2] for commit in commits]
    new = [
        f"{re.sub(SUBJECT_PREFIX, '', subject)}\n\n{without_trailers(body)}"
        for subject, body in texts
    ]
    words = ["Refs"] * (len(new) - 1) + ["Fixed"]
    if squash:
        words, new = ["Fixed"] * len(new), ["\n\n".join(new)] * len(new)
    return [f"{w} #{ticket} -- {m}" for w, m in zip(words, new, strict=True)]
