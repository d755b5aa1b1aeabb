"""The script of Django ticket #9878: threads that each save one object."""

import gc
import sys
import threading
import time

from common import database, say


def main(threads: int) -> None:
    with database() as name:
        from thread_connections.models import Item

        say(database=name)
        workers = [
            threading.Thread(
                target=Item.objects.create, kwargs={"name": f"item {number}"}
            )
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


if __name__ == "__main__":
    main(int(sys.argv[1]))
