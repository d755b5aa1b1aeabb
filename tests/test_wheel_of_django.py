"""A wheel of a tiny Django, built by the pip and the backend that the archive names."""

import csv
import hashlib
import io
import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from importlib.metadata import distributions
from zipfile import ZipFile

import pytest

from overlay.errors import OverlayError
from overlay.series import django_version, read_all
from overlay.wheel import IDENTITY, build, local_version

from .conftest import cache_release, pull, run_overlay, write


def test_the_command_prints_the_path_and_the_pin_of_the_same_bytes(wheel, home, series):
    into = home.parent / "new/dist"
    result = run_overlay(home, "wheel", "--django=6.1", "-o", into, umask=0o077)
    version = local_version(series, "6.1.3")
    path = into / f"django-{version}-py3-none-any.whl"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert result.stdout == f"{path}\ndjango=={version} --hash=sha256:{digest}\n"
    assert path.read_bytes() == wheel.read_bytes()
    assert list(into.iterdir()) == [path]


def test_entries_are_sorted_and_dated_as_the_newest_file_of_the_archive(wheel):
    with ZipFile(wheel) as opened:
        entries = opened.infolist()
    names = [entry.filename for entry in entries]
    code = [name for name in names if name.startswith("django/")]
    assert names[: len(code)] == code == sorted(code)
    assert names[-1].endswith("/RECORD")
    assert {entry.date_time for entry in entries} == {(2001, 9, 9, 1, 46, 40)}
    modes = {entry.filename: entry.external_attr >> 16 for entry in entries}
    assert modes["django/__init__.py"] == 0o644
    assert modes["django/conf/manage.py-tpl"] == 0o755


def test_it_has_the_series_and_not_the_tests(wheel, series):
    with ZipFile(wheel) as opened:
        assert b"line_9 = 'nine'" in opened.read("django/db/utils.py")
        names = opened.namelist()
    assert "django/db/threads.py" in names
    assert "django/utils/obsolete.py" not in names
    assert {name.partition("/")[0] for name in names} == {
        "django",
        f"django-{local_version(series, '6.1.3')}.dist-info",
    }


def test_its_identity_has_the_hashes_of_patches_and_files(wheel, series):
    def sha256(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    body = "".join(f"line_{number} = {number}\n" for number in range(40))
    with ZipFile(wheel) as opened:
        (name,) = (n for n in opened.namelist() if n.endswith(IDENTITY))
        identity = json.loads(opened.read(name))
    assert identity == {
        "series": "6.1",
        "patches": {p.name: sha256(p.read_text()) for p in series.patches},
        "files": {
            "django/db/threads.py": {
                "release": None,
                "series": sha256("closed = True\n"),
            },
            "django/db/utils.py": {
                "release": sha256(body),
                "series": sha256(body.replace("= 9\n", "= 'nine'\n")),
            },
            "django/utils/connection.py": {
                "release": sha256(body),
                "series": sha256(body.replace("= 30\n", "= 'x'\n")),
            },
            "django/utils/obsolete.py": {
                "release": sha256("obsolete = True\n"),
                "series": None,
            },
        },
    }


def test_the_local_version_tells_the_patches_and_their_order(series):
    before = local_version(series, "6.1.3")
    release, number = before.split("+conn.")
    assert (release, str(int(number))) == ("6.1.3", number)
    assert local_version(series, "6.1.2") == f"6.1.2+conn.{number}"
    pull(series)
    edited = local_version(series, "6.1.3")
    lines = series.order.read_text().splitlines(keepends=True)
    write(series.order, "".join(reversed(lines)))
    assert len({before, edited, local_version(series, "6.1.3")}) == 3


def test_pip_installs_it_with_the_version_in_its_metadata_only(wheel, series, tmp_path):
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    options = ["--no-deps", "--ignore-requires-python", f"--target={site}"]
    subprocess.run([*pip, *options, str(wheel)], check=True, capture_output=True)
    (found,) = distributions(name="django", path=[str(site)])
    assert found.version == local_version(series, "6.1.3")
    assert found.metadata.get_payload() == "Version: of the text\n"
    assert django_version(site) == "6.1.3"


def test_record_has_the_hash_of_each_other_file(wheel):
    with ZipFile(wheel) as opened:
        *names, last = opened.namelist()
        rows = csv.reader(io.StringIO(opened.read(last).decode()))
        expected = []
        for name in names:
            content = opened.read(name)
            digest = urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
            expected.append([name, f"sha256={digest.rstrip('=')}", str(len(content))])
        assert list(rows) == [*expected, [last, "", ""]]


def test_what_pip_cannot_build_is_one_sentence_and_leaves_nothing(
    overlay, series, tmp_path
):
    cache = cache_release(overlay, "def build_wheel(*args): raise OSError('No luck.')")
    (series,) = read_all(overlay)
    with pytest.raises(OverlayError, match=r"^pip could not build a wheel") as error:
        build(series, "6.1.3", tmp_path / "dist", cache)
    assert "\n" not in error.value.message
    assert not (tmp_path / "dist").exists()
