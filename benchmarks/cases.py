"""
Time what the patches touch with the Django that is on the path.

It runs as many rounds of a set of cases as the arguments say, and says how many seconds
each case took per call. `python -m benchmarks` runs it, by lab.script.Script.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from statistics import median
from threading import Barrier, Semaphore, Thread

from lab.scripts.common import database, say
from lab.servers import pgbouncer

RAW_DRIVER = "raw driver"
TOGETHER = 8  # threads at a time that save
SAVES = 12  # times that so many do, in a case of a round
OTHERS = (1, 10, 100, 1_000)  # threads that live, and hold connections
# What the driver is told on a connection of its own; the other parameters are Django's.
ADDRESS = {"charset", "host", "password", "port", "timeout", "unix_socket", "user"} | {
    "database",
    "dbname",
}
DJ_POOLS = {
    "mysql": "dj_db_conn_pool.backends.mysql",
    "postgresql": "dj_db_conn_pool.backends.postgresql",
}

Round = dict[str, float]  # seconds per call, by case


def seconds_per_call(function: Callable[[], object], calls: int) -> float:
    """Return how long a call of `function` takes; what it left is collected after."""
    started = time.perf_counter()
    for _ in range(calls):
        function()
    seconds = (time.perf_counter() - started) / calls
    gc.collect()
    return seconds


def run_threads(target: Callable[[], object], number: int = 1) -> None:
    threads = [Thread(target=target) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_turn(target: Callable[[], object], calls: int) -> float:
    return seconds_per_call(lambda: run_threads(target), calls)


def query() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def by_hand(target: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls `target` and closes the thread's connections."""
    from django.db import connections

    def call() -> None:
        try:
            target()
        finally:
            connections.close_all()

    return call


def is_patched() -> bool:
    from django.db import connections

    return hasattr(connections, "scope")


def closed(target: Callable[[], object]) -> Callable[[], object]:
    """Return `target`, made to close its thread's connections where Django doesn't."""
    return target if is_patched() else by_hand(target)


def calls() -> Round:
    """Time single calls and threads."""
    from django.db import connection, connections

    def connect() -> None:
        connection.ensure_connection()
        connection.close()

    timed = {
        "connections[alias]": seconds_per_call(lambda: connections["default"], 50_000),
        "query": seconds_per_call(query, 2_000),
        "connect and close": seconds_per_call(connect, 100),
        "thread that closes by hand": in_turn(by_hand(query), 50),
        "thread that leaves it to Django": in_turn(query, 50),
    }
    if is_patched():
        timed["thread with a scope"] = in_turn(connections.scope()(query), 50)
    return timed


def saves() -> Round:
    """
    Time new threads that save a row each, with a connection each or with a pool.

    "ORM" is on a connection that the driver opens and closes: what remains if Django's
    own way to do that cost nothing.
    """
    from django.db import connection, connections
    from django.test.utils import CaptureQueriesContext
    from thread_connections.models import Item

    def save(alias: str = "default") -> None:
        Item.objects.using(alias).create(name="item")

    with CaptureQueriesContext(connection) as queries:
        save()
    insert = queries[-1]["sql"]
    parameters = connection.get_connection_params()
    address = {name: parameters[name] for name in ADDRESS & parameters.keys()}
    driver = connection.Database
    # What stock Django would ask the server for, over another connection.
    asked = {}
    if connection.vendor == "mysql":
        asked["mysql_server_data"] = connection.mysql_server_data
    if connection.vendor == "sqlite":
        autocommit = {"isolation_level": None}
    else:
        autocommit = {"autocommit": True}

    def save_with_driver() -> None:
        raw = driver.connect(**address, **autocommit)
        cursor = raw.cursor()
        cursor.execute(insert)
        cursor.fetchall()
        cursor.close()
        raw.close()

    def save_on_connection_of_driver() -> None:
        wrapper = connections["default"]
        vars(wrapper).update(asked)
        wrapper.connection = driver.connect(**parameters | autocommit)
        wrapper.autocommit = True
        save()
        wrapper.connection.close()
        wrapper.connection = None

    # Threads that write to SQLite at once sleep until the others have written.
    together = 1 if connection.vendor == "sqlite" else TOGETHER

    def time_threads(target: Callable[[], object]) -> float:
        return seconds_per_call(lambda: run_threads(target, together), SAVES)

    timed = {
        RAW_DRIVER: time_threads(save_with_driver),
        "ORM": time_threads(save_on_connection_of_driver),
        "closed by hand": time_threads(by_hand(save)),
    }
    if is_patched():
        timed["left to Django"] = time_threads(save)
        timed["with a scope"] = time_threads(connections.scope()(save))
    with pools() as aliases:
        for alias in aliases:
            target = by_hand(lambda alias=alias: save(alias))
            run_threads(target, TOGETHER)  # fills the pool
            timed[f"{alias}, closed by hand"] = time_threads(target)
    connection.close()
    return timed


@contextmanager
def pools() -> Iterator[list[str]]:
    """Yield aliases of the database whose connections come from pools."""
    from django.db import connection, connections

    default = connection.settings_dict
    found = {}

    def forget() -> None:
        for alias in found:
            connections.settings.pop(alias, None)

    with ExitStack() as stack:
        stack.callback(forget)  # once the pools are closed
        if connection.vendor in DJ_POOLS and find_spec("dj_db_conn_pool"):
            from dj_db_conn_pool.core import pool_container

            found["django-db-connection-pool"] = {
                "ENGINE": DJ_POOLS[connection.vendor],
                "POOL_OPTIONS": {"POOL_SIZE": TOGETHER, "MAX_OVERFLOW": 0},
            }
            stack.callback(pool_container.clear)
            stack.callback(pool_container.dispose)
        if connection.vendor == "postgresql":
            front = stack.enter_context(pgbouncer(dict(os.environ), "session"))
            found["PgBouncer"] = {"HOST": front["PGHOST"], "PORT": front["PGPORT"]}
            pool = {"min_size": TOGETHER, "max_size": TOGETHER}
            found["psycopg's pool"] = {"OPTIONS": {**default["OPTIONS"], "pool": pool}}
            stack.callback(lambda: connections["psycopg's pool"].close_pool())
        connections.settings |= {alias: default | own for alias, own in found.items()}
        yield [*found]


def growth(most: str) -> Round:
    """Time what may depend on how many other threads, up to `most`, are connected."""
    from django.db import connections

    timed = {}
    for number in filter(int(most).__ge__, OTHERS):
        with other_threads(number):
            beside = f"beside {number:,} threads"
            timed[f"thread {beside}"] = in_turn(closed(query), 50)
            timed[f"fork {beside}"] = median(fork() for _ in range(9))
            if is_patched():
                timed[f"live() {beside}"] = seconds_per_call(connections.live, 10)
    return timed


@contextmanager
def other_threads(number: int) -> Iterator[None]:
    """Have so many threads with an open connection each."""
    from django.db import connections

    # If 1,000 connect at once, some of them fail on MariaDB.
    gate = Semaphore(TOGETHER)
    with ThreadPoolExecutor(number) as executor:

        def in_each(function: Callable[[], object]) -> None:
            barrier = Barrier(number)

            def call() -> None:
                barrier.wait()  # so that no thread gets two calls
                with gate:
                    function()

            for future in [executor.submit(call) for _ in range(number)]:
                future.result()

        in_each(query)
        try:
            yield
        finally:
            in_each(connections.close_all)


def fork() -> float:
    """Return how many seconds it takes until the child runs Python code."""
    reader, writer = os.pipe()
    started = time.perf_counter()
    if (pid := os.fork()) == 0:
        try:
            # The clock is the system's.
            os.write(writer, str(time.perf_counter() - started).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        seconds = float(pipe.read())
    os.waitpid(pid, 0)
    return seconds


def turns(number: str) -> Round:
    """Time so many threads one after another, thousands in all rounds."""
    return {"thread in turn": in_turn(closed(query), int(number))}


SETS = {"calls": calls, "saves": saves, "growth": growth, "turns": turns}


def main(name: str, rounds: str, *args: str) -> None:
    with database():
        # Switched on, the garbage collector would close what stock Django leaves open
        # now and then, in the midst of another case.
        gc.disable()
        for _ in range(int(rounds)):
            say(**SETS[name](*args))


if __name__ == "__main__":
    main(*sys.argv[1:])
