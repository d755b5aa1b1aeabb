import http.client
import socket
import subprocess
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from thread_connections.processes import get_environment

from django.db import connection
from django.test import tag

from ..tests import CONTENT, TIMEOUT, ErrorViewTestCase


@tag("regression")
@unittest.skipIf(
    connection.vendor == "sqlite",
    "SQLite has no server that counts the connections of other processes.",
)
@unittest.skipUnless(find_spec("uvicorn"), "uvicorn isn't installed.")
class ASGIServerTests(ErrorViewTestCase):
    """
    20 simultaneous requests for pages that don't exist don't leave open
    connections behind in the server.
    """

    def request(self, port, path):
        conn = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        try:
            conn.request("GET", path)
            response = conn.getresponse()
            return response.status, response.read()
        finally:
            conn.close()

    def check_server(self, path):
        with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
            fd = listener.fileno()
            server = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", f"--fd={fd}"),
                    "error_connections.third_party.asgi:application",
                ],
                env=get_environment(),
                pass_fds=[fd],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self.addCleanup(server.wait)
            self.addCleanup(server.kill)
            # Requests wait in the queue of the socket until the server has
            # started.
            port = listener.getsockname()[1]
            with ThreadPoolExecutor(max_workers=20) as executor:
                futures = [executor.submit(self.request, port, path) for _ in range(20)]
            self.assertEqual({future.result() for future in futures}, {(404, CONTENT)})
            self.assertOpenConnections(0)
            self.assertIsNone(server.poll())

    def test_page_not_found(self):
        self.check_server("/missing/")

    def test_static_file_not_found(self):
        self.check_server("/static/missing.css")
