"""Patches at the end of a series that a user may leave out."""

import pytest

from overlay.apply import apply, unapply
from overlay.check import malformed, misplaced
from overlay.errors import OverlayError
from overlay.export import export
from overlay.installed import OTHER_REVISION, WHOLLY, verify
from overlay.status import APPLIED, HALF_APPLIED, LEFT_OUT, status

from .conftest import commit, edit, files, git, pull, run_overlay, snapshot

FIRST, EXTRA = "close-connections.patch", "discard-inherited.patch"


@pytest.fixture
def overlay(overlay):
    """The repository, whose second patch may be left out."""
    trailer = "Overlay-Tests: thread_connections forks\n"
    patch = overlay / "patches/6.1" / EXTRA
    edit(patch, trailer, f"{trailer}Overlay-Group: extra\n")
    commit(overlay, "An extra patch")
    return overlay


def run(overlay, *args):
    result = run_overlay(overlay, *args)
    return result.returncode, result.stdout + result.stderr


@pytest.fixture
def lean(overlay, checkout):
    """The checkout, with the series but for its extra patch."""
    assert run(overlay, "apply", "--without-extras", checkout)[0] == 0
    return checkout


def subjects(tree):
    return git(tree, "log", "--format=%s").splitlines()


def test_extras_are_applied_unless_left_out(overlay, checkout):
    run(overlay, "apply", checkout)
    assert "[6.1.x] Discarded connections inherited by fork." in subjects(checkout)
    assert (checkout / "tests/forks").is_dir()


def test_without_extras_neither_the_patch_nor_its_tests_are_there(lean):
    assert len(subjects(lean)) == 3
    assert "[6.1.x] Discarded connections inherited by fork." not in subjects(lean)
    assert not (lean / "tests/forks").exists()
    assert (lean / "tests/thread_connections").is_dir()


def test_status_tells_what_was_left_out(overlay, lean, series):
    found = status(lean, series)
    assert found.overall == APPLIED
    assert found.patches == {FIRST: APPLIED, EXTRA: LEFT_OUT}
    assert found.tests == {"thread_connections": APPLIED}
    assert (found.missing, found.changed, found.own) == ([], [], [])
    code, said = run(overlay, "status", lean)
    assert code == 0
    assert [EXTRA, "left", "out"] in [line.split() for line in said.splitlines()]


def test_what_git_am_left_out_is_missing(overlay, checkout, series):
    git(checkout, "am", "-q", "--keep-non-patch", str(series.patches[0]))
    assert status(checkout, series).overall == HALF_APPLIED


def test_it_is_taken_away_again(checkout, overlay):
    before = files(checkout)
    run(overlay, "apply", "--without-extras", checkout)
    assert run(overlay, "unapply", checkout)[0] == 0
    assert files(checkout) == before


def test_replace_adds_and_removes_extras(overlay, lean, tmp_path):
    without = git(lean, "rev-parse", "HEAD")
    before = snapshot(lean)
    code, said = run(overlay, "apply", lean)
    assert code == 1
    assert "already applied" in said
    assert "without its extra patches: --replace changes that." in said
    assert snapshot(lean) == before
    assert run(overlay, "apply", "--replace", lean)[0] == 0
    assert (lean / "tests/forks").is_dir()
    code, said = run(overlay, "apply", "--without-extras", lean)
    assert code == 1
    assert "with its extra patches: --replace changes that." in said
    assert run(overlay, "apply", "--without-extras", "--replace", lean)[0] == 0
    assert git(lean, "rev-parse", "HEAD") == without


@pytest.mark.parametrize("options", [[], ["--without-extras"]])
def test_a_series_without_extras_is_applied_as_it_is(options, pristine, checkout):
    for _ in range(2):
        code, said = run(pristine, "apply", *options, checkout)
    assert code == 1
    assert said.endswith("is already applied to " + f"{checkout}.\n")


def test_extras_that_are_left_out_are_not_lost_by_an_export(lean, series):
    before = {patch: patch.read_bytes() for patch in series.patches}
    with pytest.raises(OverlayError, match="without its extra patches"):
        export(lean, series)
    assert {patch: patch.read_bytes() for patch in series.patches} == before


def test_a_newer_revision_replaces_one_without_extras(overlay, lean, series):
    pull(series)
    assert run(overlay, "status", lean)[0] == 5
    assert run(overlay, "apply", "--replace", "--without-extras", lean)[0] == 0
    assert status(lean, series).left_out == [EXTRA]


def test_an_installed_django_without_extras_is_whole(lean, series):
    assert verify(lean / "django", [series]).overall == WHOLLY
    edit(lean / "django/db/utils.py", "'nine'", "'other'")
    assert verify(lean / "django", [series]).overall == OTHER_REVISION


def test_an_extra_is_exported_as_it_was(checkout, series, overlay):
    apply(checkout, series)
    assert export(checkout, series) == []
    assert status(checkout, series).left_out == []
    unapply(checkout, series)


def test_an_extra_before_another_patch_is_a_problem(series, overlay):
    assert misplaced(series) == []
    series.order.write_text(f"{EXTRA}\n{FIRST}\n")
    assert misplaced(series) == [f"{FIRST} comes after an extra patch."]


def test_the_trailer_has_one_value(series, overlay):
    patch = series.patches[1]
    assert not [
        problem for problem in malformed(patch, series.tests) if "Group" in problem
    ]
    edit(patch, "Group: extra", "Group: other")
    problems = malformed(patch, series.tests)
    assert f"{EXTRA}: Overlay-Group is 'other', not 'extra'." in problems


def test_the_trailer_is_no_reason(series, overlay):
    edit(series.patches[1], "A child spoke on them.\n\n", "")
    problems = malformed(series.patches[1], series.tests)
    assert f"{EXTRA}: there is no reason between subject and trailers." in problems
