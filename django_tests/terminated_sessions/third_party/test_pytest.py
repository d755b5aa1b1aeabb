import unittest

from surviving_threads.third_party.projects import PytestMixin

from django.db import connection
from django.test import tag

from ..tests import SessionsTestCase

FUNCTION = """
import pytest


@pytest.mark.django_db
def test_leak():
    leak()
    leak(in_transaction=True)
"""


class PytestTestCase(PytestMixin, SessionsTestCase):
    def check_sessions(self):
        output = self.run_pytest(self.create_project(FUNCTION))
        self.assertEqual(self.get_database_names(), [], output)


@tag("regression")
@unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
class PytestTests(PytestTestCase):
    """
    Destroying a database failed on PostgreSQL, and waited on MySQL, for
    connections that threads had left open, in a transaction.
    """

    def test_sessions(self):
        self.check_sessions()


@unittest.skipUnless(connection.vendor == "sqlite", "For SQLite only.")
class SQLiteTests(PytestTestCase):
    def test_sessions(self):
        self.check_sessions()
