import gc
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
import unittest
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from multiprocessing import Pipe
from unittest import mock

from thread_connections.processes import run_module
from thread_connections.utils import ThreadConnectionsTestCase

from django.contrib.auth.models import Group
from django.db import (
    ConnectionHandler,
    Error,
    InterfaceError,
    close_old_connections,
    connection,
    connections,
    transaction,
)
from django.db.transaction import TransactionManagementError
from django.test.utils import ignore_warnings, tag

from .any_attribute import AnyAttribute, DatabaseWrapper
from .utils import get_session

try:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3
except ImportError:
    is_psycopg3 = False


def regression_on(*vendors):
    """Tag a test that shows what the other databases aren't affected by."""
    return tag("regression") if connection.vendor in vendors else lambda test: test


@unittest.skipUnless(hasattr(os, "fork"), "Forking is required.")
# Forking a process with multiple threads is deprecated in Python 3.12+.
@ignore_warnings(category=DeprecationWarning)
class ForkTestCase(ThreadConnectionsTestCase):
    available_apps = ["django.contrib.auth", "django.contrib.contenttypes"]

    def setUp(self):
        super().setUp()
        self.addCleanup(self.assertOpenConnections, 0)
        # The current thread's session may have ended.
        self.addCleanup(connections.close_all)

    def get_fileno(self):
        """
        Return the file descriptor of the current thread's connection. Skip the
        test if the driver doesn't tell, as that is what's closed.
        """
        raw_conn = self.connect().connection
        if not hasattr(raw_conn, "fileno"):
            self.skipTest("The driver doesn't have fileno().")
        return raw_conn.fileno()

    def fork(self, target):
        """Run the target in a forked process. Return its result."""
        reader, writer = Pipe(duplex=False)
        if (pid := os.fork()) == 0:
            status = 1
            try:
                writer.send(target())
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        writer.close()
        with reader:
            if not reader.poll(60):
                os.kill(pid, signal.SIGKILL)
            try:
                result = reader.recv()
            except EOFError:
                result = None
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        return result

    def fork_with_unraisable(self, target):
        """
        Return what the target returns in a forked process, and the types of
        the exceptions that were reported when it was forked.
        """
        with mock.patch("sys.unraisablehook") as unraisablehook:

            def run():
                calls = unraisablehook.call_args_list
                return target(), [call.args[0].exc_type for call in calls]

            return self.fork(run)

    @contextmanager
    def run_executors(self, number=3):
        """Run executors that have a thread and, later, a connection each."""
        with ExitStack() as stack:
            executors = [
                stack.enter_context(ThreadPoolExecutor(max_workers=1))
                for _ in range(number)
            ]
            try:
                yield executors
            finally:
                for executor in executors:
                    executor.submit(connections.close_all).result()

    def assertHarmless(self, target):
        """
        All sessions of the parent process survive a child process that runs
        the target, whichever thread forks it. If the target returns a session,
        it's the child's own.
        """
        with self.run_executors() as executors:

            def get_sessions():
                threads = [executor.submit(get_session) for executor in executors]
                return [get_session(), *(thread.result() for thread in threads)]

            def fork_in_thread(target):
                return executors[0].submit(self.fork, target).result()

            for fork in [self.fork, fork_in_thread]:
                with self.subTest(fork=fork.__name__):
                    sessions = get_sessions()
                    self.assertNotIn(fork(target), sessions)
                    self.assertEqual(get_sessions(), sessions)

    def assertSurvived(self, process, result):
        """
        All sessions survive a child process that's created by the forks
        module, whose result is as given.
        """
        process = run_module("fork_connections.forks", process)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertEqual(process.stdout, f"{result}\n")


class InheritedConnectionsTests(ForkTestCase):
    """
    A child process neither uses nor closes connections that it inherits, in
    whichever way it tries to, and however it ends.
    """

    def test_end_without_cleanup(self):
        self.assertHarmless(lambda: None)

    def test_exec(self):
        self.assertHarmless(
            lambda: os.execv(sys.executable, [sys.executable, "-c", ""])
        )

    @regression_on("mysql")
    def test_exit(self):
        """A child process that exits deallocates what it inherits."""
        self.assertSurvived("exit", 0)

    @regression_on("mysql", "sqlite")
    def test_exit_without_ctypes(self):
        """Garbage is collected by a child process that then just ends."""
        for process in ["without_ctypes", "broken_ctypes"]:
            with self.subTest(process=process):
                self.assertSurvived(process, 0)

    @regression_on("mysql", "sqlite")
    def test_exit_in_transaction_of_another_thread(self):
        """
        With SQLite, the deallocation of a connection would roll back its
        transaction.
        """
        self.assertSurvived("transaction_of_thread", 0)

    @tag("regression")
    def test_exit_in_transaction(self):
        self.assertSurvived("transaction", 0)

    @unittest.skipUnless(connection.vendor == "sqlite", "Drivers import it.")
    @tag("regression")
    def test_ctypes(self):
        """Modules are imported before a fork, rather than in each process."""
        self.assertSurvived("ctypes", True)

    @regression_on("mysql")
    def test_exception(self):
        self.assertSurvived("exception", 1)

    @regression_on("mysql")
    def test_garbage_collection(self):
        """
        The connections of threads that didn't survive the fork are garbage.
        """
        self.assertHarmless(gc.collect)

    @regression_on("mysql")
    def test_garbage_collection_during_fork(self):
        """
        fork() deletes the storage of the other threads, and thereby calls what
        else is to be called when they end.
        """

        class Value:
            pass

        storage = threading.local()

        def connect():
            session = get_session()
            storage.value = Value()
            weakref.finalize(storage.value, gc.collect).atexit = False
            return session

        with self.run_executors() as executors:
            sessions = [executor.submit(connect).result() for executor in executors]
            self.fork(lambda: None)
            self.assertEqual(
                [executor.submit(get_session).result() for executor in executors],
                sessions,
            )

    @tag("regression")
    def test_query(self):
        """A child process opens connections of its own."""
        self.assertHarmless(get_session)

    @regression_on("mysql", "postgresql")
    def test_close(self):
        def close():
            connection.close()
            return get_session()

        self.assertHarmless(close)

    @regression_on("mysql", "postgresql")
    def test_close_all(self):
        def close_all():
            connections.close_all()
            return get_session()

        self.assertHarmless(close_all)

    @regression_on("mysql", "postgresql")
    def test_close_old_connections(self):
        def close():
            close_old_connections()
            return get_session()

        self.assertHarmless(close)

    @regression_on("mysql")
    def test_delete(self):
        def delete():
            del connections["default"]
            gc.collect()
            return get_session()

        self.assertHarmless(delete)

    def assertCreatedConnectionSurvives(self, target):
        conn = connections.create_connection("default")
        self.addCleanup(conn.close)
        session = get_session(conn)
        self.assertNotEqual(self.fork(lambda: target(conn)), session)
        self.assertEqual(get_session(conn), session)

    @regression_on("mysql", "postgresql")
    def test_close_created_connection(self):
        """A connection may belong to no thread."""
        self.assertCreatedConnectionSurvives(lambda conn: conn.close())

    @tag("regression")
    def test_query_created_connection(self):
        self.assertCreatedConnectionSurvives(get_session)

    @tag("regression")
    def test_multiprocessing_fork(self):
        self.assertSurvived("multiprocessing_fork", True)

    def test_multiprocessing_forkserver(self):
        self.assertSurvived("multiprocessing_forkserver", True)

    def test_multiprocessing_spawn(self):
        self.assertSurvived("multiprocessing_spawn", True)

    @tag("regression")
    def test_nested_forks(self):
        """The same holds for the child process of a child process."""

        def fork():
            return get_session(), self.fork(get_session), get_session()

        session = get_session()
        child, grandchild, child_afterward = self.fork(fork)
        self.assertEqual(len({session, child, grandchild}), 3)
        self.assertEqual(child_afterward, child)
        self.assertEqual(get_session(), session)

    @regression_on("mysql")
    def test_running_queries(self):
        """
        The other threads may be in the middle of a query, or between two.
        """
        stopped = threading.Event()

        def query():
            while not stopped.wait(0.001):
                get_session()
            return get_session()

        with self.run_executors() as executors:
            sessions = [executor.submit(get_session).result() for executor in executors]
            queries = [executor.submit(query) for executor in executors]
            try:
                for _ in range(10):
                    self.fork(gc.collect)
            finally:
                stopped.set()
            self.assertEqual([query.result() for query in queries], sessions)

    @regression_on("postgresql")
    def test_iterator(self):
        """A queryset's iterator may have a cursor on the server."""
        if connection.vendor != "sqlite":
            self.get_fileno()
        Group.objects.bulk_create(Group(name=name) for name in "abc")
        for method in ["__next__", "close"]:
            with self.subTest(method=method):
                groups = Group.objects.iterator(chunk_size=1)
                next(groups)

                def call():
                    with suppress(Error, connection.Database.Error):
                        getattr(groups, method)()

                self.fork(call)
                self.assertEqual(len(list(groups)), 2)

    @unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
    @tag("regression")
    def test_cursor(self):
        """A cursor of the parent process isn't usable."""

        def query():
            with self.assertRaises(Error):
                cursor.execute("SELECT 1")

        self.get_fileno()
        with connection.cursor() as cursor:
            self.fork(query)
            cursor.execute("SELECT 2")
            self.assertEqual(cursor.fetchone(), (2,))

    @unittest.skipIf(connection.vendor == "sqlite", "SQLite has no server.")
    @regression_on("mysql")
    def test_exec_closes_sockets(self):
        """Programs that a child process executes don't inherit sockets."""
        fd = self.get_fileno()
        self.assertIs(self.fork(lambda: os.get_inheritable(fd)), False)

    @unittest.skipUnless(connection.vendor == "mysql", "MySQL specific test.")
    def test_reused_file_descriptor(self):
        """
        The file descriptor of a lost connection may be that of a file now.
        """
        self.get_fileno()
        conn = connections["other"]
        session = get_session(conn)
        fd = conn.connection.fileno()
        with connection.cursor() as cursor:
            cursor.execute("KILL %s", [session])
        with self.assertRaises(Error):
            get_session(conn)
        self.assertEqual(conn.connection.fileno(), fd)
        fork = os.fork

        def close_and_fork():
            os.close(fd)
            return fork()

        # Keep pipes from using it, so that it isn't open in a child process.
        if (null := os.open(os.devnull, os.O_RDONLY)) != fd:
            os.dup2(null, fd)
            os.close(null)
        with mock.patch("os.fork", close_and_fork):
            self.assertEqual(self.fork_with_unraisable(lambda: None), (None, []))
        with tempfile.NamedTemporaryFile() as file:
            # It may be the first one that's free.
            if file.fileno() != fd:
                os.dup2(file.fileno(), fd)
                self.addCleanup(os.close, fd)
            self.fork(lambda: os.write(fd, b"written"))
            with open(file.name, "rb") as copy:
                self.assertEqual(copy.read(), b"written")
        conn.connection = None

    @tag("regression")
    def test_closed_connection(self):
        """
        What's wrong with a connection of the parent process isn't the child's
        business.
        """
        conn = self.connect()
        conn.connection.close()
        session, errors = self.fork_with_unraisable(get_session)
        conn.connection = None
        self.assertIsNotNone(session)
        self.assertEqual(errors, [])

    def connect_all(self, number=3):
        conns = [connections.create_connection("default") for _ in range(number)]
        for conn in conns:
            self.addCleanup(conn.close)
            conn.ensure_connection()
        return conns

    @tag("regression")
    def test_broken_connection(self):
        """One that fails doesn't keep the others from being given up."""
        conns = self.connect_all()
        socket = mock.MagicMock()
        socket.__getitem__.side_effect = KeyboardInterrupt
        for conn in conns:
            with (
                self.subTest(conn=conns.index(conn)),
                mock.patch.object(conn, "_socket", socket),
            ):
                inherited, errors = self.fork_with_unraisable(
                    lambda: [conn.connection for conn in conns]
                )
                self.assertEqual(inherited, [None] * 3)
                self.assertEqual(errors, [KeyboardInterrupt])

    @tag("regression")
    def test_failing_close(self):
        """
        The parent's socket isn't used if close() of a database backend fails.
        """
        fd = self.get_fileno()
        conn = self.connect()
        with mock.patch.object(conn, "close", side_effect=ValueError):
            device, errors = self.fork_with_unraisable(lambda: os.fstat(fd).st_rdev)
        self.assertEqual(device, os.stat(os.devnull).st_rdev)
        self.assertEqual(errors, [ValueError])

    def test_driver_without_fileno(self):
        """Drivers may lack fileno(), or not implement it."""
        missing = mock.Mock()
        del missing.fileno
        for raw_conn in [
            missing,
            mock.Mock(**{"fileno.return_value": None}),
            mock.Mock(**{"fileno.side_effect": NotImplementedError}),
        ]:
            conn = connections.create_connection("default")
            with (
                self.subTest(raw_conn=raw_conn),
                mock.patch.multiple(
                    conn,
                    get_new_connection=mock.Mock(return_value=raw_conn),
                    set_autocommit=mock.DEFAULT,
                    init_connection_state=mock.DEFAULT,
                ),
            ):
                conn.connect()
                self.assertIs(conn.connection, raw_conn)

    @tag("regression")
    def test_locked_by_another_thread(self):
        """A thread that doesn't exist in a child process may hold a lock."""
        conn = self.connect()
        with conn._thread_sharing_lock:
            self.assertIsNotNone(self.fork(get_session))

    @tag("regression")
    def test_end_of_forking_thread(self):
        """
        What the thread that forks opens in the child process is closed when it
        ends there, even if it inherits the wrapper.
        """
        reader, writer = Pipe(duplex=False)

        def report(conn):
            deadline = time.monotonic() + 10
            while conn.connection is not None and time.monotonic() < deadline:
                time.sleep(0.01)
            writer.send(conn.connection is None)
            os._exit(0)

        def fork():
            self.connect()
            if (pid := os.fork()) == 0:
                threading.Thread(target=report, args=[self.connect()]).start()
            return pid

        pid = self.run_thread(fork)
        writer.close()
        with reader:
            is_closed = reader.poll(60) and reader.recv()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.assertIs(is_closed, True)

    @tag("regression")
    def test_no_file_descriptors(self):
        conns = self.connect_all()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        fds = []
        # Pipe() needs two.
        spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, hard))
        try:
            with suppress(OSError):
                while True:
                    fds.append(os.open(os.devnull, os.O_RDONLY))
            for fd in spare:
                os.close(fd)
            inherited, errors = self.fork_with_unraisable(
                lambda: [conn.connection for conn in conns]
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in fds:
                os.close(fd)
        self.assertEqual(inherited, [None] * 3)
        has_fileno = hasattr(conns[0].connection, "fileno")
        self.assertEqual(errors, [OSError] if has_fileno else [])

    @tag("regression")
    def test_close_is_called(self):
        """
        Database backends override close() to forget what they know of their
        session. It can't be called for a connection of another thread.
        """
        conn = self.connect()
        with (
            self.run_executors(1) as [executor],
            mock.patch.object(conn, "close", wraps=conn.close) as close,
        ):
            executor.submit(get_session).result()
            is_called, errors = self.fork_with_unraisable(lambda: close.called)
        self.assertIs(is_called, True)
        self.assertEqual(errors, [])

    @tag("regression")
    def test_close_is_not_called_in_transaction(self):
        """It might use the connection, which the wrapper still has."""
        conn = self.connect()
        with transaction.atomic(), mock.patch.object(conn, "close") as close:
            is_called, given_up = self.fork(
                lambda: (close.called, conn.closed_in_transaction)
            )
        self.assertIs(is_called, False)
        self.assertIs(given_up, True)

    @tag("regression")
    def test_threads(self):
        """The threads of a child process don't leave connections open."""
        self.connect()
        closed = self.fork(lambda: self.run_thread(self.connect).connection is None)
        self.assertIs(closed, True)


class TransactionTests(ForkTestCase):
    """A child process doesn't take part in a transaction of its parent."""

    @tag("regression")
    def test_atomic(self):
        """
        A child process can't query before the end of the block, which leaves
        the parent's transaction alone.
        """
        for depth in [1, 2]:
            with self.subTest(depth=depth), ExitStack() as stack:
                callback = mock.Mock()

                def leave():
                    with self.assertRaises(TransactionManagementError) as cm:
                        connection.ensure_connection()
                        connection.validate_no_broken_transaction()
                    self.assertIsInstance(cm.exception.__cause__, InterfaceError)
                    self.assertIn("forked", str(cm.exception.__cause__))
                    with self.assertRaises(TransactionManagementError):
                        get_session()
                    stack.close()
                    callback.assert_not_called()
                    return get_session()

                for _ in range(depth):
                    stack.enter_context(transaction.atomic())
                transaction.on_commit(callback)
                Group.objects.create(name=f"{depth}")
                session = get_session()
                self.assertNotEqual(self.fork(leave), session)
                self.assertEqual(get_session(), session)
                stack.close()
                callback.assert_called_once_with()
                self.assertEqual(Group.objects.count(), depth)

    @tag("regression")
    def test_exception(self):
        """The parent's transaction isn't rolled back."""

        def leave():
            atomic.__exit__(ValueError, ValueError(), None)
            return get_session()

        atomic = transaction.atomic()
        with atomic:
            Group.objects.create(name="group")
            self.assertNotEqual(self.fork(leave), get_session())
        self.assertEqual(Group.objects.count(), 1)

    @tag("regression")
    def test_autocommit_disabled(self):
        def rollback():
            transaction.rollback()
            return get_session(), transaction.get_autocommit()

        transaction.set_autocommit(False)
        Group.objects.create(name="group")
        session, autocommit = self.fork(rollback)
        self.assertNotEqual(session, get_session())
        self.assertIs(autocommit, True)
        transaction.commit()
        transaction.set_autocommit(True)
        self.assertEqual(Group.objects.count(), 1)

    @tag("regression")
    def test_atomic_without_autocommit(self):
        callback = mock.Mock()

        def leave():
            atomic.__exit__(None, None, None)
            session = get_session()
            callback.assert_not_called()
            return session

        transaction.set_autocommit(False)
        # on_commit() callbacks are due once autocommit is on again.
        transaction.commit()
        atomic = transaction.atomic()
        with atomic:
            Group.objects.create(name="group")
            transaction.on_commit(callback)
            self.assertNotEqual(self.fork(leave), get_session())
        transaction.commit()
        transaction.set_autocommit(True)
        self.assertEqual(Group.objects.count(), 1)

    @regression_on("mysql", "sqlite")
    def test_transaction_of_another_thread(self):
        def create():
            with transaction.atomic():
                Group.objects.create(name="group")
                created.set()
                forked.wait(60)

        created, forked = threading.Event(), threading.Event()
        with self.run_executors(1) as [executor]:
            future = executor.submit(create)
            created.wait(60)
            self.fork(gc.collect)
            forked.set()
            future.result()
        self.assertEqual(Group.objects.count(), 1)


class AnyAttributeTests(ForkTestCase):
    """
    The connections of third-party backends aren't asked for what their drivers
    may not have, but seem to have.
    """

    def create_connection(self):
        conn = DatabaseWrapper(connection.settings_dict, "any")
        self.addCleanup(self.close, conn)
        return conn

    def test_connect(self):
        conn = self.create_connection()
        conn.connect()
        self.assertIsInstance(conn.connection, AnyAttribute)

    @tag("regression")
    def test_thread(self):
        def connect():
            connections["any"] = conn = self.create_connection()
            conn.connect()
            return conn, conn.connection

        with mock.patch("sys.unraisablehook") as unraisablehook:
            conn, raw_conn = self.run_thread(connect)
        unraisablehook.assert_not_called()
        self.assertIsNone(conn.connection)
        self.assertEqual(conn.closed, [raw_conn])

    @tag("regression")
    def test_fork(self):
        conn = self.create_connection()
        conn.connect()
        (inherited, closed), errors = self.fork_with_unraisable(
            lambda: (conn.connection is not None, len(conn.closed))
        )
        self.assertIs(inherited, False)
        self.assertEqual(closed, 0)
        self.assertEqual(errors, [])
        self.assertIsInstance(conn.connection, AnyAttribute)


@unittest.skipUnless(
    connection.vendor == "postgresql" and is_psycopg3, "psycopg 3 specific tests."
)
class PoolTests(ForkTestCase):
    """A child process has connection pools of its own."""

    def setUp(self):
        super().setUp()
        self.conn = connections["other"]
        # The current thread's connection isn't in the pool.
        self.conn.close()
        pool_options = {"min_size": 1, "max_size": 2, "timeout": 5}
        self.enterContext(
            mock.patch.dict(self.conn.settings_dict["OPTIONS"], pool=pool_options)
        )
        self.addCleanup(self.conn.close_pool)
        self.addCleanup(self.conn.close)

    def query_in_threads(self):
        """Return the sessions of 4 threads, one after another."""

        def query():
            conn = connections["other"]
            try:
                return get_session(conn)
            finally:
                conn.close()

        return {self.run_thread(query) for _ in range(4)}

    @tag("regression")
    def test_query(self):
        """Both pools serve threads."""
        session = get_session(self.conn)
        sessions = self.query_in_threads()
        inherited = {session, *sessions}
        child = self.fork(lambda: {get_session(self.conn), *self.query_in_threads()})
        self.assertEqual(len(child), 2)
        self.assertIs(child.isdisjoint(inherited), True)
        self.assertEqual({get_session(self.conn), *self.query_in_threads()}, inherited)

    @tag("regression")
    def test_locked_pool(self):
        """
        A thread that doesn't exist in a child process may have locked a pool.
        """

        def collect():
            gc.collect()
            return get_session(self.conn)

        # A pool whose first connection isn't ready would open a second one.
        self.conn.settings_dict["OPTIONS"]["pool"]["max_size"] = 1
        inherited = get_session(self.conn)
        # Otherwise, the connection would refer to the pool.
        self.conn.close()
        with self.conn.pool._tasks.mutex:
            self.assertNotEqual(self.fork(collect), inherited)
        self.assertEqual(get_session(self.conn), inherited)

    @tag("regression")
    def test_close(self):
        def close():
            self.conn.close()
            self.conn.close_pool()

        session = get_session(self.conn)
        sessions = self.query_in_threads()
        self.fork(close)
        self.assertEqual(get_session(self.conn), session)
        self.assertEqual(self.query_in_threads(), sessions)


@unittest.skipUnless(find_spec("oracledb"), "oracledb isn't installed.")
class OraclePoolTests(ForkTestCase):
    @tag("regression")
    def test_pools(self):
        """A child process doesn't have the pools of its parent process."""
        from django.db.backends.oracle.base import DatabaseWrapper

        pools = {"default": object()}
        with mock.patch.object(DatabaseWrapper, "_connection_pools", pools):
            self.assertEqual(self.fork(lambda: DatabaseWrapper._connection_pools), {})
            self.assertIs(DatabaseWrapper._connection_pools, pools)


@unittest.skipUnless(connection.vendor == "sqlite", "SQLite specific test.")
class InMemoryDatabaseTests(ForkTestCase):
    def test_copy(self):
        """A child process has a copy of the database."""
        for name in [":memory:", "file:fork?mode=memory&cache=shared"]:
            with self.subTest(name=name):
                conn = ConnectionHandler(
                    {
                        "default": {
                            "ENGINE": connection.settings_dict["ENGINE"],
                            "NAME": name,
                        }
                    }
                )["default"]
                self.addCleanup(conn._close)

                def insert():
                    with conn.cursor() as cursor:
                        cursor.execute("INSERT INTO item DEFAULT VALUES")
                        cursor.execute("SELECT COUNT(*) FROM item")
                        return cursor.fetchone()[0]

                with conn.cursor() as cursor:
                    cursor.execute("CREATE TABLE item (id integer PRIMARY KEY)")
                self.assertEqual(insert(), 1)
                self.assertEqual(self.fork(insert), 2)
                self.assertEqual(insert(), 2)
