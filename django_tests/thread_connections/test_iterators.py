import gc
import http.client
import threading
import unittest
from unittest import mock
from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.core.wsgi import get_wsgi_application
from django.db import Error, connection
from django.test import override_settings
from django.test.utils import tag

from .models import Item
from .utils import ThreadConnectionsTestCase

# Whether the driver has fetched all rows when it executes a query.
HAS_ALL_ROWS = connection.vendor == "mysql"


class IteratorTests(ThreadConnectionsTestCase):
    """
    An iterator that outlives its thread yields what the client has already.
    """

    available_apps = ["thread_connections"]

    def setUp(self):
        super().setUp()
        Item.objects.bulk_create(Item(name=f"{i}") for i in range(500))

    def start(self):
        """Return an iterator that has yielded its first object."""
        items = Item.objects.iterator(chunk_size=10)
        next(items)
        return items

    @unittest.skipUnless(HAS_ALL_ROWS, "The rows are fetched in chunks.")
    def test_remaining_rows(self):
        items = self.run_thread(self.start)
        self.assertEqual(len(list(items)), 499)

    @unittest.skipIf(HAS_ALL_ROWS, "The rows are fetched at once.")
    @tag("regression")
    def test_missing_rows(self):
        items = self.run_thread(self.start)
        msg = "The thread that opened the connection has ended."
        with self.assertRaisesMessage(Error, msg) as cm:
            list(items)
        self.assertIsInstance(cm.exception.__cause__, connection.Database.Error)

    def test_dropped(self):
        """An iterator that isn't consumed disappears without a message."""
        items = self.run_thread(self.start)
        with mock.patch("sys.unraisablehook") as unraisablehook:
            del items
            gc.collect()
        unraisablehook.assert_not_called()

    def test_reconnected(self):
        """
        The thread that opened a later connection hasn't ended.
        """
        conn = self.run_thread(self.connect)
        conn.inc_thread_sharing()
        self.addCleanup(conn.dec_thread_sharing)
        with (
            self.assertRaises(Error) as cm,
            conn.cursor() as cursor,
        ):
            cursor.execute("SELECT no_such_column")
        self.assertNotIn("thread", str(cm.exception))


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *args):
        pass


@unittest.skipUnless(HAS_ALL_ROWS, "The rows are fetched in chunks.")
@override_settings(ROOT_URLCONF="thread_connections.urls", ALLOWED_HOSTS=["*"])
class StreamingTests(ThreadConnectionsTestCase):
    """
    A server may stream a response after the thread that handled the request
    has ended.
    """

    available_apps = ["thread_connections"]

    @tag("regression")
    def test_stream(self):
        Item.objects.bulk_create(Item(name=f"{i}") for i in range(500))
        django_application = get_wsgi_application()

        def application(*args):
            return self.run_thread(lambda: django_application(*args))

        server = make_server("127.0.0.1", 0, application, handler_class=QuietHandler)
        self.addCleanup(server.server_close)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        for _ in range(10):
            conn = http.client.HTTPConnection(*server.server_address, timeout=30)
            self.addCleanup(conn.close)
            conn.request("GET", "/stream/")
            names = conn.getresponse().read().split()
            self.assertEqual(len(names), 500)
        self.assertOpenConnections(0)
