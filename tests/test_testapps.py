import pytest

from overlay.errors import OverlayError
from overlay.testapps import place

from .conftest import write


def test_tests_can_be_placed_without_the_patches(sdist, series):
    place(sdist, series)
    assert (sdist / "tests/forks/tests.py").read_text() == "forks = True\n"
    assert "line_9 = 9\n" in (sdist / "django/db/utils.py").read_text()


def test_compiled_files_of_former_tests_are_not_in_the_way(sdist, series):
    write(sdist / "tests/forks/__pycache__/tests.pyc", "compiled")
    place(sdist, series)
    assert (sdist / "tests/forks/tests.py").exists()


def test_placed_tests_never_replace_djangos_own(sdist, series):
    write(sdist / "tests/forks/tests.py", "theirs\n")
    with pytest.raises(OverlayError, match="has its own tests/forks"):
        place(sdist, series)
    assert (sdist / "tests/forks/tests.py").read_text() == "theirs\n"
