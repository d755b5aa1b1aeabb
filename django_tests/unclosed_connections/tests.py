import datetime
import inspect
import os
import re
import threading
import tracemalloc
import unittest
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import StringIO
from unittest import mock

from asgiref.sync import async_to_sync, sync_to_async
from fork_connections.utils import get_session
from thread_connections.processes import run_module
from thread_connections.utils import ThreadConnectionsTestCase

import django
from django.contrib.auth.models import Group
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import close_old_connections, connection, connections, transaction
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.test.utils import ignore_warnings, tag
from django.urls import path

try:
    from django.db import UnclosedConnectionWarning
except ImportError:
    # The tests fail for want of a warning.
    UnclosedConnectionWarning = ResourceWarning

LINE = r"^.*[/\\]ticket\.py:(\d+): UnclosedConnectionWarning: Thread '(.+)' ended "


def view(request):
    Group.objects.count()
    return HttpResponse()


urlpatterns = [path("", view)]


class UnclosedConnectionsTestCase(ThreadConnectionsTestCase):
    available_apps = ["django.contrib.auth", "django.contrib.contenttypes"]

    def setUp(self):
        super().setUp()
        self.get_warnings(lambda: None)

    def get_warnings(self, target):
        """
        Run the target in a thread. Return the warnings that other threads
        issue afterward.
        """
        with warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always")
            self.run_thread(target)
            close_old_connections()
        return [w for w in recorded if issubclass(w.category, ResourceWarning)]

    def connect(self, alias="default"):
        connections[alias].ensure_connection()


@tag("regression")
class UnclosedConnectionWarningTests(UnclosedConnectionsTestCase):
    """
    The connections that a thread leaves open are named, and the lines that
    opened them.
    """

    def assertOpenedIn(self, function, target=None):
        """A warning has the location of the only line of the function."""
        [warning] = self.get_warnings(target or function)
        lines, first = inspect.getsourcelines(function)
        self.assertEqual(warning.filename, __file__)
        self.assertEqual(warning.lineno, first + len(lines) - 1)

    def count(self):
        Group.objects.count()

    @transaction.atomic
    def count_in_decorator(self):
        Group.objects.count()

    def test_message(self):
        def connect():
            threading.current_thread().name = "importer"
            self.connect("other")

        [warning] = self.get_warnings(connect)
        self.assertIs(warning.category, UnclosedConnectionWarning)
        self.assertTrue(issubclass(warning.category, ResourceWarning))
        self.assertRegex(
            str(warning.message),
            r"^Thread 'importer' ended without closing its connection to 'other', "
            r"which was open for \d+\.\d{3} seconds\.$",
        )

    def test_line(self):
        self.assertOpenedIn(self.count)

    def test_line_of_decorated_function(self):
        """A decorator that opens a connection does so for its caller."""

        def call_decorated():
            self.count_in_decorator()

        self.assertOpenedIn(call_decorated)

    def test_line_of_django(self):
        """A thread may run nothing but Django's own code."""

        def run_thread():
            thread = threading.Thread(target=Group.objects.count)
            thread.start()
            thread.join()

        def run_executor():
            with ThreadPoolExecutor() as executor:
                executor.submit(Group.objects.count).result()

        def run_loop():
            async_to_sync(sync_to_async(Group.objects.count, thread_sensitive=False))()

        for target in [run_thread, run_executor, run_loop]:
            with self.subTest(target=target.__name__):
                [warning] = self.get_warnings(target)
                self.assertTrue(
                    warning.filename.startswith(os.path.dirname(django.__file__))
                )

    def test_each_connection(self):
        """There's a warning for each alias, and for each thread of a line."""

        def connect():
            for alias in self.databases:
                self.run_threads(partial(self.connect, alias), number=3)

        messages = [str(w.message) for w in self.get_warnings(connect)]
        self.assertEqual(len(set(messages)), 6)
        for alias in self.databases:
            self.assertEqual(sum(f"'{alias}'" in message for message in messages), 3)

    def test_issued_when_connecting(self):
        self.run_thread(self.connect)
        with self.assertWarns(UnclosedConnectionWarning):
            self.run_thread(self.connect)

    def test_issued_when_handling_request(self):
        self.run_thread(self.connect)
        with self.assertWarns(UnclosedConnectionWarning):
            close_old_connections()

    def test_issued_at_exit(self):
        """Each connection that the ticket's script leaves open is named."""
        process = run_module("unclosed_connections.ticket", "20", options=["-X", "dev"])
        self.assertEqual(process.returncode, 0, process.stderr)
        lines = re.findall(LINE, process.stderr, re.MULTILINE)
        self.assertEqual(len(lines), 20, process.stderr)
        self.assertEqual(len({lineno for lineno, _ in lines}), 1)
        self.assertEqual(len({name for _, name in lines}), 20)

    def test_source(self):
        """tracemalloc knows the traceback."""
        self.addCleanup(tracemalloc.stop)
        tracemalloc.start(25)
        [warning] = self.get_warnings(self.count)
        traceback = tracemalloc.get_object_traceback(warning.source)
        self.assertIn(__file__, {frame.filename for frame in traceback})

    def test_error(self):
        """
        If a filter turns the warning into an exception, it's the ended
        thread's and doesn't affect the current thread.
        """
        with (
            mock.patch("threading.excepthook") as excepthook,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("error", ResourceWarning)
            for _ in range(2):
                self.run_thread(self.connect)
            close_old_connections()
        self.assertEqual(
            [call.args[0].exc_type for call in excepthook.mock_calls],
            [UnclosedConnectionWarning] * 2,
        )
        for call in excepthook.mock_calls:
            self.assertRegex(str(call.args[0].exc_value), "^Thread '.*' ended without")

    def test_open_transaction(self):
        def begin():
            transaction.atomic().__enter__()
            self.count()

        self.assertEqual(len(self.get_warnings(begin)), 1)


class ClosedConnectionsTests(UnclosedConnectionsTestCase):
    """There's no warning about connections that aren't left open."""

    def test_closed(self):
        def close():
            connection.close()

        for function in [close, connections.close_all, close_old_connections]:

            def use():
                self.connect()
                function()

            with self.subTest(function=function.__name__):
                self.assertEqual(self.get_warnings(use), [])

    @override_settings(ROOT_URLCONF=__name__)
    def test_request(self):
        def handle_request():
            environ = RequestFactory()._base_environ()
            WSGIHandler()(environ, lambda status, headers: None).close()

        self.assertEqual(self.get_warnings(handle_request), [])

    def test_running_thread(self):
        with ThreadPoolExecutor(max_workers=1) as executor:
            executor.submit(self.connect).result()
            self.assertEqual(self.get_warnings(lambda: None), [])
            executor.submit(connections.close_all).result()

    def test_shared(self):
        """A connection that other threads may use isn't closed."""

        def share():
            conn = connections["default"]
            conn.inc_thread_sharing()
            self.addCleanup(self.close, conn)
            self.connect()

        self.assertEqual(self.get_warnings(share), [])

    def test_main_thread(self):
        """The main thread keeps its connections until the process exits."""
        process = run_module("unclosed_connections.ticket", "0", options=["-X", "dev"])
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertNotIn("UnclosedConnectionWarning", process.stderr)

    def test_ignored_by_default(self):
        process = run_module("unclosed_connections.ticket", "20")
        self.assertEqual((process.returncode, process.stderr), (0, ""))

    @unittest.skipUnless(connection.vendor == "sqlite", "SQLite tests.")
    def test_in_memory_database(self):
        """There's no way to close an in-memory database."""

        def connect():
            settings_dict = {**connection.settings_dict, "NAME": ":memory:"}
            connections["memory"] = type(connections["default"])(
                settings_dict, "memory"
            )
            self.connect("memory")
            connections["memory"].close()

        self.assertEqual(self.get_warnings(connect), [])

    @unittest.skipUnless(hasattr(os, "fork"), "Forking is required.")
    # Forking a process with multiple threads is deprecated in Python 3.12+.
    @ignore_warnings(category=DeprecationWarning)
    def test_fork(self):
        """A child process doesn't repeat the warnings of its parent."""
        self.run_thread(self.connect)
        if (pid := os.fork()) == 0:
            os._exit(len(self.get_warnings(lambda: None)))
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        with ignore_warnings(category=ResourceWarning):
            close_old_connections()


@tag("regression")
class LiveConnectionsTests(UnclosedConnectionsTestCase):
    """connections.live() lists the open connections of all threads."""

    def run_in_thread(self, target):
        """
        Return the target's result and the connections that are live then.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="worker") as executor:
            result = executor.submit(target).result()
            live = connections.live()
            executor.submit(connections.close_all).result()
        return result, [conn for conn in live if conn.thread_name == "worker_0"]

    def test_attributes(self):
        def use():
            return get_session(), threading.get_ident()

        before = datetime.datetime.now(tz=datetime.timezone.utc)
        (session, ident), [conn] = self.run_in_thread(use)
        self.assertEqual(conn.alias, "default")
        self.assertEqual(conn.vendor, connection.vendor)
        self.assertEqual(conn.thread_ident, ident)
        self.assertIs(conn.thread_alive, True)
        self.assertIs(conn.in_transaction, False)
        self.assertEqual(conn.filename, inspect.getsourcefile(get_session))
        self.assertEqual(conn.lineno, inspect.getsourcelines(get_session)[1] + 2)
        after = datetime.datetime.now(tz=datetime.timezone.utc)
        self.assertTrue(before <= conn.opened_at <= after)
        has_sessions = connection.vendor in {"mysql", "postgresql"}
        self.assertEqual(conn.session_id, session if has_sessions else None)

    def test_str(self):
        _, [conn] = self.run_in_thread(self.connect)
        session = "" if conn.session_id is None else f", session {conn.session_id}"
        self.assertEqual(
            str(conn),
            f"default ({connection.vendor}{session}) opened by thread 'worker_0' "
            f"({conn.thread_ident}) at {conn.opened_at:%Y-%m-%d %H:%M:%S} UTC in "
            f"{__file__}:{conn.lineno}",
        )

    def test_in_transaction(self):
        def begin():
            atomic.__enter__()
            self.connect()

        def end():
            atomic.__exit__(None, None, None)

        atomic = transaction.atomic()
        with ThreadPoolExecutor(1, thread_name_prefix="worker") as executor:
            executor.submit(begin).result()
            [conn] = [c for c in connections.live() if c.thread_name == "worker_0"]
            self.assertIs(conn.in_transaction, True)
            self.assertIn("in transaction", str(conn))
            executor.submit(end).result()
            [conn] = [c for c in connections.live() if c.thread_name == "worker_0"]
            self.assertIs(conn.in_transaction, False)
            executor.submit(connections.close_all).result()

    def test_sorted(self):
        def connect():
            for alias in ["other", "default"]:
                self.connect(alias)

        _, conns = self.run_in_thread(connect)
        self.assertEqual([conn.alias for conn in conns], ["default", "other"])

    def test_dynamic_alias(self):
        def connect():
            conn = connections["default"]
            connections["dynamic"] = type(conn)(conn.settings_dict, "dynamic")
            self.addCleanup(self.close, connections["dynamic"])
            connections["dynamic"].ensure_connection()

        _, conns = self.run_in_thread(connect)
        self.assertEqual([conn.alias for conn in conns], ["dynamic"])

    def test_closed(self):
        live = connections.live()
        with ThreadPoolExecutor(1) as executor:
            executor.submit(self.connect).result()
            self.assertEqual(len(connections.live()), len(live) + 1)
            executor.submit(connections.close_all).result()
            self.assertEqual(connections.live(), live)
            executor.submit(self.connect).result()
        self.assertEqual(connections.live(), live)

    def test_ended_thread(self):
        """A connection may be open after its thread, if others share it."""

        def share():
            conn = connections["default"]
            conn.inc_thread_sharing()
            conn.ensure_connection()
            return conn

        live = connections.live()
        conn = self.run_thread(share)
        [record] = [record for record in connections.live() if record not in live]
        self.assertIs(record.thread_alive, False)
        self.assertIn("opened by ended thread", str(record))
        self.close(conn)

    def test_while_connecting(self):
        """
        Other threads may connect, close connections, and end. All connections
        that are open the whole time are listed.
        """

        def work():
            self.connect()
            connections.close_all()
            self.connect()

        def run():
            for _ in range(100):
                self.run_threads(work, number=10)

        names = {f"worker_{i}" for i in range(5)}
        barrier = threading.Barrier(5)
        with ThreadPoolExecutor(5, thread_name_prefix="worker") as executor:
            list(executor.map(lambda _: (self.connect(), barrier.wait()), names))
            runner = threading.Thread(target=run)
            runner.start()
            try:
                while runner.is_alive():
                    found = {conn.thread_name for conn in connections.live()}
                    self.assertLessEqual(names, found)
            finally:
                runner.join()
            list(
                executor.map(lambda _: (connections.close_all(), barrier.wait()), names)
            )

    def test_command(self):
        def connect():
            self.connect()
            out = StringIO()
            call_command("showconnections", stdout=out)
            return out.getvalue().splitlines()

        [header, *rows], [conn] = self.run_in_thread(connect)
        self.assertTrue(header.startswith("ALIAS  "))
        [row] = [row for row in rows if "worker_0" in row]
        self.assertEqual(
            re.split(r"\s{2,}", row),
            [
                "default",
                connection.vendor,
                "-" if conn.session_id is None else str(conn.session_id),
                "worker_0",
                str(conn.thread_ident),
                "yes",
                "no",
                f"{conn.opened_at:%Y-%m-%d %H:%M:%S}",
                f"{__file__}:{conn.lineno}",
            ],
        )

    @mock.patch.object(type(connections), "live", lambda self: [], create=True)
    def test_command_without_connections(self):
        out = StringIO()
        call_command("showconnections", stdout=out)
        self.assertEqual(out.getvalue(), "No connections are open.\n")
