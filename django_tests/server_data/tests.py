import unittest

from thread_connections.utils import ThreadConnectionsTestCase

from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, connections
from django.test.utils import tag
from django.utils.functional import cached_property

# No server announces this.
OTHER_VERSION = "5.5.5-other"


def query(sql, conn=connection):
    with conn.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


class ServerDataTestCase(ThreadConnectionsTestCase):
    available_apps = ["django.contrib.auth", "django.contrib.contenttypes"]

    def setUp(self):
        super().setUp()
        for alias in self.databases:
            self.run_thread(lambda alias=alias: connections[alias].mysql_server_data)

    def get_connection(self, base=None, **attrs):
        """Return a connection of another class, and of settings of its own."""
        cls = type("Wrapper", (base or type(connection),), attrs)
        conn = cls(connection.copy().settings_dict, connection.alias)
        self.addCleanup(conn.close)
        return conn

    def count_selects(self, conn=connection):
        """How many SELECT queries the session has executed."""
        return int(query("SHOW SESSION STATUS LIKE 'Com_select'", conn)[1])

    def reconnect(self, conn, as_if_replaced=True):
        """Connect as if the server had another version before."""
        conn.ensure_connection()
        if as_if_replaced:
            conn._announced_version = OTHER_VERSION
        conn.close()
        conn.ensure_connection()


@tag("regression")
@unittest.skipUnless(connection.vendor == "mysql", "MySQL tests")
class AskedOnceTests(ServerDataTestCase):
    """The wrapper of each thread asked the server, over another connection."""

    def save(self):
        Group.objects.create(name="group")

    def test_connections(self):
        def count():
            return int(query("SHOW GLOBAL STATUS LIKE 'Connections'")[1])

        connection.ensure_connection()
        before = count()
        self.run_thread(self.save)
        self.assertEqual(count() - before, 1)

    def test_queries(self):
        for alias in self.databases:
            with self.subTest(alias=alias):

                def count(alias=alias):
                    conn = connections[alias]
                    conn.features.can_return_columns_from_insert
                    return self.count_selects(conn)

                self.assertEqual(self.run_thread(count), 0)

    def test_credentials(self):
        """Credentials that change don't make it another server."""

        def get_connection_params(self):
            params = super(cls, self).get_connection_params()
            return {**params, "connect_timeout": 60 + next(numbers)}

        numbers = iter(range(9))
        cls = type(
            "Wrapper",
            (type(connection),),
            {"get_connection_params": get_connection_params},
        )
        for expected in [1, 0]:
            conn = cls(connection.copy().settings_dict, connection.alias)
            self.addCleanup(conn.close)
            self.assertEqual(self.count_selects(conn), expected)


@unittest.skipUnless(connection.vendor == "mysql", "MySQL tests")
class AskedAgainTests(ServerDataTestCase):
    """What's known of a server isn't taken for what another one says."""

    def assertAsked(self, conn):
        """The data is the server's."""
        [version] = query("SELECT VERSION()", conn)
        self.assertEqual(conn.mysql_server_info, version)
        self.assertEqual(conn.mysql_server_data["version"], version)
