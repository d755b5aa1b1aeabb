import asyncio
import gc
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

from asgiref.sync import SyncToAsync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from scope_connections import test_examples
from thread_connections.processes import get_environment, run_module
from thread_connections.utils import ThreadConnectionsTestCase

from django.contrib.auth.models import Group
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.signals import request_started
from django.db import Error, connection, connections
from django.db.utils import ConnectionHandler
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
    from django.core.exceptions import ImplicitConnectionError
except ImportError:
    # The tests fail for want of an error.
    ImplicitConnectionError = SynchronousOnlyOperation


def count():
    return Group.objects.count()


def count_view(request):
    return HttpResponse(str(count()))


def stream_view(request):
    return StreamingHttpResponse(str(count()) for _ in range(1))


async def async_view(request):
    return HttpResponse(str(await Group.objects.acount()))


def nested_view(request):
    """Handle another request before using the database."""
    list(handle_wsgi("/empty/"))
    return count_view(request)


def thread_view(request):
    """Use the database in a thread that isn't serving the request."""
    with ThreadPoolExecutor() as executor:
        return HttpResponse(repr(executor.submit(count).exception()))


async def async_thread_view(request):
    """Do so in threads that know the context of the request."""
    exceptions = []
    for function in [
        sync_to_async(count, thread_sensitive=False),
        partial(asyncio.to_thread, count),
    ]:
        try:
            await function()
        except Exception as e:
            exceptions.append(e)
    return HttpResponse(repr(exceptions))


async def task_view(request):
    """Create a task that goes on after the request."""

    async def use_later():
        await request.scope["ended"].wait()
        await Group.objects.acount()

    request.scope["tasks"].append(asyncio.create_task(use_later()))
    return HttpResponse(str(await Group.objects.acount()))


urlpatterns = [
    path("empty/", lambda request: HttpResponse()),
    path("count/", count_view),
    path("stream/", stream_view),
    path("async/", async_view),
    path("nested/", nested_view),
    path("thread/", thread_view),
    path("async-thread/", async_thread_view),
    path("task/", task_view),
]


def handle_wsgi(path):
    """Return the response to a request, which isn't closed."""
    environ = RequestFactory().get(path).environ
    return WSGIHandler()(environ, lambda status, headers: None)


async def handle_asgi(path, **kwargs):
    """Return the body of the response to a request."""
    scope = {**AsyncRequestFactory()._base_scope(path=path), **kwargs}
    communicator = ApplicationCommunicator(ASGIHandler(), scope)
    await communicator.send_input({"type": "http.request"})
    await communicator.receive_output(30)
    body = await communicator.receive_output(30)
    await communicator.wait(30)
    return body["body"].decode()


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
        self.assertEqual(
            str(self.assertImplicit(count)),
            "Thread 'worker_0' can't open a connection to 'default' outside of a "
            "scope, as CONN_SCOPE_REQUIRED is set. Use connections.scope() in the "
            "function that the thread runs.",
        )

    def test_class(self):
        """No handler of database errors takes it for one."""
        error = self.assertImplicit(count)
        self.assertNotIsInstance(error, Error)
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

    @override_settings(ROOT_URLCONF=__name__)
    def test_ended_request(self):
        """A thread of a server may do something else between requests."""

        def use():
            handle_wsgi("/count/").close()
            count()

        self.assertImplicit(use)

    def test_closed_request(self):
        """Python may free what stands for a request later than it's closed."""
        from django.db.scopes import ServedRequest

        def close_in_thread(served_request):
            self.run_thread(served_request.close)

        def use(close):
            served_request = ServedRequest()
            count()
            connection.close()
            close(served_request)
            count()

        for close in [ServedRequest.close, close_in_thread]:
            with self.subTest(close=close.__name__):
                self.assertImplicit(partial(use, close))

    @override_settings(ROOT_URLCONF=__name__)
    def test_unclosed_response(self):
        """A request has ended if nothing can close its response."""

        def use():
            handle_wsgi("/count/")
            gc.collect()
            connection.close()
            count()

        self.assertImplicit(use)

    @override_settings(ROOT_URLCONF=__name__)
    def test_thread_of_request(self):
        """Threads that are started by a request don't serve it."""
        self.assertContains(Client().get("/thread/"), "outside of a scope")

    @override_settings(ROOT_URLCONF=__name__)
    def test_async_threads_of_request(self):
        """Nor do those that run its functions in its context."""
        responses = {
            "wsgi": b"".join(handle_wsgi("/async-thread/")).decode(),
            "asgi": asyncio.run(handle_asgi("/async-thread/")),
        }
        for server, response in responses.items():
            with self.subTest(server=server):
                self.assertEqual(response.count("outside of a scope"), 2)

    @override_settings(ROOT_URLCONF=__name__)
    def test_task_of_request(self):
        """A task doesn't serve the request any longer once that has ended."""

        async def run():
            ended, tasks = asyncio.Event(), []
            body = await handle_asgi("/task/", ended=ended, tasks=tasks)
            self.assertEqual(body, "0")
            ended.set()
            with self.assertRaises(ImplicitConnectionError):
                await tasks[0]

        asyncio.run(run())

    def test_sync_to_async(self):
        async def run():
            with self.assertRaises(ImplicitConnectionError):
                await sync_to_async(count, thread_sensitive=False)()

        asyncio.run(run())

    @override_settings(ROOT_URLCONF=__name__)
    def test_not_required(self):
        """Only if a database requires scopes, a request is announced."""

        def count_calls():
            def call(*args, **kwargs):
                calls.append(args)
                return real_call(*args, **kwargs)

            calls, real_call = [], SyncToAsync.__call__
            with mock.patch.object(SyncToAsync, "__call__", call):
                self.assertEqual(asyncio.run(handle_asgi("/empty/")), "")
            return len(calls)

        required = count_calls()
        self.require_scope(False)
        self.assertEqual(count_calls(), required - 1)

    def test_default(self):
        settings = ConnectionHandler({"default": {}}).settings
        self.assertIs(settings["default"]["CONN_SCOPE_REQUIRED"], False)

    def test_background_thread(self):
        """The thread of a script fails, and passes when decorated."""
        process = run_module("required_scopes.script", "count")
        self.assertIn("ImplicitConnectionError: Thread 'Thread-1", process.stderr)
        self.assertEqual(process.stdout, "")
        process = run_module("required_scopes.script", "count_in_scope")
        self.assertEqual((process.stdout, process.stderr), ("1\n", ""))


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

    def test_management_command(self):
        out = StringIO()
        connection.close()
        call_command("inspectdb", stdout=out)
        self.assertIn("AuthGroup", out.getvalue())

    def test_async_main(self):
        """A command may run an event loop in the main thread."""

        async def run():
            self.assertEqual(await Group.objects.acount(), 0)
            await sync_to_async(connections.close_all)()

        asyncio.run(run())

    @override_settings(ROOT_URLCONF=__name__)
    def test_wsgi(self):
        def handle_request(path):
            response = handle_wsgi(path)
            content = b"".join(response)
            response.close()
            return content

        for path_ in ["/count/", "/stream/", "/async/", "/nested/"]:
            with self.subTest(path=path_):
                self.assertEqual(self.run_thread(lambda: handle_request(path_)), b"0")

    @override_settings(ROOT_URLCONF=__name__)
    def test_asgi(self):
        for path_ in ["/count/", "/stream/", "/async/", "/nested/"]:
            with self.subTest(path=path_):
                self.assertEqual(asyncio.run(handle_asgi(path_)), "0")

    @override_settings(ROOT_URLCONF=__name__)
    def test_parallel_asgi(self):
        """The end of a request doesn't affect others."""

        async def run():
            responses = [handle_asgi("/async/") for _ in range(10)]
            self.assertEqual(await asyncio.gather(*responses), ["0"] * 10)

        asyncio.run(run())

    @override_settings(ROOT_URLCONF=__name__)
    def test_request_started(self):
        """Receivers of the signal may use the database."""

        def receive(**kwargs):
            counts.append(count())

        counts = []
        request_started.connect(receive)
        self.addCleanup(request_started.disconnect, receive)
        self.run_thread(lambda: handle_wsgi("/empty/").close())
        asyncio.run(handle_asgi("/empty/"))
        self.assertEqual(counts, [0, 0])

    @override_settings(ROOT_URLCONF=__name__)
    async def test_async_client(self):
        response = await self.async_client.get("/async/")
        self.assertEqual(response.content, b"0")


class RequiredExamplesTests(test_examples.ExamplesTests):
    """The examples need nothing else if scopes are required."""

    settings_dict = {"CONN_MAX_AGE": 600, "CONN_SCOPE_REQUIRED": True}


class RunserverTests(ScopeRequiredTestCase):
    """
    The development server checks migrations in a thread and serves requests.
    """

    def test_request(self):
        server = subprocess.Popen(
            [sys.executable, "-m", "required_scopes.runserver"],
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
