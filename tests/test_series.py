import pytest

from overlay.errors import OverlayError
from overlay.series import (
    UnknownVersionError,
    django_version,
    patch_subject,
    read_all,
    series_for,
    trailers,
)

from .conftest import write

RELEASE = 'release = "6.1"\nrequires_python = ">=3.11"\n'


def write_line(home, name, *releases):
    hashes = "".join(f'"{release}" = "00"\n' for release in releases)
    base = f'release = "{releases[-1]}"\nrequires_python = ">=3.11"\n'
    write(home / "patches" / name / "BASE", f"{base}[sha256]\n{hashes}")


def write_version(tree, *version):
    write(tree / "django/__init__.py", f"import os\nVERSION = {version!r}\n")


def test_lines_come_newest_first(tmp_path):
    for name in ("6.1", "5.2", "10.0"):
        write_line(tmp_path, name, name)
    assert [series.name for series in read_all(tmp_path)] == ["10.0", "6.1", "5.2"]


def test_the_patches_come_in_the_order_of_series_without_its_comments(series):
    assert [patch.name for patch in series.patches] == [
        "close-connections.patch",
        "discard-inherited.patch",
    ]


def test_a_series_names_each_test_app_of_its_patches_once(series):
    assert series.test_apps == ["thread_connections", "forks"]


def test_a_series_with_a_missing_patch_is_refused(series):
    (series.directory / "discard-inherited.patch").unlink()
    with pytest.raises(OverlayError, match=r"discard-inherited\.patch, which is miss"):
        assert series.patches


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
    write(tmp_path / "patches/6.1/BASE", base)
    with pytest.raises(OverlayError, match="BASE"):
        read_all(tmp_path)


def test_a_folder_without_patches_is_refused(tmp_path):
    with pytest.raises(OverlayError, match="There is no patch series in"):
        read_all(tmp_path)


def test_a_line_without_a_base_is_refused(tmp_path):
    write_line(tmp_path, "6.1", "6.1")
    write(tmp_path / "patches/5.2/series", "")
    with pytest.raises(OverlayError, match=r"5\.2/BASE can't be read: No such file"):
        read_all(tmp_path)


@pytest.mark.parametrize("name", ["BASE", "series"])
def test_a_file_that_is_not_utf_8_is_named(series, name):
    (series.directory / name).write_bytes(b"\xff\n")
    with pytest.raises(OverlayError, match=f"{name} can't be read: it is not UTF-8"):
        assert read_all(series.directory.parents[1])[0].patches


def test_a_patch_without_a_header_is_named(series):
    write(series.patches[0], "diff --git a/x b/x\n")
    with pytest.raises(OverlayError, match=r"close-connections\.patch is not a patch"):
        patch_subject(series.patches[0])


@pytest.mark.parametrize("version", ["6.1", "6.1.3", "6.1.10"])
def test_a_tested_release_has_a_series(tmp_path, version):
    write_line(tmp_path, "6.1", "6.1", "6.1.10", "6.1.3")
    write_line(tmp_path, "5.2", "5.2.19")
    assert series_for(version, read_all(tmp_path)).name == "6.1"


@pytest.mark.parametrize(
    "version", ["6.1.9", "6.1.11", "6.1rc1", "6.2a0", "6.0", "5.2.18"]
)
def test_any_other_version_is_unknown(tmp_path, version):
    write_line(tmp_path, "6.1", "6.1", "6.1.10")
    write_line(tmp_path, "5.2", "5.2.19")
    with pytest.raises(UnknownVersionError, match=r"6\.1, 6\.1\.10; 5\.2\.19"):
        series_for(version, read_all(tmp_path))


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


def test_the_version_may_be_a_call(tmp_path):
    write(tmp_path / "django/__init__.py", 'VERSION = V(2028, 0, 0, "alpha", 0)\n')
    assert django_version(tmp_path) == "2028.0a0"
    write(tmp_path / "django/__init__.py", 'VERSION = V(2028, "rc", 1)\n')
    assert django_version(tmp_path) == "2028rc1"


@pytest.mark.parametrize("source", [None, "", "VERSION = 'x'\n", "VERSION = (\n"])
def test_what_is_not_django_is_refused(tmp_path, source):
    if source is not None:
        write(tmp_path / "django/__init__.py", source)
    with pytest.raises(OverlayError, match="is not a Django source tree"):
        django_version(tmp_path)


def test_trailers_may_be_folded():
    message = "Subject\n\nReason: none.\n\nTicket: 1\nDrop-When: it is\n  upstream\n"
    assert trailers(message) == {"Ticket": "1", "Drop-When": "it is upstream"}


def test_a_subject_keeps_its_brackets_but_not_the_patch_mark(series):
    subjects = [patch_subject(patch) for patch in series.patches]
    assert subjects == [
        "Fixed #9878 -- Closed connections of Zoë's ended threads.",
        "[6.1.x] Discarded connections inherited by fork.",
    ]
