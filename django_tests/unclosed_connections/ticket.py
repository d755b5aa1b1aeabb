"""
The script of ticket #9878: threads that use the database and end. If there are
to be no threads, the main thread uses the database.
"""

import sys
import threading

from thread_connections.processes import setup

from django.db import connection

setup()


def use_database():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


if __name__ == "__main__":
    number = int(sys.argv[1])
    if not number:
        use_database()
    threads = [threading.Thread(target=use_database) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
