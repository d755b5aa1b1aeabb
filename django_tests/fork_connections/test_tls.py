import gc
import unittest

from django.db import connection, connections
from django.test.utils import tag

from .tests import ForkTestCase, regression_on
from .utils import get_session


@unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
class EncryptedConnectionsTests(ForkTestCase):
    """
    A child process doesn't write to an encrypted connection of its parent. The
    server would take what the parent writes next for forged.
    """

    @classmethod
    def setUpClass(cls):
        conn = connections["default"]
        settings = cls.get_tls_settings(conn)
        conn.close()
        cls.use_settings(conn, **settings)
        super().setUpClass()

    @classmethod
    def get_tls_settings(cls, conn):
        """Return the settings that differ for encrypted connections."""
        settings = {}
        if conn.vendor == "mysql":
            query, options = "SELECT @@ssl_cert", {"ssl_mode": "REQUIRED"}
            if conn.Database.__name__ != "MySQLdb":
                raise unittest.SkipTest("mysqlclient specific tests.")
        else:
            query, options = "SELECT current_setting('ssl')::bool", {
                "sslmode": "require"
            }
            host = conn.settings_dict["HOST"]
            if not host or host.startswith("/"):
                # A socket, on which PostgreSQL doesn't encrypt.
                if not conn.settings_dict["PASSWORD"]:
                    raise unittest.SkipTest("TCP needs a password.")
                settings["HOST"] = "localhost"
        with conn.cursor() as cursor:
            cursor.execute(query)
            if not cursor.fetchone()[0]:
                raise unittest.SkipTest("The server doesn't offer TLS.")
        return {**settings, "OPTIONS": {**conn.settings_dict["OPTIONS"], **options}}

    def test_encrypted(self):
        with connection.cursor() as cursor:
            if connection.vendor == "mysql":
                cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
            else:
                cursor.execute(
                    "SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
                )
            self.assertTrue(cursor.fetchone()[-1])

    @tag("regression")
    def test_query(self):
        session = get_session()
        self.fork(get_session)
        self.assertEqual(get_session(), session)

    @regression_on("mysql", "postgresql")
    def test_close_all(self):
        self.assertHarmless(connections.close_all)

    @regression_on("mysql")
    def test_garbage_collection(self):
        self.assertHarmless(gc.collect)

    @regression_on("mysql")
    def test_exit(self):
        self.assertSurvived("exit", 0)
