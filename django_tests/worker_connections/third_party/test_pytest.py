from leaked_connections.third_party.test_pytest import FUNCTION, TEST
from surviving_threads.third_party.projects import PytestMixin

from django.test import tag

from ..tests import WorkerTestCase


@tag("regression")
class PytestTests(PytestMixin, WorkerTestCase):
    """Nothing is known of the connections of worker processes."""

    def test_xdist(self):
        project = self.create_project(FUNCTION % True)
        output = self.run_pytest(project, "--numprocesses=2")
        self.assertLeakReported(output, TEST)
