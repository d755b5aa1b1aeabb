import gc
import os
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from unittest import mock

from django.db import (
    ConnectionHandler,
    IntegrityError,
    close_old_connections,
    connection,
    connections,
    transaction,
)
from django.db.utils import DatabaseErrorWrapper
from django.test.utils import ignore_warnings, tag

from .models import Item
from .utils import ThreadConnectionsTestCase


@tag("regression")
class EndedThreadsTests(ThreadConnectionsTestCase):
    """Threads don't leave open connections behind (#9878)."""

    available_apps = ["thread_connections"]

    def save(self):
        Item.objects.create(name="item")

    def test_threads(self):
        """200 threads that save an object leave no connection open."""
        self.run_threads(self.save, number=200)
        self.assertEqual(Item.objects.count(), 200)
        self.assertOpenConnections(0)

    def test_threads_with_garbage_collection(self):
        """
        It doesn't depend on the garbage collector, which finds some of the
        ended threads' connections.
        """
        # The threshold of runtests.py is higher than Python's.
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(700, 10, 10)
        gc.enable()
        self.run_threads(self.save, number=200)
        gc.disable()
        self.assertEqual(Item.objects.count(), 200)
        self.assertOpenConnections(0)

    def test_closed_before_join_returns(self):
        for _ in range(20):
            conn = self.run_thread(self.connect)
            self.assertIsNone(conn.connection)
        self.assertOpenConnections(0)

    def test_exception(self):
        def save_and_fail():
            self.save()
            raise ValueError

        with mock.patch("threading.excepthook") as excepthook:
            self.run_threads(save_and_fail)
        self.assertEqual(excepthook.call_count, 10)
        self.assertOpenConnections(0)

    def test_traceback_is_kept(self):
        """
        A connection is closed even if there are references to its frames.
        """

        def save_and_fail():
            try:
                conn = self.connect()
                self.save()
                raise ValueError(conn)
            except ValueError as e:
                return e

        exceptions = self.run_threads(save_and_fail)
        self.assertEqual(len(exceptions), 10)
        self.assertOpenConnections(0)

    def test_open_transaction(self):
        """
        A transaction that is open when the thread ends is rolled back and its
        on_commit() callbacks aren't called.
        """
        callback = mock.Mock()

        def begin():
            transaction.atomic().__enter__()
            self.save()
            transaction.on_commit(callback)

        self.run_thread(begin)
        self.assertOpenConnections(0)
        self.assertIs(Item.objects.exists(), False)
        callback.assert_not_called()

    def test_autocommit_disabled(self):
        def begin():
            transaction.set_autocommit(False)
            self.save()

        self.run_thread(begin)
        self.assertOpenConnections(0)
        self.assertIs(Item.objects.exists(), False)

    def test_multiple_databases(self):
        def save():
            for alias in self.databases:
                Item.objects.using(alias).create(name="item")

        self.run_threads(save)
        for alias in self.databases:
            with self.subTest(alias=alias):
                self.assertEqual(Item.objects.using(alias).count(), 10)
                self.assertOpenConnections(0, alias)

    def test_executor(self):
        with ThreadPoolExecutor(max_workers=4) as executor:
            futures = [executor.submit(self.save) for _ in range(20)]
        for future in futures:
            future.result()
        self.assertEqual(Item.objects.count(), 20)
        self.assertOpenConnections(0)

    def test_timer(self):
        timers = [threading.Timer(0.01, self.save) for _ in range(10)]
        for timer in timers:
            timer.start()
        for timer in timers:
            timer.join()
        self.assertEqual(Item.objects.count(), 10)
        self.assertOpenConnections(0)

    def test_thread_subclass(self):
        """A thread may be part of a reference cycle itself."""

        class SavingThread(threading.Thread):
            def run(thread):
                thread.this = thread
                thread.conn = self.connect()
                self.save()

        threads = [SavingThread() for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(Item.objects.count(), 10)
        self.assertOpenConnections(0)

    def test_nested_threads(self):
        def save_in_threads():
            self.save()
            self.run_threads(self.save, number=3)

        self.run_threads(save_in_threads, number=3)
        self.assertEqual(Item.objects.count(), 12)
        self.assertOpenConnections(0)

    def test_conn_max_age(self):
        """Persistent connections don't persist beyond their thread."""

        def handle_request():
            close_old_connections()
            self.save()
            return self.connect()

        for max_age in [0, 600, None]:
            with (
                self.subTest(max_age=max_age),
                mock.patch.dict(connection.settings_dict, CONN_MAX_AGE=max_age),
            ):
                conns = self.run_threads(handle_request)
                self.assertEqual(
                    {conn.close_at is None for conn in conns}, {max_age is None}
                )
                self.assertOpenConnections(0)


@tag("regression")
class ReusedConnectionsTests(ThreadConnectionsTestCase):
    """Another thread may share a connection later."""

    def test_on_commit(self):
        callback = mock.Mock()

        def begin():
            transaction.set_autocommit(False)
            transaction.commit()
            with transaction.atomic():
                transaction.on_commit(callback)
            return connections["default"]

        conn = self.run_thread(begin)
        self.assertIsNone(conn.connection)
        conn.inc_thread_sharing()
        self.addCleanup(conn.dec_thread_sharing)
        conn.connect()
        conn.close()
        callback.assert_not_called()


class UnaffectedConnectionsTests(ThreadConnectionsTestCase):
    """The end of a thread doesn't close what isn't the thread's own."""

    available_apps = ["thread_connections"]

    def setUp(self):
        super().setUp()
        self.addCleanup(self.assertOpenConnections, 0)

    def test_running_thread(self):
        """An idle thread's connection remains open."""
        with ThreadPoolExecutor(max_workers=1) as executor:
            executor.submit(self.connect).result()
            for _ in range(3):
                self.run_thread(Item.objects.count)
            gc.collect()
            self.assertOpenConnections(1)
            self.assertIs(executor.submit(self.is_usable).result(), True)
            executor.submit(connections.close_all).result()

    def test_deleted_handler(self):
        """A connection may be used after its handler is gone."""
        handler = ConnectionHandler(deepcopy(connections.settings))
        conn = handler["default"]
        conn.ensure_connection()
        del handler
        with conn.cursor() as cursor:
            cursor.execute("SELECT 1")
        conn.close()

    def test_delete(self):
        """What isn't there can't be deleted."""
        with self.assertRaises(AttributeError):
            del connections["missing"]

    def test_error_wrapper(self):
        """Something else than a database wrapper may wrap its errors."""
        wrapper = mock.Mock(spec=["Database"], Database=connection.Database)
        with self.assertRaises(IntegrityError), DatabaseErrorWrapper(wrapper):
            raise connection.Database.IntegrityError

    def test_no_dummy_threads(self):
        """
        Nothing that is called in an ended thread makes it appear to be alive.
        """
        threads = threading.enumerate()
        self.run_threads(self.connect)
        gc.collect()
        self.assertEqual(threading.enumerate(), threads)

    @unittest.skipUnless(hasattr(os, "fork"), "Forking is required.")
    # Forking a process with multiple threads is deprecated in Python 3.12+.
    @ignore_warnings(category=DeprecationWarning)
    def test_fork(self):
        """
        Threads don't exist in a child process. Their connections belong to the
        parent process.
        """
        with ThreadPoolExecutor(max_workers=1) as executor:
            executor.submit(self.connect).result()
            if (pid := os.fork()) == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            self.assertIs(executor.submit(self.is_usable).result(), True)
            executor.submit(connections.close_all).result()
