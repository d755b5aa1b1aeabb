"""A wheel of this project works without a clone."""

import os
import subprocess
import sys

import pytest

from lab import ROOT
from overlay.sdist import CACHE, fetch, unpack
from overlay.series import read_all


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that a wheel was installed to, with nothing else of ours."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "--no-deps", f"--target={folder}", str(ROOT)], check=True
    )
    return folder


def run(installed, *args, path=()):
    # The user's cache, and not the checkout, of which -P and the folder know nothing.
    return subprocess.run(
        [sys.executable, "-P", "-m", "overlay", *map(str, args)],
        check=False,
        capture_output=True,
        cwd=installed,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [installed, *path])),
        },
        text=True,
    )


def test_it_carries_each_series_with_its_tests(installed):
    for series in read_all():
        folder = installed / "overlay/patches" / series.name
        assert sorted(file.name for file in folder.iterdir()) == sorted(
            file.name for file in series.directory.iterdir()
        )
        for app in series.test_apps:
            assert (installed / "overlay/django_tests" / app / "tests.py").is_file()
    assert not (installed / "lab").exists()


def test_its_version_names_the_series(installed):
    said = run(installed, "--version").stdout
    for series in read_all():
        assert f"{series.name} ({series.release})" in said


def test_it_applies_the_series_to_an_unpacked_release(installed, tmp_path):
    series = read_all()[-1]
    archive = fetch(series.release, series.sha256[series.release], CACHE)
    tree = unpack(archive, tmp_path / "into")
    assert run(installed, "verify-installed", path=[tree]).returncode == 3
    result = run(installed, "apply", tree)
    assert (result.returncode, result.stderr) == (0, "")
    assert run(installed, "status", tree).returncode == 0
    assert run(installed, "verify-installed", path=[tree]).returncode == 0
