import logging
from unittest import mock
from uuid import uuid4

from django.db import OperationalError, connection, connections, transaction

from .utils import ThreadConnectionsTestCase

try:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3
except ImportError:
    is_psycopg3 = False


class PoolTestCase(ThreadConnectionsTestCase):
    """
    Run code in threads that take their connection to "other" from a pool.
    """

    model = None
    pool_options = {"min_size": 0, "max_size": 1, "timeout": 3}

    def setUp(self):
        super().setUp()
        # The current thread's connection isn't in the pool.
        conn = connections["other"]
        conn.ensure_connection()
        options = conn.settings_dict["OPTIONS"]
        self.enterContext(mock.patch.dict(options, pool=self.pool_options))
        self.addCleanup(conn.close_pool)
        self.pool = conn.pool
        self.pool.open()
        # Don't print the warnings of the pool.
        logger = logging.getLogger("psycopg.pool")
        logger.addHandler(handler := logging.NullHandler())
        self.addCleanup(logger.removeHandler, handler)

    def save(self):
        self.model.objects.using("other").create(name=f"{uuid4()}")

    def save_or_fail(self):
        try:
            self.save()
        except OperationalError as e:
            return e

    def begin(self):
        transaction.atomic(using="other").__enter__()
        self.save()

    def begin_without_autocommit(self):
        transaction.set_autocommit(False, using="other")
        self.save()

    def begin_and_fail(self):
        self.begin()
        with self.assertRaises(OperationalError), self.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 1")
            cursor.execute("SELECT pg_sleep(60)")

    def end_session(self):
        """Let the server end the session of the current thread."""
        with self.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            session = cursor.fetchone()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 60000)", session)

    def end_session_and_fail(self):
        self.end_session()
        self.assertIsInstance(self.save_or_fail(), OperationalError)

    def cursor(self):
        return connections["other"].cursor()

    def assertServed(self):
        """Another thread gets a connection, which isn't in a transaction."""
        items = self.model.objects.using("other")
        expected = items.count() + 1
        self.assertIsNone(self.run_thread(self.save_or_fail))
        self.assertEqual(items.count(), expected)
