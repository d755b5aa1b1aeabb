import threading
import unittest
from importlib.util import find_spec
from unittest import mock

from django.db import connection, connections, transaction
from django.test import tag

from ..models import Item
from ..utils import ThreadConnectionsTestCase


class ThirdPartyBackendTestCase(ThreadConnectionsTestCase):
    """Use a third-party backend for the second database, in threads only."""

    available_apps = ["thread_connections"]
    settings = {}

    def setUp(self):
        super().setUp()
        # The current thread's connection is Django's own.
        connections["other"].ensure_connection()
        settings = {"ENGINE": self.engines[connection.vendor], **self.settings}
        self.enterContext(mock.patch.dict(connections["other"].settings_dict, settings))

    def save(self):
        self.assertEqual(
            type(connections["other"]).__module__,
            f"{self.engines[connection.vendor]}.base",
        )
        Item.objects.using("other").create(name="item")

    def begin(self):
        transaction.atomic("other").__enter__()
        # It doesn't lock a table, which would keep tests from flushing it.
        with connections["other"].cursor() as cursor:
            cursor.execute("SELECT 1")

    def try_to(self, target):
        """Return the exception if the target raises one."""
        try:
            target()
        except Exception as e:
            return e

    def check_threads(self, target):
        """12 threads are served, one after another."""
        threads = threading.enumerate()
        with mock.patch("sys.unraisablehook") as unraisablehook:
            errors = [self.run_thread(lambda: self.try_to(target)) for _ in range(12)]
        self.assertEqual(errors, [None] * 12)
        unraisablehook.assert_not_called()
        self.assertEqual(threading.enumerate(), threads)


@tag("regression")
@unittest.skipUnless(
    find_spec("dj_db_conn_pool"), "django-db-connection-pool isn't installed."
)
@unittest.skipIf(
    connection.vendor == "sqlite", "django-db-connection-pool doesn't support SQLite."
)
class ConnectionPoolTests(ThirdPartyBackendTestCase):
    """
    django-db-connection-pool gets the connections of ended threads back for
    its pool of SQLAlchemy's.
    """

    engines = {
        "mysql": "dj_db_conn_pool.backends.mysql",
        "postgresql": "dj_db_conn_pool.backends.postgresql",
    }
    settings = {"POOL_OPTIONS": {"POOL_SIZE": 4, "MAX_OVERFLOW": 0, "TIMEOUT": 1}}

    def setUp(self):
        super().setUp()
        from dj_db_conn_pool.core import pool_container

        self.pools = pool_container
        self.addCleanup(self.pools.clear)
        self.addCleanup(self.pools.dispose)

    def check_pool(self):
        pool = self.pools.get("other")
        self.assertEqual(pool.checkedout(), 0)
        pool.dispose()
        self.assertOpenConnections(0, "other")

    def test_threads(self):
        self.check_threads(self.save)
        self.assertEqual(Item.objects.using("other").count(), 12)
        self.check_pool()

    def test_open_transaction(self):
        self.check_threads(self.begin)
        self.check_pool()

    def test_concurrent_threads(self):
        """20 threads wait for 4 connections."""
        errors = self.run_threads(lambda: self.try_to(self.save), number=20)
        self.assertEqual(errors, [None] * 20)
        self.check_pool()
