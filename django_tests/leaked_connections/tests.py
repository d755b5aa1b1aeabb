import unittest

from surviving_threads.projects import LEAKS, ProjectTestCase

from django.db import connection
from django.test import tag

WARNING = "LeakedConnectionWarning: Tests left "
LINE = LEAKS.partition("ensure_connection()")[0].count("\n") + 1

TEST = "app.tests.LeakTests.test_leak"
TEST_CASES = """
class LeakTests(TestCase):
    def test_leak(self):
        leak(in_transaction=%s)


class OtherTests(TestCase):
    def test_nothing(self):
        Item.objects.count()
"""
# A flush has to wait for this thread.
LOCKING_THREAD = """

class Tests(TransactionTestCase):
    def test_leak(self):
        def run(ready):
            with transaction.atomic():
                Item.objects.create(name="item")
                ready()
                forever.wait()

        start(run)
"""


class ReportTestCase(ProjectTestCase):
    def assertReported(self, output, *details, number=1):
        """There's one report, with details of each of the connections."""
        plural = "" if number == 1 else "s"
        title = f"{WARNING}{number} database connection{plural} open:\n"
        self.assertEqual(output.count(title), 1, output)
        self.assertEqual(output.count(WARNING), 1, output)
        for detail in details:
            self.assertIn(detail, output)

    def assertLeakReported(self, output, test):
        self.assertReported(
            output,
            f"leaks.py:{LINE}\n",
            "    'default' by the running thread 'leaking' while "
            f"{test} was running\n",
        )

    def assertNotReported(self, tests, *options, **kwargs):
        output = self.run_tests(self.create_project(tests, **kwargs), *options)
        self.assertIn("\nOK\n", output)
        self.assertNotIn("Warning", output)
        self.assertNotIn("FAILED", output)
        self.assertNotIn("doesn't end", output)


@tag("regression")
class LeakTests(ReportTestCase):
    """Connections that tests leave open aren't reported."""

    def test_django(self):
        for in_transaction in [True, False]:
            with self.subTest(in_transaction=in_transaction):
                project = self.create_project(TEST_CASES % in_transaction)
                output = self.run_tests(project)
                self.assertLeakReported(output, TEST)
                self.assertNotIn("FAILED", output)
                output = self.run_tests(
                    project, "--fail-on-leaked-connections", exit_code=1
                )
                self.assertLeakReported(output, TEST)
                self.assertIn("\nFAILED (leaked connections=1)\n", output)

    def test_error(self):
        """A warning that's an error doesn't keep the database."""
        project = self.create_project(TEST_CASES % True)
        code, output = project.run(
            "-Werror::RuntimeWarning", "manage.py", "test", "--noinput"
        )
        self.assertEqual(code, 1, output)
        self.assertIn(WARNING, output)
        self.assertEqual(self.get_database_names(), [])

    def test_keepdb(self):
        project = self.create_project(TEST_CASES % True)
        for options in [["--keepdb"], ["--keepdb"], []]:
            with self.subTest(options=options):
                output = self.run_tests(project, *options)
                self.assertLeakReported(output, TEST)

    def test_debug_mode(self):
        project = self.create_project(TEST_CASES % True)
        output = self.run_tests(project, "--debug-mode", "--debug-sql")
        self.assertLeakReported(output, TEST)

    def test_aliases(self):
        project = self.create_project("""
class LeakTests(TestCase):
    databases = {"default", "other"}

    def test_leak(self):
        leak(alias="default")
        leak(alias="other")
""")
        output = self.run_tests(project)
        self.assertReported(output, "    'default' by ", "    'other' by ", number=2)

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
            " while no test was running\n",
            " while app.tests.PlainTests.test_leak was running\n",
            number=2,
        )

    def test_old_thread(self):
        """
        A test isn't blamed for a thread that was running before. Nor is a test
        that runs when it connects again.
        """
        project = self.create_project(
            """
connect, connected = threading.Event(), threading.Event()


class Runner(DiscoverRunner):
    def setup_databases(self, **kwargs):
        def run(ready):
            ready()
            connect.wait(10)
            Item.objects.count()
            connected.set()
            forever.wait()

        start(run)
        return super().setup_databases(**kwargs)


class Tests(TestCase):
    def test_nothing(self):
        connect.set()
        connected.wait(10)
""",
            settings='TEST_RUNNER = "app.tests.Runner"',
        )
        output = self.run_tests(project)
        self.assertReported(
            output,
            "'leaking' while app.tests.Tests.test_nothing was running "
            "(no test started this thread)\n",
        )

    def test_other_thread(self):
        """It's about the test that the runner's thread is running."""
        project = self.create_project(
            """
from concurrent.futures import ThreadPoolExecutor


class Runner(DiscoverRunner):
    def setup_databases(self, **kwargs):
        return executor.submit(super().setup_databases, **kwargs).result()

    def run_suite(self, suite, **kwargs):
        return executor.submit(super().run_suite, suite, **kwargs).result()

    def teardown_databases(self, *args, **kwargs):
        executor.submit(super().teardown_databases, *args, **kwargs).result()


executor = ThreadPoolExecutor(1)
""" + TEST_CASES % True,
            settings='TEST_RUNNER = "app.tests.Runner"',
        )
        self.assertLeakReported(self.run_tests(project), TEST)

    def test_reconnected(self):
        """Only the last one of a thread's connections is open."""
        project = self.create_project("""
class ATests(TestCase):
    def test_connect(self):
        def run(ready):
            connection.connect()
            ready()
            again.wait(10)
            connection.close()
            connection.connect()
            ready_again.set()
            forever.wait()

        start(run)


class BTests(TestCase):
    def test_connect_again(self):
        again.set()
        ready_again.wait(10)


again, ready_again = threading.Event(), threading.Event()
""")
        output = self.run_tests(project)
        self.assertReported(output, " while app.tests.BTests.test_connect_again was")

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
        self.assertReported(output, "by the ended thread 'leaking' while ")

    def test_executor(self):
        """A thread of an executor may be in a transaction, or busy."""
        project = self.create_project(
            """
from concurrent.futures import ThreadPoolExecutor


class LeakTests(TestCase):
    def test_leak(self):
        def wait():
            Item.objects.count()
            ready.wait()
            forever.wait()

        executor.submit(transaction.atomic().__enter__).result()
        ready = threading.Barrier(2)
        busy_executor.submit(wait)
        ready.wait(10)


class Runner(DiscoverRunner):
    def teardown_databases(self, *args, **kwargs):
        super().teardown_databases(*args, **kwargs)
        forever.set()


executor, busy_executor = ThreadPoolExecutor(1, "idle"), ThreadPoolExecutor(1, "busy")
""",
            settings='TEST_RUNNER = "app.tests.Runner"',
        )
        output = self.run_tests(project)
        self.assertReported(
            output,
            "thread 'idle_0'",
            "thread 'busy_0'",
            number=2,
        )

    def get_places(self, *numbers):
        """Return tests that leave these numbers of connections open."""
        functions = "\n\n".join(
            f"def connect_{i}():\n    connection.connect()\n"
            for i in range(len(numbers))
        )
        names = ", ".join(f"connect_{i}" for i in range(len(numbers)))
        return f"""
class LeakTests(TestCase):
    def test_leak(self):
        for function, number in zip([{names}], {numbers}):
            for _ in range(number):
                start(lambda ready: (function(), ready(), forever.wait()))


{functions}
"""

    def test_length(self):
        """The report is short unless asked for more."""
        project = self.create_project(self.get_places(1, 1, 1, 7, 7, 7, 8))
        output = self.run_tests(project)
        report = output.partition(WARNING)[2].splitlines()
        self.assertEqual(report[0], "32 database connections open:")
        self.assertRegex(report[1], r"^  8 in .*tests\.py:\d+$")
        self.assertEqual(report[7], "    and 3 more")
        self.assertIn("    and 2 more", report)
        self.assertIn("  and 2 more places, see -v 2", report)
        self.assertEqual(output.count("by the running thread"), 5 * 4 + 1)
        output = self.run_tests(project, "-v2")
        self.assertEqual(output.count("by the running thread"), 32)
        self.assertNotIn(" more", output)

    def test_complete(self):
        """A report that's short anyway is complete."""
        output = self.run_tests(self.create_project(self.get_places(*[5] * 5)))
        self.assertReported(output, number=25)
        self.assertEqual(output.count("by the running thread"), 25)
        self.assertNotIn(" more", output)

    def test_runs(self):
        """A run isn't blamed for what was left open by an earlier one."""
        project = self.create_project(
            """
class Runner(DiscoverRunner):
    def run_tests(self, test_labels, **kwargs):
        super().run_tests(["app.tests.LeakTests"], **kwargs)
        forever.set()
        thread.join()
        return super().run_tests(["app.tests.OtherTests"], **kwargs)


class LeakTests(TestCase):
    def test_leak(self):
        global thread

        thread = start(lambda ready: (Item.objects.count(), ready(), forever.wait()))


class OtherTests(TestCase):
    def test_nothing(self):
        Item.objects.count()
""",
            settings='TEST_RUNNER = "app.tests.Runner"',
        )
        output = self.run_tests(project, "--fail-on-leaked-connections")
        self.assertReported(output)
        self.assertEqual(output.count("FAILED"), 1)

    @unittest.skipIf(connection.vendor == "sqlite", "SQLite doesn't tell.")
    def test_flush(self):
        """The error that a database can't be flushed tells the line."""
        project = self.create_project(LOCKING_THREAD + """
        # Nobody knows who has opened this one.
        other = connection.get_new_connection(connection.get_connection_params())
        self.addClassCleanup(other.close)
""")
        output = self.run_tests(project, exit_code=1)
        self.assertReported(output)
        self.assertRegex(output, r", opened by thread 'leaking' in .*tests\.py:\d+\n")

    @unittest.skipIf(connection.vendor == "sqlite", "SQLite doesn't tell.")
    def test_flush_other_server(self):
        """Another server may have a session of that number."""
        project = self.create_project(
            """
from dataclasses import replace
from unittest import mock
"""
            + LOCKING_THREAD
            + """
        live = [replace(conn, alias="other") for conn in connections.live()]
        mock.patch.object(connections, "live", return_value=live).start()
"""
        )
        output = self.run_tests(project, exit_code=1)
        self.assertReported(output)
        self.assertNotIn("opened by thread", output)

    def test_threads(self):
        """It's said which threads the process waits for."""
        project = self.create_project("""
from concurrent.futures import ThreadPoolExecutor


class Tests(TestCase):
    def test_thread(self):
        def run(ready):
            ready()
            while threading.main_thread().is_alive():
                time.sleep(0.01)

        start(run, daemon=False)
        start(lambda ready: (ready(), forever.wait())).name = "daemon"
        executor.submit(int).result()


executor = ThreadPoolExecutor(1)
""")
        output = self.run_tests(project)
        self.assertIn(
            "\nThe process doesn't end before these threads: leaking.\n", output
        )


def regression_on_postgresql(test):
    """
    Without the patches, it doesn't destroy a database with open connections.
    """
    return tag("regression")(test) if connection.vendor == "postgresql" else test


class FalseAlarmTests(ReportTestCase):
    """What isn't left open by running code isn't reported."""

    def test_other_databases(self):
        """Only connections to test databases are the business of tests."""
        self.assertNotReported(
            """
class Runner(DiscoverRunner):
    def teardown_databases(self, old_config, **kwargs):
        super().teardown_databases(
            [config for config in old_config if config[0].alias == "other"],
            **kwargs,
        )


class LeakTests(TestCase):
    databases = {"default", "other"}

    def test_leak(self):
        leak(alias="default")
""",
            settings='TEST_RUNNER = "app.tests.Runner"',
        )

    def test_closed(self):
        self.assertNotReported("""
class Tests(TestCase):
    def test_thread(self):
        def run(ready):
            Item.objects.count()
            connections.close_all()
            ready()
            forever.wait()

        start(run)

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

    def test_own(self):
        """The runner's own connection is closed with the databases."""
        self.assertNotReported("""
class Tests(unittest.TestCase):
    databases = {"default"}

    def test_query(self):
        Item.objects.count()
""")

    def test_real_database(self):
        """
        A thread that was running before may have a connection to the real
        database.
        """
        self.assertNotReported(
            """
class Runner(DiscoverRunner):
    def setup_databases(self, **kwargs):
        start(lambda ready: (connection.connect(), ready(), forever.wait()))
        return super().setup_databases(**kwargs)


class Tests(TestCase):
    def test_nothing(self):
        pass
""",
            settings='TEST_RUNNER = "app.tests.Runner"',
        )

    @regression_on_postgresql
    def test_ended(self):
        """A thread closes its connections when it ends."""
        self.assertNotReported("""
from concurrent.futures import ThreadPoolExecutor


class Tests(TestCase):
    def test_thread(self):
        leak(alive=False)

    def test_executor(self):
        with ThreadPoolExecutor() as executor:
            list(executor.map(lambda _: Item.objects.count(), range(10)))
""")

    @regression_on_postgresql
    def test_idle_executor(self):
        """An executor may have been there before the tests, and go on."""
        self.assertNotReported("""
from concurrent.futures import ThreadPoolExecutor


class Tests(TestCase):
    def test_executor(self):
        executor.submit(Item.objects.count).result()


executor = ThreadPoolExecutor()
""")

    @unittest.skipUnless(connection.vendor == "sqlite", "For SQLite only.")
    def test_in_memory_database(self):
        """The connections to an in-memory database are what keeps it."""
        self.assertNotReported(TEST_CASES % True, NAME=None)

    def test_grace(self):
        """A thread that is about to close its connections isn't accused."""
        self.assertNotReported("""
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
            forever.wait()

        start(run)
""")

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

    @regression_on_postgresql
    def test_async(self):
        """The thread of sync_to_async() isn't one of the test."""
        self.assertNotReported("""
import asyncio

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator


async def application(scope, receive, send):
    await send(await Item.objects.acount())


class Tests(TransactionTestCase):
    async def test_query(self):
        await Item.objects.acount()
        await sync_to_async(Item.objects.count)()
        await sync_to_async(Item.objects.count, thread_sensitive=False)()

    def test_run(self):
        asyncio.run(Item.objects.acount())

    def test_communicator(self):
        async def communicate():
            communicator = ApplicationCommunicator(application, {})
            return await communicator.receive_output()

        self.assertEqual(asyncio.run(communicate()), 0)
""")
