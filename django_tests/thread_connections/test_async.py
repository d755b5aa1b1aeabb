import asyncio
import gc
import os
import unittest
from unittest import mock

from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator

from django.core.handlers.asgi import ASGIHandler
from django.db import connection, connections
from django.test import AsyncRequestFactory, override_settings, tag

from .models import Item
from .utils import ThreadConnectionsTestCase

try:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3
except ImportError:
    is_psycopg3 = False


# Seconds after which a request is considered to hang.
TIMEOUT = 30


class AsyncTestCase(ThreadConnectionsTestCase):
    available_apps = ["thread_connections"]

    def setUp(self):
        super().setUp()
        # Allow connections inside a running event loop.
        self.enterContext(
            mock.patch.dict(os.environ, {"DJANGO_ALLOW_ASYNC_UNSAFE": "true"})
        )

    def save(self):
        Item.objects.create(name="item")

    async def asave(self):
        self.save()

    async def run_tasks(self, function, number=10):
        """Run the coroutine function in tasks at the same time."""
        await asyncio.gather(*[function() for _ in range(number)])


@tag("regression")
class EndedThreadsAsyncTests(AsyncTestCase):
    """
    The threads that run synchronous code for an event loop don't leave open
    connections behind.
    """

    def test_to_thread(self):
        """An event loop's threads end when its executor is shut down."""

        async def save():
            await asyncio.to_thread(self.save)

        asyncio.run(self.run_tasks(save))
        self.assertEqual(Item.objects.count(), 10)
        self.assertOpenConnections(0)

    def test_sync_to_async(self):
        save = sync_to_async(self.save, thread_sensitive=False)
        for run in [asyncio.run, self.run_with_async_to_sync]:
            with self.subTest(run=run.__name__):
                run(self.run_tasks(save))
                self.assertOpenConnections(0)
        self.assertEqual(Item.objects.count(), 20)

    def run_with_async_to_sync(self, coroutine):
        async def run():
            await coroutine

        async_to_sync(run)()

    def test_thread_sensitive_context(self):
        """
        Each ThreadSensitiveContext has a thread, which ends with the context,
        while the event loop is still running.
        """

        async def save():
            async with ThreadSensitiveContext():
                for _ in range(3):
                    await sync_to_async(self.save)()

        async def main():
            await self.run_tasks(save)
            # The one that's open is that of the test.
            await asyncio.to_thread(self.assertOpenConnections, 1)

        asyncio.run(main())
        self.assertEqual(Item.objects.count(), 30)
        self.assertOpenConnections(0)

    @override_settings(ROOT_URLCONF="thread_connections.urls")
    def test_asgi_handler(self):
        """
        Each request has a thread, and so a connection, which isn't used by
        any other request.
        """
        handler = ASGIHandler()
        for path in ["/sync/", "/async/"]:
            scope = AsyncRequestFactory()._base_scope(path=path)

            async def request():
                communicator = ApplicationCommunicator(handler, scope)
                await communicator.send_input({"type": "http.request"})
                response = await communicator.receive_output(timeout=TIMEOUT)
                self.assertEqual(response["status"], 200)
                await communicator.wait(timeout=TIMEOUT)

            with (
                self.subTest(path=path),
                mock.patch.dict(connection.settings_dict, CONN_MAX_AGE=600),
            ):
                asyncio.run(self.run_tasks(request))
                self.assertOpenConnections(0)
        self.assertEqual(Item.objects.count(), 20)


@tag("regression")
class ThreadsWithEventLoopsTests(AsyncTestCase):
    """
    What tasks do with their connections doesn't keep the connection of their
    thread open.
    """

    def check_thread(self, use):
        async def main():
            use()
            connections.close_all()

        def connect_and_run():
            self.connect()
            asyncio.run(main())

        self.run_thread(connect_and_run)
        self.assertOpenConnections(0)

    def test_connect(self):
        self.check_thread(self.connect)

    def test_assign(self):
        def assign():
            connections["default"] = connections.create_connection("default")

        self.check_thread(assign)

    def test_delete(self):
        def delete():
            self.connect().close()
            del connections["default"]

        self.check_thread(delete)


class UnaffectedAsyncConnectionsTests(AsyncTestCase):
    """Connections that can still be used aren't closed."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.assertOpenConnections, 0)

    def test_thread_sensitive(self):
        """
        A process has one thread for thread-sensitive code, which doesn't end
        with the event loop.
        """
        conn = asyncio.run(sync_to_async(self.connect)())
        self.assertOpenConnections(1)
        self.assertIs(asyncio.run(sync_to_async(self.is_usable)()), True)
        self.assertIs(asyncio.run(sync_to_async(self.connect)()), conn)
        asyncio.run(sync_to_async(connections.close_all)())

    def test_async_to_sync(self):
        """
        Thread-sensitive code that async_to_sync() runs uses its caller's
        thread.
        """
        self.assertIs(async_to_sync(sync_to_async(self.connect))(), self.connect())
        self.assertIs(connection.is_usable(), True)

    def test_parent_task(self):
        """
        The end of a task doesn't close a connection of the task's parent.
        """

        async def main():
            conn = self.connect()
            await self.run_tasks(self.asave)
            self.assertIs(self.connect(), conn)
            self.assertIs(conn.is_usable(), True)
            conn.close()

        asyncio.run(main())

    def test_garbage_collection(self):
        """
        Inside a running event loop, connections belong to the context that
        they are opened in, rather than to the thread. They are left to the
        garbage collector.
        """
        self.run_thread(lambda: asyncio.run(self.asave()))
        self.assertOpenConnections(1)
        gc.collect()
        self.assertOpenConnections(0)

    @unittest.skipUnless(
        connection.vendor == "postgresql" and is_psycopg3, "psycopg 3 specific test."
    )
    def test_pool(self):
        """
        A pooled connection isn't returned to its pool at the end of a context,
        as this may be the garbage collector's doing.
        """

        async def connect():
            return self.connect("other")

        connections["other"].close()
        options = connections["other"].settings_dict["OPTIONS"]
        with mock.patch.dict(options, pool=True):
            conn = asyncio.run(connect())
            try:
                gc.collect()
                self.assertIs(conn.is_usable(), True)
            finally:
                self.close(conn)
                conn.close_pool()
