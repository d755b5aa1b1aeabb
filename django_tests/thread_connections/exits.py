"""
End a process in the way that the argument names while threads are querying.
"""

import atexit
import os
import signal
import sys
import threading

from django.db import connection

from .processes import setup

# Each takes the given number of seconds, more or less.
LONG_QUERIES = {
    "mysql": "SELECT SLEEP(%s)",
    "postgresql": "SELECT pg_sleep(%s)",
    "sqlite": (
        "WITH RECURSIVE counter(n) AS ("
        "SELECT 1 UNION ALL SELECT n + 1 FROM counter LIMIT 2000000 * %s"
        ") SELECT MAX(n) FROM counter"
    ),
}


def query(seconds):
    with connection.cursor() as cursor:
        cursor.execute(LONG_QUERIES[connection.vendor], [seconds])
        cursor.fetchall()


def query_forever():
    while True:
        query(0.2)


def query_and_exit():
    query(0)
    sys.exit(3)


def query_and_fail():
    query(0)
    raise ValueError("failed")


def start_threads(target, number=4, **kwargs):
    """Start threads and return when they have begun to query."""
    connected = threading.Barrier(number + 1)

    def run():
        connection.ensure_connection()
        connected.wait(30)
        target()

    threads = [threading.Thread(target=run, **kwargs) for _ in range(number)]
    for thread in threads:
        thread.start()
    connection.ensure_connection()
    connected.wait(30)
    query(0.05)
    return threads


def end_of_main_thread():
    start_threads(lambda: query(0.2))


def exit_of_threads():
    for thread in start_threads(query_and_exit):
        thread.join()
    query(0)


def end_with_daemon_threads():
    start_threads(query_forever, daemon=True)


def sys_exit():
    start_threads(query_forever, daemon=True)
    sys.exit(3)


def os_exit():
    start_threads(query_forever, daemon=True)
    os._exit(3)


def exception():
    start_threads(query_forever, daemon=True)
    query_and_fail()


def exception_at_exit():
    atexit.register(query_and_fail)
    start_threads(query_forever, daemon=True)


def sigterm():
    start_threads(query_forever, daemon=True)
    signal.raise_signal(signal.SIGTERM)


def sigterm_with_handler():
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(3))
    sigterm()


if __name__ == "__main__":
    setup()
    globals()[sys.argv[1]]()
