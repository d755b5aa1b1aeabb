import pytest

from overlay.apply import apply
from overlay.errors import OverlayError
from overlay.status import (
    APPLIED,
    CHANGED,
    HALF_APPLIED,
    NOT_APPLIED,
    OTHER_REVISION,
    series_revision,
    status,
)

from .conftest import commit, edit, git, pull, snapshot, write

FIRST, SECOND = "close-connections.patch", "discard-inherited.patch"


@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_a_stock_tree_has_nothing(kind, series, request):
    found = status(request.getfixturevalue(kind), series)
    assert found.overall == NOT_APPLIED
    assert found.patches == {FIRST: NOT_APPLIED, SECOND: NOT_APPLIED}
    assert found.tests == {"thread_connections": NOT_APPLIED, "forks": NOT_APPLIED}


@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_after_apply_all_is_there(kind, series, request):
    tree = request.getfixturevalue(kind)
    apply(tree, series)
    found = status(tree, series)
    assert found.overall == APPLIED
    assert found.patches == {FIRST: APPLIED, SECOND: APPLIED}
    assert found.tests == {"thread_connections": APPLIED, "forks": APPLIED}
    assert found.own == []


def test_patches_that_git_am_applied_count_and_the_tests_do_not(checkout, series):
    git(checkout, "am", "-q", *map(str, series.patches))
    found = status(checkout, series)
    assert found.overall == APPLIED
    assert found.patches == {FIRST: APPLIED, SECOND: APPLIED}
    assert found.tests == {"thread_connections": NOT_APPLIED, "forks": NOT_APPLIED}


def test_some_of_the_patches_are_half_a_series(checkout, series):
    git(checkout, "am", "-q", "--keep-non-patch", str(series.patches[0]))
    found = status(checkout, series)
    assert found.overall == HALF_APPLIED
    assert found.patches == {FIRST: APPLIED, SECOND: NOT_APPLIED}


@pytest.mark.parametrize(
    ("file", "operation"),
    [
        ("BISECT_LOG", "bisect"),
        ("CHERRY_PICK_HEAD", "cherry-pick"),
        ("MERGE_HEAD", "merge"),
        ("REVERT_HEAD", "revert"),
        ("rebase-apply", "am or rebase"),
        ("rebase-merge", "rebase"),
        ("sequencer", "cherry-pick or revert"),
    ],
)
def test_an_unfinished_operation_is_named(checkout, series, file, operation):
    write(checkout / ".git" / file, "")
    found = status(checkout, series)
    assert (found.overall, found.unfinished) == (NOT_APPLIED, operation)
    (checkout / ".git" / file).unlink()
    apply(checkout, series)
    write(checkout / ".git" / file, "")
    assert status(checkout, series).overall == HALF_APPLIED


def test_an_amended_patch_is_changed(checkout, series):
    git(checkout, "am", "-q", "--keep-non-patch", *map(str, series.patches))
    edit(checkout / "django/utils/connection.py", "'x'", "'y'")
    git(checkout, "commit", "-q", "-a", "--amend", "--no-edit")
    found = status(checkout, series)
    assert found.overall == APPLIED
    assert found.patches == {FIRST: APPLIED, SECOND: CHANGED}


def test_a_patch_is_not_changed_by_tests_in_the_same_commit(checkout, series):
    git(checkout, "am", "-q", "--keep-non-patch", *map(str, series.patches))
    write(checkout / "tests/forks/tests.py", "forks = True\n")
    git(checkout, "add", "--all", "tests")
    git(checkout, "commit", "-q", "--amend", "--no-edit")
    found = status(checkout, series)
    assert found.patches == {FIRST: APPLIED, SECOND: APPLIED}
    assert found.tests == {"thread_connections": NOT_APPLIED, "forks": APPLIED}


@pytest.mark.parametrize("name", ["tests.py", "more.py"])
def test_tests_that_differ_from_ours_are_changed(checkout, series, name):
    apply(checkout, series)
    write(checkout / "tests/forks" / name, "forks = False\n")
    commit(checkout, "More tests")
    assert status(checkout, series).tests["forks"] == CHANGED


def test_own_commits_are_told_from_those_of_the_series(checkout, series):
    write(checkout / "below.py", "")
    commit(checkout, "Below the series")
    apply(checkout, series)
    write(checkout / "above.py", "")
    commit(checkout, "Above the series")
    own = status(checkout, series).own
    assert [mine.subject for mine in own] == ["Above the series"]


def test_uncommitted_work_neither_counts_nor_changes(checkout, series):
    apply(checkout, series)
    edit(checkout / "django/db/utils.py", "'nine'", "'ten'")
    before = snapshot(checkout)
    assert status(checkout, series).patches[FIRST] == APPLIED
    assert snapshot(checkout) == before


def test_the_users_git_configuration_makes_no_difference(checkout, series, hostile):
    apply(checkout, series)
    with (checkout / ".git/config").open("a") as config:
        config.write(hostile)
    found = status(checkout, series)
    assert found.patches == {FIRST: APPLIED, SECOND: APPLIED}
    assert found.tests == {"thread_connections": APPLIED, "forks": APPLIED}


def test_a_tree_inside_of_another_repository_is_refused(sdist, series, tmp_path):
    git(tmp_path, "init", "-q")
    with pytest.raises(OverlayError, match="lies inside another git repository"):
        status(sdist, series)


def test_a_bisect_is_seen(checkout, series):
    git(checkout, "bisect", "start")
    found = status(checkout, series)
    assert (found.overall, found.unfinished) == (NOT_APPLIED, "bisect")


def test_a_stock_tree_in_the_middle_of_a_rebase_is_a_stock_tree(rebasing, series):
    found = status(rebasing, series)
    assert (found.overall, found.unfinished) == (NOT_APPLIED, "rebase")


def test_another_revision_is_told_from_a_changed_one(checkout, series):
    apply(checkout, series)
    pull(series)
    found = status(checkout, series)
    assert found.overall == OTHER_REVISION
    assert (found.own, found.is_as_recorded) == ([], True)


def test_own_commits_above_another_revision_are_own(checkout, series):
    apply(checkout, series)
    top = git(checkout, "rev-parse", "HEAD")
    write(checkout / "above.py", "")
    commit(checkout, "Above the series")
    pull(series)
    found = status(checkout, series)
    assert found.overall == OTHER_REVISION
    assert [mine.subject for mine in found.own] == ["Above the series"]
    assert found.top == top


def test_a_patch_that_says_it_in_other_words_is_the_same_revision(checkout, series):
    apply(checkout, series)
    edit(series.patches[0], "until the collector ran", "for long")
    assert status(checkout, series).overall == APPLIED


def test_a_merge_that_changes_nothing_is_own(checkout, series):
    git(checkout, "branch", "side")
    git(checkout, "am", "-q", *map(str, series.patches))
    git(checkout, "checkout", "-q", "side")
    write(checkout / "side.py", "")
    commit(checkout, "Side")
    git(checkout, "checkout", "-q", "stable")
    git(checkout, "merge", "-q", "--no-edit", "-s", "ours", "side")
    own = status(checkout, series).own
    assert [mine.subject for mine in own] == ["Merge branch 'side' into stable"]


def test_what_was_changed_since_apply_is_no_revision(checkout, series):
    apply(checkout, series)
    edit(checkout / "tests/forks/tests.py", "True", "'mine'")
    git(checkout, "commit", "-q", "-a", "--amend", "--no-edit")
    pull(series)
    found = status(checkout, series)
    assert (found.overall, found.is_as_recorded) == (APPLIED, False)
    assert found.changed == [FIRST, "forks"]


def test_a_commit_message_that_was_reworded_is_no_revision(checkout, series):
    git(checkout, "am", "-q", "--keep-non-patch", *map(str, series.patches))
    assert not status(checkout, series).is_as_recorded
    git(checkout, "reset", "-q", "--keep", "HEAD~2")
    apply(checkout, series)
    tests = git(checkout, "rev-parse", "HEAD")
    git(checkout, "reset", "-q", "--keep", "HEAD~")
    message = git(checkout, "log", "-1", "--format=%B").replace("spoke", "talked")
    git(checkout, "commit", "-q", "--amend", "-m", message)
    git(checkout, "cherry-pick", tests)
    assert not status(checkout, series).is_as_recorded


def test_a_file_name_is_part_of_the_revision(series):
    before = series_revision(series)
    tests = series.tests / "forks/tests.py"
    tests.rename(tests.with_name("test_forks.py"))
    assert series_revision(series) != before


@pytest.mark.parametrize("content", ["", "nonsense\n"])
def test_a_file_that_is_no_patch_is_named(checkout, series, content):
    write(series.patches[0], content)
    with pytest.raises(OverlayError, match=f"{FIRST} is not a patch that git am"):
        status(checkout, series)
