import unittest
from contextlib import suppress

from thread_connections.utils import ThreadConnectionsTestCase

from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, connections
from django.test.utils import tag
from django.utils.functional import cached_property

DatabaseWrapper = type(connections["default"])
# No server announces this.
OTHER_VERSION = "5.5.5-other"


def query(sql, conn=connection):
    with conn.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def count_selects(conn):
    """Return how many SELECT queries the session of a connection executed."""
    return int(query("SHOW SESSION STATUS LIKE 'Com_select'", conn)[1])


class ServerDataTestCase(ThreadConnectionsTestCase):
    available_apps = ["django.contrib.auth", "django.contrib.contenttypes"]

    def setUp(self):
        super().setUp()
        for alias in self.databases:
            connections[alias].close()
            self.run_thread(lambda alias=alias: connections[alias].mysql_server_data)

    def create_connection(self, cls=None, **settings):
        """Return a new connection, with some settings of its own."""
        cls = cls or DatabaseWrapper
        settings_dict = {**connection.copy().settings_dict, **settings}
        conn = cls(settings_dict, connection.alias)
        self.addCleanup(conn.close)
        return conn

    def create_class(self, **attrs):
        return type("CustomWrapper", (DatabaseWrapper,), attrs)


@tag("regression")
@unittest.skipUnless(connection.vendor == "mysql", "MySQL tests")
class AskedOnceTests(ServerDataTestCase):
    """
    The wrapper of each thread asked the server, over a connection that it
    opened for this.
    """

    def test_connections(self):
        def count():
            return int(query("SHOW GLOBAL STATUS LIKE 'Connections'")[1])

        def save():
            self.assertIs(connection.features.supports_transactions, True)
            Group.objects.create(name="group")

        before = count()
        self.run_thread(save)
        self.assertEqual(count() - before, 1)

    def test_queries(self):
        for alias in self.databases:
            with self.subTest(alias=alias):
                self.assertEqual(
                    self.run_thread(
                        lambda alias=alias: count_selects(connections[alias])
                    ),
                    0,
                )

    def test_credentials(self):
        """Credentials may change, and they don't lead to another server."""
        conn = self.create_connection(PASSWORD="expired")
        self.assertEqual(conn.mysql_server_data, connection.mysql_server_data)

    def test_credentials_of_subclass(self):
        def get_connection_params(self):
            password = next(passwords)
            return {**super(cls, self).get_connection_params(), "password": password}

        passwords = iter([connection.settings_dict["PASSWORD"], "expired"])
        cls = self.create_class(get_connection_params=get_connection_params)
        data = self.create_connection(cls).mysql_server_data
        self.assertEqual(self.create_connection(cls).mysql_server_data, data)


@tag("regression")
@unittest.skipUnless(connection.vendor == "mysql", "MySQL tests")
class ReplacedServerTests(ServerDataTestCase):
    """
    A wrapper never learned that a failover or an upgrade had replaced its
    server.
    """

    def reconnect(self, conn):
        """Connect as if the connection before had been to another server."""
        conn.ensure_connection()
        conn.mysql_server_data = {**conn.mysql_server_data, "version": OTHER_VERSION}
        conn._announced_version = OTHER_VERSION
        for name in ["mysql_server_info", "mysql_version", "mysql_is_mariadb"]:
            with suppress(AttributeError):
                delattr(conn, name)
        self.assertEqual(conn.get_database_version(), (5, 5, 5))
        conn.close()
        conn.ensure_connection()
        # This isn't done again.
        features = conn.features
        conn.close()
        conn.ensure_connection()
        self.assertIs(conn.features, features)

    def test_wrapper(self):
        conn = self.create_connection()
        self.reconnect(conn)
        [version] = query("SELECT VERSION()", conn)
        self.assertEqual(conn.mysql_server_info, version)
        self.assertNotEqual(conn.get_database_version(), (5, 5, 5))
        self.assertIs(conn.mysql_is_mariadb, connection.mysql_is_mariadb)

    def test_features(self):
        conn = self.create_connection()
        conn.features.can_return_columns_from_insert = None
        self.reconnect(conn)
        self.assertEqual(
            conn.features.can_return_columns_from_insert, conn.mysql_is_mariadb
        )

    def test_operations(self):
        """Operations, such as those of GIS, depend on the server, too."""

        class Operations(DatabaseWrapper.ops_class):
            @cached_property
            def server(self):
                return self.connection.mysql_server_info

        conn = self.create_connection(self.create_class(ops_class=Operations))
        conn.ops.server = OTHER_VERSION
        self.reconnect(conn)
        self.assertNotEqual(conn.ops.server, OTHER_VERSION)

    def test_subclass(self):
        """A database backend may ask for other data."""

        class CustomWrapper(DatabaseWrapper):
            @cached_property
            def mysql_server_data(self):
                [version] = query("SELECT VERSION()", self)
                return {"version": version, "sql_auto_is_null": False}

            @cached_property
            def comment(self):
                return query("SELECT @@version_comment", self)[0]

        conn = self.create_connection(CustomWrapper)
        comment = conn.comment
        conn.comment = "other"
        self.reconnect(conn)
        self.assertEqual(conn.comment, comment)
        self.assertNotEqual(conn.get_database_version(), (5, 5, 5))


@unittest.skipUnless(connection.vendor == "mysql", "MySQL tests")
class AskedAgainTests(ServerDataTestCase):
    """What another server said, or another session, isn't used."""

    def change_known(self, announced_version=None, **data):
        """Change what the process knows of the server."""
        self.create_connection().mysql_server_data
        key = DatabaseWrapper, connection.alias
        servers = getattr(connection, "_server_data", {})
        if key in servers:
            self.addCleanup(servers.pop, key, None)
            settings, version, known = servers[key]
            servers[key] = settings, announced_version or version, {**known, **data}

    def test_replaced(self):
        """The version is verified as soon as there's a connection."""

        def connect(conn):
            conn.ensure_connection()

        def compile(conn):
            conn.features.can_return_columns_from_insert
            conn.mysql_version

        for use in [connect, compile]:
            with self.subTest(use=use.__name__):
                self.change_known(OTHER_VERSION, version=OTHER_VERSION)
                conn = self.create_connection()
                use(conn)
                [version] = query("SELECT VERSION()", conn)
                self.assertEqual(conn.mysql_server_info, version)
                self.assertEqual(
                    conn.features.can_return_columns_from_insert,
                    connection.features.can_return_columns_from_insert,
                )
                # The others know.
                self.assertEqual(self.create_connection().mysql_server_info, version)

    def test_not_replaced(self):
        """There's nothing to renew."""
        conn = self.create_connection()
        features, ops = conn.features, conn.ops
        conn.ensure_connection()
        data = conn.mysql_server_data
        conn.close()
        conn.ensure_connection()
        self.assertIs(conn.features, features)
        self.assertIs(conn.ops, ops)
        self.assertIs(conn.mysql_server_data, data)

    def test_settings(self):
        for name, value in [
            ("HOST", "/nonexistent"),
            ("NAME", None),
            ("OPTIONS", {}),
            ("PORT", 1),
            ("USER", "nobody"),
        ]:
            with self.subTest(name=name):
                self.change_known(sql_mode="KNOWN")
                conn = self.create_connection(**{name: value})
                # The settings may lead nowhere.
                with suppress(DatabaseError):
                    self.assertNotIn("KNOWN", conn.sql_mode)

    def test_sql_mode(self):
        for sql_mode in ["ANSI_QUOTES", "NO_AUTO_VALUE_ON_ZERO"] * 2:
            for options in [
                {"sql_mode": sql_mode},
                {"init_command": f"SET sql_mode = '{sql_mode}'"},
            ]:
                with self.subTest(**options):
                    conn = self.create_connection(OPTIONS=options)
                    self.assertEqual(conn.sql_mode, {sql_mode})
                    self.assertIs(
                        conn.features.allows_auto_pk_0,
                        sql_mode == "NO_AUTO_VALUE_ON_ZERO",
                    )

    def test_changed_options(self):
        """Settings may be changed in place."""
        options = {"sql_mode": "ANSI_QUOTES"}
        conn = self.create_connection(OPTIONS=options)
        self.assertEqual(conn.sql_mode, {"ANSI_QUOTES"})
        options["sql_mode"] = "NO_AUTO_VALUE_ON_ZERO"
        conn = self.create_connection(OPTIONS=options)
        self.assertEqual(conn.sql_mode, {"NO_AUTO_VALUE_ON_ZERO"})

    def test_subclass(self):
        """A database backend may have parameters of its own."""

        def get_connection_params(self):
            return {
                **super(cls, self).get_connection_params(),
                "sql_mode": "NO_AUTO_VALUE_ON_ZERO",
            }

        cls = self.create_class(get_connection_params=get_connection_params)
        for _ in range(2):
            self.assertEqual(
                self.create_connection(cls).sql_mode, {"NO_AUTO_VALUE_ON_ZERO"}
            )
            self.assertEqual(self.create_connection().sql_mode, connection.sql_mode)

    def test_sql_auto_is_null(self):
        """Connecting disables it for a session, not on the server."""
        options = {"init_command": "SET sql_auto_is_null = 1"}
        for _ in range(2):
            conn = self.create_connection(OPTIONS=options)
            conn.features.can_return_columns_from_insert
            self.assertEqual(query("SELECT @@sql_auto_is_null", conn), (0,))
