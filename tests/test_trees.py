"""Scratch trees of the tiny Django that conftest.py writes."""

import dataclasses
import os
from pathlib import Path

import pytest

from lab.trees import UNUSED, build, choose
from overlay.errors import OverlayError
from overlay.series import Series

from .conftest import edit, files, pack, write


@pytest.fixture
def cache(overlay) -> Path:
    """Inside of a repository, as the default is."""
    return overlay / ".cache"


@pytest.fixture
def series(series, sdist, cache) -> Series:
    """The series of conftest.py, with its source distribution in the cache."""
    sha256 = pack(sdist, cache / "django-6.1.3.tar.gz")
    return dataclasses.replace(series, sha256={"6.1.3": sha256})


def test_a_patched_tree_has_the_series_and_the_tests(series, cache):
    tree = build(series, "6.1.3", patched=True, cache=cache)
    assert "line_9 = 'nine'" in (tree / "django/db/utils.py").read_text()
    assert (
        tree / "tests/thread_connections/tests.py"
    ).read_text() == "threads = True\n"


def test_a_stock_tree_differs_only_by_the_tests(series, cache, sdist):
    tree = build(series, "6.1.3", patched=False, cache=cache)
    names = files(tree).keys() - files(sdist).keys()
    added = {name for name in names if (tree / name).is_file()}
    assert added == {
        "tests/forks/tests.py",
        "tests/thread_connections/__init__.py",
        "tests/thread_connections/tests.py",
    }
    assert files(sdist).items() <= files(tree).items()


@pytest.mark.parametrize("patched", [True, False])
def test_a_tree_is_built_once(series, cache, patched):
    first = build(series, "6.1.3", patched=patched, cache=cache)
    (first / "marker").touch()
    again = build(series, "6.1.3", patched=patched, cache=cache)
    assert again == first
    assert (again / "marker").exists()


@pytest.mark.parametrize("patched", [True, False])
def test_an_edited_test_makes_a_new_tree(series, cache, patched):
    first = build(series, "6.1.3", patched=patched, cache=cache)
    write(series.tests / "forks/tests.py", "edited = True\n")
    second = build(series, "6.1.3", patched=patched, cache=cache)
    assert (second / "tests/forks/tests.py").read_text() == "edited = True\n"
    assert first != second


def test_a_renamed_test_makes_a_new_tree(series, cache):
    first = build(series, "6.1.3", patched=False, cache=cache)
    tests = series.tests / "forks/tests.py"
    tests.rename(tests.with_name("test_forks.py"))
    assert build(series, "6.1.3", patched=False, cache=cache) != first


def test_an_edited_patch_makes_a_new_patched_tree_only(series, cache):
    first = [
        build(series, "6.1.3", patched=patched, cache=cache)
        for patched in (True, False)
    ]
    edit(series.patches[0], "'nine'", "'IX'")
    second = [
        build(series, "6.1.3", patched=patched, cache=cache)
        for patched in (True, False)
    ]
    assert "line_9 = 'IX'" in (second[0] / "django/db/utils.py").read_text()
    assert first[1] == second[1]


def test_an_outdated_tree_goes_once_nobody_has_used_it_for_a_while(series, cache):
    fresh = build(series, "6.1.3", patched=False, cache=cache)
    write(series.tests / "forks/tests.py", "edited = True\n")
    old = build(series, "6.1.3", patched=False, cache=cache)
    then = old.stat().st_mtime - UNUSED - 1
    os.utime(old, (then, then))
    write(series.tests / "forks/tests.py", "edited = 'again'\n")
    new = build(series, "6.1.3", patched=False, cache=cache)
    assert sorted((cache / "trees").iterdir()) == sorted([fresh, new])


def test_a_series_that_does_not_apply_leaves_no_tree(series, cache):
    edit(series.patches[0], "-line_9 = 9", "-line_9 = 99")
    with pytest.raises(OverlayError):
        build(series, "6.1.3", patched=True, cache=cache)
    assert list((cache / "trees").iterdir()) == []


@pytest.mark.parametrize("wanted", ["6.1", "6.1.3", None])
def test_a_line_a_release_or_nothing_chooses_the_release(series, wanted):
    assert choose(wanted, [series]) == (series, "6.1.3")


def test_the_first_release_of_a_line_has_a_name_of_its_own(series):
    series = dataclasses.replace(series, sha256={**series.sha256, "6.1": "00"})
    assert choose("6.1.0", [series]) == (series, "6.1")


def test_by_default_a_line_for_other_pythons_is_passed_over(series):
    newer = Series("9.9", "9.9", ">=4", {"9.9": "00"}, series.directory, series.tests)
    assert choose(None, [newer, series]) == (series, "6.1.3")
    with pytest.raises(OverlayError, match=r"Django 9\.9 needs Python >=4"):
        choose("9.9", [newer, series])


def test_an_unknown_release_is_refused_with_the_known_ones(series):
    with pytest.raises(OverlayError, match=r"Django 7\.1; there are 6\.1, 6\.1\.3\."):
        choose("7.1", [series])
