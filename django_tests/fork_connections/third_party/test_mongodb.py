import unittest
from importlib.util import find_spec
from unittest import mock

from django.db import ConnectionHandler

from ..tests import ForkTestCase


@unittest.skipUnless(
    find_spec("django_mongodb_backend"), "django-mongodb-backend isn't installed."
)
class MongoDBTests(ForkTestCase):
    """
    django-mongodb-backend shares a client, which is aware of threads and forks
    itself. This doesn't need a server.
    """

    def setUp(self):
        super().setUp()
        self.handler = ConnectionHandler(
            {
                "default": {},
                "mongodb": {
                    "ENGINE": "django_mongodb_backend",
                    "HOST": "mongodb://%2Fnonexistent.sock",
                    "NAME": "test",
                    "OPTIONS": {"connect": False, "serverSelectionTimeoutMS": 1},
                },
            }
        )
        self.conn = self.handler["mongodb"]
        self.addCleanup(self.conn.close_pool)

    def connect_without_server(self):
        conn = self.handler["mongodb"]
        with mock.patch.object(conn, "check_database_version_supported"):
            conn.connect()
        return conn

    def test_connect(self):
        """It's the server that's missed."""
        from pymongo import MongoClient
        from pymongo.errors import ServerSelectionTimeoutError

        with self.assertRaises(ServerSelectionTimeoutError):
            self.conn.connect()
        self.assertIsInstance(self.conn.connection, MongoClient)

    def test_thread(self):
        """The client remains usable when a thread ends."""
        client = self.connect_without_server().connection
        with mock.patch("sys.unraisablehook") as unraisablehook:
            conn = self.run_thread(self.connect_without_server)
        unraisablehook.assert_not_called()
        self.assertEqual(conn.database.client, client)
        self.assertIs(client._closed, False)

    def test_fork(self):
        self.connect_without_server()

        def connect():
            name = self.conn.get_database().name
            return name, self.connect_without_server().database.name

        names, errors = self.fork_with_unraisable(connect)
        self.assertEqual(names, ("test", "test"))
        self.assertEqual(errors, [])
