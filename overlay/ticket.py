"""The script of Django ticket #9878: threads that each save one object.

prove runs it in a process of its own, with stock and with patched Django. It says what
it has done in JSON, a line each time, and goes on when it has read a line: meanwhile
prove counts its connections.
"""

import gc
import json
import sys
import threading
import time

import django
from django.conf import settings


def main(threads: int) -> None:
    """Run the script in a test database that is destroyed at the end."""
    settings.INSTALLED_APPS = ["thread_connections"]
    django.setup()
    from django.db import connection
    from thread_connections.models import Item

    database = connection.creation.create_test_db(verbosity=0, autoclobber=True)
    # From here on only the threads have connections.
    connection.close()
    say(database=database)

    workers = [
        threading.Thread(target=Item.objects.create, kwargs={"name": f"item {number}"})
        for number in range(threads)
    ]
    started = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    say(started=started, joined=time.monotonic())

    gc.collect()
    say(collected=time.monotonic())

    say(rows_saved=Item.objects.count())
    connection.creation.destroy_test_db(database, verbosity=0)


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(int(sys.argv[1]))
