import http.client
import json
import socket
import subprocess
import sys
import unittest
from importlib.util import find_spec

from thread_connections.processes import get_environment

from django.db import connection
from django.test import tag

from ..tests import ForkTestCase, regression_on


@unittest.skipIf(
    connection.vendor == "sqlite",
    "SQLite has no server that counts the connections of other processes.",
)
@unittest.skipUnless(find_spec("gunicorn"), "gunicorn isn't installed.")
class PreloadTests(ForkTestCase):
    """
    The sessions of a server that forks its workers, once it has loaded the
    application, survive what the workers do, and that they end.
    """

    def request(self, port):
        conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            conn.request("GET", "/")
            response = conn.getresponse()
            self.assertEqual(response.status, 200)
            return json.load(response)
        finally:
            conn.close()

    def count_open_sessions(self, sessions):
        with connection.cursor() as cursor:
            if connection.vendor == "mysql":
                cursor.execute("SHOW PROCESSLIST")
            else:
                cursor.execute("SELECT pid FROM pg_stat_activity")
            return len({session for session, *_ in cursor.fetchall()} & set(sessions))

    def check_server(self, application, number, *options):
        with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
            fd = listener.fileno()
            server = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "--preload", "--workers=2"),
                    *("--max-requests=3", f"--bind=fd://{fd}", "--no-control-socket"),
                    *options,
                    f"fork_connections.third_party.wsgi:{application}()",
                ],
                env=get_environment(),
                pass_fds=[fd],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self.addCleanup(server.wait)
            self.addCleanup(server.terminate)
            # Requests wait in the queue of the socket until a worker has
            # started.
            port = listener.getsockname()[1]
            for _ in range(8):
                sessions = self.request(port)
        self.assertEqual(self.count_open_sessions(sessions), number)
        server.terminate()
        self.assertEqual(server.wait(), 0)
        self.assertOpenConnections(0)

    @regression_on("mysql")
    def test_threads(self):
        self.check_server("connect_in_threads", 4, "--threads=4")

    @tag("regression")
    def test_main_thread(self):
        self.check_server("connect_in_main_thread", 1)
