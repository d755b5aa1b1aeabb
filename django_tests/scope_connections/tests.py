import asyncio
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from fork_connections.utils import get_session
from thread_connections.utils import ThreadConnectionsTestCase

from django.contrib.auth.models import Group
from django.db import (
    DatabaseError,
    OperationalError,
    close_old_connections,
    connection,
    connections,
    transaction,
)
from django.test.utils import tag


class ScopeTestCase(ThreadConnectionsTestCase):
    def setUp(self):
        super().setUp()
        # Tests run in a thread that goes on when a scope ends.
        executor = self.enterContext(ThreadPoolExecutor(max_workers=1))
        self.addCleanup(self.assertOpenConnections, 0)
        self.addCleanup(lambda: executor.submit(connections.close_all).result())
        self.run_in_thread = lambda target: executor.submit(target).result()


@tag("regression")
class ScopeTests(ScopeTestCase):
    """connections.scope() closes the connections that are opened in it."""

    def assertCloses(self, target):
        """The connection that the target opens is closed when it's done."""
        self.run_in_thread(target)
        self.assertOpenConnections(0)

    def test_context_manager(self):
        def target():
            with connections.scope():
                get_session()
                self.assertOpenConnections(1, "default")

        self.assertCloses(target)

    def test_function(self):
        """A decorated function may be called repeatedly."""

        @connections.scope()
        def target(argument, *, keyword):
            """Docstring"""
            return argument, keyword, get_session()

        def call():
            return target(1, keyword=2)

        sessions = set()
        for _ in range(3):
            argument, keyword, session = self.run_in_thread(call)
            self.assertEqual((argument, keyword), (1, 2))
            sessions.add(session)
            self.assertOpenConnections(0)
        self.assertEqual(len(sessions), 3)
        self.assertEqual(target.__name__, "target")
        self.assertEqual(target.__doc__, "Docstring")

    def test_method(self):
        class Worker:
            @connections.scope()
            def run(worker):
                get_session()
                return worker

        worker = Worker()
        self.assertIs(self.run_in_thread(worker.run), worker)
        self.assertOpenConnections(0)

    def test_recursion(self):
        @connections.scope()
        def target(depth=3):
            get_session()
            if depth:
                target(depth - 1)
            # The connection was opened by the outermost call.
            self.assertIs(connection.is_usable(), True)

        self.assertCloses(target)

    def test_shared_by_threads(self):
        """The same scope may be in use by many threads."""

        @connections.scope()
        def target():
            session = get_session()
            barrier.wait()
            return session

        barrier = threading.Barrier(5)
        with ThreadPoolExecutor(max_workers=5) as executor:
            sessions = set(executor.map(lambda _: target(), range(5)))
            self.assertEqual(len(sessions), 5)
            self.assertOpenConnections(0)

    def test_open_connections_remain(self):
        def target():
            session = get_session()
            with connections.scope():
                get_session(connections["other"])
                self.assertEqual(get_session(), session)
            self.assertEqual(get_session(), session)

        self.run_in_thread(target)
        self.assertOpenConnections(1)
        self.assertOpenConnections(0, "other")
        self.run_in_thread(connections.close_all)

    def test_nested(self):
        def target():
            with connections.scope():
                session = get_session()
                with connections.scope():
                    get_session(connections["other"])
                self.assertIsNone(connections["other"].connection)
                self.assertEqual(get_session(), session)
            self.assertIsNone(connection.connection)

        self.assertCloses(target)

    def test_reconnected(self):
        """A connection that's opened again belongs to the inner scope."""

        def target():
            with connections.scope():
                get_session()
                with connections.scope():
                    connection.close()
                    get_session()
                self.assertIsNone(connection.connection)
                get_session()

        self.assertCloses(target)

    def test_other_threads(self):
        """The connections of other threads aren't affected."""
        session = self.run_in_thread(get_session)
        with connections.scope():
            self.assertEqual(self.run_in_thread(get_session), session)
        self.assertEqual(self.run_in_thread(get_session), session)

    def test_started_thread(self):
        """A scope doesn't extend to threads that are started in it."""
        with ThreadPoolExecutor(max_workers=1) as executor:
            with connections.scope():
                session = executor.submit(get_session).result()
            self.assertEqual(executor.submit(get_session).result(), session)

    def test_dynamic_alias(self):
        """Connections needn't be in the DATABASES setting."""

        @connections.scope()
        def target():
            conn = connections["default"]
            connections["dynamic"] = type(conn)(conn.settings_dict, "dynamic")
            get_session(connections["dynamic"])
            get_session(connections.create_connection("default"))

        self.assertCloses(target)

    def test_exception(self):
        def target():
            with connections.scope():
                get_session()
                raise ValueError("failed")

        with self.assertRaisesMessage(ValueError, "failed"):
            self.run_in_thread(target)
        self.assertOpenConnections(0)

    def test_open_transaction(self):
        def target():
            with connections.scope():
                transaction.set_autocommit(False)
                get_session()

        self.assertCloses(target)

    def fail_to_close(self, exception=None):
        """Fail to close one of two connections at the end of a scope."""

        def close():
            close_default()
            raise OperationalError("not closed")

        close_default = connections["default"]._close
        with mock.patch.object(connections["default"], "_close", close):
            with connections.scope():
                for alias in ["default", "other"]:
                    get_session(connections[alias])
                if exception:
                    raise exception

    def test_close_fails(self):
        """One that fails doesn't keep other connections from being closed."""
        with self.assertRaisesMessage(OperationalError, "not closed"):
            self.run_in_thread(self.fail_to_close)
        for alias in self.databases:
            self.assertOpenConnections(0, alias)

    def test_close_fails_after_exception(self):
        """The exception of the block is the one that's raised."""
        with self.assertRaisesMessage(ValueError, "failed"):
            self.run_in_thread(lambda: self.fail_to_close(ValueError("failed")))
        for alias in self.databases:
            self.assertOpenConnections(0, alias)

    def test_overlapping(self):
        """The last of the scopes that overlap closes the connections."""

        def generate(alias):
            with connections.scope():
                get_session(connections[alias])
                yield

        def target():
            generators = [generate("default"), generate("other")]
            for generator in generators:
                next(generator)
            generators[0].close()
            for alias in self.databases:
                self.assertIsNotNone(connections[alias].connection)
            generators[1].close()

        self.run_in_thread(target)
        for alias in self.databases:
            self.assertOpenConnections(0, alias)

    def test_overlapping_open_connections_remain(self):
        def generate():
            with connections.scope():
                yield

        def target():
            get_session()
            generators = [generate(), generate()]
            for generator in generators:
                next(generator)
            for generator in generators:
                generator.close()
            self.assertIs(connection.is_usable(), True)
            connection.close()

        self.run_in_thread(target)

    def test_same_scope(self):
        """A scope may be entered again before its end."""

        def target():
            scope = connections.scope()
            with scope:
                session = get_session()
                with scope:
                    get_session(connections["other"])
                self.assertIsNone(connections["other"].connection)
                self.assertEqual(get_session(), session)

        self.assertCloses(target)

    def test_generator_functions(self):
        def generate():
            yield

        async def agenerate():
            yield

        for function in [generate, agenerate]:
            with self.subTest(function=function.__name__):
                with self.assertRaisesMessage(
                    TypeError,
                    "connections.scope() can't decorate a generator function. Use "
                    "it as a context manager in the function.",
                ):
                    connections.scope()(function)

    def test_other_thread(self):
        """A scope that ends in another thread closes nothing."""
        scope = connections.scope()
        self.run_in_thread(scope.__enter__)
        session = self.run_in_thread(get_session)
        with self.assertRaisesMessage(
            RuntimeError, "A scope must end in the thread that it started in."
        ):
            scope.__exit__(None, None, None)
        self.assertEqual(self.run_in_thread(get_session), session)
        self.run_in_thread(lambda: scope.__exit__(None, None, None))

    def test_unusable_connection(self):
        """A connection that the server has closed is replaced."""

        def target():
            get_session()
            connection.errors_occurred = True
            with mock.patch.object(
                type(connection.ops.connection), "is_usable", return_value=False
            ):
                with connections.scope():
                    self.assertIsNone(connection.connection)
            with connections.scope():
                get_session()

        self.assertCloses(target)

    def test_usable_connection(self):
        """An error doesn't make a connection unusable."""

        def target():
            session = get_session()
            with self.assertRaises(DatabaseError):
                connection.cursor().execute("SELECT nothing FROM nowhere")
            self.assertIs(connection.errors_occurred, True)
            with connections.scope():
                self.assertEqual(get_session(), session)
            connection.close()

        self.run_in_thread(target)

    def test_no_query(self):
        """The server is asked about a connection only after an error."""

        def target():
            get_session()
            with mock.patch.object(
                type(connection.ops.connection), "is_usable"
            ) as is_usable:
                with connections.scope():
                    pass
            is_usable.assert_not_called()
            connection.close()

        self.run_in_thread(target)

    def test_unusable_connection_in_transaction(self):
        """It's up to a transaction to deal with its connection."""

        def target():
            try:
                with transaction.atomic():
                    session = get_session()
                    connection.errors_occurred = True
                    connection.health_check_done = True
                    with mock.patch.object(
                        type(connection.ops.connection), "is_usable", return_value=False
                    ):
                        with connections.scope():
                            self.assertEqual(get_session(), session)
                    self.assertIs(connection.health_check_done, True)
            finally:
                connection.close()

        self.run_in_thread(target)

    def test_health_checks(self):
        """Open connections are checked as at the beginning of a request."""

        def target():
            session = get_session()
            connection.health_check_done = True
            connection.health_check_enabled = True
            with mock.patch.object(
                type(connection.ops.connection), "is_usable", return_value=False
            ):
                with connections.scope():
                    self.assertNotEqual(get_session(), session)

        self.assertCloses(target)

    def test_old_connection(self):
        """A connection isn't closed for its age, as it may be in use."""

        def target():
            session = get_session()
            connection.close_at = time.monotonic() - 1
            with connections.scope():
                self.assertEqual(get_session(), session)
            connection.close()

        self.run_in_thread(target)

    def test_initializer(self):
        """The threads of an executor keep their connections until they end."""
        with ThreadPoolExecutor(
            1, initializer=connections.scope().__enter__
        ) as executor:
            session = executor.submit(get_session).result()
            self.assertEqual(executor.submit(get_session).result(), session)
            self.assertOpenConnections(1)
        self.assertOpenConnections(0)

    def test_initializer_warnings(self):
        """It's on purpose that such threads end with open connections."""
        with warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always")
            with ThreadPoolExecutor(
                max_workers=1, initializer=connections.scope().__enter__
            ) as executor:
                executor.submit(get_session).result()
            close_old_connections()
        self.assertEqual(recorded, [])


@tag("regression")
class AsyncScopeTests(ScopeTestCase):
    """
    A scope in asynchronous code closes what the code that it runs with
    sync_to_async() opens.
    """

    available_apps = ["django.contrib.auth", "django.contrib.contenttypes"]

    def run_loop(self, coroutine_function):
        """Count connections while the threads of the loop are running."""

        async def run():
            async with ThreadSensitiveContext():
                await coroutine_function()
                await asyncio.to_thread(count)

        @connections.scope()
        def count():
            self.assertOpenConnections(0)

        # Another thread is going to count.
        connections.close_all()
        asyncio.run(run())

    def test_context_manager(self):
        async def target():
            async with connections.scope():
                session = await sync_to_async(get_session)()
                self.assertEqual(await sync_to_async(get_session)(), session)

        self.run_loop(target)

    def test_coroutine_function(self):
        @connections.scope()
        async def target(argument=None, *, keyword=None):
            await sync_to_async(get_session)()
            return argument, keyword

        async def call():
            self.assertIs(asyncio.iscoroutinefunction(target), True)
            self.assertEqual(await target(1, keyword=2), (1, 2))

        self.run_loop(call)

    def test_not_thread_sensitive(self):
        """
        A connection of another thread, which may be using it, remains open.
        """

        async def target():
            async with connections.scope():
                conn = await sync_to_async(self.connect, thread_sensitive=False)()
            self.assertIsNotNone(conn.connection)

        asyncio.run(target())

    def test_tasks(self):
        """The scopes of tasks are independent."""

        @connections.scope()
        async def task(depth=2):
            await sync_to_async(get_session)()
            if depth:
                await task(depth - 1)

        async def target():
            await asyncio.gather(*[task() for _ in range(5)])

        self.run_loop(target)

    def test_iterators_of_tasks(self):
        """
        Tasks share a connection. The end of the scope of one doesn't keep the
        others from reading rows.
        """

        @connections.scope()
        async def task(number):
            rows = []
            async for group in Group.objects.order_by("pk").aiterator(chunk_size=2):
                rows.append(group.pk)
                # The tasks end one after the other.
                if len(rows) == 2:
                    await asyncio.sleep(number / 100)
            return rows

        async def target():
            for rows in await asyncio.gather(*[task(i) for i in range(20)]):
                self.assertEqual(rows, expected)

        expected = [Group.objects.create(name=str(i)).pk for i in range(10)]
        self.run_loop(target)

    def test_first_task_ends_last(self):
        async def task(started, ended):
            async with connections.scope():
                session = await sync_to_async(get_session)()
                started.set()
                await ended.wait()
                self.assertEqual(await sync_to_async(get_session)(), session)

        async def target():
            started, ended = asyncio.Event(), asyncio.Event()
            first = asyncio.create_task(task(started, ended))
            await started.wait()
            async with connections.scope():
                await sync_to_async(get_session)()
                await sync_to_async(lambda: get_session(connections["other"]))()
            ended.set()
            await first
            await sync_to_async(self.assertOpenConnections)(0, "other")

        self.run_loop(target)

    def test_open_connections_remain(self):
        """A task's scope closes nothing that its thread had open before."""

        async def target():
            session = await sync_to_async(get_session)()
            async with connections.scope():
                await sync_to_async(lambda: get_session(connections["other"]))()
            self.assertEqual(await sync_to_async(get_session)(), session)
            await sync_to_async(self.assertOpenConnections)(0, "other")
            await sync_to_async(connections.close_all)()

        self.run_loop(target)

    def test_cancelled_start(self):
        """A task that doesn't enter its scope keeps no other from closing."""

        @connections.scope()
        async def never():
            self.fail("This isn't run.")

        @connections.scope()
        async def save():
            await sync_to_async(get_session)()

        async def target():
            blocked = threading.Event()
            blocker = asyncio.create_task(sync_to_async(blocked.wait)())
            await asyncio.sleep(0)
            task = asyncio.create_task(never())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            blocked.set()
            await blocker
            with self.assertRaises(asyncio.CancelledError):
                await task
            await save()

        self.run_loop(target)

    def test_tasks_of_scope(self):
        """A scope extends to the tasks that are created in it."""

        async def target():
            async with connections.scope():
                await asyncio.gather(*[sync_to_async(get_session)() for _ in range(5)])

        self.run_loop(target)

    def test_exception(self):
        @connections.scope()
        async def fail():
            await sync_to_async(get_session)()
            raise ValueError("failed")

        async def target():
            with self.assertRaisesMessage(ValueError, "failed"):
                await fail()

        self.run_loop(target)

    def test_cancelled(self):
        @connections.scope()
        async def wait(connected):
            await sync_to_async(get_session)()
            connected.set()
            await asyncio.Event().wait()

        async def target():
            connected = asyncio.Event()
            task = asyncio.create_task(wait(connected))
            await connected.wait()
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        self.run_loop(target)

    def test_scope_of_function(self):
        """A scope may be used in the function that sync_to_async() runs."""

        async def target():
            for thread_sensitive in [False, True]:
                await sync_to_async(
                    connections.scope()(get_session), thread_sensitive=thread_sensitive
                )()

        self.run_loop(target)
