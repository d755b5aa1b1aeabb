import asyncio
import gc
import os
import sqlite3
import tempfile
import threading
import time
import warnings
from contextlib import closing
from unittest import mock

from asgiref.sync import sync_to_async

from django.db import close_old_connections, connection, connections
from django.test import TransactionTestCase

try:
    from django.test.connections import connection_monitor
except ImportError:
    # Nothing is reported.
    connection_monitor = None


class ThreadConnectionsTestCase(TransactionTestCase):
    """
    Run code in threads and count the connections that are open afterward,
    where they are held.
    """

    available_apps = []
    databases = {"default", "other"}

    # Seconds that a server is given to end the sessions of closed connections.
    grace_period = 3

    @classmethod
    def setUpClass(cls):
        # The base classes' cleanups come first, and need these databases.
        for alias in cls.databases:
            conn = connections[alias]
            if conn.vendor == "sqlite" and conn.is_in_memory_db():
                cls.use_file(conn)
        super().setUpClass()

    @classmethod
    def use_file(cls, conn):
        """
        Use a copy of an in-memory database in a file until the class cleanup,
        as threads can't write to an in-memory database concurrently.
        """
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        name = os.path.join(folder, f"{conn.alias}.sqlite3")
        conn.ensure_connection()
        with closing(sqlite3.connect(name)) as copy:
            conn.connection.backup(copy)
        # 200 threads that write at once wait for each other.
        options = {**conn.settings_dict["OPTIONS"], "timeout": 60}
        # The database would disappear with its connection.
        cls.use_settings(conn, NAME=name, OPTIONS=options)

    @classmethod
    def use_settings(cls, conn, **settings):
        """
        Create the connections of all threads with other settings until the
        class cleanup. The current thread's connection keeps its own.
        """
        settings_dict = {**conn.settings_dict, **settings}
        cls.enterClassContext(
            mock.patch.dict(connections.settings, {conn.alias: settings_dict})
        )
        cls.addClassCleanup(cls.replace_connection, conn)
        connections[conn.alias] = connections.create_connection(conn.alias)

    @classmethod
    def replace_connection(cls, conn):
        connections[conn.alias].close()
        connections[conn.alias] = conn
        # The thread of thread-sensitive code goes on, but the file doesn't.
        asyncio.run(sync_to_async(cls.forget_connection)(conn.alias))

    @staticmethod
    def forget_connection(alias):
        connections[alias].close()
        del connections[alias]

    def setUp(self):
        self.addCleanup(self.forget_ended_threads)
        # Many threads leave connections open on purpose.
        self.enterContext(warnings.catch_warnings())
        warnings.simplefilter("ignore", ResourceWarning)
        # Issue those that are due then.
        self.addCleanup(close_old_connections)
        # Without garbage collection, what a thread leaves open stays open.
        self.addCleanup(gc.enable)
        gc.collect()
        gc.disable()
        self.assertOpenConnections(0)

    def tearDown(self):
        # Close what is left open, or the test databases can't be destroyed.
        gc.collect()

    def forget_ended_threads(self):
        """
        The connections that were open when their threads ended are what's
        tested. The test runner reports only those that are still open.
        """
        if connection_monitor is not None:
            connection_monitor.pop_closed(connection_monitor.databases)

    def count_open_connections(self, alias="default"):
        """
        Return the number of connections to the database, as its server sees
        it, other than the current thread's.
        """
        conn = connections[alias]
        with conn.cursor() as cursor:
            if conn.vendor == "postgresql":
                cursor.execute(
                    "SELECT pid FROM pg_stat_activity WHERE pid != pg_backend_pid() "
                    "AND datname = current_database() "
                    "AND backend_type = 'client backend'"
                )
                return len(cursor.fetchall())
            if conn.vendor == "mysql":
                cursor.execute("SHOW PROCESSLIST")
                sessions = [
                    session_id
                    for session_id, _, _, db_name, *_ in cursor.fetchall()
                    if db_name == conn.settings_dict["NAME"]
                ]
                return len(sessions) - 1
        # There's no server that keeps a list of SQLite's connections, but each
        # has a file descriptor of the database's file.
        database = os.stat(conn.settings_dict["NAME"])
        count = 0
        for fd in os.listdir("/dev/fd"):
            try:
                count += os.path.samestat(os.fstat(int(fd)), database)
            except OSError:
                # This was the file descriptor of listdir().
                pass
        return count - 1

    def assertOpenConnections(self, expected, alias="default"):
        """
        The list of a server lags behind: wait for the expected number of
        connections for a while.
        """
        deadline = time.monotonic() + self.grace_period
        while (count := self.count_open_connections(alias)) != expected:
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        self.assertEqual(count, expected, f"open connections to {alias!r}")

    def run_threads(self, target, number=10):
        """Run the target in threads at the same time. Return its results."""
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(target()))
            for _ in range(number)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def run_thread(self, target):
        """Run the target in a thread of its own. Return its result."""
        [result] = self.run_threads(target, number=1)
        return result

    def connect(self, alias="default"):
        """Open the current thread's connection and return it."""
        conn = connections[alias]
        conn.ensure_connection()
        self.addCleanup(self.close, conn)
        return conn

    def close(self, conn):
        """Close a connection, whichever thread created it."""
        conn.inc_thread_sharing()
        try:
            conn.close()
        finally:
            conn.dec_thread_sharing()

    def is_usable(self):
        """Whether the current thread's connection is usable."""
        return connection.is_usable()
