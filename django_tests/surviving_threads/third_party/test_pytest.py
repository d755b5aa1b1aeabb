from django.test import tag

from ..tests import SurvivorsTestCase
from .projects import PytestMixin

CONFTEST = """
import pytest


# pytest-django doesn't block connections any longer.
@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    from app.tests import after

    after()
"""


@tag("regression")
class PytestTests(PytestMixin, SurvivorsTestCase):
    """
    Threads that went on after the test databases were destroyed wrote to the
    databases that the settings name.
    """

    def test_survivors(self):
        project = self.create_survivors()
        output = self.run_pytest(project, "--capture=no", conftest=CONFTEST)
        self.assertSurvivorsRefused(output)
