"""Series of a tiny Django with documentation, taken to other releases and lines."""

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest
from packaging.version import Version

from overlay.apply import apply
from overlay.carry import begun, carry_change, carry_series
from overlay.checkout import unfinished
from overlay.errors import OverlayError
from overlay.export import export
from overlay.notes import placed, titles
from overlay.rebase import Conflict
from overlay.review import review
from overlay.series import Series, line_of, patch_subject, read_all
from overlay.status import APPLIED, status

from .conftest import commit, edit, executable, files, git, pack, write

BODY = "".join(f"line_{number} = {number}\n" for number in range(40))
NOTES = """\
Title
=====

What's new
----------

* Genuine.

Miscellaneous
~~~~~~~~~~~~~

* Old{line}.

Deprecated
==========

* Nothing{line}.
"""


def write_release(tree: Path, release: str, **changes: str) -> None:
    """Write the tiny Django of a release; `changes` replaces lines of utils.py."""
    parsed = Version(release)
    line = line_of(parsed)
    stage = ("alpha", parsed.pre[1]) if parsed.pre else ("final", 0)
    version = (parsed.major, parsed.minor, parsed.micro, *stage)
    write(tree / "django/__init__.py", f"VERSION = {version}\n")
    body = BODY
    for name, value in changes.items():
        body = body.replace(f"{name} = {name[5:]}\n", f"{name} = {value}\n")
    write(tree / "django/db/utils.py", body)
    write(tree / f"docs/releases/{line}.txt", NOTES.replace("{line}", f" in {line}"))
    write(
        tree / "docs/ref.txt",
        f"Reference\n\n.. versionadded:: 6.1\n\n    In {line}.\n\nEnd\n",
    )
    write(tree / "tests/basic/tests.py", "basic = True\n")
    write(tree / "pyproject.toml", '[project]\nrequires-python = ">= 3.12"\n')


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def release(tmp_path, cache):
    """Return a function that makes a release, as a source distribution in the cache."""

    def make(number: str, **changes: str) -> str:
        tree = tmp_path / "sources" / f"django-{number}"
        write_release(tree, number, **changes)
        return pack(tree, cache / f"django-{number}.tar.gz")

    return make


@pytest.fixture
def home(tmp_path, release) -> Path:
    """A checkout of our repository, with a 6.1 series of two patches."""
    home = tmp_path / "overlay"
    write(
        home / "patches/6.1/BASE",
        "# The release.\n"
        'release = "6.1.3"\nrequires_python = ">=3.11"\n\n'
        f'# What was tested.\n[sha256]\n"6.1.3" = "{release("6.1.3")}"\n',
    )
    write(home / "patches/6.1/series", "# In order.\n")
    git(home, "init", "-q")
    commit(home, "No series yet")
    tree = tmp_path / "first"
    write_release(tree, "6.1.3")
    git(tree, "init", "-q")
    commit(tree, "Base")
    edit(tree / "django/db/utils.py", "line_9 = 9\n", "line_9 = 'nine'\n")
    edit(
        tree / "docs/ref.txt",
        "End\n",
        "New\n\n.. versionadded:: 6.1\n\n    Closed.\n\nEnd\n",
    )
    edit(
        tree / "docs/releases/6.1.txt",
        "* Old in 6.1.\n",
        "* Old in 6.1.\n\n* Connections are\n  closed.\n",
    )
    write(tree / "tests/threads/tests.py", "threads = True\n")
    commit(tree, "Closed them.", body="They stayed open.", apps="threads")
    edit(tree / "django/db/utils.py", "line_30 = 30\n", "line_30 = 'x'\n")
    commit(tree, "Named them.", body="Nobody knew.", apps="threads")
    export(tree, read_all(home)[0])
    commit(home, "The series")
    return home


@pytest.fixture
def series(home) -> Series:
    return read_all(home)[0]


def export_carried(tree: Path, home: Path) -> Series:
    """Export what was carried, and return the series that came of it."""
    with begun(tree, read_all(home)) as new:
        assert new
        export(tree, new)
    (found,) = (s for s in read_all(home) if s.name == new.name)
    return found


def applied(series: Series, tree: Path, release: str, **changes: str) -> Path:
    """Return `tree`, a release to which the series was applied."""
    write_release(tree, release, **changes)
    apply(tree, series)
    assert status(tree, series).overall == APPLIED
    return tree


# A series to another release


def test_a_series_goes_to_a_new_release_of_its_line(
    series, home, release, cache, tmp_path
):
    sha256 = release("6.1.4", line_20="20 + 0")
    carry_series(series, "6.1.4", tmp_path / "work", cache)
    new = export_carried(tmp_path / "work", home)
    assert (new.release, new.tested) == ("6.1.4", ["6.1.3", "6.1.4"])
    assert new.sha256["6.1.4"] == sha256
    assert (new.directory / "BASE").read_text().count("# ") == 2
    tree = applied(new, tmp_path / "tree", "6.1.4", line_20="20 + 0")
    assert "line_9 = 'nine'\n" in (tree / "django/db/utils.py").read_text()


def test_a_new_line_has_its_own_versions_and_release_note(
    series, home, release, cache, tmp_path
):
    release("6.0.7")
    carry_series(series, "6.0.7", tmp_path / "work", cache)
    new = export_carried(tmp_path / "work", home)
    assert (new.name, new.release, new.tested) == ("6.0", "6.0.7", ["6.0.7"])
    assert new.requires_python == ">=3.12"
    names = [patch.name for patch in series.patches]
    assert [patch.name for patch in new.patches] == names
    assert new.order.read_text() == series.order.read_text()
    tree = applied(new, tmp_path / "tree", "6.0.7")
    assert (tree / "docs/ref.txt").read_text() == (
        "Reference\n\n.. versionadded:: 6.1\n\n    In 6.0.\n\n"
        "New\n\n.. versionadded:: 6.0\n\n    Closed.\n\nEnd\n"
    )
    assert (
        "* Old in 6.0.\n\n* Connections are\n  closed.\n\nDeprecated\n"
        in (tree / "docs/releases/6.0.txt").read_text()
    )
    assert not (tree / "docs/releases/6.1.txt").exists()


def test_a_pre_release_has_the_versions_of_its_line(
    series, home, release, cache, tmp_path
):
    release("6.2a1")
    tree = tmp_path / "work"
    carry_series(series, "6.2a1", tree, cache)
    assert "versionadded:: 6.2\n\n    Closed." in (tree / "docs/ref.txt").read_text()
    assert "  closed.\n" in (tree / "docs/releases/6.2.txt").read_text()
    with pytest.raises(OverlayError, match=r"^6\.2a1 is a pre-release"):
        export_carried(tree, home)
    assert not (home / "patches/6.2").exists()


def test_conflicts_are_left_to_the_user(series, home, release, cache, tmp_path):
    work = tmp_path / "work"
    release("6.1.4", line_9="99")
    with pytest.raises(Conflict, match=r"conflicts in django/db/utils\.py: edit"):
        carry_series(series, "6.1.4", work, cache)
    text = (work / "django/db/utils.py").read_text()
    assert "<<<<<<<" in text
    assert "Closed them." in git(work, "status")
    with begun(work, read_all(home)) as new, pytest.raises(OverlayError, match="under"):
        export(work, new)
    write(work / "django/db/utils.py", BODY.replace("= 9\n", "= 'NINE'\n"))
    go_on(work)
    new = export_carried(work, home)
    tree = applied(new, tmp_path / "tree", "6.1.4", line_9="99")
    text = (tree / "django/db/utils.py").read_text()
    assert "line_9 = 'NINE'\n" in text
    assert "line_30 = 'x'\n" in text


def test_an_export_that_fails_begins_no_line(series, home, release, cache, tmp_path):
    release("6.0.7")
    carry_series(series, "6.0.7", tmp_path / "work", cache)
    write(tmp_path / "work/django/more.py", "")
    commit(tmp_path / "work", "Without a reason")
    before = files(home)
    with pytest.raises(OverlayError, match="lacks"):
        export_carried(tmp_path / "work", home)
    assert files(home) == before


def test_a_folder_that_exists_is_refused(series, release, cache, tmp_path):
    release("6.1.4")
    write(tmp_path / "work/mine", "mine\n")
    with pytest.raises(OverlayError, match="exists"):
        carry_series(series, "6.1.4", tmp_path / "work", cache)
    assert files(tmp_path / "work").keys() == {"mine"}


def test_what_fails_leaves_no_folder(series, release, cache, tmp_path):
    release("6.1.4")
    edit(series.patches[0], "-line_9 = 9", "-line_9 = 99")
    with pytest.raises(OverlayError, match="does not apply"):
        carry_series(series, "6.1.4", tmp_path / "work", cache)
    assert not (tmp_path / "work").exists()


# A change to another line


@pytest.fixture
def older(series, home, release, cache, tmp_path) -> Series:
    """A 6.0 series, for a Django that has another line 30."""
    release("6.0.7", line_30="33")
    work = tmp_path / "older"
    with pytest.raises(Conflict):
        carry_series(series, "6.0.7", work, cache)
    text = BODY.replace("= 9\n", "= 'nine'\n").replace("_30 = 30\n", "_30 = 'xx'\n")
    write(work / "django/db/utils.py", text)
    go_on(work)
    new = export_carried(work, home)
    commit(home, "The 6.0 series")
    return new


def change(series: Series, tree: Path, number: int, edits, **changes: str) -> None:
    """Apply the series to `tree`, change the commit of a patch, and export."""
    write_release(tree, series.release, **changes)
    apply(tree, series)
    above = len(series.patches) + 1 - number
    commits = git(tree, "rev-list", "--reverse", f"HEAD~{above}..HEAD").split()
    git(tree, "checkout", "-q", "--detach", f"HEAD~{above}")
    edits(tree)
    git(tree, "add", "--all")
    git(tree, "commit", "-q", "--amend", "--no-edit")
    git(tree, "cherry-pick", *commits)
    export(tree, series)


def go_on(tree: Path) -> None:
    """Do what the user is told to do with a conflict that is solved."""
    git(tree, "add", "--all")
    git(tree, "-c", "core.editor=true", "rebase", "--continue")


def test_an_edit_goes_to_the_patch_of_that_name(series, older, home, cache, tmp_path):
    def edits(tree):
        edit(tree / "django/db/utils.py", "'nine'", "'IX'")
        edit(tree / "docs/ref.txt", "    Closed.", "    Always closed.")
        edit(tree / "docs/releases/6.1.txt", "  closed", "  always closed")

    change(series, tmp_path / "edited", 1, edits)
    before = files(older.directory)
    carry_change(series, "HEAD", older, tmp_path / "work", home, cache)
    first, second = older.patches
    assert export(tmp_path / "work", older) == [first]
    text = first.read_text()
    for line in ("+line_9 = 'IX'", "+    Always closed.", "+  always closed."):
        assert f"{line}\n" in text
    assert "+.. versionadded:: 6.0\n" in text
    assert files(older.directory)[second.name] == before[second.name]


def test_an_edit_of_what_the_lines_have_alike_leaves_what_they_have_not(
    series, older, home, cache, tmp_path
):
    change(
        series,
        tmp_path / "edited",
        2,
        lambda tree: edit(tree / "django/db/utils.py", "line_35 = 35", "line_35 = 0"),
    )
    carry_change(series, "HEAD", older, tmp_path / "work", home, cache)
    export(tmp_path / "work", older)
    text = older.patches[1].read_text()
    assert "+line_30 = 'xx'\n" in text
    assert "+line_35 = 0\n" in text


def test_a_message_goes_along(series, older, home, cache, tmp_path):
    edit(series.patches[1], "Nobody knew.", "Nobody knew whose.")
    carry_change(series, "HEAD", older, tmp_path / "work", home, cache)
    assert export(tmp_path / "work", older) == [older.patches[1]]
    assert "Nobody knew whose.\n" in older.patches[1].read_text()


def test_nothing_changed_is_nothing_to_export(series, older, home, cache, tmp_path):
    carry_change(series, "HEAD", older, tmp_path / "work", home, cache)
    assert export(tmp_path / "work", older) == []


def test_lines_go_to_a_new_patch_below_theirs(series, older, home, cache, tmp_path):
    tree = tmp_path / "edited"
    write_release(tree, "6.1.3")
    apply(tree, series)
    first, second, tests = git(tree, "rev-list", "--reverse", "HEAD~3..HEAD").split()
    git(tree, "reset", "-q", "--hard", f"{first}^")
    edit(tree / "django/db/utils.py", "line_9 = 9\n", "line_9 = 'nine'\n")
    edit(tree / "docs/ref.txt", "End\n", "New\n\nEnd\n")
    commit(tree, "Began it.", body="It is half of it.", apps="threads")
    git(tree, "checkout", first, "--", ".")
    git(tree, "commit", "-q", "-C", first)
    git(tree, "cherry-pick", second)
    edit(tree / "django/db/utils.py", "line_35 = 35\n", "line_35 = 0\n")
    git(tree, "commit", "-q", "--all", "--amend", "--no-edit")
    git(tree, "cherry-pick", tests)
    export(tree, series)
    carry_change(series, "HEAD", older, tmp_path / "work", home, cache)
    assert unfinished(tmp_path / "work") is None
    export(tmp_path / "work", older)
    assert [patch.name for patch in older.patches] == [
        "began-it.patch",
        "closed-them.patch",
        "named-them.patch",
    ]
    assert [added(patch) for patch in older.patches] == [
        ["line_9 = 'nine'", "New", ""],
        [
            *[".. versionadded:: 6.0", "", "    Closed.", ""],
            *["* Connections are", "  closed.", ""],
        ],
        ["line_30 = 'xx'", "line_35 = 0"],
    ]


def added(patch: Path) -> list[str]:
    """Return the lines that a patch adds."""
    return re.findall(r"^\+(?!\+\+ )(.*)$", patch.read_text(), re.MULTILINE)


@pytest.fixture
def longer(series, older, home, cache, tmp_path) -> None:
    """Have three more patches in both series."""
    tree = tmp_path / "longer"
    write_release(tree, "6.1.3")
    apply(tree, series)
    for number in (15, 20, 25):
        edit(tree / "django/db/utils.py", f" = {number}\n", f" = 'n{number}'\n")
        commit(tree, f"Wrote {number}.", body="It was a number.", apps="threads")
    export(tree, series)
    carry_change(series, "HEAD", older, tmp_path / "carried", home, cache)
    export(tmp_path / "carried", older)
    assert len(older.patches) == 5
    commit(home, "Three more")


def test_a_conflict_is_solved_once_for_the_patches_above(
    series, older, longer, home, cache, tmp_path
):
    change(
        series,
        tmp_path / "edited",
        2,
        lambda tree: edit(tree / "django/db/utils.py", "'x'", "'y'"),
    )
    work = tmp_path / "work"
    with pytest.raises(Conflict, match=r"conflicts in django/db/utils\.py: edit"):
        carry_change(series, "HEAD", older, work, home, cache)
    assert git(work, "branch", "--list", "--format=%(refname:short)", "*6*") == ""
    text = (work / "django/db/utils.py").read_text()
    conflict = (
        "<<<<<<< 6.0\nline_30 = 'xx'\n=======\nline_30 = 'y'\n>>>>>>> changed-6.1\n"
    )
    assert conflict in text
    with pytest.raises(OverlayError, match="rebase is under way"):
        export(work, older)
    edit(work / "django/db/utils.py", conflict, "line_30 = 'yy'\n")
    go_on(work)
    assert unfinished(work) is None
    assert export(work, older) == [older.patches[1]]
    assert added(older.patches[1]) == ["line_30 = 'yy'"]


def differ(series: Series, older: Series, folder: Path, patch: int, line: int) -> None:
    """Have a patch of both series make something else of a line."""
    for this, changes in ((series, {}), (older, {"line_30": "33"})):
        change(
            this,
            folder / f"{this.name}-{line}",
            patch,
            lambda tree, this=this: edit(
                tree / "django/db/utils.py", f" = {line}\n", f" = '{this.name}'\n"
            ),
            **changes,
        )


def solve(file: Path, text: str) -> None:
    """Put a text in the place of the conflict in a file."""
    solved, number = re.subn(
        r"^<{7} .*?^>{7} .*?\n", text, file.read_text(), flags=re.DOTALL | re.MULTILINE
    )
    assert number == 1
    file.write_text(solved)


def test_each_patch_has_its_own_conflicts(series, older, longer, home, cache, tmp_path):
    differ(series, older, tmp_path, 2, 3)
    differ(series, older, tmp_path, 4, 12)
    work = tmp_path / "work"
    with pytest.raises(Conflict):
        carry_change(series, "HEAD", older, work, home, cache)
    solve(work / "django/db/utils.py", "line_3 = 33\n")
    go_on(work)
    assert git(work, "show", "--no-patch", "--format=%s") == "Wrote 20."
    assert "(conflicts in django/db/utils.py)" in git(work, "status")
    solve(work / "django/db/utils.py", "line_12 = 1212\n")
    go_on(work)
    assert unfinished(work) is None
    assert export(work, older) == [older.patches[1], older.patches[3]]
    assert added(older.patches[1]) == ["line_3 = 33", "line_30 = 'xx'"]
    assert added(older.patches[3]) == ["line_12 = 1212", "line_20 = 'n20'"]


def test_a_conflict_that_is_left_stops_git_again(
    series, older, longer, home, cache, tmp_path
):
    differ(series, older, tmp_path, 2, 3)
    work = tmp_path / "work"
    with pytest.raises(Conflict):
        carry_change(series, "HEAD", older, work, home, cache)
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError) as stopped:
            go_on(work)
        assert "django/db/utils.py:4:<<<<<<< 6.0\n" in stopped.value.stdout
        with pytest.raises(OverlayError, match="rebase is under way"):
            export(work, older)
    solve(work / "django/db/utils.py", "line_3 = 33\n")
    git(work, "commit", "-q", "--all", "--amend", "--no-edit")
    go_on(work)
    assert export(work, older) == [older.patches[1]]
    assert added(older.patches[1]) == ["line_3 = 33", "line_30 = 'xx'"]


def test_a_file_that_one_line_has_removed_is_a_conflict(
    series, older, longer, home, cache, tmp_path
):
    def remove(tree):
        (tree / "docs/ref.txt").unlink()

    change(older, tmp_path / "removed", 2, remove, line_30="33")
    change(
        series,
        tmp_path / "edited",
        2,
        lambda tree: edit(tree / "docs/ref.txt", "End\n", "The end\n"),
    )
    work = tmp_path / "work"
    with pytest.raises(Conflict, match=r"conflicts in docs/ref\.txt: edit"):
        carry_change(series, "HEAD", older, work, home, cache)
    assert (work / "docs/ref.txt").read_text().endswith("The end\n")
    remove(work)
    go_on(work)
    assert export(work, older) == []


def test_a_git_that_cannot_merge_trees_is_refused(
    series, older, home, cache, tmp_path, monkeypatch
):
    executable(tmp_path / "bin/git", "echo git version 2.37.7")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(OverlayError, match=r"too old: git 2\.38 or newer is needed"):
        carry_change(series, "HEAD", older, tmp_path / "work", home, cache)


def test_a_new_patch_is_added_in_its_place_and_a_dropped_one_goes(
    series, older, home, cache, tmp_path
):
    tree = tmp_path / "edited"
    write_release(tree, "6.1.3")
    apply(tree, series)
    git(tree, "reset", "-q", "--hard", "HEAD~2")
    edit(tree / "django/db/utils.py", "line_2 = 2\n", "line_2 = 'two'\n")
    commit(tree, "Added it.", body="It lacked.", apps="threads")
    author = "--author=Somebody <somebody@example.com>"
    git(tree, "commit", "--amend", "--quiet", "--no-edit", author)
    write(tree / "tests/threads/tests.py", "threads = True\n")
    commit(tree, "Tests")
    export(tree, series)
    carry_change(series, "HEAD", older, tmp_path / "work", home, cache)
    export(tmp_path / "work", older)
    assert [patch.name for patch in older.patches] == [
        "closed-them.patch",
        "added-it.patch",
    ]
    assert "\nFrom: Somebody <somebody@example.com>\n" in older.patches[1].read_text()
    assert files(older.directory).keys() == {
        "BASE",
        "series",
        "closed-them.patch",
        "added-it.patch",
    }


def test_a_new_patch_that_the_other_line_has_already_takes_its_place(
    series, older, home, cache, tmp_path
):
    second, text = series.patches[1], series.patches[1].read_bytes()
    order = series.order.read_text()
    second.unlink()
    write(series.order, order.replace(f"{second.name}\n", ""))
    commit(home, "The other line had it first")
    second.write_bytes(text)
    write(series.order, order)
    with pytest.raises(Conflict):
        carry_change(series, "HEAD", older, tmp_path / "work", home, cache)
    picked = git(tmp_path / "work", "show", "--no-patch", "--format=%s", "REBASE_HEAD")
    assert picked == patch_subject(second)


def test_an_edit_that_conflicts_is_left_to_the_user(
    series, older, home, cache, tmp_path
):
    change(
        series,
        tmp_path / "edited",
        2,
        lambda tree: edit(tree / "django/db/utils.py", "'x'", "'y'"),
    )
    work = tmp_path / "work"
    with pytest.raises(Conflict):
        carry_change(series, "HEAD", older, work, home, cache)
    text = BODY.replace("= 9\n", "= 'nine'\n").replace("_30 = 30\n", "_30 = 'yy'\n")
    write(work / "django/db/utils.py", text)
    go_on(work)
    assert export(work, older) == [older.patches[1]]
    assert "+line_30 = 'yy'\n" in older.patches[1].read_text()


def test_an_unknown_revision_is_refused(series, older, home, cache, tmp_path):
    with pytest.raises(OverlayError, match="no revision nonsense"):
        carry_change(series, "nonsense", older, tmp_path / "work", home, cache)
    assert not (tmp_path / "work").exists()


def test_a_revision_with_another_release_is_refused(
    series, older, home, cache, tmp_path
):
    newer = dataclasses.replace(series, release="6.1.4")
    with pytest.raises(
        OverlayError, match=r"no 6\.1 series for Django 6\.1\.4 in HEAD"
    ):
        carry_change(newer, "HEAD", older, tmp_path / "work", home, cache)


# Release notes


def test_a_note_goes_to_the_end_of_the_section_of_that_title():
    lines = NOTES.splitlines()
    found = titles(lines, lines.index("* Old{line}.") + 1)
    assert found == {0: "Title", 1: "What's new", 2: "Miscellaneous"}
    assert titles(lines, 1) == {}
    text = placed(NOTES, "\n* New.\n", found)
    assert "* Old{line}.\n\n* New.\n\nDeprecated\n" in text
    assert placed(NOTES, "* New.\n", {0: "Elsewhere"}).endswith(
        "* Nothing{line}.\n\n* New.\n"
    )


def test_a_note_goes_to_the_section_of_that_title_in_the_same_section():
    notes = NOTES + "\nMiscellaneous\n-------------\n\n* Gone.\n"
    path = {0: "Title", 1: "What's new", 2: "Miscellaneous"}
    assert "* Old{line}.\n\n* New.\n" in placed(notes, "* New.\n", path)
    path = {0: "Deprecated", 1: "Miscellaneous"}
    assert placed(notes, "* New.\n", path).endswith("* Gone.\n\n* New.\n")
    path = {0: "Elsewhere", 1: "Miscellaneous"}
    assert placed(notes, "* New.\n", path).endswith("* Gone.\n\n* New.\n")


def test_titles_may_have_another_version():
    notes = NOTES.replace("Deprecated\n", "Deprecated in 6.2\n") + NOTES
    path = {0: "Deprecated in 6.1"}
    assert "* Nothing{line}.\n\n* New.\nTitle\n" in placed(notes, "* New.\n", path)


def test_a_label_stays_with_the_next_title():
    notes = NOTES.replace("Deprecated\n", ".. _deprecated-6.1:\n\nDeprecated\n")
    text = placed(notes, "* New.\n", {2: "Miscellaneous"})
    assert "* Old{line}.\n\n* New.\n\n.. _deprecated-6.1:\n" in text


def test_a_note_replaces_djangos_dots():
    notes = NOTES.replace("* Old{line}.", "Lines.\n\n* ...")
    path = {0: "Title", 1: "What's new", 2: "Miscellaneous"}
    assert "Lines.\n\n* New.\n\nDeprecated\n" in placed(notes, "* New.\n", path)


def test_a_note_with_a_title_goes_to_the_section_that_is_there():
    added = "Miscellaneous\n~~~~~~~~~~~~~\n\n* New.\n\n"
    path = {0: "Title", 1: "What's new", 2: "CSP"}
    assert "* Old{line}.\n\n* New.\n\nDeprecated\n" in placed(NOTES, added, path)
    added = added.replace("Miscellaneous", "Decimals")
    path = {0: "Title", 1: "What's new"}
    assert "* Genuine.\n\nDecimals\n~~~" in placed(NOTES, added, path)
    added = "* New.\n\nMiscellaneous\n~~~~~~~~~~~~~\n\n* More.\n"
    assert f"* Genuine.\n\n{added}" in placed(NOTES, added, path)


# review


def test_review_shows_what_a_change_does_to_django(
    series, older, home, cache, tmp_path
):
    assert review("HEAD", color=False, home=home, cache=cache) == {}
    change(
        series,
        tmp_path / "edited",
        1,
        lambda tree: edit(tree / "django/db/utils.py", "'nine'", "'IX'"),
    )
    texts = review("HEAD", color=False, home=home, cache=cache)
    assert list(texts) == ["6.1"]
    assert "1:  " in texts["6.1"]
    assert "-+line_9 = 'nine'\n" in texts["6.1"]
    assert "++line_9 = 'IX'\n" in texts["6.1"]
    assert "2:  " in texts["6.1"]
    assert "Placed the overlay" not in texts["6.1"]
    assert "\33[" in review("HEAD", color=True, home=home, cache=cache)["6.1"]


def test_review_compares_series_for_two_releases(
    series, home, release, cache, tmp_path
):
    release("6.1.4", line_20="20 + 0")
    carry_series(series, "6.1.4", tmp_path / "work", cache)
    export_carried(tmp_path / "work", home)
    assert review("HEAD", color=False, home=home, cache=cache) == {}


def test_review_tells_of_lines_that_come_and_go(series, older, home, cache):
    texts = review("HEAD~1", color=False, home=home, cache=cache)
    assert texts == {"6.0": "The line is new.\n"}


def test_review_of_an_unknown_revision_is_refused(series, home, cache):
    with pytest.raises(OverlayError, match="no revision nonsense"):
        review("nonsense", color=False, home=home, cache=cache)
