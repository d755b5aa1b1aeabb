import unittest
from importlib.util import find_spec
from unittest import mock

from django.db import connection, connections
from django.test import tag

from ..processes import run_module
from ..utils import ThreadConnectionsTestCase

try:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3
except ImportError:
    is_psycopg3 = False


class GreenletTestCase(ThreadConnectionsTestCase):
    available_apps = ["thread_connections"]

    def setUp(self):
        super().setUp()
        # They would be counted as open connections.
        connections.close_all()

    def run_greenlets(self, *args):
        """
        Run the greenlets module, which patches the standard library, with
        the given arguments. Return what it writes to standard error.
        """
        process = run_module("thread_connections.third_party.greenlets", *args)
        self.assertEqual(process.returncode, 0, process.stderr)
        return process.stderr


@tag("regression")
@unittest.skipUnless(find_spec("gevent"), "gevent isn't installed.")
class GeventTests(GreenletTestCase):
    """
    Greenlets don't leave open connections behind. Closing them doesn't block
    the hub, which is an error that gevent reports.
    """

    def test_greenlets(self):
        self.assertEqual(self.run_greenlets("gevent", "greenlets", "save"), "")

    def test_threads(self):
        self.assertEqual(self.run_greenlets("gevent", "threads", "save"), "")

    def test_open_transaction(self):
        self.assertEqual(self.run_greenlets("gevent", "greenlets", "begin"), "")

    @unittest.skipUnless(
        connection.vendor == "postgresql" and is_psycopg3, "psycopg 3 specific test."
    )
    def test_pool(self):
        """
        A pool of 4 connections serves 20 greenlets. It replaces connections
        that it can't roll back without blocking the hub.
        """
        pool_options = {"min_size": 0, "max_size": 4, "timeout": 5}
        with mock.patch.dict(connection.settings_dict["OPTIONS"], pool=pool_options):
            self.assertEqual(self.run_greenlets("gevent", "greenlets", "save"), "")
            self.run_greenlets("gevent", "greenlets", "begin")

    @unittest.skipUnless(
        connection.vendor == "postgresql"
        and is_psycopg3
        and find_spec("django_db_geventpool"),
        "django-db-geventpool isn't installed.",
    )
    def test_django_db_geventpool(self):
        """
        A third-party backend's pool gets its connections back. Without them,
        it would serve nobody any more.
        """
        with (
            mock.patch.dict(
                connection.settings_dict,
                ENGINE="django_db_geventpool.backends.postgresql_psycopg3",
            ),
            mock.patch.dict(connection.settings_dict["OPTIONS"], MAX_CONNS=4),
        ):
            self.assertEqual(self.run_greenlets("gevent", "greenlets", "save"), "")
            self.assertEqual(self.run_greenlets("gevent", "threads", "save"), "")


@tag("regression")
@unittest.skipUnless(find_spec("eventlet"), "eventlet isn't installed.")
class EventletTests(GreenletTestCase):
    """Greenlets don't leave open connections behind."""

    def test_greenlets(self):
        self.run_greenlets("eventlet", "greenlets", "save")

    def test_threads(self):
        self.run_greenlets("eventlet", "threads", "save")
