"""What verify-installed says of a wheel, and of a source tree: both are found out."""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from overlay.apply import apply
from overlay.errors import OverlayError
from overlay.installed import (
    NOT,
    OTHER,
    OTHER_REVISION,
    PARTLY,
    RELEASE,
    SERIES,
    WHOLLY,
    find_django,
    verify,
)
from overlay.wheel import IDENTITY, local_version

from .conftest import commit, edit, git, pull, run_overlay, write, write_django

FILES = (
    "django/db/threads.py",
    "django/db/utils.py",
    "django/utils/connection.py",
    "django/utils/obsolete.py",
)


@pytest.fixture(params=["wheel", "source"])
def site(request, wheel, series, sdist) -> Path:
    """The folder that a patched Django is imported from."""
    if request.param == "source":
        apply(sdist, series)
        return sdist
    return unpacked(wheel, sdist.parent / "site")


@pytest.fixture
def stock(tmp_path) -> Path:
    write_django(tmp_path / "stock")
    return tmp_path / "stock"


def unpacked(wheel: Path, site: Path) -> Path:
    with ZipFile(wheel) as opened:
        opened.extractall(site)
    return site


def restore(site: Path, stock: Path, *names: str) -> None:
    """Make files in `site` what they are in the release."""
    for name in names:
        if (stock / name).exists():
            shutil.copy(stock / name, site / name)
        else:
            (site / name).unlink()


def states(site: Path, series) -> tuple[str, list[str]]:
    found = verify(site / "django", [series])
    assert tuple(found.files) == FILES
    return found.overall, list(found.files.values())


def test_all_of_the_series(site, series):
    assert states(site, series) == (WHOLLY, [SERIES] * 4)


def test_line_ends_make_no_difference(site, series):
    file = site / "django/db/utils.py"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert states(site, series) == (WHOLLY, [SERIES] * 4)


def test_a_part_of_the_series(site, series, stock):
    restore(site, stock, *FILES[:2])
    assert states(site, series) == (PARTLY, [RELEASE, RELEASE, SERIES, SERIES])
    restore(site, stock, FILES[3])
    assert states(site, series) == (PARTLY, [RELEASE, RELEASE, SERIES, RELEASE])


def test_nothing_of_the_series(site, series, stock):
    restore(site, stock, *FILES)
    assert states(site, series) == (NOT, [RELEASE] * 4)
    # As in another release.
    edit(site / "django/db/utils.py", "line_8 = 8", "line_8 = 'eight'")
    assert states(site, series) == (NOT, [RELEASE, OTHER, RELEASE, RELEASE])


def test_an_edited_series(site, series):
    edit(site / "django/db/utils.py", "nine", "IX")
    write(site / "django/utils/obsolete.py", "obsolete = False\n")
    assert states(site, series) == (OTHER_REVISION, [SERIES, OTHER, SERIES, OTHER])


def test_another_revision_of_the_series(site, series):
    pull(series)
    assert states(site, series) == (OTHER_REVISION, [SERIES, OTHER, SERIES, SERIES])


def test_patches_that_change_the_same_line(sdist, series):
    apply(sdist, series)
    edit(sdist / "django/db/utils.py", "nine", "IX")
    write(sdist / "docs/threads.txt", "not installed\n")
    commit(sdist, "Again")
    write(
        series.directory / "again.patch", git(sdist, "format-patch", "-1", "--stdout")
    )
    write(series.order, f"{series.order.read_text()}again.patch\n")
    assert states(sdist, series) == (WHOLLY, [SERIES] * 4)


def test_edits_of_other_lines_in_a_source_tree(sdist, series):
    apply(sdist, series)
    edit(sdist / "django/db/utils.py", "line_30 = 30", "line_30 = 'mine'")
    assert states(sdist, series) == (WHOLLY, [SERIES] * 4)


def test_edits_of_other_lines_in_a_wheel(wheel, series, tmp_path):
    site = unpacked(wheel, tmp_path / "site")
    edit(site / "django/db/utils.py", "line_30 = 30", "line_30 = 'mine'")
    assert states(site, series) == (OTHER_REVISION, [SERIES, OTHER, SERIES, SERIES])


def test_a_wheel_of_a_revision_with_the_same_code(wheel, series, tmp_path):
    edit(series.patches[0], "They stayed open", "They were left open")
    site = unpacked(wheel, tmp_path / "site")
    assert states(site, series) == (WHOLLY, [SERIES] * 4)


def test_a_wheel_of_a_revision_with_fewer_patches(wheel, series, stock, tmp_path):
    site = unpacked(wheel, tmp_path / "site")
    restore(site, stock, *FILES[2:])
    (file,) = site.glob(f"*/{IDENTITY}")
    identity = json.loads(file.read_text())
    del identity["patches"]["discard-inherited.patch"]
    file.write_text(json.dumps(identity))
    assert states(site, series) == (OTHER_REVISION, [SERIES, SERIES, RELEASE, RELEASE])


def test_a_wheel_needs_no_git(wheel, series, tmp_path, monkeypatch):
    site = unpacked(wheel, tmp_path / "site")
    monkeypatch.setenv("PATH", "")
    assert states(site, series) == (WHOLLY, [SERIES] * 4)
    pull(series)
    with pytest.raises(OverlayError, match=r"site does not come .*: git is not on the"):
        states(site, series)


def test_a_temporary_folder_in_a_repository(site, series, checkout, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(checkout))
    edit(site / "django/db/utils.py", "nine", "IX")
    assert states(site, series) == (OTHER_REVISION, [SERIES, OTHER, SERIES, SERIES])


def test_another_release_of_the_line_is_compared_as_well(site, series):
    edit(site / "django/__init__.py", "6, 1, 3", "6, 1, 4")
    assert states(site, series) == (WHOLLY, [SERIES] * 4)


def test_a_line_without_a_series_is_an_error(stock, series):
    edit(stock / "django/__init__.py", "6, 1, 3", "6, 10, 0")
    with pytest.raises(
        OverlayError, match=r"is Django 6\.10; there are series for 6\.1"
    ):
        verify(stock / "django", [series])


def test_django_is_found_without_being_imported(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "django", raising=False)
    write(tmp_path / "site/django/__init__.py", "raise ImportError\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    assert find_django() == tmp_path / "site/django"
    (tmp_path / "site/django/__init__.py").unlink()
    with pytest.raises(OverlayError, match=r"no Django"):
        find_django()  # a folder of that name
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(OverlayError, match=r"no Django"):
        find_django()


EDITED = """\
carries another revision of the 6.1 series, or an edited one:
  django/db/utils.py is as in neither
"""
PART = """\
carries only a part of the 6.1 series:
  django/db/utils.py is as in the release
"""
NOTHING = """\
does not carry the 6.1 series: of the 4 files that it changes, none is as in the series.
"""


def test_the_exit_code_tells_what_is_there(overlay, series, wheel, stock, tmp_path):
    site = unpacked(wheel, tmp_path / "site")
    version = local_version(series, "6.1.3")

    def verified() -> tuple[int, str, str]:
        env = {**os.environ, "PYTHONPATH": str(site)}
        plain = run_overlay(overlay, "verify-installed", env=env)
        as_json = run_overlay(overlay, "verify-installed", "--json", env=env)
        assert as_json.returncode == plain.returncode
        assert as_json.stderr == ""
        return plain.returncode, plain.stdout + plain.stderr, json.loads(as_json.stdout)

    django = f"Django {version} in {site}/django"
    assert verified() == (
        0,
        f"{django} carries the 6.1 series.\n",
        {
            "package": f"{site}/django",
            "version": version,
            "series": "6.1",
            "overall": "wholly",
            "files": dict.fromkeys(FILES, "as in the series"),
        },
    )
    edit(site / "django/db/utils.py", "nine", "IX")
    code, said, _ = verified()
    assert (code, said) == (2, f"{django} {EDITED}")
    restore(site, stock, "django/db/utils.py")
    code, said, _ = verified()
    assert (code, said) == (1, f"{django} {PART}")
    restore(site, stock, "django/db/threads.py", *FILES[2:])
    code, said, _ = verified()
    assert (code, said) == (3, f"{django} {NOTHING}")
    edit(site / "django/__init__.py", "6, 1", "7, 0")
    code, said, facts = verified()
    assert (code, facts["overall"]) == (4, None)
    assert said == f"Error: {facts['reason']}\n"
