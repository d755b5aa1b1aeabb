import gc
import logging
import os
import socket
import sqlite3
import threading
import unittest
import warnings
from unittest import mock

from django.db import ConnectionHandler, Error, connection, connections
from django.test.utils import tag

from .models import Item
from .utils import ThreadConnectionsTestCase

# What sqlite3 and psycopg say of a connection that's left to them.
UNCLOSED = ".*(unclosed database|deleted while still open)"


@tag("regression")
class FaultsTests(ThreadConnectionsTestCase):
    """
    Whatever goes wrong when a thread ends, all of its connections are closed,
    and nothing that isn't a bug is reported.
    """

    available_apps = ["thread_connections"]
    aliases = ["default", "other", "third"]

    def connect_all(self):
        connections["third"] = connections["other"].copy("third")
        return [self.connect(alias) for alias in self.aliases]

    def assertAllClosed(self, conns):
        self.assertEqual([conn.connection for conn in conns], [None] * len(conns))
        for alias in self.databases:
            self.assertOpenConnections(0, alias)

    def connect_and_break(self, alias, break_connection):
        conns = self.connect_all()
        break_connection(connections[alias])
        return conns

    def assertClosedIfBroken(self, break_connection):
        for alias in self.aliases:
            with (
                self.subTest(alias=alias),
                mock.patch("sys.unraisablehook") as unraisablehook,
            ):
                conns = self.run_thread(
                    lambda: self.connect_and_break(alias, break_connection)
                )
                self.assertAllClosed(conns)
                unraisablehook.assert_not_called()

    def end_session(self, conn):
        """Let the server end the session of the connection."""
        if conn.vendor == "postgresql":
            sql = "SELECT pg_backend_pid()"
            end_sql = "SELECT pg_terminate_backend(%s, 60000)"
        else:
            sql = "SELECT CONNECTION_ID()"
            end_sql = "KILL %s"
        with conn.cursor() as cursor:
            cursor.execute(sql)
            session = cursor.fetchone()
        killer = connections.create_connection("default")
        try:
            with killer.cursor() as cursor:
                cursor.execute(end_sql, session)
        finally:
            killer.close()

    def cut(self, conn):
        with socket.socket(fileno=os.dup(conn.connection.fileno())) as sock:
            sock.shutdown(socket.SHUT_RDWR)

    @unittest.skipIf(connection.vendor == "sqlite", "SQLite doesn't have sessions.")
    def test_ended_session(self):
        self.assertClosedIfBroken(self.end_session)

    @unittest.skipIf(connection.vendor == "sqlite", "SQLite doesn't have sessions.")
    def test_ended_session_in_transaction(self):
        def begin_and_end_session(conn):
            conn.set_autocommit(False)
            Item.objects.using(conn.alias).create(name="item")
            self.end_session(conn)

        self.assertClosedIfBroken(begin_and_end_session)

    @unittest.skipIf(connection.vendor == "sqlite", "SQLite doesn't have sessions.")
    def test_ended_session_is_noticed(self):
        def end_session_and_fail(conn):
            self.end_session(conn)
            with self.assertRaises(Error), conn.cursor() as cursor:
                cursor.execute("SELECT 1")

        self.assertClosedIfBroken(end_session_and_fail)

    @unittest.skipIf(connection.vendor == "sqlite", "SQLite doesn't use sockets.")
    def test_cut_socket(self):
        self.assertClosedIfBroken(self.cut)

    def test_closed_behind_the_scenes(self):
        self.assertClosedIfBroken(lambda conn: conn.connection.close())

    def fail_to_close(self, exception):
        def break_connection(conn):
            close = conn._close

            def _close():
                close()
                raise exception

            conn._close = _close
            self.addCleanup(delattr, conn, "_close")

        return break_connection

    def test_database_error(self):
        """
        An error of the database doesn't keep the other connections from being
        closed.
        """
        exception = connection.Database.OperationalError()
        self.assertClosedIfBroken(self.fail_to_close(exception))

    def test_other_error(self):
        """
        An error that isn't the database's doesn't keep the other connections
        from being closed either, but it's reported.
        """
        for exception in [ValueError(), SystemExit(), KeyboardInterrupt()]:
            for alias in self.aliases:
                with (
                    self.subTest(exception=exception, alias=alias),
                    mock.patch("sys.unraisablehook") as unraisablehook,
                ):
                    conns = self.run_thread(
                        lambda: self.connect_and_break(
                            alias, self.fail_to_close(exception)
                        )
                    )
                    self.assertAllClosed(conns)
                    unraisablehook.assert_called_once()
                    [unraisable] = unraisablehook.call_args.args
                    self.assertIs(unraisable.exc_value, exception)

    def test_errors_of_all_connections(self):
        def connect_and_break():
            conns = self.connect_all()
            for conn in conns:
                self.fail_to_close(ValueError())(conn)
            return conns

        with mock.patch("sys.unraisablehook") as unraisablehook:
            self.assertAllClosed(self.run_thread(connect_and_break))
        self.assertEqual(unraisablehook.call_count, 3)

    def test_frozen_objects(self):
        """The garbage collector isn't needed: it ignores frozen objects."""

        def connect_and_freeze():
            conns = self.connect_all()
            gc.freeze()
            return conns

        self.addCleanup(gc.unfreeze)
        self.assertAllClosed(self.run_thread(connect_and_freeze))

    @mock.patch("sys.unraisablehook")
    def test_resource_warnings(self, unraisablehook):
        """No connection is left for its driver to warn about."""
        with warnings.catch_warnings():
            warnings.filterwarnings("error", UNCLOSED, ResourceWarning)
            self.run_thread(lambda: self.connect_all() and None)
            gc.collect()
        unraisablehook.assert_not_called()
        for alias in self.databases:
            self.assertOpenConnections(0, alias)

    def test_captured_warnings(self):
        """Warnings that are logged don't make an ended thread appear alive."""
        threads = set(threading.enumerate())
        self.addCleanup(logging.captureWarnings, False)
        logging.captureWarnings(True)
        with warnings.catch_warnings():
            warnings.filterwarnings("always", UNCLOSED, ResourceWarning)
            self.assertAllClosed(self.run_thread(self.connect_all))
        self.assertEqual(set(threading.enumerate()) - threads, set())

    def test_in_memory_database(self):
        """
        A thread's in-memory SQLite database is closed when it ends, although
        close() leaves it open.
        """
        databases = {
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        }
        handler = ConnectionHandler(databases)

        def connect():
            conn = handler["default"]
            conn.ensure_connection()
            conn.close()
            return conn, conn.connection

        conn, raw_conn = self.run_thread(connect)
        self.assertIsNone(conn.connection)
        with self.assertRaisesMessage(
            sqlite3.ProgrammingError, "Cannot operate on a closed database."
        ):
            raw_conn.execute("SELECT 1")
