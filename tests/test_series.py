import pytest

from overlay.errors import OverlayError
from overlay.series import (
    UnknownVersionError,
    django_version,
    line_for,
    lines,
    patch_subject,
    trailers,
)

from .conftest import write

RELEASE = 'release = "6.1"\nrequires_python = ">=3.11"\n'


def write_line(patches, name, *releases):
    hashes = "".join(f'"{release}" = "00"\n' for release in releases)
    base = f'release = "{releases[-1]}"\nrequires_python = ">=3.11"\n'
    write(patches / name / "BASE", f"{base}[sha256]\n{hashes}")


def write_version(tree, *version):
    write(tree / "django/__init__.py", f"import os\nVERSION = {version!r}\n")


def test_lines_come_newest_first(tmp_path):
    for name in ("6.1", "5.2", "10.0"):
        write_line(tmp_path, name, name)
    assert [line.name for line in lines(tmp_path)] == ["10.0", "6.1", "5.2"]


def test_the_patches_come_in_the_order_of_series_without_its_comments(line):
    assert [patch.name for patch in line.patches] == [
        "close-connections.patch",
        "discard-inherited.patch",
    ]


def test_a_series_names_each_test_app_of_its_patches_once(line):
    assert line.test_apps == ["thread_connections", "forks"]


def test_a_series_with_a_missing_patch_is_refused(line):
    (line.directory / "discard-inherited.patch").unlink()
    with pytest.raises(OverlayError, match=r"discard-inherited\.patch, which is miss"):
        assert line.patches


@pytest.mark.parametrize(
    "base",
    [
        "release =",
        'release = "6.1"',
        'release = "6.1"\n[sha256]\n"6.1" = "00"',
        f'{RELEASE}[sha256]\n"6.1.3" = "00"',
        f'{RELEASE}[sha256]\n"6.1" = "00"\n"main" = "00"',
    ],
)
def test_a_malformed_base_is_named(tmp_path, base):
    write(tmp_path / "6.1/BASE", base)
    with pytest.raises(OverlayError, match="BASE"):
        lines(tmp_path)


def test_an_installation_without_patches_is_refused(tmp_path):
    with pytest.raises(OverlayError, match="from a checkout of its repository"):
        lines(tmp_path / "patches")


@pytest.mark.parametrize("version", ["6.1", "6.1.2", "6.1.10"])
def test_a_release_between_the_tested_ones_has_a_line(tmp_path, version):
    write_line(tmp_path, "6.1", "6.1", "6.1.10", "6.1.3")
    write_line(tmp_path, "5.2", "5.2.19")
    assert line_for(version, lines(tmp_path)).name == "6.1"


@pytest.mark.parametrize("version", ["6.1.11", "6.1rc1", "6.2a0", "6.0", "5.2.18"])
def test_any_other_version_is_unknown(tmp_path, version):
    write_line(tmp_path, "6.1", "6.1", "6.1.10")
    write_line(tmp_path, "5.2", "5.2.19")
    with pytest.raises(UnknownVersionError, match=r"6\.1 to 6\.1\.10, 5\.2\.19 to"):
        line_for(version, lines(tmp_path))


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ((6, 1, 0, "final", 0), "6.1"),
        ((6, 1, 3, "final", 0), "6.1.3"),
        ((6, 2, 0, "alpha", 0), "6.2a0"),
        ((6, 1, 4, "rc", 1), "6.1.4rc1"),
    ],
)
def test_the_version_is_read_without_running_django(tmp_path, version, text):
    write_version(tmp_path, *version)
    assert django_version(tmp_path) == text


@pytest.mark.parametrize("source", [None, "", "VERSION = 'x'\n", "VERSION = (\n"])
def test_what_is_not_django_is_refused(tmp_path, source):
    if source is not None:
        write(tmp_path / "django/__init__.py", source)
    with pytest.raises(OverlayError, match="is not a Django source tree"):
        django_version(tmp_path)


def test_trailers_may_be_folded():
    message = "Subject\n\nReason: none.\n\nTicket: 1\nDrop-When: it is\n  upstream\n"
    assert trailers(message) == {"Ticket": "1", "Drop-When": "it is upstream"}


def test_a_subject_keeps_its_brackets_but_not_the_patch_mark(line):
    subjects = [patch_subject(patch.read_text()) for patch in line.patches]
    assert subjects == [
        "Fixed #9878 -- Closed connections of Zoë's ended threads.",
        "[6.1.x] Discarded connections inherited by fork.",
    ]
