import pytest

from overlay.apply import APPLIED, CHANGED, HALF_APPLIED, NOT_APPLIED, apply, status
from overlay.errors import OverlayError

from .conftest import commit, edit, git, snapshot, write

FIRST, SECOND = "close-connections.patch", "discard-inherited.patch"


@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_a_stock_tree_has_nothing(kind, line, tests, request):
    found = status(request.getfixturevalue(kind), line, tests)
    assert found.overall == NOT_APPLIED
    assert found.patches == {FIRST: NOT_APPLIED, SECOND: NOT_APPLIED}
    assert found.tests == {"thread_connections": NOT_APPLIED, "forks": NOT_APPLIED}


@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_after_apply_all_is_there(kind, line, tests, request):
    tree = request.getfixturevalue(kind)
    apply(tree, line, tests)
    found = status(tree, line, tests)
    assert found.overall == APPLIED
    assert found.patches == {FIRST: APPLIED, SECOND: APPLIED}
    assert found.tests == {"thread_connections": APPLIED, "forks": APPLIED}
    assert found.own == []


def test_patches_that_git_am_applied_count_and_the_tests_do_not(checkout, line, tests):
    git(checkout, "am", "-q", *map(str, line.patches))
    found = status(checkout, line, tests)
    assert found.overall == APPLIED
    assert found.patches == {FIRST: APPLIED, SECOND: APPLIED}
    assert found.tests == {"thread_connections": NOT_APPLIED, "forks": NOT_APPLIED}


def test_some_of_the_patches_are_half_a_series(checkout, line, tests):
    git(checkout, "am", "-q", "--keep-non-patch", str(line.patches[0]))
    found = status(checkout, line, tests)
    assert found.overall == HALF_APPLIED
    assert found.patches == {FIRST: APPLIED, SECOND: NOT_APPLIED}


def test_an_unfinished_am_is_half_a_series(checkout, line, tests):
    (checkout / ".git/rebase-apply").mkdir()
    assert status(checkout, line, tests).overall == HALF_APPLIED


def test_an_amended_patch_is_changed(checkout, line, tests):
    git(checkout, "am", "-q", "--keep-non-patch", *map(str, line.patches))
    edit(checkout / "django/utils/connection.py", "'x'", "'y'")
    git(checkout, "commit", "-q", "-a", "--amend", "--no-edit")
    found = status(checkout, line, tests)
    assert found.overall == APPLIED
    assert found.patches == {FIRST: APPLIED, SECOND: CHANGED}


def test_a_patch_is_not_changed_by_tests_in_the_same_commit(checkout, line, tests):
    git(checkout, "am", "-q", "--keep-non-patch", *map(str, line.patches))
    write(checkout / "tests/forks/tests.py", "forks = True\n")
    git(checkout, "add", "--all", "tests")
    git(checkout, "commit", "-q", "--amend", "--no-edit")
    found = status(checkout, line, tests)
    assert found.patches == {FIRST: APPLIED, SECOND: APPLIED}
    assert found.tests == {"thread_connections": NOT_APPLIED, "forks": APPLIED}


@pytest.mark.parametrize("name", ["tests.py", "more.py"])
def test_tests_that_differ_from_ours_are_changed(checkout, line, tests, name):
    apply(checkout, line, tests)
    write(checkout / "tests/forks" / name, "forks = False\n")
    commit(checkout, "More tests")
    assert status(checkout, line, tests).tests["forks"] == CHANGED


def test_own_commits_are_told_from_those_of_the_series(checkout, line, tests):
    write(checkout / "below.py", "")
    commit(checkout, "Below the series")
    apply(checkout, line, tests)
    write(checkout / "above.py", "")
    commit(checkout, "Above the series")
    own = status(checkout, line, tests).own
    assert [mine.subject for mine in own] == ["Above the series"]


def test_uncommitted_work_neither_counts_nor_changes(checkout, line, tests):
    apply(checkout, line, tests)
    edit(checkout / "django/db/utils.py", "'nine'", "'ten'")
    before = snapshot(checkout)
    assert status(checkout, line, tests).patches[FIRST] == APPLIED
    assert snapshot(checkout) == before


def test_the_users_git_configuration_makes_no_difference(
    checkout, line, tests, hostile
):
    apply(checkout, line, tests)
    with (checkout / ".git/config").open("a") as config:
        config.write(hostile)
    found = status(checkout, line, tests)
    assert found.patches == {FIRST: APPLIED, SECOND: APPLIED}
    assert found.tests == {"thread_connections": APPLIED, "forks": APPLIED}


def test_a_tree_inside_of_another_repository_is_refused(sdist, line, tests, tmp_path):
    git(tmp_path, "init", "-q")
    with pytest.raises(OverlayError, match="lies inside another git repository"):
        status(sdist, line, tests)
