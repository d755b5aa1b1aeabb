"""
Time what the patches touch with the Django that is on the path.

It runs as many rounds as the argument says, and says how many seconds each case took
per call. `python -m benchmarks` runs it, by lab.script.Script.
"""

import gc
import sys
import time
from collections.abc import Callable
from threading import Thread

from lab.scripts.common import database, say


def seconds_per_call(function: Callable[[], object], calls: int) -> float:
    """Return how long a call of `function` takes; what it left is collected after."""
    started = time.perf_counter()
    for _ in range(calls):
        function()
    seconds = (time.perf_counter() - started) / calls
    gc.collect()
    return seconds


def cases() -> dict[str, tuple[Callable[[], object], int]]:
    """Return functions to call and how often, by what is shown of them."""
    from django.db import connection, connections

    def query() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    def connect() -> None:
        connection.ensure_connection()
        connection.close()

    def query_and_close() -> None:
        try:
            query()
        finally:
            connections.close_all()

    def run_thread(target: Callable[[], None]) -> None:
        thread = Thread(target=target)
        thread.start()
        thread.join()

    found = {
        "connections[alias]": (lambda: connections["default"], 50_000),
        "query": (query, 2_000),
        "connect and close": (connect, 100),
        "thread that closes by hand": (lambda: run_thread(query_and_close), 50),
        "thread that leaves it to Django": (lambda: run_thread(query), 50),
    }
    if hasattr(connections, "scope"):
        found["thread with a scope"] = (
            lambda: run_thread(connections.scope()(query)),
            50,
        )
    return found


def main(rounds: int) -> None:
    with database():
        timed = cases()
        # Switched on, the garbage collector would close what stock Django leaves open
        # now and then, in the midst of another case.
        gc.disable()
        for _ in range(rounds):
            say(**{name: seconds_per_call(*case) for name, case in timed.items()})


if __name__ == "__main__":
    main(int(sys.argv[1]))
