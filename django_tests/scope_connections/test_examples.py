import asyncio
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import Queue
from unittest import mock

from asgiref.testing import ApplicationCommunicator
from thread_connections.utils import ThreadConnectionsTestCase

from django.contrib.auth.models import Group
from django.core.handlers.asgi import ASGIHandler
from django.db import Error, close_old_connections, connections
from django.http import HttpResponse
from django.test import AsyncRequestFactory, override_settings, tag
from django.urls import path

NAMES = [f"group {number}" for number in range(10)]


def save_view(request):
    Group.objects.create(name=request.GET["name"])
    return HttpResponse()


urlpatterns = [path("", save_view)]


@tag("regression")
class ExamplesTests(ThreadConnectionsTestCase):
    """The examples leave no connection open when they're done."""

    available_apps = ["django.contrib.auth", "django.contrib.contenttypes"]
    settings_dict = {"CONN_MAX_AGE": 600}

    def setUp(self):
        super().setUp()
        from . import examples

        self.examples = examples
        self.addCleanup(self.assertOpenConnections, 0)
        # No thread leaves it to its end to close connections.
        recorded = self.enterContext(warnings.catch_warnings(record=True))
        warnings.simplefilter("always", ResourceWarning)
        self.addCleanup(lambda: self.assertEqual(recorded, []))
        self.addCleanup(close_old_connections)
        for alias in self.databases:
            self.enterContext(
                mock.patch.dict(connections[alias].settings_dict, self.settings_dict)
            )

    def assertSaved(self):
        self.assertOpenConnections(0)
        names = Group.objects.values_list("name", flat=True)
        self.assertCountEqual(names, NAMES)

    def run_tasks(self, function):
        """
        Run the function in tasks. Check while the loop's threads still run.
        """

        async def run():
            await asyncio.gather(*[function(name) for name in NAMES])
            await asyncio.to_thread(connections.scope()(self.assertSaved))

        # Another thread is going to count.
        connections.close_all()
        asyncio.run(run())

    def test_timers(self):
        self.examples.run_timers(NAMES)
        self.assertSaved()

    def test_executor(self):
        self.examples.save_all(NAMES)
        self.assertSaved()

    def test_executor_with_initializer(self):
        self.examples.save_all_with_initializer(NAMES)
        self.assertSaved()

    def test_thread_subclass(self):
        threads = [self.examples.SavingThread(name) for name in NAMES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertSaved()

    def test_queue(self):
        """Connections are closed while the thread waits for the next task."""
        queue = Queue()
        thread = threading.Thread(target=self.examples.consume, args=[queue])
        thread.start()
        done = threading.Event()
        for name in NAMES:
            queue.put(partial(Group.objects.create, name=name))
        queue.put(done.set)
        done.wait()
        self.assertSaved()
        queue.put(None)
        thread.join()

    def test_health_check(self):
        def check():
            with mock.patch.object(connections["other"], "connect", side_effect=Error):
                return self.examples.check_databases()

        with ThreadPoolExecutor(max_workers=1) as executor:
            check_databases = self.examples.check_databases
            self.assertEqual(executor.submit(check_databases).result(), [])
            self.assertOpenConnections(0)
            self.assertEqual(executor.submit(check).result(), ["other"])
            self.assertOpenConnections(0)

    def test_sync_to_async(self):
        save = self.examples.database_sync_to_async(Group.objects.create)
        self.run_tasks(lambda name: save(name=name))

    def test_to_thread(self):
        asyncio.run(self.examples.save_in_threads(NAMES))
        self.assertSaved()

    def test_tasks(self):
        self.run_tasks(self.examples.save_in_task)

    @override_settings(ROOT_URLCONF=__name__)
    def test_asgi_middleware(self):
        application = self.examples.ScopeMiddleware(ASGIHandler())

        async def request(name):
            scope = AsyncRequestFactory()._base_scope(
                path="/", query_string=f"name={name}".encode()
            )
            communicator = ApplicationCommunicator(application, scope)
            await communicator.send_input({"type": "http.request"})
            start = await communicator.receive_output(30)
            self.assertEqual(start["status"], 200)
            await communicator.receive_output(30)
            await communicator.wait(30)

        self.run_tasks(request)
