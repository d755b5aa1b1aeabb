"""
Query in greenlets, as the arguments say, and count the connections that they
leave open.
"""

import sys

_, library, kind, query = sys.argv

# Before anything else is imported.
if library == "gevent":
    import gevent.monkey
    import gevent.pool

    gevent.monkey.patch_all()
else:
    import eventlet

    eventlet.monkey_patch()

import functools  # NOQA: E402
import gc  # NOQA: E402
import threading  # NOQA: E402

from ..processes import setup  # NOQA: E402

setup()

from django.db import connection, transaction  # NOQA: E402

from ..utils import ThreadConnectionsTestCase  # NOQA: E402

NUMBER = 20
TIMEOUT = 10
served = []


def run_greenlets(target):
    if library == "gevent":
        pool = gevent.pool.Pool()
        wait = functools.partial(pool.join, TIMEOUT)
    else:
        pool = eventlet.GreenPool()
        wait = pool.waitall
    for _ in range(NUMBER):
        pool.spawn(target)
    wait()


def run_threads(target):
    threads = [threading.Thread(target=target, daemon=True) for _ in range(NUMBER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)


def save():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO thread_connections_item (name) VALUES ('item')")
    served.append(True)


def begin():
    transaction.atomic().__enter__()
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM thread_connections_item")
    served.append(True)


gc.disable()
run = {"greenlets": run_greenlets, "threads": run_threads}[kind]
run({"save": save, "begin": begin}[query])
if len(served) != NUMBER:
    sys.exit(f"{len(served)} of {NUMBER} were served.")
if library == "gevent":
    # Greenlets may be joined before the hub closes their connections.
    gevent.idle()
if connection.vendor == "postgresql":
    # Connections that greenlets returned to the pool are open.
    connection.close_pool()
ThreadConnectionsTestCase().assertOpenConnections(0)
