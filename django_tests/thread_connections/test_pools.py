import threading
import unittest
from unittest import mock

from django.db import connection, connections
from django.test.utils import tag

from .models import Item
from .pools import PoolTestCase, is_psycopg3


class ItemPoolTestCase(PoolTestCase):
    available_apps = ["thread_connections"]
    model = Item


@unittest.skipUnless(
    connection.vendor == "postgresql" and is_psycopg3, "psycopg 3 specific tests."
)
@tag("regression")
class PooledConnectionsTests(ItemPoolTestCase):
    """
    When a thread ends, its connection goes back to the pool, which has no
    other.
    """

    def test_idle(self):
        for _ in range(3):
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
class LargerPoolTests(ItemPoolTestCase):
    pool_options = {"min_size": 0, "max_size": 4, "timeout": 1}

    def test_threads_in_turn(self):
        """A pool of 4 connections serves 12 threads, one after another."""
        errors = [self.run_thread(self.save_or_fail) for _ in range(12)]
        self.assertEqual(errors, [None] * 12)
        self.assertEqual(Item.objects.using("other").count(), 12)


@unittest.skipUnless(
    connection.vendor == "postgresql" and is_psycopg3, "psycopg 3 specific tests."
)
class UnaffectedPoolTests(ItemPoolTestCase):
    pool_options = {**ItemPoolTestCase.pool_options, "max_size": 4}

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
