import gc
import threading
import time
import unittest
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest import mock

from surviving_threads.projects import ProjectTestCase

from django.db import OperationalError, connection, connections
from django.db.backends.base.creation import BaseDatabaseCreation
from django.test import SimpleTestCase, tag

TEST_CASES = """
class Tests(TestCase):
    def test_leak(self):
        leak(alive=True)
        leak(alive=False)

    def test_transaction(self):
        leak(in_transaction=True)


class PlainTests(unittest.TestCase):
    def test_leak(self):
        leak(in_transaction=True)
"""
# Threads are waited for as if there was no end to that.
PATIENCE = """
from django.test import connections as test_connections

test_connections.GRACE_PERIOD = 3600
"""


class SessionsTestCase(ProjectTestCase):
    def assertEnded(self, tests, *options, **kwargs):
        """The tests pass, and nothing is left of their databases."""
        project = self.create_project(tests, **kwargs)
        output = self.run_tests(project, *options)
        self.assertEqual(self.get_database_names(), [], output)
        return output


@tag("regression")
@unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
class TerminatedSessionsTests(SessionsTestCase):
    """
    Destroying a database failed on PostgreSQL, and waited on MySQL, for
    connections that threads had left open, in a transaction.
    """

    def test_test_cases(self):
        self.assertEnded(TEST_CASES)

    def test_transaction_test_case(self):
        # PostgreSQL can't flush what a transaction has read.
        in_transaction = connection.vendor == "mysql"
        self.assertEnded(f"""
class Tests(TransactionTestCase):
    def test_leak(self):
        leak(in_transaction={in_transaction})
""")

    def test_aliases(self):
        self.assertEnded("""
class Tests(TestCase):
    databases = {"default", "other"}

    def test_leak(self):
        leak(alias="default", in_transaction=True)
        leak(alias="other", in_transaction=True)
""")

    def test_dynamic_alias(self):
        """An alias that a test adds may name a test database, too."""
        self.assertEnded("""
import copy


class Tests(TestCase):
    def test_nothing(self):
        pass


class LeakTests(unittest.TestCase):
    def test_leak(self):
        connections.settings["dynamic"] = copy.deepcopy(connection.settings_dict)
        leak(alias="dynamic", in_transaction=True)
""")

    def test_other_alias(self):
        """So may a mirror, or another alias of the database."""
        for settings in [
            'DATABASES["other"]["TEST"]["MIRROR"] = "default"',
            'DATABASES["other"] = {**DATABASES["default"]}',
        ]:
            with self.subTest(settings=settings):
                self.assertEnded(
                    """
class Tests(TestCase):
    databases = {"default", "other"}

    def test_nothing(self):
        pass


class LeakTests(unittest.TestCase):
    def test_leak(self):
        leak(alias="other", in_transaction=True)
        # What the runner's thread has opened is closed, too.
        transaction.atomic(using="other").__enter__()
        Item.objects.using("other").count()
""",
                    settings=settings,
                )

    @unittest.skipUnless(connection.vendor == "postgresql", "PostgreSQL has pools.")
    def test_pool(self):
        self.assertEnded(
            TEST_CASES, settings='DATABASES["default"]["OPTIONS"]["pool"] = True'
        )

    def test_busy(self):
        """A thread may be in the middle of a query."""
        function = {"mysql": "SLEEP", "postgresql": "pg_sleep"}[connection.vendor]
        self.assertEnded(f"""
class Tests(TestCase):
    def test_leak(self):
        def run(ready):
            transaction.atomic().__enter__()
            Item.objects.count()
            with connection.cursor() as cursor:
                ready()
                cursor.execute("SELECT {function}(3600)")

        start(run)
""")

    def test_copies(self):
        """Connections of no alias may be open, even in the main thread."""
        self.assertEnded("""
def leave_open(keep):
    copy = connection.copy()
    copy.set_autocommit(False)
    copy.cursor().execute("SELECT * FROM app_item")
    if keep:
        copies.append(copy)

copies = []


class Tests(TestCase):
    def test_leak(self):
        def run(ready):
            leave_open(keep=True)
            leave_open(keep=False)
            ready()
            forever.wait()

        leave_open(keep=True)
        leave_open(keep=False)
        start(run)
        start(run)
""")

    def test_shared(self):
        """A shared connection remains open after its thread."""
        self.assertEnded("""
class Tests(TestCase):
    def test_leak(self):
        def run(ready):
            connection.inc_thread_sharing()
            transaction.atomic().__enter__()
            Item.objects.count()
            shared.append(connections["default"])
            ready()

        start(run).join()

shared = []
""")

    def test_reconnecting_thread(self):
        """Threads can't connect to a database that's being destroyed."""
        self.assertEnded("""
class Tests(TestCase):
    def test_leak(self):
        def run(ready):
            while True:
                try:
                    with transaction.atomic():
                        while True:
                            Item.objects.count()
                            ready()
                            time.sleep(0.01)
                except Exception:
                    connection.close()

        start(run)
""")

    def test_idle_executor(self):
        """There's no need to wait for threads of executors that are idle."""
        self.assertEnded(PATIENCE + """
from concurrent.futures import ThreadPoolExecutor


class Tests(TestCase):
    def test_leak(self):
        executor.submit(Item.objects.count).result()

executor = ThreadPoolExecutor()
""")

    def test_grace(self):
        """A thread that closes its connection soon isn't interrupted."""
        output = self.assertEnded(
            PATIENCE + """

class Runner(DiscoverRunner):
    def teardown_databases(self, *args, **kwargs):
        tests_ended.set()
        super().teardown_databases(*args, **kwargs)
        thread.join()


def run(ready):
    try:
        Item.objects.count()
        ready()
        tests_ended.wait()
        for _ in range(50):
            Item.objects.count()
            time.sleep(0.01)
        connection.close()
        print("Closed", flush=True)
    except Exception as e:
        print(e, flush=True)

tests_ended = threading.Event()


class Tests(TestCase):
    def test_thread(self):
        global thread
        thread = start(run)
""",
            settings='TEST_RUNNER = "app.tests.Runner"',
        )
        self.assertIn("Closed\n", output)

    def test_next_databases(self):
        """
        A thread whose session was terminated can use the next test databases.
        """
        output = self.assertEnded(
            """
from concurrent.futures import ThreadPoolExecutor

from django.test.utils import setup_databases, teardown_databases

executor = ThreadPoolExecutor(1)


def use(when):
    try:
        Item.objects.count()
        result = connection.settings_dict["NAME"]
    except Exception as e:
        result = type(e).__name__
    print(f"{when}: {result}", flush=True)


def use_in_executor(when):
    executor.submit(use, when).result()


class Runner(DiscoverRunner):
    def teardown_databases(self, *args, **kwargs):
        super().teardown_databases(*args, **kwargs)
        use_in_executor("afterward")
        old_config = setup_databases(0, False)
        use_in_executor("again")
        teardown_databases(old_config, 0)
        use_in_executor("at last")


class Tests(TestCase):
    databases = {"default", "other"}

    def test_thread(self):
        use_in_executor("at first")
""",
            settings='TEST_RUNNER = "app.tests.Runner"',
        )
        for when, result in [
            ("at first", f"{self.name}_leaked"),
            ("afterward", "DatabaseOperationForbidden"),
            ("again", f"{self.name}_leaked"),
            ("at last", "DatabaseOperationForbidden"),
        ]:
            self.assertIn(f"{when}: {result}\n", output)


class UnaffectedTests(SessionsTestCase):
    def test_closed(self):
        self.assertEnded("""
class Tests(TestCase):
    def test_thread(self):
        def run(ready):
            Item.objects.count()
            connections.close_all()

        start(run).join()

    def test_copy(self):
        copy = connection.copy()
        copy.ensure_connection()
        copy.close()

    def test_transaction(self):
        def run(ready):
            transaction.atomic().__enter__()
            connection.close()
            ready()
            forever.wait()

        start(run)
""")

    @unittest.skipUnless(connection.vendor == "sqlite", "For SQLite only.")
    def test_sqlite(self):
        self.assertEnded(TEST_CASES)
        self.assertEnded(TEST_CASES, NAME=None)


def get_database(conn):
    from django.test.connections import get_database

    return get_database(conn, conn.settings_dict["NAME"])


class ThreadsTestCase(SimpleTestCase):
    databases = {"default", "other"}

    def setUp(self):
        if connection.vendor == "sqlite" and connection.is_in_memory_db():
            self.skipTest("Connections to in-memory databases remain open.")

    @contextmanager
    def open_in_thread(self, alias="default"):
        """Yield the open connection of a thread that waits."""
        conns = []
        opened = threading.Event()
        end = threading.Event()

        def run():
            conn = connections[alias].copy()
            conn.ensure_connection()
            conns.append(conn)
            opened.set()
            end.wait()
            conn.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            self.assertIs(opened.wait(60), True)
            yield conns[0]
        finally:
            end.set()
            thread.join()


@tag("regression")
class FindConnectionsTests(ThreadsTestCase):
    """There was no way to find the open connections of all threads."""

    def setUp(self):
        from django.test import connections as test_connections

        super().setUp()
        self.test_connections = test_connections
        self.databases_in_question = {get_database(connection)}

    def find_open(self):
        return self.test_connections.find_open(self.databases_in_question)

    def find_busy(self):
        return self.test_connections.find_busy(self.databases_in_question)

    def test_thread(self):
        with self.open_in_thread() as conn:
            self.assertIn(conn, self.find_open())
            self.assertIn(conn, self.find_busy())
        self.assertNotIn(conn, self.find_open())

    def test_other_database(self):
        with self.open_in_thread("other") as conn:
            self.assertNotIn(conn, self.find_open())
            self.assertNotIn(conn, self.find_busy())

    def test_current_thread(self):
        conn = connection.copy()
        self.addCleanup(conn.close)
        conn.ensure_connection()
        self.assertIn(conn, self.find_open())
        self.assertNotIn(conn, self.find_busy())

    def test_closed_in_transaction(self):
        conn = connection.copy()
        conn.ensure_connection()
        conn.in_atomic_block = True
        conn.close()
        self.assertIsNotNone(conn.connection)
        self.assertNotIn(conn, self.find_open())

    def test_deleted(self):
        """A connection may be deleted right now."""
        refs = {lambda: None}
        with mock.patch("django.db.backends.base.base._wrapper_refs", refs):
            self.assertEqual(self.find_open(), [])

    def test_garbage(self):
        """Nobody waits for a connection to be closed that's garbage."""

        def run():
            connection.copy().ensure_connection()

        self.addCleanup(gc.enable)
        gc.disable()
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.assertEqual(len(self.find_busy()), 1)
        with mock.patch.object(self.test_connections, "GRACE_PERIOD", 0):
            self.test_connections.wait_for_threads(self.databases_in_question)
        self.assertEqual(self.find_busy(), [])

    def test_executed_code(self):
        """A thread may execute code that belongs to no module."""
        opened = threading.Event()
        end = threading.Lock()
        end.acquire()

        def run():
            conn = connection.copy()
            conn.ensure_connection()
            opened.set()
            exec("wait()", {"wait": end.acquire})
            conn.close()

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(end.release)
        opened.wait()
        # The frame is that of the code a moment afterward.
        for _ in range(20):
            self.assertEqual(len(self.find_busy()), 1)
            time.sleep(0.01)

    def test_executor(self):
        """An idle thread of an executor is busy if it's in a transaction."""

        def connect():
            conn = connection.copy()
            conn.ensure_connection()
            return conn

        with ThreadPoolExecutor(1) as executor:
            conn = executor.submit(connect).result()
            self.addCleanup(conn.inc_thread_sharing)
            for autocommit in [True, False]:
                executor.submit(conn.set_autocommit, autocommit).result()
                with self.subTest(autocommit=autocommit):
                    # The thread is idle a moment after it has set the result.
                    for _ in range(1000):
                        if (conn in self.find_busy()) is not autocommit:
                            break
                        time.sleep(0.01)
                    self.assertIs(conn in self.find_busy(), not autocommit)
                    self.assertIn(conn, self.find_open())
            executor.submit(conn.close).result()


@tag("regression")
@unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
class EndConnectionsTests(ThreadsTestCase):
    """There was no way to end the connections of other threads."""

    def end_connections(self):
        from django.test.connections import end_connections

        end_connections({get_database(connection)})

    def test_thread(self):
        with self.open_in_thread() as conn:
            self.end_connections()
            self.assertIs(conn.is_usable(), False)

    def test_current_thread(self):
        conn = connection.copy()
        conn.ensure_connection()
        self.end_connections()
        self.assertIsNone(conn.connection)

    def test_others(self):
        """
        Sessions of other databases, and those that aren't Django's, live on.
        """
        foreign = connection.copy()
        foreign.connection = foreign.get_new_connection(foreign.get_connection_params())
        self.addCleanup(foreign.close)
        with self.open_in_thread("other") as conn:
            self.end_connections()
            self.assertIs(conn.is_usable(), True)
            self.assertIs(foreign.is_usable(), True)

    def test_error(self):
        """A session that can't be terminated doesn't keep others alive."""
        with (
            self.open_in_thread() as first,
            self.open_in_thread() as second,
            self.open_in_thread() as third,
        ):
            # The server may refuse to let that user connect again.
            first.settings_dict["USER"] = "missing"
            # Or to terminate its sessions.
            with (
                mock.patch.object(
                    second.creation, "terminate_session", side_effect=OperationalError
                ),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                self.end_connections()
            self.assertIs(first.is_usable(), True)
            self.assertIs(second.is_usable(), True)
            self.assertIs(third.is_usable(), False)

    def test_health_check(self):
        """Only if a session has been terminated, there's a health check."""
        with self.open_in_thread() as first, self.open_in_thread() as second:
            with mock.patch.object(
                first.creation, "terminate_session", return_value=False
            ):
                self.end_connections()
            self.assertIs(first.health_check_enabled, False)
            self.assertIs(first.health_check_done, True)
            self.assertIs(second.health_check_enabled, True)
            self.assertIs(second.health_check_done, False)


@tag("regression")
@unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
class TerminateSessionTests(SimpleTestCase):
    """Database backends couldn't terminate sessions."""

    databases = {"default", "other"}

    def connect(self, alias="default", **settings):
        conn = connections[alias].copy()
        conn.settings_dict.update(settings)
        self.addCleanup(conn.close)
        conn.ensure_connection()
        return conn

    def execute(self, sql):
        with connection.cursor() as cursor:
            cursor.execute(sql)

    def create_user(self):
        name = connection.settings_dict["NAME"]
        for create, drop in {
            "mysql": [
                ("CREATE USER leaking", "DROP USER leaking"),
                (f"GRANT ALL ON {name}.* TO leaking", "FLUSH PRIVILEGES"),
            ],
            "postgresql": [("CREATE ROLE leaking LOGIN", "DROP ROLE leaking")],
        }[connection.vendor]:
            self.execute(create)
            self.addCleanup(self.execute, drop)
        return {"USER": "leaking", "PASSWORD": ""}

    def assertTerminates(self, creation, conn, terminates=True):
        terminated = creation.terminate_session(conn.get_session_id())
        self.assertIs(terminated, terminates)
        self.assertIs(conn.is_usable(), not terminates)

    def test_session(self):
        self.assertTerminates(connection.creation, self.connect())

    def test_ended_session(self):
        conn = self.connect()
        session_id = conn.get_session_id()
        self.assertIs(connection.creation.terminate_session(session_id), True)
        # MySQL lists the session for a moment. PostgreSQL has ended it.
        for _ in range(1000 if connection.vendor == "mysql" else 0):
            if not connection.creation.terminate_session(session_id):
                break
            time.sleep(0.01)
        self.assertIs(connection.creation.terminate_session(session_id), False)

    def test_unknown_session(self):
        for session_id in [0, 2**30, None]:
            with self.subTest(session_id=session_id):
                terminated = connection.creation.terminate_session(session_id)
                self.assertIs(terminated, False)

    def test_other_session(self):
        """The id alone doesn't tell that it's the session in question."""
        conn = self.connect()
        other = self.connect()
        self.assertTerminates(connection.creation, conn)
        self.assertIs(other.is_usable(), True)

    def test_other_database(self):
        conn = self.connect("other")
        self.assertTerminates(connection.creation, conn, False)
        self.assertTerminates(connections["other"].creation, conn)

    def test_other_user(self):
        conn = self.connect(**self.create_user())
        self.assertTerminates(connection.creation, conn, False)
        self.assertTerminates(conn.creation, self.connect(), False)
        self.assertTerminates(conn.creation, conn)

    def test_base(self):
        """Other database backends don't have to support it."""
        creation = BaseDatabaseCreation(connection)
        self.assertTerminates(creation, self.connect(), False)

    def test_session_id(self):
        for alias in self.databases:
            conn = self.connect(alias)
            function = {"mysql": "CONNECTION_ID", "postgresql": "pg_backend_pid"}
            with conn.cursor() as cursor:
                cursor.execute(f"SELECT {function[conn.vendor]}()")
                self.assertEqual(cursor.fetchone(), (conn.get_session_id(),))
