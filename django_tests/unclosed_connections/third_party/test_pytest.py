from surviving_threads.projects import ProjectTestCase

from django.test import tag

PYTEST = """
[pytest]
filterwarnings = error
python_files = tests.py
"""

TESTS = """
import pytest

pytestmark = pytest.mark.django_db(transaction=True)


def count():
    Item.objects.count()


def count_and_close():
    Item.objects.count()
    connections.close_all()


def run(target):
    thread = threading.Thread(target=target, name="guilty")
    thread.start()
    thread.join()


def test_before():
    count()


def test_guilty():
    run(count)


def test_closed():
    run(count_and_close)


def test_after():
    count()
"""


@tag("regression")
class PytestTests(ProjectTestCase):
    def test_error(self):
        """
        If warnings are errors, the test whose thread leaves a connection open
        fails, and no other test does.
        """
        project = self.create_project(TESTS)
        (project.folder / "pytest.ini").write_text(PYTEST)
        code, output = project.run("-m", "pytest", "-p", "no:cacheprovider", "-rA")
        self.assertEqual(code, 1, output)
        self.assertIn("FAILED app/tests.py::test_guilty", output)
        for name in ["before", "closed", "after"]:
            self.assertIn(f"PASSED app/tests.py::test_{name}", output)
        self.assertRegex(
            output,
            "ResourceWarning: Thread 'guilty' ended without closing its connection to "
            r"'default', opened [\d.]+ seconds before in .*/app/tests\.py:\d+\.\n",
        )
