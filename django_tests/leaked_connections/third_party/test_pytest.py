from surviving_threads.third_party.projects import PytestMixin

from django.test import tag

from ..tests import ReportTestCase

TEST = "app/tests.py::test_leak (call)"
FUNCTION = """
import pytest


@pytest.mark.django_db
def test_leak():
    leak(in_transaction=%s)
"""


@tag("regression")
class PytestTests(PytestMixin, ReportTestCase):
    """Connections that tests leave open aren't reported."""

    def test_report(self):
        for in_transaction in [True, False]:
            with self.subTest(in_transaction=in_transaction):
                project = self.create_project(FUNCTION % in_transaction)
                output = self.run_pytest(project)
                self.assertLeakReported(output, TEST)

    def test_failure(self):
        """The recipe of the documentation."""
        conftest = """
import pytest
from django.test.connections import leaked_connections


def pytest_sessionfinish(session):
    if leaked_connections:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
"""
        project = self.create_project(FUNCTION % True)
        output = self.run_pytest(project, conftest=conftest, exit_code=1)
        self.assertLeakReported(output, TEST)
