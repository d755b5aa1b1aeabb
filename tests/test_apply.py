import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from overlay.apply import apply
from overlay.errors import OverlayError

from .conftest import (
    GIT,
    commit,
    edit,
    executable,
    files,
    git,
    pull,
    run_overlay,
    snapshot,
    write,
)


def refused(tree, series, match, **options):
    """Assert that apply() refuses with `match`, and leaves every byte as it was."""
    before = snapshot(tree)
    with pytest.raises(OverlayError, match=match) as caught:
        apply(tree, series, **options)
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
    plain = shutil.copytree(tree, tmp_path / "plain")
    expected = apply(plain, series)
    hostile = request.getfixturevalue("hostile")
    if where == "global and local" and kind == "checkout":
        with (tree / ".git/config").open("a") as config:
            config.write(hostile)
    assert apply(tree, series) == expected
    assert files(tree) == files(plain)


# What it replaces


def test_another_revision_is_replaced_by_what_a_fresh_apply_gives(
    checkout, series, tmp_path
):
    fresh = shutil.copytree(checkout, tmp_path / "fresh")
    apply(checkout, series)
    pull(series)
    assert apply(checkout, series, replace=True) == apply(fresh, series)
    assert files(checkout) == files(fresh)


def test_a_stock_tree_has_nothing_to_replace(checkout, series):
    apply(checkout, series, replace=True)
    assert is_applied(checkout)


def test_patches_that_git_am_applied_are_replaced(checkout, series, tmp_path):
    fresh = shutil.copytree(checkout, tmp_path / "fresh")
    git(checkout, "am", "-q", *map(str, series.patches))
    assert apply(checkout, series, replace=True) == apply(fresh, series)


def test_another_revision_is_not_replaced_without_being_told(checkout, series):
    apply(checkout, series)
    pull(series)
    refused(checkout, series, "Another revision of the 6.1 .*: --replace puts this one")


def test_own_commits_on_top_are_not_replaced(checkout, series):
    apply(checkout, series)
    write(checkout / "mine.py", "")
    commit(checkout, "Mine")
    refused(checkout, series, r"commits of its own .*\(Mine\)", replace=True)
    pull(series)
    refused(checkout, series, r"commits of its own .*\(Mine\)", replace=True)


@pytest.mark.parametrize("is_newer", [False, True])
def test_an_amended_patch_is_not_replaced(checkout, series, is_newer):
    apply(checkout, series)
    git(checkout, "reset", "-q", "--keep", "HEAD~")
    edit(checkout / "django/utils/connection.py", "'x'", "'y'")
    git(checkout, "commit", "-q", "-a", "--amend", "--no-edit")
    git(checkout, "cherry-pick", "ORIG_HEAD")
    if is_newer:
        pull(series)
    refused(checkout, series, "discard-inherited.patch.* is not as", replace=True)


def test_amended_tests_are_not_replaced(checkout, series):
    apply(checkout, series)
    edit(checkout / "tests/forks/tests.py", "True", "'mine'")
    git(checkout, "commit", "-q", "-a", "--amend", "--no-edit")
    refused(checkout, series, "forks .* is not as", replace=True)
    pull(series)
    refused(checkout, series, "forks .* is not as", replace=True)


def test_nothing_is_replaced_below_uncommitted_changes(checkout, series):
    apply(checkout, series)
    pull(series)
    edit(checkout / "tests/basic/tests.py", "True", "False")
    refused(checkout, series, "not committed, in tests/basic", replace=True)


# What it refuses


MAIL = "From: Zoe <zoe@example.com>\nSubject: Did it.\n\nIt was not.\n---\n"
FILE = "diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -1,9 +1,9 @@\n-x\n"


@pytest.mark.parametrize("name", ["close-connections.patch", "discard-inherited.patch"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is not a patch that git am takes: no subject"),
        ("nonsense\n", "is not a patch that git am takes: no subject"),
        (FILE, "is not a patch that git am takes: no subject"),
        (MAIL, "can't be applied: .*No valid patches in input"),
        (MAIL + FILE, "can't be applied: .*corrupt patch"),
    ],
)
def test_a_file_that_is_no_patch_is_named(checkout, series, name, content, why):
    write(series.directory / name, content)
    refused(checkout, series, f"{name} {why}")


@pytest.fixture
def windows(checkout, tmp_path):
    """A clone with the line ends of Windows."""
    git(tmp_path, "clone", "-q", "-c", "core.autocrlf=true", str(checkout), "windows")
    assert (tmp_path / "windows/django/db/utils.py").read_bytes().count(b"\r\n") == 40
    return tmp_path / "windows"


@pytest.mark.parametrize("where", ["repository", "user"])
def test_a_clone_with_other_line_ends_is_refused_with_the_reason(
    windows, series, where, tmp_path, monkeypatch
):
    if where == "user":
        git(windows, "config", "--unset", "core.autocrlf")
        write(tmp_path / "home/.gitconfig", "[core]\nautocrlf = true\n")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
    refused(windows, series, "have the line ends of Windows")


def test_a_change_below_other_line_ends_is_a_change(windows, series):
    edit(windows / "tests/basic/tests.py", "True", "False")
    refused(windows, series, r"not committed, in tests/basic/tests\.py: commit or")


def test_a_sparse_checkout_is_refused(checkout, series):
    git(checkout, "sparse-checkout", "set", "django")
    refused(checkout, series, "is a sparse checkout: run `git sparse-checkout disable`")
    git(checkout, "sparse-checkout", "disable")
    apply(checkout, series)


def test_a_change_in_a_submodule_is_refused(checkout, series, tmp_path):
    write(tmp_path / "other/file.py", "")
    git(tmp_path / "other", "init", "-q")
    commit(tmp_path / "other", "Other")
    add = ("-c", "protocol.file.allow=always", "submodule", "add", "-q")
    git(checkout, *add, str(tmp_path / "other"), "other")
    git(checkout, "config", "-f", ".gitmodules", "submodule.other.ignore", "all")
    commit(checkout, "Added a submodule")
    write(checkout / "other/file.py", "mine\n")
    refused(checkout, series, "not committed, in other: commit")


def test_a_failed_move_puts_the_branch_back(checkout, series, tmp_path, monkeypatch):
    base, before = git(checkout, "rev-parse", "HEAD"), files(checkout)
    executable(
        tmp_path / "bin/git",
        'case "$*" in *" read-tree -m -u "*) echo "fatal: no" >&2; exit 1;; esac',
        f'exec {GIT} "$@"',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with pytest.raises(OverlayError, match=r"^git read-tree failed: no$"):
        apply(checkout, series)
    assert git(checkout, "rev-parse", "HEAD", "stable").split() == [base, base]
    assert files(checkout) == before
    assert git(checkout, "status", "--porcelain") == "?? notes.txt"


def test_a_tree_of_another_user_is_refused_until_git_trusts_it(
    checkout, overlay, tmp_path
):
    # What git takes for a test of it, and the tool does not hand on.
    executable(
        tmp_path / "bin/git",
        f'[ "$2" != {checkout} ] || export GIT_TEST_ASSUME_DIFFERENT_OWNER=1',
        f'exec {GIT} "$@"',
    )
    (tmp_path / "home").mkdir()
    env = os.environ | {
        "HOME": str(tmp_path / "home"),
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
    }
    before = snapshot(checkout)
    result = run_overlay(overlay, "apply", checkout, env=env)
    assert (result.returncode, snapshot(checkout)) == (1, before)
    remedy = f"git config --global --add safe.directory {checkout}"
    assert result.stderr == (
        "Error: The repository belongs to another user; if you trust it, run "
        f"`{remedy}`.\n"
    )
    subprocess.run(remedy, shell=True, check=True, env=env)
    result = run_overlay(overlay, "apply", checkout, env=env)
    assert (result.returncode, result.stderr) == (0, "")
    assert is_applied(checkout)


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


def apply_without_end(overlay, tree, tmp_path, **kwargs):
    """Start an apply whose `git am` takes a minute; return the process once it runs."""
    (tmp_path / "scratch").mkdir()
    executable(
        tmp_path / "bin/git",
        f'case "$*" in *" am "*) touch {tmp_path}/started; exec sleep 60;; esac',
        f'exec {GIT} "$@"',
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "overlay", "apply", tree],
        cwd=overlay,
        env=os.environ
        | {
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "TMPDIR": str(tmp_path / "scratch"),
        },
        **kwargs,
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_a_killed_apply_leaves_nothing_behind(kind, number, overlay, request, tmp_path):
    tree = request.getfixturevalue(kind)
    before = snapshot(tree)
    process = apply_without_end(overlay, tree, tmp_path, stderr=subprocess.DEVNULL)
    process.send_signal(number)
    assert process.wait(30) != 0
    assert snapshot(tree) == before
    assert not list((tmp_path / "scratch").iterdir())


def test_an_interrupt_waits_until_the_tree_has_moved(overlay, checkout, tmp_path):
    executable(
        tmp_path / "bin/git",
        'case "$*" in *" read-tree -m "*) kill -INT $PPID; sleep 0.3;; esac',
        f'exec {GIT} "$@"',
    )
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    result = run_overlay(overlay, "apply", checkout, env=os.environ | {"PATH": path})
    assert result.returncode != 0
    assert is_applied(checkout)
    assert git(checkout, "status", "--porcelain") == "?? notes.txt"


def test_a_second_apply_that_is_faster_wins(overlay, checkout, tmp_path):
    again = f"{sys.executable} -m overlay apply {checkout}"
    executable(
        tmp_path / "bin/git",
        'case "$*" in *" read-tree --dry-run "*)',
        f"PATH='{os.environ['PATH']}' {again} >&2 || exit;; esac",
        f'exec {GIT} "$@"',
    )
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    result = run_overlay(overlay, "apply", checkout, env=os.environ | {"PATH": path})
    assert (result.returncode, result.stderr) == (
        1,
        "Error: HEAD has moved meanwhile: another git is at work there.\n",
    )
    assert is_applied(checkout)
    assert git(checkout, "status", "--porcelain") == "?? notes.txt"
    assert git(checkout, "rev-list", "--count", "HEAD") == "4"


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_the_next_run_removes_what_a_sigkill_left_behind(
    overlay, checkout, series, tmp_path
):
    process = apply_without_end(overlay, checkout, tmp_path, start_new_session=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    assert len(git(checkout, "worktree", "list").splitlines()) == 2
    assert len(list((tmp_path / "scratch").iterdir())) == 1
    apply(checkout, series)
    assert is_applied(checkout)
    assert len(git(checkout, "worktree", "list").splitlines()) == 1
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("is_locked", [False, True])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_dead_runs_worktree_goes_in_any_state(
    checkout, series, dead, is_locked, is_there, tmp_path
):
    folder = tmp_path / f"django-overlay-{dead}-x"
    git(checkout, "worktree", "add", "-q", "--detach", str(folder / "checkout"))
    if is_locked:
        git(checkout, "worktree", "lock", str(folder / "checkout"))
    if not is_there:
        shutil.rmtree(folder)
    apply(checkout, series)
    assert len(git(checkout, "worktree", "list").splitlines()) == 1
    assert not folder.exists()


def test_worktrees_of_a_living_run_and_of_the_user_stay(
    checkout, series, dead, tmp_path
):
    names = [f"django-overlay-{os.getpid()}-x", "django-overlay-mine", f"{dead}-x"]
    for name in names:
        folder = str(tmp_path / name / "checkout")
        git(checkout, "worktree", "add", "-q", "--detach", folder)
    apply(checkout, series)
    assert len(git(checkout, "worktree", "list").splitlines()) == 4
    for name in names:
        assert (tmp_path / name / "checkout/django/db/utils.py").exists()
