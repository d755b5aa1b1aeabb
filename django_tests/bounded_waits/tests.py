import unittest
from contextlib import contextmanager
from unittest import mock

from surviving_threads.projects import ProjectTestCase

from django.db import (
    DatabaseError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
)
from django.db.backends.base.creation import BaseDatabaseCreation
from django.test import SimpleTestCase, tag

TESTS = """
class Tests(TestCase):
    def test_nothing(self):
        pass


class OtherTests(TestCase):
    def test_nothing(self):
        pass
"""

# What isn't a connection of Django's is none that Django could close.
FOREIGN = """
def execute(sql):
    conn = connection.get_new_connection(connection.get_connection_params())
    cursor = conn.cursor()
    cursor.execute("BEGIN")
    cursor.execute(sql)
    foreign.append(conn)

foreign = []
"""


class ReceiverError(Exception):
    def __init__(self, reason, table):
        super().__init__(f"{reason} {table}.")


def execute(conn, *statements):
    with conn.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchone() if cursor.description else None


def get_session_id(conn):
    function = {"mysql": "CONNECTION_ID", "postgresql": "pg_backend_pid"}
    return execute(conn, f"SELECT {function[conn.vendor]}()")[0]


@unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
class WaitsTestCase(ProjectTestCase):
    @contextmanager
    def foreign_session(self, *statements, suffix=""):
        """
        Execute statements in the project's test database, in a transaction.
        """
        conn = connection.copy()
        conn.settings_dict["NAME"] += f"_leaked{suffix}"
        try:
            execute(conn, "BEGIN", *statements)
            yield get_session_id(conn)
        finally:
            conn.close()

    def assertListed(self, output, session_id, suffix=""):
        """The error lists the session and no others."""
        # MySQL's errors have a number, too, so that their text is quoted.
        _, found, sessions = output.replace("\\n", "\n").partition(
            f"Visible sessions that use '{self.name}_leaked{suffix}':\n"
        )
        self.assertTrue(found, output)
        first, second, *_ = [*sessions.split("\n"), ""]
        user = execute(
            connection,
            {
                "mysql": "SELECT SUBSTRING_INDEX(USER(), '@', 1)",
                "postgresql": "SELECT SESSION_USER",
            }[connection.vendor],
        )[0]
        self.assertTrue(first.startswith(f"  {session_id}: user '{user}', "), output)
        self.assertNotIn("None", first)
        self.assertFalse(second.startswith("  "), output)


@tag("regression")
class BoundedWaitsTests(WaitsTestCase):
    """
    The test runner waited forever, depending on the database, and didn't say
    what for.
    """

    def run_with_foreign_session(self, tests, exit_code=1):
        project = self.create_project(
            f"{FOREIGN}{tests}\n"
            f'FUNCTION = {{"mysql": "CONNECTION_ID", "postgresql": "pg_backend_pid"}}\n'
            "def tell():\n"
            "    cursor = foreign[0].cursor()\n"
            '    cursor.execute(f"SELECT {FUNCTION[connection.vendor]}()")\n'
            '    print(f"Foreign: {cursor.fetchone()[0]}.", flush=True)\n'
        )
        output = self.run_tests(project, exit_code=exit_code)
        return output, output.partition("Foreign: ")[2].partition(".")[0]

    def test_destroy(self):
        output, session_id = self.run_with_foreign_session("""
class Tests(TestCase):
    def test_foreign(self):
        execute("SELECT * FROM app_item")
        tell()
""")
        self.assertListed(output, session_id)

    def test_flush(self):
        output, session_id = self.run_with_foreign_session("""
class Tests(TransactionTestCase):
    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        foreign[0].close()

    def test_foreign(self):
        Item.objects.create(name="item")
        execute("SELECT * FROM app_item FOR UPDATE")
        tell()
""")
        self.assertListed(output, session_id)
        self.assertIn("couldn't be flushed", output)

    @unittest.skipUnless(connection.vendor == "mysql", "MySQL has other locks.")
    def test_flush_locked_table(self):
        output, session_id = self.run_with_foreign_session("""
class Tests(TransactionTestCase):
    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        foreign[0].close()

    def test_foreign(self):
        execute("LOCK TABLES app_item WRITE")
        tell()
""")
        self.assertListed(output, session_id)

    def test_existing_database(self):
        """A test database that was left behind may be in use."""
        project = self.create_project(TESTS)
        self.run_tests(project, "--keepdb")
        with self.foreign_session("SELECT * FROM app_item") as session_id:
            output = self.run_tests(project, exit_code=2)
            self.assertListed(output, session_id)
        self.assertIn("Got an error recreating the test database: ", output)

    def test_existing_clone(self):
        """So may a clone."""
        project = self.create_project(TESTS)
        self.run_tests(project, "--keepdb", "--parallel=2")
        with self.foreign_session("SELECT * FROM app_item", suffix="_1") as session_id:
            output = self.run_tests(project, "--parallel=2", exit_code=2)
            self.assertListed(output, session_id, suffix="_1")

    @unittest.skipUnless(connection.vendor == "mysql", "PostgreSQL refuses that.")
    def test_clone(self):
        """Cloning a database doesn't wait for who has written to it."""
        project = self.create_project(TESTS)
        self.run_tests(project, "--keepdb")
        with self.foreign_session("INSERT INTO app_item (name) VALUES ('item')"):
            self.run_tests(project, "--keepdb", "--parallel=2")
        for suffix in ["_1", "_2"]:
            with self.subTest(suffix=suffix):
                tables = execute(
                    connection,
                    "SELECT COUNT(*) FROM information_schema.tables WHERE table_name ="
                    f" 'app_item' AND table_schema = '{self.name}_leaked{suffix}'",
                )
                self.assertEqual(tables, (1,))


@tag("regression")
@unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
class LimitLockWaitsTests(WaitsTestCase):
    """There was no limit_lock_waits()."""

    def setUp(self):
        super().setUp()
        execute(connection, "CREATE TABLE bounded_waits (number INTEGER)")
        self.addCleanup(execute, connection, "DROP TABLE bounded_waits")
        execute(connection, "INSERT INTO bounded_waits VALUES (1)")
        self.conn = self.copy()
        self.locker = self.copy()

    def copy(self, **settings):
        conn = connection.copy()
        conn.settings_dict.update(settings)
        conn.ensure_connection()
        self.addCleanup(conn.close)
        return conn

    @contextmanager
    def limit_lock_waits(self):
        """Wait for a moment rather than for 5 seconds."""
        with (
            self.conn.cursor() as cursor,
            self.conn.creation.limit_lock_waits(cursor, self.name),
        ):
            cursor.execute(
                {
                    "mysql": "SET lock_wait_timeout = 1, innodb_lock_wait_timeout = 1",
                    "postgresql": "SET lock_timeout = '100ms'",
                }[connection.vendor]
            )
            yield cursor

    def assertListedSessions(self, exception, *conns):
        """The error lists the sessions of these connections."""
        *_, message = exception.args
        _, _, sessions = message.partition(
            f"Visible sessions that use {self.name!r}:\n"
        )
        listed = [int(line.partition(":")[0]) for line in sessions.split("\n")]
        self.assertCountEqual(listed, map(get_session_id, conns))

    def get_limits(self):
        return execute(
            self.conn,
            {
                "mysql": "SELECT @@lock_wait_timeout, @@innodb_lock_wait_timeout",
                "postgresql": "SELECT current_setting('lock_timeout')",
            }[connection.vendor],
        )

    def test_limit(self):
        """A session of a connection pool isn't limited afterward."""
        limits = self.get_limits()
        with (
            self.conn.cursor() as cursor,
            self.conn.creation.limit_lock_waits(cursor, self.name),
        ):
            self.assertEqual(
                self.get_limits(),
                {"mysql": (5, 5), "postgresql": ("5s",)}[connection.vendor],
            )
        self.assertEqual(self.get_limits(), limits)

    def test_closed_connection(self):
        """A receiver of a signal may close the connection."""
        with self.limit_lock_waits():
            self.conn.close()
        self.assertIsNone(self.conn.connection)

    @unittest.skipUnless(connection.vendor == "mysql", "PostgreSQL doesn't wait.")
    def test_create_existing_database(self):
        """It isn't created again, which would wait for who uses it."""
        execute(self.locker, "LOCK TABLES bounded_waits WRITE")
        parameters = {"dbname": connection.ops.quote_name(self.name), "suffix": ""}
        with self.conn.cursor() as cursor:
            cursor.execute("SET lock_wait_timeout = 1")
            create = self.conn.creation._execute_create_test_db
            create(cursor, parameters, keepdb=True)
            with self.assertRaises(DatabaseError) as cm:
                create(cursor, parameters)
        self.assertEqual(cm.exception.args[0], 1007)

    def test_row_lock(self):
        execute(self.locker, "BEGIN", "SELECT * FROM bounded_waits FOR UPDATE")
        with (
            self.assertRaises(OperationalError) as cm,
            self.limit_lock_waits() as cursor,
        ):
            cursor.execute("DELETE FROM bounded_waits")
        self.assertListedSessions(cm.exception, connection, self.locker)

    def test_table_lock(self):
        execute(self.locker, "BEGIN", "SELECT * FROM bounded_waits")
        with (
            self.assertRaises(OperationalError) as cm,
            self.limit_lock_waits() as cursor,
        ):
            cursor.execute("TRUNCATE TABLE bounded_waits")
        self.assertListedSessions(cm.exception, connection, self.locker)

    def test_cause(self):
        """The error may be the cause of another one."""
        execute(self.locker, "BEGIN", "SELECT * FROM bounded_waits")
        with (
            self.assertRaises(ReceiverError) as cm,
            self.limit_lock_waits() as cursor,
        ):
            try:
                cursor.execute("TRUNCATE TABLE bounded_waits")
            except OperationalError as e:
                raise ReceiverError("Couldn't truncate", "bounded_waits") from e
        self.assertTrue(
            str(cm.exception).startswith("Couldn't truncate bounded_waits.\nVisible ")
        )
        self.assertListedSessions(cm.exception, connection, self.locker)

    def test_other_database(self):
        """Sessions that use other databases aren't listed."""
        sessions = self.get_sessions()
        other = self.copy(NAME=connections["other"].settings_dict["NAME"])
        self.assertEqual(self.get_sessions().keys(), sessions.keys())
        self.assertNotIn(get_session_id(other), sessions)
        self.assertIn(get_session_id(self.locker), sessions)
        self.assertNotIn(get_session_id(self.conn), sessions)

    def get_sessions(self):
        with self.conn.cursor() as cursor:
            return self.conn.creation.get_sessions(cursor, self.name)

    def assertNotListed(self):
        with self.assertRaises(ProgrammingError) as cm, self.limit_lock_waits():
            execute(self.conn, "SELECT * FROM missing_table")
        self.assertNotIn("sessions", str(cm.exception))
        self.assertIn("missing_table", str(cm.exception))

    def test_other_error(self):
        """An error that isn't about locks doesn't list sessions."""
        self.assertNotListed()

    def test_other_error_in_transaction(self):
        """Nor does it become one about the transaction."""
        self.conn.set_autocommit(False)
        self.addCleanup(self.conn.close)
        self.assertNotListed()

    def test_lock_error_of_closed_cursor(self):
        """The error isn't replaced by one about the cursor."""
        execute(self.locker, "BEGIN", "SELECT * FROM bounded_waits")
        with (
            self.assertRaisesMessage(OperationalError, "timeout"),
            self.limit_lock_waits() as cursor,
        ):
            try:
                cursor.execute("TRUNCATE TABLE bounded_waits")
            finally:
                cursor.close()

    def test_lock_error_in_transaction(self):
        """
        If the server can't list sessions in a failed transaction, the error
        isn't replaced by one about that.
        """
        execute(self.locker, "BEGIN", "SELECT * FROM bounded_waits")
        self.conn.set_autocommit(False)
        self.addCleanup(self.conn.close)
        with (
            self.assertRaisesMessage(OperationalError, "timeout"),
            self.limit_lock_waits() as cursor,
        ):
            cursor.execute("TRUNCATE TABLE bounded_waits")


@tag("regression")
class BaseCreationTests(SimpleTestCase):
    """
    Other database backends behave as before, where there was no
    limit_lock_waits().
    """

    databases = {"default"}

    def setUp(self):
        self.creation = BaseDatabaseCreation(connection)
        self.cursor = mock.Mock()

    def test_drop(self):
        self.creation._drop_test_db(self.cursor, "name")
        name = connection.ops.quote_name("name")
        self.cursor.execute.assert_called_once_with(f"DROP DATABASE {name}")

    def test_error(self):
        error = OperationalError(1205, "Lock wait timeout exceeded")
        with (
            self.assertRaises(OperationalError) as cm,
            self.creation.limit_lock_waits(self.cursor, "name"),
        ):
            raise error
        self.assertIs(cm.exception, error)
        self.assertEqual(error.args, (1205, "Lock wait timeout exceeded"))
        self.assertEqual(self.cursor.mock_calls, [])

    def test_defaults(self):
        self.assertIsNone(self.creation.sql_limit_lock_waits)
        self.assertIs(self.creation.is_lock_error(OperationalError(1205)), False)
        self.assertEqual(self.creation.get_sessions(self.cursor, "name"), {})
