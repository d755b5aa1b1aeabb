import multiprocessing
import os
import unittest
from contextlib import closing, contextmanager

import django
from django.db import DatabaseError, OperationalError, connection
from django.db.backends.base.creation import BaseDatabaseCreation
from django.test import SimpleTestCase, TransactionTestCase, tag

from .projects import LEAKS, Project

START_METHODS = multiprocessing.get_all_start_methods()
if django.VERSION < (6, 0):
    # Older versions don't run tests in parallel with it.
    START_METHODS.remove("forkserver")
WARNING = "LeakedConnectionWarning: Tests left "
THREADS = [
    {"alive": alive, "in_transaction": in_transaction}
    for alive in [True, False]
    for in_transaction in [True, False]
]
# The thread that makes most trouble.
THREAD = {"alive": True, "in_transaction": True}

TEST_CASES = """
class LeakTests(TestCase):
    def test_leak(self):
        leak(alive=%(alive)s, in_transaction=%(in_transaction)s)


class OtherTests(TestCase):
    def test_nothing(self):
        Item.objects.count()
"""
PYTEST_FUNCTION = """
import pytest


@pytest.mark.django_db
def test_leak():
    leak(alive=%(alive)s, in_transaction=%(in_transaction)s)
"""


class ProjectTestCase(SimpleTestCase):
    databases = {"default", "other"}
    maxDiff = None

    def setUp(self):
        if connection.vendor == "sqlite" and connection.is_in_memory_db():
            self.skipTest("Connections to in-memory databases aren't reported.")

    def create_project(self, tests, **kwargs):
        project = Project(tests, **kwargs)
        self.addCleanup(project.remove)
        return project

    def run_tests(self, project, *options, exit_code=0, **env):
        """
        Run the project's tests with Django's runner and return the output.
        """
        code, output = project.run("manage.py", "test", "--noinput", *options, **env)
        self.assertEqual(code, exit_code, output)
        return output

    def run_pytest(self, project, *options, exit_code=0):
        code, output = project.run("-m", "pytest", "-p", "no:cacheprovider", *options)
        self.assertEqual(code, exit_code, output)
        return output

    def assertReported(self, output, *details, number=1):
        """There's one report, with details of each of the connections."""
        self.assertEqual(output.count(f"{WARNING}{number} "), 1, output)
        for detail in details:
            self.assertIn(detail, output)

    def assertLeakReported(self, output, test, alive=True):
        line = LEAKS.partition("# This line")[0].count("\n") + 1
        self.assertReported(
            output,
            "'leaking', a %s daemon thread" % ("running" if alive else "finished"),
            f"opened during:  {test}\n",
            f"leaks.py:{line}\n",
        )


@tag("regression")
class LeakTests(ProjectTestCase):
    """
    Without a report, the test runner hangs, fails, or says nothing, depending
    on the database, the thread, and the transaction.
    """

    test = "app.tests.LeakTests.test_leak"
    pytest_test = "app/tests.py::test_leak (call)"

    def test_django(self):
        for thread in THREADS:
            with self.subTest(**thread):
                project = self.create_project(TEST_CASES % thread)
                output = self.run_tests(project)
                self.assertLeakReported(output, self.test, thread["alive"])
                output = self.run_tests(
                    project, "--fail-on-leaked-connections", exit_code=1
                )
                self.assertLeakReported(output, self.test, thread["alive"])

    def test_django_parallel(self):
        # Otherwise, SQLite's databases of worker processes are in memory.
        methods = ["fork"] if connection.vendor == "sqlite" else START_METHODS
        for method in methods:
            for thread in THREADS:
                with self.subTest(method=method, **thread):
                    project = self.create_project(TEST_CASES % thread)
                    output = self.run_tests(
                        project,
                        "--parallel=2",
                        "--fail-on-leaked-connections",
                        exit_code=1,
                        START_METHOD=method,
                    )
                    self.assertLeakReported(output, self.test, thread["alive"])

    def test_pytest(self):
        for thread in THREADS:
            with self.subTest(**thread):
                project = self.create_project(PYTEST_FUNCTION % thread)
                output = self.run_pytest(project)
                self.assertLeakReported(output, self.pytest_test, thread["alive"])

    def test_pytest_options(self):
        project = self.create_project(PYTEST_FUNCTION % THREAD)
        for options in [
            ["--reuse-db"],
            # There's a database to destroy now.
            ["--create-db"],
            ["--numprocesses=2"],
            ["--numprocesses=2", "--reuse-db"],
        ]:
            with self.subTest(options=options):
                output = self.run_pytest(project, *options)
                self.assertLeakReported(output, self.pytest_test)

    def test_pytest_error(self):
        """A warning that's an error doesn't keep the database."""
        project = self.create_project(PYTEST_FUNCTION % THREAD)
        for _ in range(2):
            output = self.run_pytest(project, "-Werror", "--verbose", exit_code=1)
            self.assertReported(output)
            if connection.vendor != "sqlite":
                self.assertNotIn("Destroying old test database", output)


@tag("regression")
class RunnerTests(ProjectTestCase):
    """
    It's reported what's left open, whatever the options and the databases.
    """

    def test_keepdb(self):
        """Nothing keeps a database in use that's kept for the next run."""
        project = self.create_project(TEST_CASES % THREAD)
        for options in [["--keepdb"], ["--keepdb"], []]:
            with self.subTest(options=options):
                output = self.run_tests(project, *options)
                self.assertLeakReported(output, LeakTests.test)

    def test_debug_mode(self):
        project = self.create_project(TEST_CASES % THREAD)
        output = self.run_tests(project, "--debug-mode", "--debug-sql")
        self.assertLeakReported(output, LeakTests.test)

    def test_aliases(self):
        project = self.create_project("""
class LeakTests(TestCase):
    databases = {"default", "other"}

    def test_leak(self):
        leak(alias="default")
        leak(alias="other", alive=False)
""")
        output = self.run_tests(project)
        self.assertReported(output, "  'default' (", "  'other' (", number=2)

    def test_mirror(self):
        """
        A mirror, or another alias of a database, isn't a database of its own.
        """
        for settings in [
            'DATABASES["other"]["TEST"]["MIRROR"] = "default"',
            'DATABASES["other"] = DATABASES["default"]',
        ]:
            project = self.create_project(
                """
class Tests(TestCase):
    databases = {"default", "other"}

    def test_nothing(self):
        pass


class LeakTests(unittest.TestCase):
    def test_leak(self):
        leak(alias="other")
        # What the runner's thread has opened is closed, too.
        Item.objects.using("other").count()
""",
                settings=settings,
            )
            with self.subTest(settings=settings):
                output = self.run_tests(project)
                self.assertReported(output, "  'other' (")

    def test_overridden_teardown(self):
        """
        Not calling the teardown is no way not to be told, or not to fail.
        """
        project = self.create_project(
            TEST_CASES % THREAD,
            settings="""
from django.test.runner import DiscoverRunner


class Runner(DiscoverRunner):
    def teardown_databases(self, old_config, **kwargs):
        pass


TEST_RUNNER = "settings.Runner"
""",
        )
        for options, exit_code in [
            ([], 0),
            (["--fail-on-leaked-connections"], 1),
            (["--fail-on-leaked-connections", "--parallel=2"], 1),
        ]:
            with self.subTest(options=options):
                output = self.run_tests(project, *options, exit_code=exit_code)
                self.assertLeakReported(output, LeakTests.test)

    def test_enclosing(self):
        """A test may set up and tear down databases itself."""
        project = self.create_project("""
from django.test.utils import setup_databases, teardown_databases


class LeakTests(TransactionTestCase):
    def test_leak(self):
        def run(ready):
            ready()
            torn_down.wait(10)
            Item.objects.count()

        torn_down = threading.Event()
        leak()
        thread = start(run)
        teardown_databases(setup_databases(0, False, aliases=[]), 0)
        torn_down.set()
        thread.join()
""")
        output = self.run_tests(project)
        self.assertReported(
            output, "'leaking', a running", "'leaking', a finished", number=2
        )

    @unittest.skipUnless(hasattr(os, "fork"), "Requires os.fork().")
    def test_fork(self):
        """A process that a test forks reports nothing when it exits."""
        project = self.create_project("""
import atexit, os


class LeakTests(TestCase):
    def test_leak(self):
        leak(alive=False)
        if not (pid := os.fork()):
            atexit._run_exitfuncs()
            os._exit(0)
        os.waitpid(pid, 0)
""")
        output = self.run_tests(project)
        self.assertReported(output)

    def test_parent(self):
        """Worker processes don't report what their parent has opened."""
        project = self.create_project(
            TEST_CASES % THREAD + """

class Runner(DiscoverRunner):
    def setup_databases(self, **kwargs):
        old_config = super().setup_databases(**kwargs)
        leak(alive=False)
        return old_config
""",
            settings='TEST_RUNNER = "app.tests.Runner"',
        )
        output = self.run_tests(project, "--parallel=2")
        self.assertReported(
            output,
            "opened during:  no test\n",
            f"opened during:  {LeakTests.test}\n",
            number=2,
        )

    def test_places(self):
        """A connection may be opened by a plain test, or by none."""
        project = self.create_project("""

class ClassTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        leak()

    def test_nothing(self):
        pass


class PlainTests(unittest.TestCase):
    def test_leak(self):
        leak()
""")
        output = self.run_tests(project)
        self.assertReported(
            output,
            "opened during:  no test\n",
            "opened during:  app.tests.PlainTests.test_leak\n",
            number=2,
        )

    def test_same(self):
        """Connections that have been opened in one place are summed up."""
        project = self.create_project("""
class LeakTests(TestCase):
    databases = {"default", "other"}

    def test_leak(self):
        for _ in range(10):
            leak("default", alive=False)
            leak("other", alive=False)
""")
        output = self.run_tests(project)
        self.assertReported(output, number=20)
        self.assertEqual(output.count("and 5 more\n"), 2)

    @unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
    def test_busy(self):
        """A thread that ends as its session is terminated is reported once."""
        function = {"mysql": "SLEEP", "postgresql": "pg_sleep"}[connection.vendor]
        project = self.create_project(f"""
class LeakTests(TestCase):
    def test_leak(self):
        def run(ready):
            with connection.cursor() as cursor:
                ready()
                cursor.execute("SELECT {function}(60)")
                cursor.execute("SELECT 1")

        start(run)
""")
        output = self.run_tests(project)
        self.assertReported(output, "'leaking', a running daemon thread")

    @unittest.skipUnless(connection.vendor == "postgresql", "PostgreSQL has pools.")
    def test_pool(self):
        project = self.create_project(
            TEST_CASES % THREAD,
            settings='DATABASES["default"]["OPTIONS"]["pool"] = True',
        )
        output = self.run_tests(project)
        self.assertLeakReported(output, LeakTests.test)

    def test_shared(self):
        """A shared connection remains open after its thread."""
        project = self.create_project("""
class LeakTests(TestCase):
    def test_leak(self):
        def run(ready):
            connection.inc_thread_sharing()
            connection.ensure_connection()
            shared.append(connections["default"])
            ready()

        start(run).join()

shared = []
""")
        output = self.run_tests(project)
        self.assertReported(output, "'leaking', a finished daemon thread")

    def test_garbage(self):
        """What only the garbage collector can close isn't left open."""
        project = self.create_project("""
class LeakTests(TestCase):
    def test_leak(self):
        def run(ready):
            connection.inc_thread_sharing()
            connection.ensure_connection()
            ready()

        start(run).join()
        leak(alive=False)
""")
        output = self.run_tests(project)
        self.assertLeakReported(output, LeakTests.test, alive=False)

    def test_dropped_copy(self):
        """Nor is what the thread that runs the tests has dropped."""
        project = self.create_project("""
class LeakTests(TestCase):
    def test_leak(self):
        connection.copy().ensure_connection()
        leak(alive=False)
""")
        output = self.run_tests(project)
        self.assertLeakReported(output, LeakTests.test, alive=False)

    def test_reconnected(self):
        """Only the last one of a thread's connections is open."""
        project = self.create_project("""
class LeakTests(TestCase):
    def test_leak(self):
        def run(ready):
            for _ in range(3):
                connection.close()
                connection.connect()
            ready()
            forever.wait()

        start(run)
""")
        output = self.run_tests(project)
        self.assertReported(output)

    def test_main_thread(self):
        """The thread that runs the tests may leave a connection open, too."""
        project = self.create_project("""
class LeakTests(TestCase):
    def test_leak(self):
        copies.append(connection.copy())
        copies[0].ensure_connection()

copies = []
""")
        output = self.run_tests(project)
        self.assertReported(output, "'MainThread', a running thread")


class FalseAlarmTests(ProjectTestCase):
    """What isn't left open isn't reported."""

    def assertNotReported(self, tests, *options, **kwargs):
        output = self.run_tests(self.create_project(tests, **kwargs), *options)
        self.assertIn("\nOK\n", output)
        self.assertNotIn("Warning", output)

    def test_closed(self):
        self.assertNotReported("""
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
    def test_in_memory_database(self):
        """The connections to an in-memory database are what keeps it."""
        self.assertNotReported(TEST_CASES % THREAD, NAME=None)

    def test_grace(self):
        """A thread that is about to close its connections isn't accused."""
        tests = """
import time


class Tests(TestCase):
    event = threading.Event()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.event.set()

    def test_thread(self):
        def run(ready):
            Item.objects.count()
            ready()
            self.event.wait()
            time.sleep(0.1)
            connections.close_all()

        start(run)


class OtherTests(TestCase):
    def test_nothing(self):
        pass
"""
        for options in [[], ["--parallel=2"]]:
            with self.subTest(options=options):
                self.assertNotReported(tests, *options)

    def test_live_server(self):
        self.assertNotReported(
            """
from urllib.request import urlopen


class Tests(LiveServerTestCase):
    def test_request(self):
        for _ in range(3):
            urlopen(self.live_server_url).read()


class SerializedTests(TransactionTestCase):
    serialized_rollback = True

    def test_nothing(self):
        Item.objects.count()
""",
            settings="""
from django.http import HttpResponse
from django.urls import path


def view(request):
    from app.models import Item

    return HttpResponse(Item.objects.count())


urlpatterns = [path("", view)]
ROOT_URLCONF = "settings"
STATIC_URL = "static/"
""",
        )

    def test_async(self):
        self.assertNotReported("""
from asgiref.sync import sync_to_async


class Tests(TestCase):
    async def test_query(self):
        await Item.objects.acount()
        await sync_to_async(Item.objects.count)()


class TransactionTests(TransactionTestCase):
    async def test_query(self):
        await Item.objects.acount()
""")


@tag("regression")
@unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
class GuardTests(ProjectTestCase):
    """
    A thread that goes on after the test databases are destroyed isn't led to
    the databases that the settings name then.
    """

    tests = """

FUNCTIONS = {"mysql": "DATABASE", "postgresql": "CURRENT_DATABASE"}
destroyed = threading.Event()
queried = threading.Event()


def query(alias="default"):
    close_old_connections()
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"SELECT {FUNCTIONS[connection.vendor]}()")
            print("Queried", cursor.fetchone()[0])
    except Exception as e:
        print(f"{type(e).__name__}: {e}")


class Runner(DiscoverRunner):
    def teardown_databases(self, *args, **kwargs):
        super().teardown_databases(*args, **kwargs)
        print("Destroyed")
        destroyed.set()
        queried.wait(10)


class Tests(TestCase):
    def test_go_on(self):
        def run(ready):
            if CONNECT:
                query()
            if CLOSE:
                connection.close()
            ready()
            destroyed.wait(10)
            for alias in ["default", "default", "other"]:
                query(alias)
            queried.set()

        start(run)
"""

    def test_production_databases(self):
        name = connection.settings_dict["NAME"]
        for connect, close in [(True, False), (True, True), (False, False)]:
            project = self.create_project(
                f"{self.tests}\nCONNECT = {connect}\nCLOSE = {close}\n",
                settings='TEST_RUNNER = "app.tests.Runner"',
            )
            with self.subTest(connect=connect, close=close):
                output = self.run_tests(project)
                before, _, after = output.partition("Destroyed\n")
                self.assertIs(f"Queried {name}_leaked\n" in before, connect)
                self.assertNotIn("Queried", after)
                self.assertEqual(after.count("DatabaseOperationForbidden: "), 3)

    def test_copy(self):
        """So is a connection that no thread is bound to."""
        project = self.create_project(
            """
copies = []


class Runner(DiscoverRunner):
    def teardown_databases(self, *args, **kwargs):
        super().teardown_databases(*args, **kwargs)
        copies[0].close()
        copies[0].connect()


class Tests(TestCase):
    def test_copy(self):
        copies.append(connection.copy())
        copies[0].connect()
""",
            settings='TEST_RUNNER = "app.tests.Runner"',
        )
        output = self.run_tests(project, exit_code=1)
        self.assertIn("DatabaseOperationForbidden: ", output)


@tag("regression")
@unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
class BoundedTests(ProjectTestCase):
    """
    The test runner waits for a while rather than forever, and tells what for.
    """

    def setUp(self):
        super().setUp()
        # Test runs that failed, or were killed, have left databases behind.
        self.drop_databases()
        self.addCleanup(self.drop_databases)

    def drop_databases(self):
        name = connection.settings_dict["NAME"]
        with connection.cursor() as cursor:
            for suffix in ["", "_1", "_2"]:
                cursor.execute(f"DROP DATABASE IF EXISTS {name}_leaked{suffix}")

    def test_flush(self):
        """Flushing between tests waits for a transaction."""
        project = self.create_project("""
class Tests(TransactionTestCase):
    def test_leak(self):
        def run(ready):
            with transaction.atomic():
                Item.objects.create(name="item")
                ready()
                forever.wait()

        start(run)
""")
        output = self.run_tests(project, exit_code=1)
        self.assertReported(output)
        name = connection.settings_dict["NAME"]
        self.assertIn(f"Other sessions that use '{name}_leaked':\n  default (", output)
        self.assertNotIn("opened by thread 'MainThread'", output)

    FOREIGN = """
class Tests(TestCase):
    def test_foreign(self):
        raw.append(connection.get_new_connection(connection.get_connection_params()))
        raw[0].cursor().execute("BEGIN")
        raw[0].cursor().execute("SELECT * FROM app_item")

raw = []
"""

    def test_drop(self):
        """The session of something else isn't terminated but named."""
        project = self.create_project(self.FOREIGN + TEST_CASES % THREAD)
        output = self.run_tests(project, exit_code=1)
        self.assertLeakReported(output, LeakTests.test)
        name = connection.settings_dict["NAME"]
        self.assertIn(f"Other sessions that use '{name}_leaked':\n  session ", output)

    def test_force_drop(self):
        project = self.create_project(self.FOREIGN, FORCE_DROP=True)
        self.run_tests(project)

    def test_reset(self):
        """Statements of tests wait for as long as before."""
        names = {
            "mysql": ["@@lock_wait_timeout", "@@innodb_lock_wait_timeout"],
            "postgresql": ["current_setting('lock_timeout')"],
        }[connection.vendor]

        def get_limits():
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT {', '.join(names)}")
                return cursor.fetchone()

        limits = get_limits()
        with connection.creation.limit_lock_waits():
            self.assertNotEqual(get_limits(), limits)
        self.assertEqual(get_limits(), limits)

    @contextmanager
    def foreign_session(self, sql, suffix=""):
        """Execute a query in the project's test database, in a transaction."""
        conn = connection.copy()
        conn.settings_dict["NAME"] += f"_leaked{suffix}"
        with closing(conn), conn.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(sql)
            yield conn

    def test_existing_database(self):
        """A test database that was left behind may be in use."""
        project = self.create_project(TEST_CASES % THREAD)
        self.run_tests(project, "--keepdb")
        with self.foreign_session("SELECT * FROM app_item") as conn:
            output = self.run_tests(project, exit_code=2)
            self.assertIn(f"session {conn._get_session_id()} (user ", output)
        self.assertIn("Got an error recreating the test database: ", output)

    def test_existing_clone(self):
        """So may a clone."""
        project = self.create_project(TEST_CASES % THREAD)
        self.run_tests(project, "--keepdb", "--parallel=2")
        with self.foreign_session("SELECT * FROM app_item", suffix="_1") as conn:
            output = self.run_tests(project, "--parallel=2", exit_code=2)
            self.assertIn(f"session {conn._get_session_id()} (user ", output)

    def test_clone(self):
        """
        A database can't be cloned while others use it (PostgreSQL) or write.
        """
        project = self.create_project(TEST_CASES % THREAD)
        self.run_tests(project, "--keepdb")
        with self.foreign_session(
            "INSERT INTO app_item (name) VALUES ('item')"
        ) as conn:
            output = self.run_tests(
                project,
                "--keepdb",
                "--parallel=2",
                exit_code={"mysql": 1, "postgresql": 2}[connection.vendor],
            )
            self.assertIn(f"session {conn._get_session_id()} (user ", output)
        # No incomplete clone is kept.
        conn = connection.copy()
        conn.settings_dict["NAME"] += "_leaked_1"
        with self.assertRaises(OperationalError):
            conn.ensure_connection()

    def test_worker(self):
        """A worker process waits for its threads."""
        project = self.create_project("""
class LeakTests(TestCase):
    def test_leak(self):
        leak(daemon=False)


class OtherTests(TestCase):
    def test_nothing(self):
        pass
""")
        for method in START_METHODS:
            with self.subTest(method=method):
                output = self.run_tests(project, "--parallel=2", START_METHOD=method)
                self.assertReported(output, "'leaking', a running thread")
                self.assertIn("because of these threads: leaking.", output)


@tag("regression")
@unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
class TerminateSessionTests(TransactionTestCase):
    """Database backends couldn't terminate sessions."""

    available_apps = []

    def connect(self, **settings):
        conn = connection.copy()
        conn.settings_dict.update(settings)
        self.addCleanup(conn.close)
        conn.ensure_connection()
        return conn

    def terminate(self, conn, creation=connection.creation):
        return creation.terminate_session(
            conn._get_session_id(), conn.settings_dict["NAME"]
        )

    def test_terminate(self):
        conn = self.connect()
        self.assertIs(self.terminate(conn), True)
        self.assertIs(conn.is_usable(), False)

    def test_ended_session(self):
        conn = self.connect()
        session_id = conn._get_session_id()
        self.terminate(conn)
        name = conn.settings_dict["NAME"]
        self.assertIs(connection.creation.terminate_session(session_id, name), True)

    @unittest.skipUnless(connection.vendor == "postgresql", "MySQL doesn't reuse ids.")
    def test_reused_session_id(self):
        """
        A session that uses another database now isn't the one to terminate.
        """
        conn = self.connect()
        connection.creation.terminate_session(conn._get_session_id(), "other")
        self.assertIs(conn.is_usable(), True)

    def test_base(self):
        """Other database backends don't have to support it."""
        creation = BaseDatabaseCreation(connection)
        self.assertIs(self.terminate(self.connect(), creation), False)

    def connect_as_other_user(self):
        """Return the connection of a user who has no privileges."""
        create, drop = {
            "mysql": ("CREATE USER leaking", "DROP USER leaking"),
            "postgresql": ("CREATE ROLE leaking LOGIN", "DROP ROLE leaking"),
        }[connection.vendor]
        with connection.cursor() as cursor:
            cursor.execute(create)
            self.addCleanup(self.execute, drop)
        other = connection.copy()
        other.settings_dict.update(USER="leaking", PASSWORD="")
        return other

    def execute(self, sql):
        with connection.cursor() as cursor:
            cursor.execute(sql)

    def test_privilege(self):
        """The error says what's missing."""
        conn = self.connect()
        message = {
            "mysql": "requires the CONNECTION_ADMIN ",
            "postgresql": "must be a superuser to terminate superuser process",
        }[connection.vendor]
        with self.assertRaisesMessage(DatabaseError, message):
            self.terminate(conn, self.connect_as_other_user().creation)
        self.assertIs(conn.is_usable(), True)

    @unittest.skipUnless(connection.vendor == "mysql", "PostgreSQL lists all sessions.")
    def test_invisible_sessions(self):
        """
        It's said why the session that a statement waits for isn't listed.
        """
        self.connect()
        sessions = self.connect_as_other_user().creation._describe_sessions(
            connection.settings_dict["NAME"]
        )
        self.assertIn("may require a privilege, like PROCESS", sessions)


@tag("regression")
class ConnectionMonitorTests(ProjectTestCase):
    def test_closed(self):
        """Closed connections aren't remembered for as long as tests run."""
        project = self.create_project("""
from django.test.connections import connection_monitor


class Tests(TestCase):
    def test_many(self):
        leak()
        copy = connection.copy()
        for _ in range(3):
            copy.connect()
            for _ in range(700):
                connection_monitor.record(copy)
            copy.close()
        self.assertLess(len(connection_monitor.opened), 1000)
""")
        output = self.run_tests(project)
        self.assertReported(output)
