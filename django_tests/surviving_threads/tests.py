from django.db import connection
from django.test import tag

from .models import Item
from .projects import ProjectTestCase

# The threads use "default" or another database, and note what came of it.
THREADS = """
from concurrent.futures import ThreadPoolExecutor

destroyed = threading.Event()
results = []


def use(name, alias="default", conn=None):
    \"""Write to a database, but if it's the test database only read.\"""
    over = destroyed.is_set()
    conn = conn or connections[alias]
    try:
        with conn.cursor() as cursor:
            if over:
                cursor.execute("INSERT INTO app_item (name) VALUES (%s)", [name])
            else:
                cursor.execute("SELECT * FROM app_item")
        result = "wrote"
    except Exception as e:
        result = f"{type(e).__name__}: {e}"
    finally:
        conn.close()
    if over:
        results.append(f"{name}, {alias}: {result}")


def use_in_thread(*args):
    thread = threading.Thread(target=use, args=args)
    thread.start()
    thread.join()


def finish(number):
    \"""Let the threads go on until there are so many results.\"""
    destroyed.set()
    deadline = time.monotonic() + 30
    while len(results) < number and time.monotonic() < deadline:
        time.sleep(0.01)
    print(*results, sep="\\n", flush=True)


class Runner(DiscoverRunner):
    def teardown_databases(self, *args, **kwargs):
        super().teardown_databases(*args, **kwargs)
        after()


def after():
    finish(NUMBER)
"""
RUNNER = 'TEST_RUNNER = "app.tests.Runner"\n'
SURVIVORS = """
class Tests(TestCase):
    databases = {"default", "other"}

    def test_queried(self):
        def run(ready):
            use("queried")
            ready()
            destroyed.wait()
            use("queried")
            use("queried", "other")

        start(run)

    def test_unconnected(self):
        def run(ready):
            ready()
            destroyed.wait()
            use("unconnected")

        start(run)

    def test_copy(self):
        def run(ready):
            conn = connection.copy()
            use("copy", conn=conn)
            ready()
            destroyed.wait()
            use("new copy", conn=connection.copy())

        start(run)

    def test_timer(self):
        def tick():
            use("timer")
            if not any(result.startswith("timer") for result in results):
                timer = threading.Timer(0.01, tick)
                timer.daemon = True
                timer.start()

        tick()

    def test_executor(self):
        executor = ThreadPoolExecutor(3)
        barrier = threading.Barrier(3)

        def use_at_once():
            barrier.wait()
            use("executor")

        def run(ready):
            executor.submit(use, "executor").result()
            ready()
            destroyed.wait()
            # This takes three threads, and there's one.
            for _ in range(3):
                executor.submit(use_at_once)

        start(run)

NUMBER = 8
"""
SENTENCE = (
    "DatabaseOperationForbidden: This thread can't connect to %r because it was left "
    "running by tests that have ended."
)


class ThreadsTestCase(ProjectTestCase):
    def setUp(self):
        super().setUp()
        for alias in self.databases:
            Item.objects.using(alias).all().delete()
            self.addCleanup(Item.objects.using(alias).all().delete)

    def assertWrote(self, *names, using="default"):
        """What the databases that the settings name have been written to."""
        items = Item.objects.using(using).values_list("name", flat=True)
        self.assertCountEqual(items, names)

    def assertRefused(self, output, name, alias="default", number=1):
        self.assertEqual(
            output.count(f"{name}, {alias}: {SENTENCE % alias}"), number, output
        )


class SurvivorsTestCase(ThreadsTestCase):
    def create_survivors(self, **kwargs):
        return self.create_project(THREADS + SURVIVORS, **kwargs)

    def assertSurvivorsRefused(self, output):
        self.assertWrote()
        self.assertWrote(using="other")
        self.assertRefused(output, "queried")
        self.assertRefused(output, "queried", "other")
        for name in ["unconnected", "new copy", "timer"]:
            self.assertRefused(output, name)
        self.assertRefused(output, "executor", number=3)


@tag("regression")
class SurvivingThreadsTests(SurvivorsTestCase):
    """
    Threads that went on after the test databases were destroyed wrote to the
    databases that the settings name.
    """

    def test_django(self):
        output = self.run_tests(self.create_survivors(settings=RUNNER))
        self.assertSurvivorsRefused(output)

    def test_keepdb(self):
        output = self.run_tests(self.create_survivors(settings=RUNNER), "--keepdb")
        self.assertSurvivorsRefused(output)

    def test_second_teardown(self):
        """Only the last thread that destroyed databases can connect."""
        project = self.create_project(
            THREADS + """
from django.test.utils import setup_databases, teardown_databases


def after():
    def run():
        destroyed.clear()
        teardown_databases(setup_databases(0, False), 0)
        destroyed.set()
        use("second")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    use("first")
    finish(2)


class Tests(TestCase):
    databases = {"default", "other"}

    def test_nothing(self):
        pass
""",
            settings=RUNNER,
        )
        output = self.run_tests(project)
        self.assertWrote("second")
        self.assertRefused(output, "first")

    def test_two_teardowns(self):
        """Databases may have been set up, and are destroyed, one by one."""
        project = self.create_project(
            THREADS + """
from django.test.utils import setup_databases, teardown_databases


def after():
    default, other = [
        setup_databases(0, False, aliases=[alias]) for alias in ["default", "other"]
    ]
    teardown_databases(other, 0)
    teardown_databases(default, 0)
    destroyed.set()
    use_in_thread("thread")
    use_in_thread("thread", "other")
    finish(2)


class Tests(TestCase):
    databases = {"default", "other"}

    def test_nothing(self):
        pass
""",
            settings=RUNNER,
            DEPENDENCIES=[],
        )
        output = self.run_tests(project)
        self.assertWrote()
        self.assertWrote(using="other")
        self.assertRefused(output, "thread")
        self.assertRefused(output, "thread", "other")

    def test_failing_teardown(self):
        """What could not be destroyed doesn't make a difference."""
        project = self.create_project(
            THREADS + """
from unittest import mock


def fail(*args, **kwargs):
    raise ValueError("failing")


class Runner(DiscoverRunner):
    def teardown_databases(self, old_config, **kwargs):
        creation = connections["other"].creation
        with (
            mock.patch.object(creation, "destroy_test_db", fail),
            self.test_case.assertRaisesMessage(ValueError, "failing"),
        ):
            super().teardown_databases(old_config, **kwargs)
        destroyed.set()
        use_in_thread("thread")
        use_in_thread("thread", "other")
        finish(2)

    test_case = TestCase()


class Tests(TestCase):
    databases = {"default", "other"}

    def test_nothing(self):
        pass
""",
            settings=RUNNER,
        )
        output = self.run_tests(project)
        self.assertWrote()
        self.assertRefused(output, "thread")

    def test_get_database(self):
        """Databases of that name on other servers aren't mixed up."""
        from django.test.connections import get_database

        database = get_database(connection, "name")
        self.assertEqual(get_database(connection.copy(), "name"), database)
        self.assertNotEqual(get_database(connection, "other"), database)
        for setting in ["HOST", "PORT"]:
            conn = connection.copy()
            conn.settings_dict[setting] = "1234"
            with self.subTest(setting=setting):
                self.assertNotEqual(get_database(conn, "name"), database)
        conn = connection.copy()
        conn.vendor = "other"
        self.assertNotEqual(get_database(conn, "name"), database)


class UnaffectedTests(ThreadsTestCase):
    """What can connect to databases that aren't test databases."""

    def test_current_thread(self):
        project = self.create_project(
            THREADS + """
def after():
    destroyed.set()
    use("current")
    use("copy", conn=connection.copy())


class Tests(TestCase):
    def test_nothing(self):
        pass
""",
            settings=RUNNER,
        )
        self.run_tests(project)
        self.assertWrote("current", "copy")

    ONE_DATABASE = THREADS + """

def after():
    destroyed.set()
    use_in_thread("thread")


class Tests(TestCase):
    databases = {"other"}

    def test_nothing(self):
        pass
"""

    def test_other_database(self):
        """Databases that took no part in the tests."""
        project = self.create_project(
            self.ONE_DATABASE, settings=RUNNER, DEPENDENCIES=[]
        )
        self.run_tests(project)
        self.assertWrote("thread")

    def test_next_databases(self):
        """Threads can connect while there are other test databases."""
        project = self.create_project(
            THREADS + """
from django.test.utils import setup_databases, teardown_databases


def after():
    old_config = setup_databases(0, False, aliases=["other"])
    destroyed.set()
    use_in_thread("took no part")
    use_in_thread("took part", "other")
    print("Items:", Item.objects.using("other").count())
    teardown_databases(old_config, 0)


class Tests(TestCase):
    databases = {"default", "other"}

    def test_nothing(self):
        pass
""",
            settings=RUNNER,
            DEPENDENCIES=[],
        )
        output = self.run_tests(project)
        self.assertIn("Items: 1\n", output)
        self.assertWrote("took no part")
        self.assertWrote(using="other")
