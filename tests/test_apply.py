import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from overlay.apply import apply
from overlay.errors import OverlayError

from .conftest import GIT, commit, edit, files, git, run_overlay, snapshot, write


def refused(tree, series, match):
    """Assert that apply() refuses with `match`, and leaves every byte as it was."""
    before = snapshot(tree)
    with pytest.raises(OverlayError, match=match) as caught:
        apply(tree, series)
    assert snapshot(tree) == before
    assert "\n" not in caught.value.message


def is_applied(tree):
    return (
        "line_9 = 'nine'\n" in (tree / "django/db/utils.py").read_text()
        and (tree / "django/db/threads.py").read_text() == "closed = True\n"
        and "line_30 = 'x'\n" in (tree / "django/utils/connection.py").read_text()
        and not (tree / "django/utils/obsolete.py").exists()
        and (tree / "tests/thread_connections/tests.py").exists()
        and (tree / "tests/forks/tests.py").read_text() == "forks = True\n"
    )


# What it does


def test_the_branch_gets_each_patch_and_the_tests_as_commits(checkout, series):
    base = git(checkout, "rev-parse", "HEAD")
    tip = apply(checkout, series)
    assert is_applied(checkout)
    assert git(checkout, "log", "--format=%s", f"{base}..stable").splitlines() == [
        "Placed the overlay's tests.",
        "[6.1.x] Discarded connections inherited by fork.",
        "Fixed #9878 -- Closed connections of Zoë's ended threads.",
    ]
    assert git(checkout, "rev-parse", "HEAD") == tip
    assert git(checkout, "symbolic-ref", "HEAD") == "refs/heads/stable"


def test_nothing_else_in_the_tree_changes(checkout, series):
    apply(checkout, series)
    assert git(checkout, "status", "--porcelain") == "?? notes.txt"
    assert (checkout / "notes.txt").read_text() == "mine\n"
    assert len(git(checkout, "worktree", "list").splitlines()) == 1
    assert not (checkout / ".git/worktrees").exists()


def test_a_detached_head_is_moved_and_its_branch_is_not(checkout, series):
    git(checkout, "checkout", "-q", "--detach")
    base = git(checkout, "rev-parse", "stable")
    tip = apply(checkout, series)
    assert is_applied(checkout)
    assert git(checkout, "rev-parse", "HEAD") == tip
    assert git(checkout, "rev-parse", "stable") == base


def test_a_linked_worktree_is_a_checkout_too(checkout, series, tmp_path):
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    apply(tmp_path / "linked", series)
    assert is_applied(tmp_path / "linked")
    assert not is_applied(checkout)


def test_a_repository_inside_of_another_is_a_checkout_too(checkout, series, tmp_path):
    git(tmp_path, "init", "-q")
    apply(checkout, series)
    assert is_applied(checkout)


def test_a_link_to_a_checkout_is_followed(checkout, series, tmp_path):
    (tmp_path / "link").symlink_to(checkout)
    apply(tmp_path / "link", series)
    assert is_applied(checkout)


def test_a_copied_checkout_is_not_taken_for_a_dirty_one(checkout, series, tmp_path):
    copy = shutil.copytree(checkout, tmp_path / "copy")
    for file in copy.rglob("*.py"):
        os.utime(file, (0, 0))
    apply(copy, series)
    assert is_applied(copy)


def test_two_applies_on_the_same_base_give_the_same_commit(checkout, series, tmp_path):
    copy = shutil.copytree(checkout, tmp_path / "copy")
    assert apply(checkout, series) == apply(copy, series)


def test_an_sdist_becomes_a_repository_with_all_of_its_files(sdist, series):
    before = files(sdist)
    write(sdist / "django/__pycache__/utils.pyc", "compiled")
    apply(sdist, series)
    assert is_applied(sdist)
    assert git(sdist, "log", "-1", "--format=%s", "HEAD~3") == "Django 6.1.3"
    listed = git(sdist, "ls-tree", "-r", "HEAD~3").splitlines()
    assert {entry.split("\t")[1] for entry in listed} == {
        name for name in before if (sdist / name).is_file()
    } | {"django/utils/obsolete.py"}
    assert any(
        entry.startswith("100755") and entry.endswith("\ttests/runtests.py")
        for entry in listed
    )
    assert git(sdist, "show", "HEAD~3:docs/nonascii.txt") == "Zoë"


def test_the_same_sdist_always_gives_the_same_commit(sdist, series, tmp_path):
    copy = shutil.copytree(sdist, tmp_path / "other-folder")
    assert apply(sdist, series) == apply(copy, series)


def test_compiled_files_of_the_tests_stay_behind(checkout, series):
    write(series.tests / "forks/__pycache__/tests.pyc", "compiled")
    apply(checkout, series)
    assert not (checkout / "tests/forks/__pycache__").exists()


@pytest.mark.parametrize("where", ["global", "global and local"])
@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_the_users_git_configuration_makes_no_difference(
    kind, where, series, tmp_path, request
):
    tree = request.getfixturevalue(kind)
    expected = apply(shutil.copytree(tree, tmp_path / "plain"), series)
    hostile = request.getfixturevalue("hostile")
    if where == "global and local" and kind == "checkout":
        with (tree / ".git/config").open("a") as config:
            config.write(hostile)
    assert apply(tree, series) == expected
    assert is_applied(tree)


# What it refuses


def test_a_tree_that_is_not_django_is_refused(tmp_path, series):
    write(tmp_path / "other/setup.py", "")
    refused(tmp_path / "other", series, "is not a Django source tree")


def test_a_staged_change_is_refused(checkout, series):
    write(checkout / "staged.py", "")
    git(checkout, "add", "staged.py")
    refused(checkout, series, r"not committed, in staged\.py: commit or stash")


@pytest.mark.parametrize("name", ["django/db/utils.py", "tests/basic/tests.py"])
def test_a_modified_file_is_refused(checkout, series, name):
    edit(checkout / name, "=", "= 7 +")
    refused(checkout, series, f"not committed, in {name}")


def test_a_change_that_git_was_told_to_overlook_is_refused(checkout, series):
    git(checkout, "update-index", "--assume-unchanged", "django/db/utils.py")
    edit(checkout / "django/db/utils.py", "=", "= 7 +")
    refused(checkout, series, "utils.py")


@pytest.mark.parametrize(
    "name",
    [
        "django/db/threads.py",
        "tests/forks",
        "tests/forks/tests.py",
        "tests/thread_connections/tests.py",
    ],
)
@pytest.mark.parametrize("is_ignored", [False, True])
def test_an_untracked_file_in_the_way_is_refused(checkout, series, name, is_ignored):
    write(checkout / name, "mine\n")
    if is_ignored:
        write(checkout / ".git/info/exclude", "*\n")
    refused(checkout, series, f"{name}.* would be overwritten")


def test_an_untracked_file_beside_the_tests_is_kept(checkout, series):
    write(checkout / "tests/forks/mine.py", "mine\n")
    apply(checkout, series)
    assert is_applied(checkout)
    assert (checkout / "tests/forks/mine.py").read_text() == "mine\n"


def test_a_conflict_is_refused_with_its_patch_and_files(checkout, series):
    edit(checkout / "django/utils/connection.py", "line_30 = 30", "line_30 = 31")
    commit(checkout, "Mine")
    refused(
        checkout,
        series,
        r"discard-inherited\.patch does not apply: .* in django/utils/connection\.py",
    )


def test_a_file_that_a_patch_would_add_is_a_conflict(checkout, series):
    write(checkout / "django/db/threads.py", "mine\n")
    commit(checkout, "Mine")
    refused(checkout, series, r"close-connections\.patch .* django/db/threads\.py")


def test_an_sdist_that_conflicts_does_not_become_a_repository(sdist, series):
    edit(sdist / "django/utils/connection.py", "line_30 = 30", "line_30 = 31")
    refused(sdist, series, r"discard-inherited\.patch does not apply")


def test_tests_with_the_name_of_djangos_own_are_refused(checkout, series):
    write(checkout / "tests/forks/models.py", "theirs\n")
    commit(checkout, "Django tests forks itself")
    refused(checkout, series, "has its own tests/forks/models.py")


def test_an_applied_series_is_refused(checkout, series):
    apply(checkout, series)
    refused(checkout, series, "6.1 series is already applied")


def test_a_series_below_the_users_own_commits_is_refused(checkout, series):
    apply(checkout, series)
    write(checkout / "mine.py", "")
    commit(checkout, "Mine")
    refused(checkout, series, "6.1 series is already applied")


def test_a_half_applied_series_is_refused(checkout, series):
    git(checkout, "am", "-q", "--keep-non-patch", str(series.patches[0]))
    refused(checkout, series, r"half applied .* without discard-inherited\.patch")


def test_an_unfinished_am_is_refused(checkout, series):
    with pytest.raises(subprocess.CalledProcessError):
        git(checkout, "am", stdin="From: x\nSubject: y\n\n---\ndiff --git a/b b/b\n")
    assert (checkout / ".git/rebase-apply").exists()
    refused(checkout, series, "is under way")


def test_an_unfinished_merge_is_refused(checkout, series):
    git(checkout, "checkout", "-q", "-b", "side")
    write(checkout / "side.py", "")
    commit(checkout, "Side")
    git(checkout, "checkout", "-q", "stable")
    git(checkout, "merge", "-q", "--no-ff", "--no-commit", "side")
    refused(checkout, series, "is under way")


def test_an_sdist_inside_of_another_repository_is_refused(sdist, series, tmp_path):
    git(tmp_path, "init", "-q")
    commit(tmp_path, "Outer")
    before = snapshot(tmp_path)
    refused(sdist, series, "lies inside another git repository")
    assert snapshot(tmp_path) == before


def test_a_branch_without_commits_is_refused(sdist, series):
    git(sdist, "init", "-q")
    refused(sdist, series, "has no commit yet")


def test_a_broken_repository_is_refused(sdist, series):
    (sdist / ".git").mkdir()
    refused(sdist, series, "not a git repository")


@pytest.mark.parametrize("lock", ["index.lock", "refs/heads/stable.lock"])
def test_a_repository_that_another_git_has_locked_is_refused(checkout, series, lock):
    write(checkout / ".git" / lock, "")
    refused(checkout, series, f"{lock} exists: another git")


def test_a_series_without_patches_is_refused(checkout, series):
    (series.directory / "series").write_text("# none yet\n")
    refused(checkout, series, "no patch")


def test_a_missing_test_app_is_refused(checkout, series):
    shutil.rmtree(series.tests / "forks")
    refused(checkout, series, "names the test app forks")


def test_a_missing_git_is_refused(checkout, series, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(checkout, series, "git is not on the PATH")


@pytest.mark.parametrize("kind", ["checkout", "sdist"])
@pytest.mark.parametrize("folder", [".", "django/db"])
def test_a_read_only_folder_is_refused(overlay, request, kind, folder):
    tree = request.getfixturevalue(kind)
    (tree / folder).chmod(0o555)
    before = snapshot(tree)
    # Permissions say nothing to root until it gives up the right to ignore them.
    prefix = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override")
    result = run_overlay(
        overlay, "apply", tree, prefix=prefix if os.geteuid() == 0 else ()
    )
    assert (result.returncode, snapshot(tree)) == (1, before)
    assert f"{(tree / folder).resolve()} is read-only." in result.stderr


# What it leaves behind when it is interrupted


@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_an_interrupted_apply_leaves_nothing_behind(
    kind, series, request, monkeypatch, tmp_path
):
    tree = request.getfixturevalue(kind)
    before = snapshot(tree)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("overlay.testapps.place", interrupt)
    with pytest.raises(KeyboardInterrupt):
        apply(tree, series)
    assert snapshot(tree) == before
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_a_killed_apply_leaves_nothing_behind(kind, number, overlay, request, tmp_path):
    tree = request.getfixturevalue(kind)
    before = snapshot(tree)
    (tmp_path / "scratch").mkdir()
    write(
        tmp_path / "bin/git",
        "#!/bin/sh\n"
        f'case "$*" in *" am "*) touch {tmp_path}/started; exec sleep 60;; esac\n'
        f'exec {GIT} "$@"\n',
    )
    (tmp_path / "bin/git").chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "overlay", "apply", tree],
        cwd=overlay,
        env=os.environ
        | {
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "TMPDIR": str(tmp_path / "scratch"),
        },
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(30) != 0
    assert snapshot(tree) == before
    assert not list((tmp_path / "scratch").iterdir())


def test_an_interrupt_waits_until_the_tree_has_moved(overlay, checkout, tmp_path):
    write(
        tmp_path / "bin/git",
        "#!/bin/sh\n"
        'case "$*" in *" read-tree -m "*) kill -INT $PPID; sleep 0.3;; esac\n'
        f'exec {GIT} "$@"\n',
    )
    (tmp_path / "bin/git").chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    result = run_overlay(overlay, "apply", checkout, env=os.environ | {"PATH": path})
    assert result.returncode != 0
    assert is_applied(checkout)
    assert git(checkout, "status", "--porcelain") == "?? notes.txt"
