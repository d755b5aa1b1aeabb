import pytest

from overlay.apply import apply
from overlay.errors import OverlayError
from overlay.export import export, reordered, slug

from .conftest import TRAILERS, commit, edit, files, git, pull, snapshot, write

SUBJECT = "Fixed #34865 -- Named connections that are left open."


@pytest.fixture
def applied(checkout, series):
    apply(checkout, series)
    return checkout


def refused(tree, series, match):
    """Assert that export() refuses with `match`, and leaves both sides as they were."""
    before = snapshot(tree), snapshot(series.tests.parent)
    with pytest.raises(OverlayError, match=match) as caught:
        export(tree, series)
    assert (snapshot(tree), snapshot(series.tests.parent)) == before
    assert "\n" not in caught.value.message


def order(series):
    return [patch.name for patch in series.patches]


# What it writes


@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_what_was_applied_is_exported_byte_for_byte(kind, series, request):
    tree = request.getfixturevalue(kind)
    before = files(series.tests.parent)
    apply(tree, series)
    assert export(tree, series) == []
    assert files(series.tests.parent) == before


def test_what_git_am_applied_is_exported_byte_for_byte(checkout, series):
    before = files(series.tests.parent)
    git(checkout, "am", "-q", "--keep-non-patch", *map(str, series.patches))
    for app in ("forks", "thread_connections"):
        for file in (series.tests / app).iterdir():
            write(checkout / "tests" / app / file.name, file.read_text())
    commit(checkout, "Our tests")
    assert export(checkout, series) == []
    assert files(series.tests.parent) == before


@pytest.mark.parametrize("where", ["global", "global and local"])
def test_the_users_git_configuration_makes_no_difference(
    where, applied, series, hostile
):
    before = files(series.tests.parent)
    if where == "global and local":
        for repository in (applied, series.tests.parent):
            with (repository / ".git/config").open("a") as config:
                config.write(hostile)
    assert export(applied, series) == []
    assert files(series.tests.parent) == before


def test_a_mailmap_renames_no_author(checkout, series):
    write(checkout / ".mailmap", "Other <other@example.com> <zoe@example.com>\n")
    commit(checkout, "Mapped")
    apply(checkout, series)
    assert export(checkout, series) == []


def test_a_patch_is_written_again_from_its_amended_commit(checkout, series):
    git(checkout, "am", "-q", "--keep-non-patch", *map(str, series.patches))
    edit(checkout / "django/utils/connection.py", "'x'", "'y'")
    write(checkout / "tests/thread_connections/tests.py", "threads = True\n")
    write(checkout / "tests/forks/tests.py", "forks = 2\n")
    git(checkout, "add", "--all", "django", "tests")
    git(checkout, "commit", "-q", "--amend", "--no-edit")
    changed = export(checkout, series)
    patch = series.directory / "discard-inherited.patch"
    assert changed == [
        series.tests / "forks/tests.py",
        series.tests / "thread_connections/__init__.py",
        patch,
    ]
    assert "+line_30 = 'y'" in patch.read_text()
    assert "tests/" not in patch.read_text()
    assert (series.tests / "forks/tests.py").read_text() == "forks = 2\n"
    assert not (series.tests / "thread_connections/__init__.py").exists()


def test_a_new_commit_becomes_a_patch_named_by_its_subject(applied, series, tmp_path):
    write(applied / "django/live.py", "live = True\n")
    write(applied / "tests/live/tests.py", "live = True\n")
    commit(applied, SUBJECT, body="Nobody knew which.", apps="live")
    export(applied, series)
    assert order(series)[2:] == ["named-connections-that-are-left-open.patch"]
    assert (series.tests / "live/tests.py").read_text() == "live = True\n"
    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(applied), str(again))
    git(again, "reset", "-q", "--hard", "HEAD~4")
    apply(again, series)
    assert export(again, series) == []
    assert git(again, "diff", "--stat", "HEAD", git(applied, "rev-parse", "HEAD")) == ""


def test_a_new_patch_has_tests_that_another_line_has_exported(applied, series):
    for folder in (applied / "tests", series.tests):
        write(folder / "live/tests.py", "live = True\n")
    write(applied / "django/live.py", "live = True\n")
    commit(applied, SUBJECT, body="Nobody knew which.", apps="live")
    patch = series.directory / "named-connections-that-are-left-open.patch"
    assert export(applied, series) == [patch, series.order]


def test_the_first_series_is_exported_from_plain_commits(checkout, series):
    for patch in series.patches:
        patch.unlink()
    write(series.directory / "series", "")
    commit(series.tests.parent, "No series yet")
    write(checkout / "django/live.py", "live = True\n")
    write(checkout / "tests/live/tests.py", "live = True\n")
    commit(checkout, SUBJECT, body="Nobody knew which.", apps="live")
    export(checkout, series)
    assert order(series) == ["named-connections-that-are-left-open.patch"]


def test_a_patch_keeps_its_name_and_its_comment_where_ever_it_stands(checkout, series):
    first, second = series.patches
    git(checkout, "am", "-q", "--keep-non-patch", str(second), str(first))
    for app in ("forks", "thread_connections"):
        write(checkout / "tests" / app / "tests.py", "")
    commit(checkout, "Our tests")
    export(checkout, series)
    assert (series.directory / "series").read_text() == (
        "\n# Needs the first.\ndiscard-inherited.patch\n"
        "# The order matters.\nclose-connections.patch\n"
    )


def test_the_patch_of_a_dropped_commit_is_removed(checkout, series):
    git(checkout, "am", "-q", "--keep-non-patch", str(series.patches[0]))
    write(checkout / "tests/thread_connections/tests.py", "threads = True\n")
    commit(checkout, "Our tests")
    export(checkout, series)
    assert order(series) == ["close-connections.patch"]
    assert not (series.directory / "discard-inherited.patch").exists()


def test_an_export_may_replace_what_the_last_export_wrote(applied, series):
    for content in ("forks = 2\n", "", "forks = 3\n"):
        write(applied / "tests/forks/tests.py", content)
        commit(applied, "More tests")
        assert export(applied, series) == [series.tests / "forks/tests.py"]
        assert (series.tests / "forks/tests.py").read_text() == content


# What it refuses


def test_a_tree_without_the_series_is_refused(checkout, series):
    refused(checkout, series, "series is not applied")


def test_an_sdist_without_a_repository_is_refused(sdist, series):
    refused(sdist, series, "series is not applied")


def test_a_release_that_the_series_is_not_kept_on_is_refused(applied, series):
    edit(applied / "django/__init__.py", "3", "2")
    commit(applied, "6.1.2")
    refused(applied, series, r"kept on Django 6\.1\.3; .* is Django 6\.1\.2")


def test_uncommitted_changes_are_refused(applied, series):
    edit(applied / "tests/forks/tests.py", "True", "False")
    refused(applied, series, r"not committed, in tests/forks/tests\.py")


def test_an_unfinished_operation_is_refused(applied, series):
    (applied / ".git/rebase-apply").mkdir()
    refused(applied, series, "is under way")


@pytest.mark.parametrize(
    "name", ["Upstream-Status", "Ticket", "Drop-When", "Overlay-Tests"]
)
def test_a_commit_without_a_trailer_is_refused(applied, series, name):
    write(applied / "django/live.py", "")
    given = TRAILERS.format(apps="forks").splitlines(keepends=True)
    body = "".join(trailer for trailer in given if not trailer.startswith(name))
    commit(applied, SUBJECT, body=f"Reason.\n\n{body}")
    refused(applied, series, f"lacks the trailer {name}")


def test_a_commit_without_a_reason_is_refused(applied, series):
    write(applied / "django/live.py", "")
    commit(applied, SUBJECT, apps="forks")
    refused(applied, series, "lacks a reason")


def test_a_commit_with_conflict_markers_is_refused(applied, series):
    tests = applied / "tests/forks/tests.py"
    write(tests, f"<<<<<<< 6.0\n=======\n{tests.read_text()}>>>>>>> changed-6.1\n")
    git(applied, "commit", "-q", "--all", "--amend", "--no-edit")
    refused(applied, series, r"\(Placed .+\) has conflict markers: edit it")


def test_two_commits_with_one_name_are_refused(applied, series):
    for subject in ("Did it.", "Fixed #1 -- Did it!"):
        write(applied / "django/live.py", subject)
        commit(applied, subject, body="Reason.", apps="forks")
    refused(applied, series, r"Two commits would become did-it\.patch")


def test_a_merge_is_refused(applied, series):
    git(applied, "checkout", "-q", "-b", "side", "HEAD~3")
    write(applied / "side.py", "")
    commit(applied, "Side")
    git(applied, "checkout", "-q", "stable")
    git(applied, "-c", "core.editor=true", "merge", "-q", "side")
    refused(applied, series, "is a merge")


def test_a_test_app_that_is_not_committed_is_refused(checkout, series):
    git(checkout, "am", "-q", "--keep-non-patch", *map(str, series.patches))
    refused(checkout, series, "test app thread_connections; it is not in HEAD")


def test_our_own_uncommitted_patch_is_not_overwritten(applied, series):
    edit(series.patches[0], "collector", "garbage collector")
    refused(applied, series, r"close-connections\.patch would be overwritten")


def test_our_own_uncommitted_tests_are_not_overwritten(applied, series):
    write(series.tests / "forks/tests.py", "forks = 'by hand'\n")
    refused(applied, series, r"forks/tests\.py would be overwritten")


def test_our_own_untracked_tests_are_not_removed(applied, series):
    write(series.tests / "forks/new.py", "new = True\n")
    refused(applied, series, r"forks/new\.py would be overwritten")


def test_patches_outside_of_a_repository_are_not_overwritten(applied, series, tmp_path):
    (series.tests.parent / ".git").rename(tmp_path / "elsewhere")
    write(applied / "tests/forks/tests.py", "forks = 2\n")
    commit(applied, "More tests")
    refused(applied, series, "would be overwritten")


def test_a_series_that_is_not_the_one_that_was_applied_is_refused(applied, series):
    pull(series)
    refused(applied, series, "has changed since it was applied")
    write(applied / "tests/forks/tests.py", "forks = 2\n")
    commit(applied, "More tests")
    refused(applied, series, "has changed since it was applied")


def test_a_series_that_was_pulled_after_an_export_is_refused(applied, series):
    write(applied / "tests/forks/tests.py", "forks = True\n\n")
    commit(applied, "More tests")
    export(applied, series)
    pull(series)
    refused(applied, series, "has changed since it was applied")


def test_a_sparse_checkout_is_refused(applied, series):
    git(applied, "sparse-checkout", "set", "django")
    refused(applied, series, "is a sparse checkout: run `git sparse-checkout disable`")


@pytest.mark.parametrize("content", ["", "nonsense\n"])
def test_a_file_that_is_no_patch_is_named(applied, series, content):
    write(series.patches[1], content)
    refused(applied, series, r"discard-inherited\.patch is not a patch that git am")


def test_patches_that_would_land_elsewhere_are_refused(checkout, series):
    # Numbered by the lines of the release, the hunk fits one block further up.
    block = "".join(f"line_{number} = 0\n" for number in range(7))
    write(checkout / "django/twice.py", block * 4)
    commit(checkout, "Repeated lines")
    apply(checkout, series)
    above = block.replace("line", "above")
    write(checkout / "django/twice.py", above + block * 4)
    commit(checkout, "Added lines.", body="Reason.", apps="forks")
    changed = block.replace("line_3", "changed")
    write(checkout / "django/twice.py", above + block * 2 + changed + block)
    commit(checkout, "Changed a line.", body="Reason.", apps="forks")
    refused(checkout, series, r"would give another django/twice\.py")


# Names and order


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("Closed connections of threads.", "closed-connections-of-threads"),
        ("Fixed #9878 -- Closed them.", "closed-them"),
        ("Refs #1, #2 -- Closed them.", "closed-them"),
        ("[6.1.x] Fixed #9878 -- Closed `close()`d ones.", "closed-close-d-ones"),
    ],
)
def test_a_name_says_what_the_subject_says(subject, name):
    assert slug(subject) == name


def test_comments_stay_above_their_patch():
    series = "# All.\n\n# One.\none\ntwo\n# End.\n"
    assert reordered(series, ["one", "two"]) == series
    assert reordered(series, ["two", "new", "one"]) == (
        "two\nnew\n# All.\n\n# One.\none\n# End.\n"
    )
