import importlib.util
import inspect
import json
import os
import re
import runpy
import site
import tempfile
import threading
import time
import unittest
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from unittest import mock

from asgiref.sync import async_to_sync, sync_to_async
from fork_connections.utils import get_session
from thread_connections.processes import run_module
from thread_connections.utils import ThreadConnectionsTestCase

import django
from django.contrib.auth.models import Group
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections, connection, connections, transaction
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.test.utils import tag
from django.urls import path

LINE = r"^.*[/\\]ticket\.py:(\d+): ResourceWarning: Thread '(.+)' ended without "


PACKAGE = """
import contextlib
from concurrent.futures import ThreadPoolExecutor
from unittest import mock


def call(function):
    return function()


def count():
    Group.objects.count()


def count_in_executor():
    with ThreadPoolExecutor() as executor:
        executor.submit(count).result()


def patched(wrapper_class):
    def connect(self):
        real_connect(self)

    real_connect = wrapper_class.connect
    return mock.patch.object(wrapper_class, "connect", connect)


from django.contrib.auth.models import Group
"""


def view(request):
    Group.objects.count()
    return HttpResponse()


def open_connections(request):
    """The view in the documentation."""
    now = datetime.now(tz=timezone.utc)
    lines = ["# TYPE django_connection_age_seconds gauge\n"]
    for conn in connections.live():
        labels = {
            "alias": conn.alias,
            "thread": conn.thread_name,
            "line": f"{conn.filename}:{conn.lineno}",
        }
        names = ",".join(f"{k}={json.dumps(v)}" for k, v in labels.items())
        age = (now - conn.opened_at).total_seconds()
        lines.append(f"django_connection_age_seconds{{{names}}} {age}\n")
    return HttpResponse("".join(lines), content_type="text/plain")


urlpatterns = [path("", view)]


class UnclosedConnectionsTestCase(ThreadConnectionsTestCase):
    available_apps = ["django.contrib.auth", "django.contrib.contenttypes"]

    def get_warnings(self, target):
        """Run the target in a thread. Return the warnings that it issues."""
        with warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always")
            self.run_thread(target)
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
        self.assertIs(warning.category, ResourceWarning)
        start, _, end = str(warning.message).partition(", opened ")
        self.assertEqual(
            start, "Thread 'importer' ended without closing its connection to 'other'"
        )
        seconds, _, line = end.partition(" seconds before in ")
        self.assertRegex(seconds, r"^\d+\.\d{3}$")
        self.assertEqual(line, f"{warning.filename}:{warning.lineno}.")

    def test_duration(self):
        def connect():
            self.connect()
            time.sleep(0.2)

        [warning] = self.get_warnings(connect)
        seconds = re.search(r"opened (.+) seconds", str(warning.message))[1]
        self.assertGreaterEqual(float(seconds), 0.2)

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

    def test_script(self):
        """Each connection that the ticket's script leaves open is named."""
        process = run_module("unclosed_connections.ticket", "20", options=["-X", "dev"])
        self.assertEqual(process.returncode, 0, process.stderr)
        lines = re.findall(LINE, process.stderr, re.MULTILINE)
        self.assertEqual(len(lines), 20, process.stderr)
        self.assertEqual(len({lineno for lineno, _ in lines}), 1)
        self.assertEqual(len({name for _, name in lines}), 20)

    def test_error(self):
        """
        If a filter turns the warning into an exception, other code isn't
        affected, and each connection is closed.
        """

        def connect():
            for alias in self.databases:
                self.connect(alias)
                conns.append(connections[alias])

        conns = []
        with (
            mock.patch("sys.unraisablehook") as unraisablehook,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("error", ResourceWarning)
            self.run_thread(connect)
            # The exceptions were raised before join() returned.
            calls = unraisablehook.mock_calls
            self.run_thread(connections.close_all)
            close_old_connections()
        self.assertEqual(
            [call.args[0].exc_type for call in calls], [ResourceWarning] * 2
        )
        for call in calls:
            self.assertRegex(str(call.args[0].exc_value), "^Thread '.*' ended without")
        self.assertEqual([conn.connection for conn in conns], [None, None])

    @contextmanager
    def installed_package(self):
        """
        Yield a package whose functions query for others. It's in the folder
        that packages are installed in.
        """
        with tempfile.TemporaryDirectory(dir=site.getsitepackages()[0]) as folder:
            path = Path(folder, "package.py")
            path.write_text(PACKAGE)
            spec = importlib.util.spec_from_file_location("package", path)
            package = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(package)
            yield package

    def test_line_of_caller_of_package(self):
        """
        A package may patch connect(), or query on behalf of its caller.
        """
        with self.installed_package() as package:

            def call_package():
                package.call(Group.objects.count)

            def count():
                Group.objects.count()

            def count_patched():
                with package.patched(type(connections["default"])):
                    count()

            self.assertOpenedIn(call_package)
            self.assertOpenedIn(count, count_patched)

    def test_line_of_package(self):
        """A thread may run nothing but the code of a package."""
        with self.installed_package() as package:
            [warning] = self.get_warnings(package.count_in_executor)
            lines, first = inspect.getsourcelines(package.count)
            self.assertEqual(warning.filename, package.__file__)
            self.assertEqual(warning.lineno, first + len(lines) - 1)

    def test_line_of_importer_of_package(self):
        """A package may query while it's imported, by Python's frozen code."""
        with self.installed_package() as package:
            module = Path(package.__file__).with_name("querying.py")
            module.write_text(
                "from django.contrib.auth.models import Group\nGroup.objects.count()"
            )

            def run_module():
                runpy.run_path(module)

            self.assertOpenedIn(run_module)

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

        for max_age in [0, 60, None]:
            with self.subTest(max_age=max_age), self.max_age(max_age):
                self.assertEqual(self.get_warnings(handle_request), [])

    @tag("regression")
    @override_settings(ROOT_URLCONF=__name__)
    def test_after_request(self):
        """A connection that's opened after the request isn't the handler's."""

        def handle_request():
            environ = RequestFactory()._base_environ()
            WSGIHandler()(environ, lambda status, headers: None).close()
            connection.close()
            self.connect()

        with self.max_age(60):
            self.assertEqual(len(self.get_warnings(handle_request)), 1)

    def max_age(self, seconds):
        return mock.patch.dict(connection.settings_dict, CONN_MAX_AGE=seconds)

    def test_running_thread(self):
        with ThreadPoolExecutor(max_workers=1) as executor:
            executor.submit(self.connect).result()
            self.assertEqual(self.get_warnings(lambda: None), [])
            executor.submit(connections.close_all).result()

    @mock.patch("sys.unraisablehook")
    def test_own_connect(self, unraisablehook):
        """A database backend may connect in a way of its own."""

        class DatabaseWrapper(type(connections["default"])):
            def connect(self):
                self.connection = self.get_new_connection(self.get_connection_params())

        def connect():
            settings_dict = connections["default"].settings_dict
            connections["own"] = DatabaseWrapper(settings_dict, "own")
            self.connect("own")

        self.assertEqual(self.get_warnings(connect), [])
        unraisablehook.assert_not_called()

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
        self.assertNotIn("ended without closing", process.stderr)

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

        before = datetime.now(tz=timezone.utc)
        (session, ident), [conn] = self.run_in_thread(use)
        self.assertEqual(conn.alias, "default")
        self.assertEqual(conn.vendor, connection.vendor)
        self.assertEqual(conn.thread_ident, ident)
        self.assertIs(conn.thread_alive, True)
        self.assertIs(conn.in_transaction, False)
        self.assertEqual(conn.filename, inspect.getsourcefile(get_session))
        self.assertEqual(conn.lineno, inspect.getsourcelines(get_session)[1] + 2)
        after = datetime.now(tz=timezone.utc)
        self.assertTrue(before <= conn.opened_at <= after)
        has_sessions = connection.vendor in {"mysql", "postgresql"}
        self.assertEqual(conn.session_id, session if has_sessions else None)

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

    def test_sorted_by_time(self):
        def connect():
            for _ in range(10):
                conn = connections.create_connection("default")
                self.addCleanup(self.close, conn)
                conn.ensure_connection()

        _, conns = self.run_in_thread(connect)
        times = [conn.opened_at for conn in conns]
        self.assertEqual(len(times), 10)
        self.assertEqual(times, sorted(times))

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

    def test_closed_in_transaction(self):
        """A closed connection isn't open until the end of its transaction."""

        def use():
            with transaction.atomic():
                self.connect()
                self.assertEqual(len(connections.live()), len(live) + 1)
                connection.close()
                self.assertEqual(connections.live(), live)
                raise ValueError("not committed")

        live = connections.live()
        with self.assertRaisesMessage(ValueError, "not committed"):
            self.run_in_thread(use)

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

    def test_view(self):
        """The view in the documentation tells the age of each connection."""

        def use():
            threading.current_thread().name = 'the "worker"'
            self.connect()
            time.sleep(0.1)
            return open_connections(None).content.decode()

        text, _ = self.run_in_thread(use)
        [line] = [line for line in text.splitlines() if "worker" in line]
        self.assertRegex(
            line,
            r'^django_connection_age_seconds{alias="default",'
            r'thread="the \\"worker\\"",line=".*tests\.py:\d+"} [\d.]+$',
        )
        self.assertGreaterEqual(float(line.rpartition(" ")[2]), 0.1)
