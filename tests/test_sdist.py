"""Real pip, with a folder of source distributions in the place of an index."""

import hashlib
import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from overlay.errors import OverlayError
from overlay.releases import newer_releases
from overlay.sdist import fetch, releases, unpack
from overlay.series import Series

# pip builds the metadata with the backend that the source distribution names: one
# within itself, as a real one would be downloaded.
FILES = {
    "pyproject.toml": """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "Django"
requires-python = ">= 3.10"
""",
    "backend.py": """\
from pathlib import Path
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    info = Path(directory, "django-9.9.dist-info")
    info.mkdir()
    metadata = "Metadata-Version: 2.1\\nName: Django\\nVersion: 9.9\\n"
    info.joinpath("METADATA").write_text(metadata)
    return info.name
""",
    "PKG-INFO": "Metadata-Version: 2.1\nName: Django\nVersion: 9.9\n",
}


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """The folder that the user has set pip to install from."""
    folder = tmp_path / "index"
    folder.mkdir()
    with tarfile.open(folder / "django-9.9.tar.gz", "w:gz") as tar:
        for name, content in FILES.items():
            member = tarfile.TarInfo(f"django-9.9/{name}")
            member.size = len(content)
            member.uid = 12345
            tar.addfile(member, io.BytesIO(content.encode()))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def sha256(index) -> str:
    return hashlib.sha256((index / "django-9.9.tar.gz").read_bytes()).hexdigest()


def test_a_release_is_downloaded_only_once(index, sha256, tmp_path):
    archive = fetch("9.9", sha256, tmp_path / "cache")
    (index / "django-9.9.tar.gz").unlink()
    assert fetch("9.9", sha256, tmp_path / "cache") == archive
    assert list((tmp_path / "cache").iterdir()) == [archive]


def test_a_wrong_hash_is_refused_and_nothing_is_kept(index, tmp_path):
    with pytest.raises(OverlayError, match=r"Django 9\.9 .* does not have the sha256"):
        fetch("9.9", "0" * 64, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_file_in_the_cache_is_replaced(index, sha256, tmp_path):
    damaged = tmp_path / "django-9.9.tar.gz"
    damaged.write_bytes(b"damaged")
    archive = fetch("9.9", sha256, tmp_path)
    assert archive == damaged
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == sha256


def test_what_cannot_be_downloaded_is_one_sentence(index, tmp_path):
    with pytest.raises(OverlayError, match=r"could not download Django 8\.8") as error:
        fetch("8.8", "0" * 64, tmp_path)
    assert "\n" not in error.value.message


@pytest.mark.parametrize("name", ["data_filter", "fully_trusted_filter"])
def test_unpacked_files_belong_to_the_user(index, tmp_path, name, monkeypatch):
    # An old Python, such as Debian 12's, has no filters, which is to trust.
    trusted = getattr(tarfile, name, None)
    monkeypatch.setattr(tarfile, "data_filter", trusted, raising=False)
    top = unpack(index / "django-9.9.tar.gz", tmp_path / "into")
    assert top == tmp_path / "into/django-9.9"
    assert top.joinpath("PKG-INFO").stat().st_uid == tmp_path.stat().st_uid


def test_releases_of_the_line_come_oldest_first(index):
    for version in ("6.1", "6.1.10", "6.1.2", "6.2", "16.1"):
        index.joinpath(f"django-{version}.tar.gz").touch()
    assert releases("6.1") == ["6.1", "6.1.2", "6.1.10"]


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("5.2.9 6.0.11 6.1.2 6.1.3 6.1.4rc1", []),
        (
            "5.2.10 6.1.4 6.1.10 6.2 10.0a1",
            [("6.1", "6.1.10"), ("5.2", "5.2.10"), ("6.1", "10.0a1")],
        ),
    ],
)
def test_releases_that_no_series_is_kept_on(index, listed, found):
    index.joinpath("django-9.9.tar.gz").unlink()
    for version in listed.split():
        index.joinpath(f"django-{version}.tar.gz").touch()
    known = [
        Series(line, release, ">=3.11", {release: "00"}, index, index)
        for line, release in [("6.1", "6.1.3"), ("5.2", "5.2.9")]
    ]
    assert newer_releases(known) == found


def test_an_index_without_django_is_one_sentence(index):
    index.joinpath("django-9.9.tar.gz").unlink()
    with pytest.raises(
        OverlayError, match=r"could not list the releases .*No matching"
    ):
        releases("9.9")


def test_an_index_that_cannot_be_reached_is_said_to_be_that(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    why = r": its index can't be reached: \[Errno \d+\] Connection refused$"
    with pytest.raises(OverlayError, match=why):
        fetch("9.9", None, tmp_path)
    with pytest.raises(OverlayError, match=why):
        releases("9.9")
