import asyncio
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import StringIO
from unittest import mock
from urllib.request import urlopen

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from thread_connections.processes import get_environment, run_module
from thread_connections.utils import ThreadConnectionsTestCase

from django.contrib.auth.models import Group
from django.core import checks
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import DatabaseError, InterfaceError, connection, connections
from django.http import HttpResponse, StreamingHttpResponse
from django.test import (
    AsyncRequestFactory,
    Client,
    LiveServerTestCase,
    RequestFactory,
    override_settings,
)
from django.test.utils import tag
from django.urls import path

try:
    from django.db import ImplicitConnectionError
except ImportError:
    # The tests fail for want of an error.
    ImplicitConnectionError = InterfaceError


def count():
    return Group.objects.count()


def count_view(request):
    return HttpResponse(str(count()))


def stream_view(request):
    return StreamingHttpResponse(str(count()) for _ in range(1))


async def async_view(request):
    await sync_to_async(count, thread_sensitive=False)()
    return HttpResponse(str(await Group.objects.acount()))


def thread_view(request):
    """Use the database in a thread that isn't serving the request."""
    with ThreadPoolExecutor() as executor:
        return HttpResponse(str(executor.submit(count).exception()))


urlpatterns = [
    path("count/", count_view),
    path("stream/", stream_view),
    path("async/", async_view),
    path("thread/", thread_view),
]


class ScopeRequiredTestCase(ThreadConnectionsTestCase):
    available_apps = ["django.contrib.auth", "django.contrib.contenttypes"]

    def setUp(self):
        super().setUp()
        self.addCleanup(self.assertOpenConnections, 0)
        self.require_scope(True)

    def require_scope(self, value, alias="default"):
        settings_dict = connections[alias].settings_dict
        self.enterContext(mock.patch.dict(settings_dict, CONN_SCOPE_REQUIRED=value))


@tag("regression")
class ImplicitConnectionTests(ScopeRequiredTestCase):
    """
    If a database requires scopes, threads that are outside of one can't open
    connections.
    """

    def assertImplicit(self, target):
        with ThreadPoolExecutor(1, thread_name_prefix="worker") as executor:
            with self.assertRaises(ImplicitConnectionError) as cm:
                executor.submit(target).result()
        self.assertOpenConnections(0)
        return cm.exception

    def test_message(self):
        message = str(self.assertImplicit(count))
        self.assertTrue(
            message.startswith(
                "Thread 'worker_0' can't open a connection to 'default' outside of a "
                "scope, since the database has CONN_SCOPE_REQUIRED set. Use the first "
                "of these that's possible:\n1. "
            )
        )
        self.assertEqual(len(message.splitlines()), 5)

    def test_class(self):
        """No handler of database errors takes it for one."""
        error = self.assertImplicit(count)
        self.assertIsInstance(error, InterfaceError)
        self.assertNotIsInstance(error, DatabaseError)
        self.assertEqual(str(pickle.loads(pickle.dumps(error))), str(error))

    def test_before_connecting(self):
        with mock.patch.object(
            type(connection.ops.connection), "get_new_connection"
        ) as get_new_connection:
            self.assertImplicit(count)
        get_new_connection.assert_not_called()

    def test_ended_scope(self):
        def use():
            with connections.scope():
                count()
            count()

        self.assertImplicit(use)

    def test_ended_request(self):
        """A thread of a server may do something else between requests."""

        def use():
            environ = RequestFactory().get("/count/").environ
            WSGIHandler()(environ, lambda status, headers: None).close()
            count()

        with override_settings(ROOT_URLCONF=__name__):
            self.assertImplicit(use)

    @override_settings(ROOT_URLCONF=__name__)
    def test_thread_of_request(self):
        """Threads that are started by a request don't serve it."""
        self.assertContains(Client().get("/thread/"), "outside of a scope")

    def test_sync_to_async(self):
        async def run():
            with self.assertRaises(ImplicitConnectionError):
                await sync_to_async(count, thread_sensitive=False)()

        asyncio.run(run())

    def test_background_thread(self):
        """The thread of a script fails, and passes when decorated."""
        process = run_module("scope_connections.script", "count")
        self.assertIn("ImplicitConnectionError: Thread 'Thread-1", process.stderr)
        self.assertEqual(process.stdout, "")
        process = run_module("scope_connections.script", "count_in_scope")
        self.assertEqual((process.stdout, process.stderr), ("1\n", ""))

    def test_check(self):
        for value in [None, 1, "True"]:
            with self.subTest(value=value):
                self.require_scope(value)
                self.assertEqual(
                    [
                        message
                        for message in checks.run_checks()
                        if message.id == "database.W001"
                    ],
                    [
                        checks.Warning(
                            "The 'CONN_SCOPE_REQUIRED' setting of database 'default' "
                            "isn't a boolean.",
                            hint="Set it to True or False.",
                            id="database.W001",
                        )
                    ],
                )


class ExplicitConnectionTests(ScopeRequiredTestCase):
    """What opens connections on purpose isn't affected."""

    def test_main_thread(self):
        connection.close()
        self.assertEqual(count(), 0)

    def test_other_database(self):
        def use():
            connections["other"].ensure_connection()

        self.require_scope(False, "other")
        with ThreadPoolExecutor() as executor:
            executor.submit(use).result()

    def test_check(self):
        ids = [message.id for message in checks.run_checks()]
        self.assertNotIn("database.W001", ids)

    def test_management_command(self):
        out = StringIO()
        connection.close()
        call_command("inspectdb", stdout=out)
        self.assertIn("AuthGroup", out.getvalue())

    @override_settings(ROOT_URLCONF=__name__)
    def test_wsgi(self):
        def handle_request(path):
            environ = RequestFactory().get(path).environ
            response = WSGIHandler()(environ, lambda status, headers: None)
            content = b"".join(response)
            response.close()
            return content

        for path_ in ["/count/", "/stream/", "/async/"]:
            with self.subTest(path=path_):
                self.assertEqual(self.run_thread(lambda: handle_request(path_)), b"0")

    @override_settings(ROOT_URLCONF=__name__)
    def test_asgi(self):
        async def request(path):
            scope = AsyncRequestFactory()._base_scope(path=path)
            communicator = ApplicationCommunicator(ASGIHandler(), scope)
            await communicator.send_input({"type": "http.request"})
            start = await communicator.receive_output(30)
            self.assertEqual(start["status"], 200)
            body = await communicator.receive_output(30)
            self.assertEqual(body["body"], b"0")
            await communicator.wait(30)

        for path_ in ["/count/", "/async/"]:
            with self.subTest(path=path_):
                asyncio.run(request(path_))

    @override_settings(ROOT_URLCONF=__name__)
    def test_client(self):
        """The test client may be used in any thread."""
        self.assertEqual(self.run_thread(lambda: Client().get("/count/")).content, b"0")

    @override_settings(ROOT_URLCONF=__name__)
    async def test_async_client(self):
        response = await self.async_client.get("/async/")
        self.assertEqual(response.content, b"0")


class RunserverTests(ScopeRequiredTestCase):
    """
    The development server checks migrations in a thread and serves requests.
    """

    def test_request(self):
        server = subprocess.Popen(
            [sys.executable, "-m", "scope_connections.runserver"],
            # The reloader runs it again, without Python's options.
            env={**get_environment(), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(server.wait)
        # The reloader has a child process.
        kill = partial(os.killpg, server.pid, signal.SIGKILL)
        self.addCleanup(kill)
        # If the server fails to start, the reloader waits for a change.
        timer = threading.Timer(60, kill)
        self.addCleanup(timer.cancel)
        timer.start()
        with server.stdout:
            for line in server.stdout:
                if match := re.search(r"server at (http://\S+)", line):
                    break
            else:
                self.fail("The server didn't start.")
            with urlopen(match[1], timeout=30) as response:
                self.assertEqual(response.read(), b"1")


@override_settings(ROOT_URLCONF=__name__)
class LiveServerTests(ScopeRequiredTestCase, LiveServerTestCase):
    """The threads of a live server serve requests."""

    def test_request(self):
        for path_ in ["/count/", "/async/"]:
            with urlopen(self.live_server_url + path_) as response:
                self.assertEqual(response.read(), b"0")
