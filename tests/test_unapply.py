import re

import pytest

from overlay.apply import apply, unapply
from overlay.errors import OverlayError

from .conftest import commit, edit, files, git, pull, snapshot, write


def refused(tree, series, match):
    """Assert that unapply() refuses with `match`, and leaves every byte as it was."""
    before = snapshot(tree)
    with pytest.raises(OverlayError, match=match) as caught:
        unapply(tree, series)
    assert snapshot(tree) == before
    assert "\n" not in caught.value.message


def test_a_checkout_is_again_as_it_was_before_apply(checkout, series):
    base, before = git(checkout, "rev-parse", "HEAD"), files(checkout)
    apply(checkout, series)
    assert files(checkout) != before
    assert unapply(checkout, series) == base
    assert files(checkout) == before
    assert git(checkout, "rev-parse", "stable", "HEAD").split() == [base, base]
    assert git(checkout, "status", "--porcelain") == "?? notes.txt"


def test_an_sdist_is_again_as_it_was_but_stays_a_repository(sdist, series):
    before = files(sdist)
    apply(sdist, series)
    unapply(sdist, series)
    assert files(sdist) == before
    assert git(sdist, "log", "--format=%s") == "Django 6.1.3"


def test_it_can_be_applied_again(sdist, series):
    tip = apply(sdist, series)
    unapply(sdist, series)
    assert apply(sdist, series) == tip


@pytest.mark.parametrize("option", ["--keep-non-patch", "--signoff"])
def test_patches_that_git_am_applied_are_taken_away_too(checkout, series, option):
    before = files(checkout)
    git(checkout, "am", "-q", option, *map(str, series.patches))
    unapply(checkout, series)
    assert files(checkout) == before


def test_the_users_git_configuration_makes_no_difference(checkout, series, hostile):
    before = files(checkout)
    with (checkout / ".git/config").open("a") as config:
        config.write(hostile)
    apply(checkout, series)
    unapply(checkout, series)
    assert files(checkout) == before


@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_a_tree_without_the_series_is_refused(kind, series, request):
    refused(request.getfixturevalue(kind), series, "series is not applied")


def test_uncommitted_changes_are_refused(checkout, series):
    apply(checkout, series)
    edit(checkout / "tests/basic/tests.py", "True", "False")
    refused(checkout, series, r"not committed, in tests/basic/tests\.py")


def test_own_commits_on_top_are_refused_and_named(checkout, series):
    apply(checkout, series)
    write(checkout / "mine.py", "")
    mine = commit(checkout, "My feature")
    refused(checkout, series, rf"commits of its own .*{mine[:10]} \(My feature\)")


def test_a_merge_on_top_is_refused(checkout, series):
    apply(checkout, series)
    git(checkout, "checkout", "-q", "-b", "side", "HEAD~3")
    write(checkout / "side.py", "")
    commit(checkout, "Side")
    git(checkout, "checkout", "-q", "stable")
    git(checkout, "-c", "core.editor=true", "merge", "-q", "side")
    refused(checkout, series, "commits of its own .*Merge branch 'side'")


def test_a_half_applied_series_is_refused_with_a_way_out(checkout, series):
    base, before = git(checkout, "rev-parse", "HEAD"), files(checkout)
    git(checkout, "am", "-q", "--keep-non-patch", str(series.patches[0]))
    refused(checkout, series, rf"half applied .*`git reset --keep {base[:10]}`")
    git(checkout, "reset", "-q", "--keep", base)
    assert files(checkout) == before


def test_an_unfinished_operation_is_refused(checkout, series):
    apply(checkout, series)
    write(checkout / ".git/MERGE_HEAD", git(checkout, "rev-parse", "HEAD"))
    refused(checkout, series, "is under way")


def test_a_patch_that_was_changed_is_refused(checkout, series):
    git(checkout, "am", "-q", "--keep-non-patch", *map(str, series.patches))
    edit(checkout / "django/utils/connection.py", "'x'", "'y'")
    git(checkout, "commit", "-q", "-a", "--amend", "--no-edit")
    refused(checkout, series, r"discard-inherited\.patch .* export it first")


def test_tests_that_were_changed_are_refused(checkout, series):
    apply(checkout, series)
    edit(checkout / "tests/forks/tests.py", "True", "False")
    git(checkout, "commit", "-q", "-a", "--amend", "--no-edit")
    refused(checkout, series, "forks in .* is not as in the series")


def test_an_untracked_file_where_a_file_comes_back_is_refused(checkout, series):
    apply(checkout, series)
    write(checkout / "django/utils/obsolete.py", "mine\n")
    refused(checkout, series, r"obsolete\.py .* would be overwritten")


def test_an_untracked_file_beside_the_tests_is_kept(checkout, series):
    apply(checkout, series)
    write(checkout / "tests/forks/mine.py", "mine\n")
    unapply(checkout, series)
    assert (checkout / "tests/forks/mine.py").read_text() == "mine\n"
    assert not (checkout / "tests/forks/tests.py").exists()


def test_another_revision_is_taken_away_as_it_was_applied(checkout, series):
    base, before = git(checkout, "rev-parse", "HEAD"), files(checkout)
    apply(checkout, series)
    pull(series)
    assert unapply(checkout, series) == base
    assert files(checkout) == before


def test_the_advice_keeps_the_users_commits_and_merges(checkout, series):
    base = git(checkout, "rev-parse", "HEAD")
    apply(checkout, series)
    write(checkout / "mine.py", "")
    commit(checkout, "Mine")
    git(checkout, "checkout", "-q", "-b", "side", base)
    write(checkout / "side.py", "")
    commit(checkout, "Side")
    git(checkout, "checkout", "-q", "stable")
    git(checkout, "merge", "-q", "--no-edit", "side")
    with pytest.raises(OverlayError) as caught:
        unapply(checkout, series)
    advice = re.search("`git (.+)` keeps them", caught.value.message)
    git(checkout, *advice[1].split())
    log = git(checkout, "log", "--topo-order", "--format=%s", f"{base}..stable")
    assert sorted(log.splitlines()) == [
        "Merge branch 'side' into stable",
        "Mine",
        "Side",
    ]
    assert len(git(checkout, "rev-list", "--min-parents=2", "stable").split()) == 1
    assert git(checkout, "diff", "--name-only", base, "stable").split() == [
        "mine.py",
        "side.py",
    ]


def test_a_sparse_checkout_is_refused(checkout, series):
    apply(checkout, series)
    git(checkout, "sparse-checkout", "set", "django")
    refused(checkout, series, "is a sparse checkout: run `git sparse-checkout disable`")
