import subprocess

import pytest

from overlay.mail import written

from .conftest import commit, edit, git, write

UTILS = "django/db/utils.py"


def mails(tree, base):
    """The commits above `base` as patches, oldest first."""
    commits = git(tree, "rev-list", "--reverse", f"{base}..HEAD").split()
    return [written(tree, commit, base, ["."]) for commit in commits]


@pytest.fixture
def base(checkout):
    return git(checkout, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    "first",
    [
        "line_9 = 'nine'\n",
        "line_9 = 'IX'  # a comment\n",
        "# Why.\n# And how.\nline_9 = 'nine'\n",
        "",
    ],
)
def test_an_edit_of_a_patch_leaves_the_one_above_as_it_is(checkout, base, first):
    edit(checkout / UTILS, "line_9 = 9\n", "line_9 = 0\n")
    commit(checkout, "First.")
    edit(checkout / UTILS, "line_30 = 30", "line_30 = 'x'")
    write(checkout / "django/live.py", "live = True\n")
    second = commit(checkout, "Second.")
    before = mails(checkout, base)
    git(checkout, "reset", "-q", "--hard", base)
    edit(checkout / UTILS, "line_9 = 9\n", first)
    commit(checkout, "First.")
    git(checkout, "cherry-pick", second)
    after = mails(checkout, base)
    assert after[1] == before[1]
    assert after[0] != before[0]
    assert "\n@@ -28,7 +28,7 @@ line_26 = 26\n" in after[1]


def test_lines_that_a_patch_adds_have_the_number_of_the_one_below(checkout, base):
    added = "".join(f"added_{number} = {number}\n" for number in range(12))
    edit(checkout / UTILS, "line_9 = 9\n", f"line_9 = 9\n{added}")
    commit(checkout, "First.")
    edit(checkout / UTILS, "added_6 = 6", "added_6 = 'six'")
    commit(checkout, "Second.")
    edit(checkout / UTILS, "line_30 = 30", "line_30 = 'x'")
    commit(checkout, "Third.")
    _, second, third = mails(checkout, base)
    assert "\n@@ -11,7 +11,7 @@" in second
    assert "\n@@ -28,7 +28,7 @@" in third


def test_an_index_line_is_that_of_the_release_where_git_can_use_it(
    checkout, base, tmp_path
):
    edit(checkout / UTILS, "line_9 = 9\n", "line_9 = 9\nmore = True\n")
    commit(checkout, "First.")
    edit(checkout / UTILS, "line_30 = 30", "line_30 = 'x'")
    commit(checkout, "Second.")
    edit(checkout / UTILS, "more = True", "more = False")
    commit(checkout, "Third.")
    first, second, third = mails(checkout, base)
    release = git(checkout, "rev-parse", f"{base}:{UTILS}")
    assert f"\nindex {release}.." in first
    assert f"\nindex {release}.." in second
    # It changes what the first one adds.
    assert git(checkout, "rev-parse", f"HEAD~:{UTILS}") in third
    git(checkout, "checkout", "-q", "--detach", base)
    git(checkout, "am", "-q", stdin=second)
    assert f"{release}..{git(checkout, 'rev-parse', f'HEAD:{UTILS}')}" in second


def test_a_three_way_merge_has_the_blobs_of_the_release(checkout, base):
    edit(checkout / UTILS, "line_9 = 9\n", "line_9 = 9\nmore = True\n")
    commit(checkout, "First.")
    edit(checkout / UTILS, "line_30 = 30", "line_30 = 'x'")
    commit(checkout, "Second.")
    second = mails(checkout, base)[1]
    # A repository with the release, but without the first patch.
    other = checkout.parent / "other"
    git(checkout, "tag", "release", base)
    clone = ("clone", "-q", "--no-local", "--single-branch", "--branch=release")
    git(checkout.parent, *clone, str(checkout), str(other))
    edit(other / UTILS, "line_28 = 28", "line_28 = 'context'")
    commit(other, "Mine.")
    with pytest.raises(subprocess.CalledProcessError):
        git(other, "am", "-q", stdin=second)
    git(other, "am", "--abort")
    git(other, "am", "-q", "-3", stdin=second)
    assert "line_30 = 'x'" in (other / UTILS).read_text()


def lines_in_added_lines(tree):
    edit(tree / UTILS, "line_9 = 9\n", "line_9 = 9\na = 1\nb = 2\nc = 3\nd = 4\n")
    commit(tree, "Added lines.")
    edit(tree / UTILS, "b = 2\n", "b = 'two'\nb2 = 2\n")


def lines_below_removed_lines(tree):
    edit(tree / UTILS, "line_9 = 9\nline_10 = 10\n", "")
    commit(tree, "Removed lines.")
    edit(tree / UTILS, "line_8 = 8\n", "line_8 = 8\nnew = True\n")
    edit(tree / UTILS, "line_38 = 38\n", "")


def added_and_edited(tree):
    write(tree / "django/live.py", "live = True\n")
    commit(tree, "Added it.")
    edit(tree / "django/live.py", "True", "False")


def deleted(tree):
    (tree / "django/utils/obsolete.py").unlink()


def binary(tree):
    (tree / "django/logo.png").write_bytes(bytes(range(256)))
    commit(tree, "Added a picture.")
    (tree / "django/logo.png").write_bytes(bytes(range(255)))


def renamed(tree):
    (tree / UTILS).rename(tree / "django/db/tools.py")
    commit(tree, "Renamed it.")
    edit(tree / "django/db/tools.py", "line_30 = 30", "line_30 = 'x'")


def executable(tree):
    edit(tree / "tests/runtests.py", "python", "python3")
    (tree / "tests/runtests.py").chmod(0o644)


def without_newline_at_the_end(tree):
    text = (tree / UTILS).read_text()
    (tree / UTILS).write_text(text.removesuffix("\n"))
    commit(tree, "Took it away.")
    (tree / UTILS).write_text("first = True\n" + text.removesuffix("\n") + "0")


@pytest.mark.parametrize(
    "change",
    [
        lines_in_added_lines,
        lines_below_removed_lines,
        added_and_edited,
        deleted,
        binary,
        renamed,
        executable,
        without_newline_at_the_end,
    ],
)
def test_git_am_makes_the_same_tree_of_the_patches(checkout, base, change):
    change(checkout)
    tip = commit(checkout, "Changed it.", body="Reason.")
    patches = mails(checkout, base)
    git(checkout, "checkout", "-q", "--detach", base)
    for patch in patches:
        git(checkout, "am", "-q", stdin=patch)
    assert git(checkout, "diff", "HEAD", tip) == ""
    assert mails(checkout, base) == patches


@pytest.mark.parametrize("name", ["with space.py", "zoë.py", 'quo"te.py', "a\tb.py"])
def test_any_path_will_do(checkout, name):
    body = "".join(f"line_{number} = {number}\n" for number in range(40))
    write(checkout / "django" / name, body)
    base = commit(checkout, "Base.")
    edit(checkout / "django" / name, "line_9 = 9\n", "line_9 = 9\nmore = True\n")
    commit(checkout, "First.")
    edit(checkout / "django" / name, "line_30 = 30", "line_30 = 'x'")
    tip = commit(checkout, "Second.")
    patches = mails(checkout, base)
    git(checkout, "checkout", "-q", "--detach", base)
    for patch in patches:
        git(checkout, "am", "-q", stdin=patch)
    assert git(checkout, "diff", "HEAD", tip) == ""
    if " " in name:
        assert "\n@@ -28,7 +28,7 @@" in patches[1]
