"""
A script whose background thread runs the function that the argument names and
prints its result. Scopes are required.
"""

import sys
import threading

from thread_connections.processes import setup

from django.db import connections

setup()


def count():
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
        print(*cursor.fetchone())


def count_in_scope():
    connections.scope()(count)()


if __name__ == "__main__":
    connections.settings["default"]["CONN_SCOPE_REQUIRED"] = True
    thread = threading.Thread(target=globals()[sys.argv[1]])
    thread.start()
    thread.join()
