import multiprocessing

from leaked_connections.tests import TEST, TEST_CASES, ReportTestCase

import django
from django.db import connection
from django.test import tag

START_METHODS = multiprocessing.get_all_start_methods()
if django.VERSION < (6, 0):
    # Older versions don't run tests in parallel with it.
    START_METHODS.remove("forkserver")


class WorkerTestCase(ReportTestCase):
    def run_in_parallel(self, tests, *options, exit_code=0, **kwargs):
        """Run tests in workers of each kind and yield the output."""
        # Otherwise, SQLite's databases of worker processes are in memory.
        methods = ["fork"] if connection.vendor == "sqlite" else START_METHODS
        project = self.create_project(tests, **kwargs)
        for method in methods:
            yield self.run_tests(
                project,
                "--parallel=2",
                *options,
                exit_code=exit_code,
                START_METHOD=method,
            )


@tag("regression")
class WorkerTests(WorkerTestCase):
    """Nothing is known of the connections of worker processes."""

    def test_report(self):
        for in_transaction in [True, False]:
            for output in self.run_in_parallel(
                TEST_CASES % in_transaction,
                "--fail-on-leaked-connections",
                exit_code=1,
            ):
                self.assertLeakReported(output, TEST)
                self.assertIn("\nFAILED (leaked connections=1)\n", output)

    def test_many_classes(self):
        """What's open is reported once, however many tests follow."""
        tests = TEST_CASES % True + "".join(
            f"\n\nclass Tests{i}(OtherTests):\n    pass" for i in range(10)
        )
        for output in self.run_in_parallel(tests):
            self.assertLeakReported(output, TEST)

    def test_long_report(self):
        """A report doesn't have to fit in the buffer of a pipe."""
        tests = """
class LeakTests(TestCase):
    def test_leak(self):
        def run(ready):
            threading.current_thread().name = "long" * 25000
            Item.objects.count()
            ready()
            forever.wait()

        for _ in range(10):
            start(run)
        # Let the other worker process have the other test.
        time.sleep(0.5)


class OtherTests(LeakTests):
    pass
"""
        for output in self.run_in_parallel(tests):
            self.assertReported(output, "longlong", number=20)

    def test_thread(self):
        """A worker process waits for its threads."""
        tests = """
class LeakTests(TestCase):
    def test_leak(self):
        leak(daemon=False)


class OtherTests(TestCase):
    def test_nothing(self):
        pass
"""
        for output in self.run_in_parallel(tests):
            self.assertReported(output)
            self.assertIn("because of these threads: leaking.", output)

    def test_busy_executor(self):
        """What runs in an executor needs no frames of its own."""
        tests = """
from concurrent.futures import ThreadPoolExecutor


class Tests(TestCase):
    def test_executor(self):
        executor.submit(Item.objects.count).result()
        executor.submit(ready.set)
        executor.submit(time.sleep, 3600)
        ready.wait(10)


class OtherTests(TestCase):
    def test_nothing(self):
        pass


executor, ready = ThreadPoolExecutor(1, "busy"), threading.Event()
"""
        for output in self.run_in_parallel(tests):
            self.assertReported(output, "thread 'busy_0'")
            self.assertIn("because of these threads: busy_0.", output)

    def test_ignored_signal(self):
        """A worker process may ignore that it's asked to end."""
        tests = """
import signal


class LeakTests(TestCase):
    def test_leak(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        leak(daemon=False)


class OtherTests(TestCase):
    def test_nothing(self):
        pass
"""
        for output in self.run_in_parallel(tests):
            self.assertIn("because of these threads: leaking.", output)

    def test_stopped_patches(self):
        """Tests may stop all patches."""
        tests = """
from unittest import mock


class LeakTests(TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        mock.patch.stopall()

    def test_leak(self):
        leak()


class OtherTests(TestCase):
    def test_nothing(self):
        pass
"""
        for output in self.run_in_parallel(tests):
            self.assertLeakReported(output, TEST)


class FalseAlarmTests(WorkerTestCase):
    """Worker processes that are about to end aren't terminated."""

    def assertQuiet(self, tests, *options, **kwargs):
        for output in self.run_in_parallel(tests, *options, **kwargs):
            self.assertIn("\nOK\n", output)
            # MySQL's mysqldump has warnings of its own.
            self.assertNotRegex(output, r"\wWarning")
            self.assertNotIn("Terminated", output)

    def test_grace(self):
        self.assertQuiet("""
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

        start(run, daemon=False)


class OtherTests(TestCase):
    def test_nothing(self):
        pass
""")

    def test_threads(self):
        """The threads that a worker process waits for may end."""
        self.assertQuiet("""
class Tests(TestCase):
    def test_thread(self):
        def run(ready):
            ready()
            while threading.main_thread().is_alive():
                time.sleep(0.01)

        start(run, daemon=False)


class OtherTests(TestCase):
    def test_nothing(self):
        pass
""")

    def test_no_report(self):
        """A worker process may end without a report."""
        self.assertQuiet(
            """
import os

from django.test.runner import ParallelTestSuite


class Suite(ParallelTestSuite):
    grace_period = 1


class Runner(DiscoverRunner):
    parallel_test_suite = Suite


class Tests(TestCase):
    def test_exit(self):
        threading._register_atexit(os._exit, 0)


class OtherTests(TestCase):
    def test_nothing(self):
        pass
""",
            settings='TEST_RUNNER = "app.tests.Runner"',
        )

    def test_ended(self):
        self.assertQuiet("""
from concurrent.futures import ThreadPoolExecutor


class Tests(TestCase):
    def test_thread(self):
        leak(alive=False)


class OtherTests(TestCase):
    def test_executor(self):
        executor.submit(Item.objects.count).result()


executor = ThreadPoolExecutor()
""")
