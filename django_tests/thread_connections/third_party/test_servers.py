import http.client
import json
import os
import socket
import subprocess
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from django.db import connection, connections
from django.test import tag

from ..models import Item
from ..utils import ThreadConnectionsTestCase

# Seconds after which a request is considered to hang.
TIMEOUT = 30


@tag("regression")
@unittest.skipIf(
    connection.vendor == "sqlite",
    "SQLite has no server that counts the connections of other processes.",
)
class ASGIServerTests(ThreadConnectionsTestCase):
    """
    100 requests to a server with persistent connections don't leave open
    connections behind when the threads that handled them have ended.
    """

    available_apps = ["thread_connections"]

    def serve(self, *args, **kwargs):
        """Start a server for the application of the asgi module."""
        databases = {alias: connections[alias].settings_dict for alias in connections}
        databases["default"] = {**databases["default"], "CONN_MAX_AGE": 600}
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                *args,
                "thread_connections.third_party.asgi:application",
            ],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "TEST_DATABASES": json.dumps(databases, default=str),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **kwargs,
        )
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        return server

    def request(self, port, path):
        conn = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        try:
            conn.request("GET", path)
            return conn.getresponse().status
        finally:
            conn.close()

    def check_server(self, name):
        with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
            fd = listener.fileno()
            server = self.serve(name, f"--fd={fd}", pass_fds=[fd])
            port = listener.getsockname()[1]
            # It waits in the queue of the socket until the server has started.
            self.assertEqual(self.request(port, "/sync/"), 200)
            with ThreadPoolExecutor(max_workers=10) as executor:
                futures = [
                    executor.submit(self.request, port, path)
                    for path in ["/sync/", "/async/", "/async/"] * 33
                ]
            self.assertEqual({future.result() for future in futures}, {200})
            self.assertOpenConnections(0)
            self.assertIsNone(server.poll())
        self.assertEqual(Item.objects.count(), 100)

    @unittest.skipUnless(find_spec("uvicorn"), "uvicorn isn't installed.")
    def test_uvicorn(self):
        self.check_server("uvicorn")

    @unittest.skipUnless(find_spec("daphne"), "daphne isn't installed.")
    def test_daphne(self):
        self.check_server("daphne")
