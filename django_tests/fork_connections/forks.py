"""
Create a process in the way that the argument names, print a result, and check
that the sessions of all threads survive.
"""

import gc
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from thread_connections.processes import setup

from django.db import connection, transaction

from .utils import get_session

# Processes that are spawned import this module, too.
setup()


def fork(target):
    """Run the target in a forked process. Return its exit code."""
    if (pid := os.fork()) == 0:
        target()
        # Unlike os._exit(), this deallocates what is inherited.
        sys.exit()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class NoCtypes:
    """A finder of modules that raises an error if ctypes is imported."""

    def __init__(self, error):
        self.error = error

    def find_spec(self, name, path, target=None):
        if name == "ctypes":
            raise self.error


def collect_garbage_without_ctypes(error):
    # Drivers may have imported it.
    sys.modules.pop("ctypes", None)
    sys.meta_path.insert(0, NoCtypes(error))

    def collect():
        gc.collect()
        os._exit(0)

    return fork_in_transaction_of_thread(collect)


def execute(sql):
    """Execute a statement without leaving a reference to the connection."""
    with connection.cursor() as cursor:
        cursor.execute(sql)


def create_table():
    execute("DROP TABLE IF EXISTS forked")
    execute("CREATE TABLE forked (name varchar(200))")


def insert_rows():
    if connection.vendor == "sqlite":
        # Write to the file before the transaction is committed.
        execute("PRAGMA cache_size = 5")
    for _ in range(1000):
        execute(f"INSERT INTO forked VALUES ('{'item' * 50}')")


def drop_table():
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM forked")
        assert cursor.fetchone() == (1001,)
    execute("DROP TABLE forked")


def fork_in_transaction():
    """The thread that forks is in a transaction."""
    create_table()
    with transaction.atomic():
        insert_rows()
        code = fork(lambda: None)
        execute("INSERT INTO forked VALUES ('item')")
    drop_table()
    return code


def fork_in_transaction_of_thread(target):
    """A thread that's in a transaction meanwhile commits it afterward."""
    created, ended = threading.Event(), threading.Event()
    errors = []

    def create():
        try:
            with transaction.atomic():
                insert_rows()
                created.set()
                ended.wait(30)
                execute("INSERT INTO forked VALUES ('item')")
        except Exception as e:
            errors.append(e)

    create_table()
    thread = threading.Thread(target=create)
    thread.start()
    created.wait(30)
    code = fork(target)
    ended.set()
    thread.join()
    assert not errors, errors
    drop_table()
    return code


def import_ctypes():
    """Whether ctypes is imported when the process forks."""
    # Colorama, which Django uses if it's installed, imports it, too.
    sys.modules.pop("ctypes", None)
    fork(lambda: None)
    return "ctypes" in sys.modules


def fail():
    raise ValueError


def run_process(method):
    """
    Whether a process of the multiprocessing module has a session of its own.
    """
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as executor:
        return executor.submit(get_session).result() != get_session()


PROCESSES = {
    "exit": lambda: fork(lambda: None),
    "exception": lambda: fork(fail),
    "transaction": fork_in_transaction,
    "transaction_of_thread": lambda: fork_in_transaction_of_thread(lambda: None),
    "without_ctypes": lambda: collect_garbage_without_ctypes(ImportError),
    # As where Python is linked statically.
    "broken_ctypes": lambda: collect_garbage_without_ctypes(OSError),
    "ctypes": import_ctypes,
    "multiprocessing_fork": lambda: run_process("fork"),
    "multiprocessing_forkserver": lambda: run_process("forkserver"),
    "multiprocessing_spawn": lambda: run_process("spawn"),
}


def main(process):
    connected = threading.Barrier(4)
    ended = threading.Event()
    survivors = []

    def run():
        session = get_session()
        connected.wait(30)
        ended.wait(30)
        survivors.append(get_session() == session)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    session = get_session()
    connected.wait(30)
    print(PROCESSES[process](), flush=True)
    ended.set()
    for thread in threads:
        thread.join()
    assert survivors == [True] * 3
    assert get_session() == session


if __name__ == "__main__":
    main(sys.argv[1])
