import logging
import threading
import unittest
from unittest import mock

from django.db import OperationalError, connection, connections, transaction
from django.test.utils import tag

from .models import Item
from .utils import ThreadConnectionsTestCase

try:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3
except ImportError:
    is_psycopg3 = False


class PoolTestCase(ThreadConnectionsTestCase):
    """
    Run code in threads that take their connection to "other" from a pool.
    """

    available_apps = ["thread_connections"]
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
        Item.objects.using("other").create(name="item")

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
        items = Item.objects.using("other")
        expected = items.count() + 1
        self.assertIsNone(self.run_thread(self.save_or_fail))
        self.assertEqual(items.count(), expected)


@unittest.skipUnless(
    connection.vendor == "postgresql" and is_psycopg3, "psycopg 3 specific tests."
)
@tag("regression")
class PooledConnectionsTests(PoolTestCase):
    """
    When a thread ends, its connection goes back to the pool, which has no
    other.
    """

    def test_idle(self):
        for _ in range(3):
            self.assertIsNone(self.run_thread(self.save_or_fail))
            # That happens before join() returns.
            self.assertEqual(self.pool.get_stats()["pool_available"], 1)
        self.assertServed()

    def test_exception(self):
        def save_and_fail():
            self.save()
            raise ValueError

        with mock.patch("threading.excepthook"):
            self.run_threads(save_and_fail, number=1)
        self.assertServed()

    def assertRolledBack(self, begin):
        self.run_thread(begin)
        self.assertIs(Item.objects.using("other").exists(), False)
        self.assertServed()

    def test_open_transaction(self):
        """A transaction that is open when the thread ends is rolled back."""
        self.assertRolledBack(self.begin)

    def test_autocommit_disabled(self):
        self.assertRolledBack(self.begin_without_autocommit)

    def test_failed_transaction(self):
        self.assertRolledBack(self.begin_and_fail)

    def test_ended_session(self):
        """The pool replaces a connection that the thread has found broken."""
        self.run_thread(self.end_session_and_fail)
        self.assertServed()

    def test_ended_session_in_transaction(self):
        def begin_and_end_session():
            self.begin()
            self.end_session()

        self.run_thread(begin_and_end_session)
        self.assertServed()

    def test_ended_session_is_unnoticed(self):
        """A health check finds that the connection is broken."""
        conn = connections["other"]
        conn.close_pool()
        with mock.patch.dict(conn.settings_dict, CONN_HEALTH_CHECKS=True):
            self.run_thread(self.end_session)
            self.assertServed()

    def test_closed_pool(self):
        """There's a new pool, and the connection of the old one is closed."""

        def save_and_close_pool():
            self.save()
            connections["other"].close_pool()
            self.assertIs(self.pool.closed, True)

        self.run_thread(save_and_close_pool)
        self.assertOpenConnections(0, "other")
        self.assertServed()

    def test_slow_rollback(self):
        """join() doesn't wait for the server to roll back a transaction."""
        locks = []

        def begin_and_lock():
            self.begin()
            # A connection is locked while it waits for its server.
            locks.append(connections["other"].connection.lock)
            locks[0].acquire()

        thread = threading.Thread(target=begin_and_lock, daemon=True)
        thread.start()
        thread.join(10)
        is_alive = thread.is_alive()
        locks[0].release()
        self.assertIs(is_alive, False)
        self.assertServed()

    def test_waiting_threads(self):
        """
        A thread that waits for a connection gets that of an ended thread.
        """
        is_holding = threading.Event()
        is_ending = threading.Event()

        def hold():
            self.save()
            is_holding.set()
            is_ending.wait(60)

        holder = threading.Thread(target=hold)
        holder.start()
        self.assertIs(is_holding.wait(60), True)
        # The threads start while there's no connection for them.
        timer = threading.Timer(0.1, is_ending.set)
        timer.start()
        errors = self.run_threads(self.save_or_fail, number=3)
        holder.join(60)
        timer.join(60)
        self.assertEqual(errors, [None] * 3)
        self.assertEqual(Item.objects.using("other").count(), 4)


@unittest.skipUnless(
    connection.vendor == "postgresql" and is_psycopg3, "psycopg 3 specific tests."
)
@tag("regression")
class LargerPoolTests(PoolTestCase):
    pool_options = {"min_size": 0, "max_size": 4, "timeout": 1}

    def test_threads_in_turn(self):
        """A pool of 4 connections serves 12 threads, one after another."""
        errors = [self.run_thread(self.save_or_fail) for _ in range(12)]
        self.assertEqual(errors, [None] * 12)
        self.assertEqual(Item.objects.using("other").count(), 12)


@unittest.skipUnless(
    connection.vendor == "postgresql" and is_psycopg3, "psycopg 3 specific tests."
)
class UnaffectedPoolTests(PoolTestCase):
    pool_options = {**PoolTestCase.pool_options, "max_size": 4}

    def test_closed_by_thread(self):
        """A connection that a thread has given back isn't given back again."""

        def save_and_close():
            self.save()
            conn = connections["other"]
            conn.close()
            conn._close = mock.Mock()
            return conn

        conn = self.run_thread(save_and_close)
        conn._close.assert_not_called()

    def test_no_dummy_threads(self):
        """
        What the pool logs about a connection isn't logged in an ended thread,
        which would make the thread appear to be alive.
        """
        threads = set(threading.enumerate())
        for target in [
            self.begin,
            self.begin_without_autocommit,
            self.begin_and_fail,
            self.end_session_and_fail,
        ]:
            with self.subTest(target=target.__name__):
                self.run_thread(target)
                self.assertEqual(set(threading.enumerate()) - threads, set())
