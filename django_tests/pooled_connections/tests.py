import logging
import threading
import unittest

from thread_connections.pools import PoolTestCase, is_psycopg3

from django.contrib.auth.models import Group
from django.db import Error, connection, connections, transaction
from django.test.utils import tag


@unittest.skipUnless(
    connection.vendor == "postgresql" and is_psycopg3, "psycopg 3 specific tests."
)
class PooledTransactionTests(PoolTestCase):
    """
    The pool rolls back the transaction of a thread that ends in a thread of
    its own.
    """

    available_apps = ["django.contrib.auth", "django.contrib.contenttypes"]
    model = Group

    @tag("regression")
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

    @tag("regression")
    def test_closed_pool(self):
        """The threads of a closed pool have ended."""

        def begin_and_close_pool():
            self.begin()
            connections["other"].close_pool()

        self.run_thread(begin_and_close_pool)
        self.assertOpenConnections(0, "other")
        self.assertServed()

    @tag("regression")
    def test_no_dummy_threads(self):
        """
        What the pool logs about a connection isn't logged in an ended thread,
        which would make the thread appear to be alive.
        """
        self.enterContext(self.assertLogs("psycopg.pool", logging.INFO))
        threads = set(threading.enumerate())
        for target in [
            self.save,
            self.begin,
            self.begin_without_autocommit,
            self.begin_and_fail,
            self.end_session_and_fail,
        ]:
            with self.subTest(target=target.__name__):
                self.run_thread(target)
                self.assertEqual(set(threading.enumerate()) - threads, set())

    @tag("regression")
    def test_iterator(self):
        """
        An iterator that outlives its thread fails, rather than use the session
        that the next thread gets.
        """
        names = [f"{i}" for i in range(100)]
        Group.objects.using("other").bulk_create(Group(name=name) for name in names)
        # This thread's connection is to be from the pool, too.
        conn = connections["other"]
        conn.connection.close()
        conn.connection = None

        def start():
            items = Group.objects.using("other").iterator(chunk_size=10)
            next(items)
            return items

        def begin_and_start():
            transaction.atomic("other").__enter__()
            return start()

        for target in [start, begin_and_start]:
            with self.subTest(target=target.__name__):
                items, dropped = self.run_thread(target), self.run_thread(target)
                with transaction.atomic("other"):
                    self.save()
                    msg = "The thread that opened the connection has ended."
                    with self.assertRaisesMessage(Error, msg):
                        list(items)
                    dropped.close()
                    self.save()
                conn.close()
        self.assertEqual(Group.objects.using("other").count(), 104)
