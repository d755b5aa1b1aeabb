import threading
from unittest import mock
from urllib.request import urlopen

from django.db import connection, connections, transaction
from django.http import HttpResponse
from django.test import LiveServerTestCase, override_settings
from django.test.utils import tag
from django.urls import path

from .models import Item
from .utils import ThreadConnectionsTestCase


def count_view(request):
    return HttpResponse(str(Item.objects.count()))


urlpatterns = [path("", count_view)]


class SharingTestCase(ThreadConnectionsTestCase):
    available_apps = ["thread_connections"]

    def setUp(self):
        super().setUp()
        self.addCleanup(self.assertOpenConnections, 0)

    def watch(self, conn):
        """Open the connection and count how often it's closed."""
        self.addCleanup(self.close, conn)
        conn.ensure_connection()
        conn._close = mock.Mock(wraps=conn._close)
        self.addCleanup(delattr, conn, "_close")
        return conn

    def share(self):
        """Open the current thread's connection and share it."""
        conn = self.watch(connections["default"])
        conn.inc_thread_sharing()
        return conn

    def assertClosed(self, conn):
        self.assertIsNone(conn.connection)
        conn._close.assert_called_once_with()

    def assertOpen(self, conn):
        conn._close.assert_not_called()
        self.assertIs(conn.is_usable(), True)


@tag("regression")
class OwnConnectionsTests(SharingTestCase):
    """What a thread has created and keeps is closed once, when it ends."""

    def test_all_aliases(self):
        def connect():
            return [self.watch(connections[alias]) for alias in self.databases]

        for conn in self.run_thread(connect):
            with self.subTest(alias=conn.alias):
                self.assertClosed(conn)

    def test_no_longer_shared(self):
        def share():
            conn = self.share()
            conn.dec_thread_sharing()
            return conn

        self.assertClosed(self.run_thread(share))

    def test_assigned_connection(self):
        """It doesn't matter how it was created."""

        def assign():
            conn = connections.create_connection("default")
            connections["default"] = conn
            return self.watch(conn)

        self.assertClosed(self.run_thread(assign))

    def test_assigned_again(self):
        def assign():
            conn = self.watch(connections["default"])
            connections["default"] = conn
            del connections["default"]
            connections["default"] = conn
            return conn

        self.assertClosed(self.run_thread(assign))

    def test_two_aliases(self):
        def assign():
            conn = self.watch(connections["default"])
            connections["other"] = conn
            return conn

        self.assertClosed(self.run_thread(assign))

    def test_connection_after_deletion(self):
        def connect():
            connections["default"]
            del connections["default"]
            return self.watch(connections["default"])

        self.assertClosed(self.run_thread(connect))


class OtherConnectionsTests(SharingTestCase):
    """What isn't the thread's own, or is shared, isn't closed when it ends."""

    def test_shared_connection(self):
        """
        A shared connection may still be used when the thread that created it
        has ended.
        """
        conn = self.run_thread(self.share)
        self.assertOpen(conn)
        conn.close()
        self.assertClosed(conn)
        conn.dec_thread_sharing()

    def test_shared_connection_in_use(self):
        """
        The thread that created a shared connection may end while another uses
        it, and the other one may end, too.
        """
        is_using = threading.Event()
        is_alone = threading.Event()

        def use(conn):
            connections["default"] = conn
            with transaction.atomic():
                Item.objects.create(name="item")
                is_using.set()
                self.assertIs(is_alone.wait(60), True)

        def share():
            conn = self.share()
            user = threading.Thread(target=use, args=(conn,))
            user.start()
            self.assertIs(is_using.wait(60), True)
            return conn, user

        conn, user = self.run_thread(share)
        is_alone.set()
        user.join(60)
        self.assertIs(user.is_alive(), False)
        self.assertIs(Item.objects.exists(), True)
        self.assertOpen(conn)
        conn.close()
        self.assertClosed(conn)
        conn.dec_thread_sharing()

    def test_connection_of_another_thread(self):
        conn = self.watch(connections["default"])

        def use():
            connections["default"] = conn
            return Item.objects.count()

        conn.inc_thread_sharing()
        try:
            self.assertEqual(self.run_thread(use), 0)
        finally:
            conn.dec_thread_sharing()
        self.assertOpen(conn)

    def test_connection_that_is_not_shared(self):
        """A thread can't close what it can't use."""
        conn = self.watch(connections["default"])
        self.run_thread(lambda: connections.__setitem__("default", conn))
        self.assertOpen(conn)

    def assertLeftOpen(self, target):
        conn = self.run_thread(target)
        self.assertOpen(conn)
        self.close(conn)

    def test_replaced_connection(self):
        def replace():
            conn = self.watch(connections["default"])
            connections["default"] = conn.copy()
            return conn

        self.assertLeftOpen(replace)

    def test_deleted_connection(self):
        def delete():
            conn = self.watch(connections["default"])
            del connections["default"]
            return conn

        self.assertLeftOpen(delete)

    @tag("regression")
    def test_connected_otherwise(self):
        """A database backend may override connect()."""

        def connect():
            conn = connections["default"]
            conn.connection = conn.get_new_connection(conn.get_connection_params())
            return conn

        conn = self.run_thread(connect)
        self.assertIsNone(conn.connection)
        self.assertOpenConnections(0)

    def test_created_connection(self):
        def create():
            return self.watch(connections.create_connection("default"))

        self.assertLeftOpen(create)

    def test_closed_by_thread(self):
        """A connection isn't closed again."""

        def close():
            conn = self.watch(connections["default"])
            conn.close()
            return conn

        self.assertClosed(self.run_thread(close))

    def test_closed_in_transaction(self):
        def close():
            conn = self.watch(connections["default"])
            transaction.atomic().__enter__()
            conn.close()
            return conn

        conn = self.run_thread(close)
        conn._close.assert_called_once_with()


@override_settings(ROOT_URLCONF="thread_connections.test_sharing")
class LiveServerTests(LiveServerTestCase):
    """
    The threads of a live server close their connections, but not the one to an
    in-memory database, which they share with the test.
    """

    available_apps = ["thread_connections"]

    def test_requests(self):
        Item.objects.create(name="item")
        for _ in range(5):
            with urlopen(self.live_server_url, timeout=60) as response:
                self.assertEqual(response.read(), b"1")
        self.server_thread.terminate()
        self.assertIs(connection.is_usable(), True)
        self.assertEqual(Item.objects.count(), 1)
