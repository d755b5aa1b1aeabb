import re

import pytest

from overlay.errors import OverlayError
from overlay.series import HOME
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


def test_what_could_stand_in_django_needs_no_package_of_others():
    foreign = "third_party|pytest|uvicorn|daphne|gevent|eventlet|conn_pool|mongodb_"
    assert not [
        path
        for path in (HOME / "django_tests").rglob("*.py")
        if path.parent.name != "third_party" and re.search(foreign, path.read_text())
    ]
