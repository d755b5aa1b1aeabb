import unittest
from datetime import UTC, datetime

from thread_connections.utils import ThreadConnectionsTestCase

from django.contrib.auth.models import Group
from django.db import Error, connection, connections
from django.test import override_settings
from django.test.utils import tag

DatabaseWrapper = type(connections["default"])
SERIALIZABLE = "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"


def query(sql, conn=connection):
    with conn.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


class NewConnectionsTestCase(ThreadConnectionsTestCase):
    available_apps = ["django.contrib.auth", "django.contrib.contenttypes"]

    def create_connection(self, cls=DatabaseWrapper, **settings):
        """Return a new connection, with some settings of its own."""
        settings_dict = {**connection.copy().settings_dict, **settings}
        conn = cls(settings_dict, connection.alias)
        self.addCleanup(conn.close)
        return conn


@unittest.skipUnless(connection.vendor == "mysql", "MySQL tests")
class MySQLTests(NewConnectionsTestCase):
    def get_isolation_level(self, conn, scope="SESSION"):
        # The variable's name depends on the server and its version.
        _, value = query(
            f"SHOW {scope} VARIABLES "
            "WHERE variable_name IN ('transaction_isolation', 'tx_isolation')",
            conn,
        )
        return value.replace("-", " ").lower()

    @tag("regression")
    def test_queries(self):
        """Autocommit was disabled, and enabled again."""

        def save():
            Group.objects.create(name="group")
            return int(query("SHOW SESSION STATUS LIKE 'Questions'")[1])

        # Ask the server for its data.
        self.run_thread(lambda: connection.mysql_server_data)
        # SET NAMES, the isolation level, INSERT, SHOW.
        self.assertEqual(self.run_thread(save), 4)

    @tag("regression")
    def test_execute_wrapper(self):
        """The isolation level was set by a query like those of users."""

        def refuse(*args):
            self.fail("No query was expected.")

        conn = self.create_connection()
        conn.force_debug_cursor = True
        with conn.execute_wrapper(refuse):
            conn.ensure_connection()
        self.assertEqual(conn.queries, [])
        self.assertEqual(self.get_isolation_level(conn), "read committed")

    def test_autocommit(self):
        for autocommit in [True, False]:
            for options in [
                {},
                {"autocommit": True},
                {"autocommit": False},
                {"autocommit": None},
                {"init_command": "SET autocommit = 0"},
                {"init_command": "SET autocommit = 1"},
            ]:
                with self.subTest(autocommit=autocommit, options=options):
                    conn = self.create_connection(
                        AUTOCOMMIT=autocommit, OPTIONS=options
                    )
                    [value] = query("SELECT @@autocommit", conn)
                    self.assertIs(bool(value), autocommit)
                    self.assertIs(conn.get_autocommit(), autocommit)
                    conn.close()

    def test_isolation_level(self):
        for options in [{}, {"init_command": SERIALIZABLE}]:
            for isolation_level in [
                "read uncommitted",
                "read committed",
                "repeatable read",
                "serializable",
            ]:
                with self.subTest(isolation_level=isolation_level, **options):
                    conn = self.create_connection(
                        OPTIONS={"isolation_level": isolation_level, **options}
                    )
                    self.assertEqual(self.get_isolation_level(conn), isolation_level)

    def test_isolation_level_of_server(self):
        for options, expected in [
            ({}, self.get_isolation_level(connection, "GLOBAL")),
            ({"init_command": SERIALIZABLE}, "serializable"),
        ]:
            with self.subTest(**options):
                conn = self.create_connection(
                    OPTIONS={"isolation_level": None, **options}
                )
                self.assertEqual(self.get_isolation_level(conn), expected)

    def test_reused_session(self):
        """A database backend may have a pool of sessions that were used."""

        class PooledWrapper(DatabaseWrapper):
            def get_new_connection(self, conn_params):
                return connection.connection

            def _close(self):
                pass

        self.addCleanup(connection.close)
        for sql in [SERIALIZABLE, "SET autocommit = 0"]:
            with connection.cursor() as cursor:
                cursor.execute(sql)
        conn = self.create_connection(PooledWrapper)
        self.assertEqual(self.get_isolation_level(conn), "read committed")
        self.assertEqual(query("SELECT @@autocommit", conn), (1,))

    def test_error(self):
        """Errors of the driver are those of Django."""
        conn = self.create_connection()
        conn.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute(f"KILL {conn.connection.thread_id()}")
        with self.assertRaises(Error):
            conn.init_connection_state()

    def test_sql_auto_is_null(self):
        conn = self.create_connection(
            OPTIONS={"init_command": "SET sql_auto_is_null = 1"}
        )
        self.assertEqual(query("SELECT @@sql_auto_is_null", conn), (0,))
        self.assertEqual(self.get_isolation_level(conn), "read committed")


@override_settings(USE_TZ=True, TIME_ZONE="Europe/Paris")
@unittest.skipUnless(connection.vendor == "postgresql", "PostgreSQL tests")
class PostgreSQLTests(NewConnectionsTestCase):
    def get_time_zone(self, server, **settings):
        """
        Return the time zone of a new session, given that of its server, and
        whether a query has set it.
        """
        conn = self.create_connection(
            OPTIONS={"options": f"-c TimeZone={server}"}, **settings
        )
        time_zone, source = query(
            "SELECT setting, source FROM pg_settings WHERE name = 'TimeZone'", conn
        )
        return time_zone, source == "session"

    @tag("regression")
    def test_same_time_zone(self):
        """The time zone was set to UTC where it was Etc/UTC."""
        self.assertEqual(self.get_time_zone("Etc/UTC"), ("Etc/UTC", False))
        with override_settings(USE_TZ=False, TIME_ZONE="UTC"):
            self.assertEqual(self.get_time_zone("Etc/UTC"), ("Etc/UTC", False))

    def test_values(self):
        """The two time zones have the same offset and abbreviation."""
        for server in ["UTC", "Etc/UTC"]:
            with self.subTest(server=server):
                conn = self.create_connection(
                    OPTIONS={"options": f"-c TimeZone={server}"}
                )
                self.assertEqual(
                    query(
                        "SELECT moment, moment::text, to_char(moment, 'HH24 OF TZ') "
                        "FROM (SELECT timestamptz '2026-07-01T12:00Z' AS moment) AS t",
                        conn,
                    ),
                    (
                        datetime(2026, 7, 1, 12, tzinfo=UTC),
                        "2026-07-01 12:00:00+00",
                        "12 +00 UTC",
                    ),
                )

    def test_other_time_zones(self):
        for server, time_zone, expected in [
            ("UTC", None, ("UTC", False)),
            ("Europe/Berlin", None, ("UTC", True)),
            ("Etc/UTC", "Europe/Berlin", ("Europe/Berlin", True)),
        ]:
            with self.subTest(server=server, time_zone=time_zone):
                self.assertEqual(
                    self.get_time_zone(server, TIME_ZONE=time_zone), expected
                )
