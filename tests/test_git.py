import pytest

from overlay.errors import OverlayError
from overlay.git import GitError, git

from .conftest import executable, write


def test_the_output_has_every_byte(checkout):
    assert git(checkout, "show", "HEAD:docs/nonascii.txt") == "Zoë\r\n"


def test_input_of_any_bytes_comes_back(checkout):
    text = b"\xff\r\n\xe9".decode("utf-8", "surrogateescape")
    blob = git(checkout, "hash-object", "-w", "--stdin", stdin=text).strip()
    assert git(checkout, "cat-file", "blob", blob) == text


def test_an_error_carries_what_git_said(checkout):
    with pytest.raises(GitError, match=r"^git rev-parse failed: Needed a single"):
        git(checkout, "rev-parse", "--verify", "nonsense")


def test_the_users_configuration_does_not_count(checkout, hostile):
    assert git(checkout, "config", "--get-all", "diff.noprefix") == "false\n"
    with pytest.raises(GitError):
        git(checkout, "config", "format.signature")


def test_directories_that_the_user_trusts_stay_trusted(checkout, tmp_path, monkeypatch):
    write(tmp_path / "trusting", "[safe]\ndirectory = /some/where\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "trusting"))
    # Another program, so that nothing is remembered of this one.
    executable(tmp_path / "bin/git", 'PATH=/usr/bin:/bin exec git "$@"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert git(checkout, "config", "--get-all", "safe.directory") == "/some/where\n"


def test_a_missing_git_is_named(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OverlayError, match=r"^git is not on the PATH"):
        git(checkout, "status")


def test_a_git_that_is_too_old_is_refused(checkout, tmp_path, monkeypatch):
    executable(tmp_path / "bin/git", "echo git version 2.30.2")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(OverlayError, match=r"is too old: git 2\.32 or newer"):
        git(checkout, "status")
