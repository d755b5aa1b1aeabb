import pytest

from overlay.apply import apply, unapply
from overlay.errors import OverlayError

from .conftest import commit, edit, files, git, snapshot, write


def refused(tree, line, tests, match):
    """Assert that unapply() refuses with `match`, and leaves every byte as it was."""
    before = snapshot(tree)
    with pytest.raises(OverlayError, match=match) as caught:
        unapply(tree, line, tests)
    assert snapshot(tree) == before
    assert "\n" not in caught.value.message


def test_a_checkout_is_again_as_it_was_before_apply(checkout, line, tests):
    base, before = git(checkout, "rev-parse", "HEAD"), files(checkout)
    apply(checkout, line, tests)
    assert files(checkout) != before
    assert unapply(checkout, line, tests) == base
    assert files(checkout) == before
    assert git(checkout, "rev-parse", "stable", "HEAD").split() == [base, base]
    assert git(checkout, "status", "--porcelain") == "?? notes.txt"


def test_an_sdist_is_again_as_it_was_but_stays_a_repository(sdist, line, tests):
    before = files(sdist)
    apply(sdist, line, tests)
    unapply(sdist, line, tests)
    assert files(sdist) == before
    assert git(sdist, "log", "--format=%s") == "Django 6.1.3"


def test_it_can_be_applied_again(sdist, line, tests):
    tip = apply(sdist, line, tests)
    unapply(sdist, line, tests)
    assert apply(sdist, line, tests) == tip


@pytest.mark.parametrize("option", ["--keep-non-patch", "--signoff"])
def test_patches_that_git_am_applied_are_taken_away_too(checkout, line, tests, option):
    before = files(checkout)
    git(checkout, "am", "-q", option, *map(str, line.patches))
    unapply(checkout, line, tests)
    assert files(checkout) == before


def test_the_users_git_configuration_makes_no_difference(
    checkout, line, tests, hostile
):
    before = files(checkout)
    with (checkout / ".git/config").open("a") as config:
        config.write(hostile)
    apply(checkout, line, tests)
    unapply(checkout, line, tests)
    assert files(checkout) == before


@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_a_tree_without_the_series_is_refused(kind, line, tests, request):
    refused(request.getfixturevalue(kind), line, tests, "series is not applied")


def test_uncommitted_changes_are_refused(checkout, line, tests):
    apply(checkout, line, tests)
    edit(checkout / "tests/basic/tests.py", "True", "False")
    refused(checkout, line, tests, r"not committed, in tests/basic/tests\.py")


def test_own_commits_on_top_are_refused_and_named(checkout, line, tests):
    apply(checkout, line, tests)
    write(checkout / "mine.py", "")
    mine = commit(checkout, "My feature")
    refused(checkout, line, tests, rf"commits of its own .*{mine[:10]} \(My feature\)")


def test_a_merge_on_top_is_refused(checkout, line, tests):
    apply(checkout, line, tests)
    git(checkout, "checkout", "-q", "-b", "side", "HEAD~3")
    write(checkout / "side.py", "")
    commit(checkout, "Side")
    git(checkout, "checkout", "-q", "stable")
    git(checkout, "-c", "core.editor=true", "merge", "-q", "side")
    refused(checkout, line, tests, "commits of its own .*Merge branch 'side'")


def test_a_half_applied_series_is_refused_with_a_way_out(checkout, line, tests):
    base, before = git(checkout, "rev-parse", "HEAD"), files(checkout)
    git(checkout, "am", "-q", "--keep-non-patch", str(line.patches[0]))
    refused(checkout, line, tests, rf"half applied .*`git reset --keep {base[:10]}`")
    git(checkout, "reset", "-q", "--keep", base)
    assert files(checkout) == before


def test_an_unfinished_operation_is_refused(checkout, line, tests):
    apply(checkout, line, tests)
    write(checkout / ".git/MERGE_HEAD", git(checkout, "rev-parse", "HEAD"))
    refused(checkout, line, tests, "is under way")


def test_a_patch_that_was_changed_is_refused(checkout, line, tests):
    git(checkout, "am", "-q", "--keep-non-patch", *map(str, line.patches))
    edit(checkout / "django/utils/connection.py", "'x'", "'y'")
    git(checkout, "commit", "-q", "-a", "--amend", "--no-edit")
    refused(checkout, line, tests, r"discard-inherited\.patch .* export it first")


def test_tests_that_were_changed_are_refused(checkout, line, tests):
    apply(checkout, line, tests)
    edit(checkout / "tests/forks/tests.py", "True", "False")
    git(checkout, "commit", "-q", "-a", "--amend", "--no-edit")
    refused(checkout, line, tests, "forks in .* is not as in the series")


def test_an_untracked_file_where_a_file_comes_back_is_refused(checkout, line, tests):
    apply(checkout, line, tests)
    write(checkout / "django/utils/obsolete.py", "mine\n")
    refused(checkout, line, tests, r"obsolete\.py .* would be overwritten")


def test_an_untracked_file_beside_the_tests_is_kept(checkout, line, tests):
    apply(checkout, line, tests)
    write(checkout / "tests/forks/mine.py", "mine\n")
    unapply(checkout, line, tests)
    assert (checkout / "tests/forks/mine.py").read_text() == "mine\n"
    assert not (checkout / "tests/forks/tests.py").exists()
