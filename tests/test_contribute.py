"""A branch for Django's main: of a series of a tiny Django, and of ours."""

import os
from pathlib import Path

import pytest

from overlay import sdist
from overlay.contribute import (
    contribute,
    run_changed_tests,
    without_regression_tags,
)
from overlay.errors import OverlayError
from overlay.export import export
from overlay.rebase import Conflict
from overlay.series import Series, candidates, read_all

from .conftest import edit, executable, files, git, pack, run_overlay, snapshot, write
from .test_carry import BODY, go_on, write_release

TAGGED = """\
from django.test import TestCase, tag

from forks.utils import fork


@tag("regression")
class Tests(TestCase):
    pass
"""
UNTAGGED = """\
from django.test import TestCase

from forks.utils import fork


class Tests(TestCase):
    pass
"""
NOTES = """\
Title
=====

What's new
----------

Miscellaneous
~~~~~~~~~~~~~

* ...

.. _gone-6.2:

Deprecated
==========
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("series") / "cache"


@pytest.fixture(scope="module")
def series(cache) -> Series:
    """A 6.1 series of three patches, each with tests, and one that Django has."""
    tmp_path = cache.parent
    source = tmp_path / "sources/django-6.1.3"
    write_release(source, "6.1.3")
    home = tmp_path / "overlay"
    sha256 = pack(source, cache / "django-6.1.3.tar.gz")
    write(
        home / "patches/6.1/BASE",
        f'release = "6.1.3"\nrequires_python = ">=3.12"\n[sha256]\n"6.1.3" = "{sha256}"\n',
    )
    write(home / "patches/6.1/series", "")
    git(home, "init", "-q")
    git(home, "add", "--all")
    git(home, "commit", "-q", "-m", "No series yet")
    tree = tmp_path / "first"
    write_release(tree, "6.1.3")
    git(tree, "init", "-q")
    git(tree, "add", "--all")
    git(tree, "commit", "-q", "-m", "Base")
    utils, notes = tree / "django/db/utils.py", tree / "docs/releases/6.1.txt"
    edit(utils, "line_9 = 9\n", "line_9 = 'nine'\n")
    edit(tree / "docs/ref.txt", "End\n", "New\n\n.. versionadded:: 6.1\n\nEnd\n")
    edit(notes, "* Old in 6.1.\n", "* Old in 6.1.\n\n* Forks.\n")
    write(tree / "tests/forks/tests.py", "forks = True\n")
    write(tree / "tests/forks/utils.py", "fork = True\n")
    commit_patch(tree, "Refs #31637 -- Forked them.", "forks")
    edit(utils, "line_20 = 20\n", "line_20 = 'x'\n")
    write(tree / "tests/views/tests.py", "views = True\n")
    commit_patch(tree, "Ran them.", "views", status="Accepted 123")
    edit(utils, "line_30 = 30\n", "line_30 = 'x'\n")
    edit(notes, "* Forks.\n", "* Forks.\n\n* Threads.\n")
    write(tree / "tests/threads/tests.py", TAGGED)
    write(tree / "tests/threads/third_party/tests.py", "gevent = True\n")
    commit_patch(tree, "Refs #9878, #1 -- Closed them.", "threads")
    edit(notes, "* Forks.\n", "* Forks\n  again.\n")
    write(tree / "tests/notes/tests.py", "notes = True\n")
    commit_patch(tree, "[6.1.x] Fixed #9878 -- Noted it.", "notes")
    export(tree, read_all(home)[0])
    return read_all(home)[0]


def commit_patch(tree: Path, subject: str, app: str, status: str = "Pending") -> None:
    git(tree, "add", "--all")
    trailers = f"Upstream-Status: {status}\nTicket: #9878\nDrop-When: it\n  is there."
    message = f"{subject}\n\nNobody knew.\n\n{trailers}\nOverlay-Tests: {app}\n"
    git(tree, "commit", "-q", "-F", "-", stdin=message)


@pytest.fixture
def main(tmp_path) -> Path:
    """A checkout of Django's main, with work that isn't committed, and its user."""
    return write_main(tmp_path / "django")


def write_main(
    tree: Path, version: str = "(6, 2, 0", notes: str = "6.2", **changes: str
) -> Path:
    write_release(tree, "6.1.3", line_35="0", **changes)
    write(tree / "django/__init__.py", f'VERSION = {version}, "alpha", 0)\n')
    write(tree / f"docs/releases/{notes}.txt", NOTES)
    git(tree, "init", "-q", "-b", "main")
    git(tree, "config", "user.name", "Zoë User")
    git(tree, "config", "user.email", "zoe@example.com")
    git(tree, "add", "--all")
    git(tree, "commit", "-q", "-m", "Main")
    edit(tree / "django/db/utils.py", "line_0 = 0\n", "line_0 = 'mine'\n")
    write(tree / "staged.txt", "staged\n")
    git(tree, "add", "staged.txt")
    write(tree / "untracked.txt", "untracked\n")
    return tree


def on_main(tree: Path, *names: str, series: Series, cache: Path, **options) -> Path:
    """Make the branch ticket_36999, and return its worktree."""
    folder = tree.with_name("django-ticket_36999")
    contribute(
        tree, series, 36999, "ticket_36999", folder, names, cache=cache, **options
    )
    return folder


@pytest.fixture
def made(series, cache):
    """Return a function that makes the branch."""

    def make(tree: Path, *names: str, **options) -> Path:
        return on_main(tree, *names, series=series, cache=cache, **options)

    return make


def log(tree: Path, form: str) -> list[str]:
    return git(tree, "log", "--reverse", f"--format={form}", "main..HEAD").splitlines()


def work(tree: Path) -> dict[str, object]:
    """All that the user has: the files, the index, the branch and HEAD."""
    return {
        name: found
        for name, found in snapshot(tree).items()
        if not name.startswith(".git/")
        or name in (".git/HEAD", ".git/index", ".git/refs/heads/main", ".git/config")
    }


def refs(tree: Path) -> str:
    return git(tree, "for-each-ref") + git(tree, "worktree", "list")


# The branch


def test_each_patch_becomes_a_commit_for_django(made, main):
    before = work(main)
    folder = made(main)
    assert log(folder, "%s") == [
        "Refs #36999 -- Forked them.",
        "Refs #36999 -- Closed them.",
        "Fixed #36999 -- Noted it.",
    ]
    assert [*filter(None, log(folder, "%b"))] == ["Nobody knew."] * 3
    assert {*log(folder, "%cn <%ce>")} == {"Zoë User <zoe@example.com>"}
    assert git(main, "rev-parse", "ticket_36999") == git(folder, "rev-parse", "HEAD")
    text = (folder / "django/db/utils.py").read_text()
    for line in ("9 = 'nine'", "20 = 20", "30 = 'x'", "35 = 0"):
        assert f"line_{line}\n" in text
    assert work(main) == before


def test_versions_and_notes_are_those_of_the_next_release(made, main):
    folder = made(main)
    assert (folder / "docs/ref.txt").read_text() == (
        "Reference\n\n.. versionadded:: 6.1\n\n    In 6.1.\n\n"
        "New\n\n.. versionadded:: 6.2\n\nEnd\n"
    )
    assert (folder / "docs/releases/6.2.txt").read_text() == NOTES.replace(
        "* ...", "* Forks\n  again.\n\n* Threads."
    )
    assert not git(folder, "diff", "main", "HEAD", "--", "docs/releases/6.1.txt")


def test_the_tests_come_without_what_django_has_no_dependency_for(made, main):
    folder = made(main)
    new = git(folder, "diff", "--name-only", "main", "HEAD", "--", "tests").split()
    apps = ["forks/tests", "forks/utils", "notes/tests", "threads/tests"]
    assert new == [f"tests/{app}.py" for app in apps]
    assert (folder / "tests/threads/tests.py").read_text() == UNTAGGED
    assert git(folder, "diff", "--name-only", "HEAD^").split() == [
        "docs/releases/6.2.txt",
        "tests/notes/tests.py",
    ]


def test_named_patches_are_taken_alone(made, main):
    folder = made(main, "noted-it", "forked-them")
    assert log(folder, "%s") == [
        "Refs #36999 -- Forked them.",
        "Fixed #36999 -- Noted it.",
    ]
    notes = (folder / "docs/releases/6.2.txt").read_text()
    assert notes == NOTES.replace("* ...", "* Forks\n  again.")
    assert "line_30 = 30\n" in (folder / "django/db/utils.py").read_text()


def test_a_note_that_changes_one_of_another_patch_is_taken_whole(made, main):
    notes = (made(main, "noted-it") / "docs/releases/6.2.txt").read_text()
    assert notes == NOTES.replace("* ...", "* Forks\n  again.")


def test_patches_can_be_squashed(made, main):
    folder = made(main, "forked-them", "closed-them", squash=True)
    assert [*filter(None, log(folder, "%B"))] == [
        *["Fixed #36999 -- Forked them.", "Nobody knew."],
        *["Closed them.", "Nobody knew."],
    ]
    text = (folder / "django/db/utils.py").read_text()
    assert "line_9 = 'nine'\n" in text
    assert "line_30 = 'x'\n" in text


def test_the_next_release_may_have_the_number_of_a_year(made, tmp_path):
    folder = made(
        write_main(tmp_path / "django", "VersionTuple(2028, 0, 0", notes="2028")
    )
    assert ".. versionadded:: 2028\n" in (folder / "docs/ref.txt").read_text()
    assert "* Threads.\n" in (folder / "docs/releases/2028.txt").read_text()


# Conflicts, and what is refused


def test_a_conflict_is_left_to_git_in_the_worktree(made, tmp_path):
    tree = write_main(tmp_path / "django", line_9="99")
    before = work(tree)
    with pytest.raises(
        Conflict, match=r"stopped in .+_36999, with conflicts in django"
    ):
        made(tree)
    assert work(tree) == before
    folder = tmp_path / "django-ticket_36999"
    assert "<<<<<<<" in (folder / "django/db/utils.py").read_text()
    with pytest.raises(OverlayError, match="a branch ticket_36999 already"):
        made(tree)
    solved = BODY.replace("= 9\n", "= 'NINE'\n").replace("= 35\n", "= 0\n")
    write(folder / "django/db/utils.py", solved)
    go_on(folder)
    assert log(folder, "%s")[-1] == "Fixed #36999 -- Noted it."
    assert git(folder, "branch", "--show-current") == "ticket_36999"
    assert "line_30 = 'x'\n" in (folder / "django/db/utils.py").read_text()


@pytest.fixture
def refused(made):
    """Return a function that makes sure that nothing is made."""

    def check(tree: Path, *names: str, match: str) -> None:
        before = work(tree), refs(tree)
        with pytest.raises(OverlayError, match=match):
            made(tree, *names)
        assert (work(tree), refs(tree)) == before
        assert not (tree.parent / "django-ticket_36999").exists()

    return check


def test_a_branch_of_that_name_is_kept(refused, main):
    git(main, "branch", "ticket_36999")
    refused(main, match="has a branch ticket_36999 already: .+ --branch")


def test_a_folder_of_that_name_is_kept(made, main, tmp_path):
    write(tmp_path / "django-ticket_36999/mine", "mine\n")
    with pytest.raises(OverlayError, match="exists, where the worktree"):
        made(main)
    assert files(tmp_path / "django-ticket_36999").keys() == {"mine"}
    assert not git(main, "branch", "--list", "ticket_36999")


def test_test_apps_of_that_name_are_kept(refused, main):
    write(main / "tests/threads/tests.py", "theirs\n")
    git(main, "add", "tests")
    git(main, "commit", "-q", "-m", "Theirs", "tests")
    refused(main, match="has its own tests/threads")


def test_tests_that_need_others_are_refused(refused, made, main):
    refused(main, "closed-them", match=r"tests of closed-them use .+ of forked-them")
    write(main / "tests/forks/utils.py", "there = True\n")
    git(main, "add", "tests")
    git(main, "commit", "-q", "-m", "Theirs", "tests")
    made(main, "closed-them")


def test_a_branch_of_a_name_that_git_refuses_is_refused(series, cache, main, tmp_path):
    with pytest.raises(OverlayError, match="'a b' is not a valid branch name"):
        contribute(main, series, 36999, "a b", tmp_path / "new", cache=cache)


def test_an_unknown_patch_is_refused(refused, main):
    refused(main, "closed", match=r"no patch closed; there are forked-them, ran-them")


@pytest.mark.parametrize("version", ["(6, 1, 4", "(5, 2, 0"])
def test_a_line_that_is_not_newer_is_refused(refused, tmp_path, version):
    tree = write_main(tmp_path / "django", version)
    refused(tree, match="is for its main branch, which is newer than 6.1")


def test_release_notes_that_lack_are_said(refused, tmp_path):
    tree = write_main(tmp_path / "django", "(6, 3, 0")
    refused(tree, match=r"has no docs/releases/6\.3\.txt")


def test_what_is_no_checkout_is_refused(made, tmp_path):
    write_release(tmp_path / "django", "6.2.0")
    with pytest.raises(OverlayError, match="is not a git checkout"):
        made(tmp_path / "django")


def test_git_has_to_know_the_user(refused, main, monkeypatch):
    git(main, "config", "--unset", "user.name")
    git(main, "config", "--unset", "user.email")
    git(main, "config", "user.useConfigOnly", "true")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    refused(main, match="git doesn't know who you are")


def test_an_interruption_leaves_nothing(refused, main, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise OverlayError("Interrupted.")

    monkeypatch.setattr("overlay.contribute.rebase", interrupted)
    refused(main, match="Interrupted")


def test_what_fails_leaves_nothing(refused, main, tmp_path):
    executable(main / "false.sh", "exit 1")
    git(main, "add", "false.sh")
    git(main, "commit", "-q", "-m", "More", "false.sh")
    git(main, "config", "filter.fails.smudge", "false")
    git(main, "config", "filter.fails.required", "true")
    write(main / ".git/info/attributes", "*.sh filter=fails\n")
    refused(main, match="worktree failed")


# Tests without tags


FOLDED = """\
from long.enough.to.be.folded import (
    an_import_with_a_long_name,
    another_import_with_a_long_name,
    tag,
)
"""
MADE = """\
from x import tag


def on(*names):
    return tag("regression") if names else lambda x: x


class A:
    @on("mysql")
    def f(self): pass

    @on
    async def g(self): pass

    @tag("regression")
    def h(self): pass
"""
UNMADE = """\


class A:
    def f(self): pass

    async def g(self): pass

    def h(self): pass
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (TAGGED, UNTAGGED),
        (
            TAGGED.replace("@tag", '@tag("a")\n@tag'),
            TAGGED.replace('"regression"', '"a"'),
        ),
        (MADE, UNMADE),
        (FOLDED, FOLDED.replace("    tag,\n", "")),
        ("from .x import (\n    a as b,\n    tag,\n)\n", "from .x import a as b\n"),
    ],
)
def test_regression_tags_go(source, expected):
    assert without_regression_tags({Path("a"): source}) == {Path("a"): expected}


def test_what_makes_regression_tags_is_not_imported_from_elsewhere():
    user = """\
from .tests import {}A


class B(A):
{}    def f(self): pass
"""
    sources = {
        Path("tests"): MADE,
        Path("user"): user.format("on, ", '    @on("mysql")\n'),
    }
    assert without_regression_tags(sources) == {
        Path("tests"): UNMADE,
        Path("user"): user.format("", ""),
    }


# Our series, and the command


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    """
    A main of our own making: a release with the number and the notes of the next.

    It's one whose tests run on this Python.
    """
    series, release = candidates(None, read_all())[0]
    tree = sdist.repository(series, release, tmp_path_factory.mktemp("main"))
    tree = tree.rename(tree.with_name("django"))
    version = f'({", ".join(release.split("."))}, "final", 0)'
    edit(tree / "django/__init__.py", version, '(6, 2, 0, "alpha", 0)')
    write(tree / "docs/releases/6.2.txt", NOTES)
    edit(tree / "django/db/utils.py", "import pkgutil\n", "import os\nimport pkgutil\n")
    git(tree, "config", "user.name", "Zoë User")
    git(tree, "config", "user.email", "zoe@example.com")
    git(tree, "add", "--all")
    git(tree, "commit", "-q", "-m", "Main")
    return tree


FAILING = """\
import os

from django.test import SimpleTestCase


class Tests(SimpleTestCase):
    def test(self):
        self.fail()
"""
REPOSITORY = Path(__file__).parent.parent


def test_our_series_goes_to_main(ours):
    name = "leave-atomic-blocks-of-closed-connections"
    options = ("--ticket=9878", f"--patch={name}", "--branch=atomic/fix", ours)
    done = run_overlay(REPOSITORY, "contribute", *options)
    assert not done.returncode, done.stderr
    folder = ours.with_name("django-atomic-fix")
    assert f"{folder} has the branch atomic/fix of {ours}" in done.stdout
    assert "#9878 is closed as invalid" in done.stdout
    env = {"DJANGO_SETTINGS_MODULE": "settings.test_sqlite", "PYTHONPATH": REPOSITORY}
    done = run_overlay(REPOSITORY, "check-commit", folder, env=os.environ | env)
    assert not done.returncode, done.stderr
    assert "Ran 3 tests" in done.stderr
    write(folder / "tests/closed_transactions/test_failing.py", FAILING)
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "--amend", "--no-edit")
    done = run_overlay(REPOSITORY, "check-commit", folder)
    assert done.returncode == 1
    assert "test_failing.py:1:1: F401" in done.stderr
    assert "FAILED (failures=1)" in done.stderr


def test_a_commit_without_test_apps_has_no_tests_to_run(main):
    write(main / "tests/templates/page.html", "page\n")
    git(main, "add", "tests")
    git(main, "commit", "-q", "-m", "Page", "tests")
    assert run_changed_tests(main) == 0


def test_a_ticket_is_needed(main):
    done = run_overlay(REPOSITORY, "contribute", main)
    assert done.returncode == 1
    assert "pull request whose ticket isn't accepted" in done.stderr
