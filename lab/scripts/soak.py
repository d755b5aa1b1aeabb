"""Many threads that end in every way, at random, and forks among them."""

import gc
import os
import random
import sys
import threading

from common import database, say

TOGETHER = 20  # threads at a time
BATCH = 1000  # threads between two reports


class Expected(Exception):
    """What threads raise on purpose."""


def main(threads: int) -> None:
    default_hook = threading.excepthook

    def hook(args) -> None:
        if args.exc_type is not Expected:
            default_hook(args)

    threading.excepthook = hook
    with database() as name:
        soak = Soak(random.Random(9878))
        # What grows once, such as caches, has grown before the first report.
        for _ in range(2):
            soak.run(BATCH)
        while True:
            gc.collect()
            say(database=name, threads=soak.threads, alive=threading.active_count())
            if soak.threads >= threads:
                break
            soak.run(BATCH)
        say(rows=soak.count_rows(), rows_expected=soak.rows, forks=soak.forks)


class Soak:
    """Threads that end in the ways of `ways`. `threads` of them have ended."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.threads = self.rows = self.forks = 0
        # How many threads of a thousand end that way.
        self.ways = {
            self.save: 600,
            self.save_and_fail: 150,
            self.fail_in_transaction: 100,
            self.leave_transaction_open: 50,
            self.start_threads: 98,
            self.fork: 2,
        }

    def run(self, number: int) -> None:
        """Run `number` threads, and those that they start."""
        for _ in range(number // TOGETHER):
            ways = self.source.choices([*self.ways], [*self.ways.values()], k=TOGETHER)
            self.run_together(ways)

    def run_together(self, ways) -> None:
        workers = [threading.Thread(target=way) for way in ways]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        with lock:
            self.threads += len(workers)

    def save(self) -> None:
        from thread_connections.models import Item

        Item.objects.create(name="item")
        with lock:
            self.rows += 1

    def save_and_fail(self) -> None:
        self.save()
        raise Expected

    def fail_in_transaction(self) -> None:
        from django.db import transaction
        from thread_connections.models import Item

        with transaction.atomic():
            Item.objects.create(name="item that is rolled back")
            raise Expected

    def leave_transaction_open(self) -> None:
        from django.db import transaction
        from thread_connections.models import Item

        transaction.set_autocommit(False)
        Item.objects.create(name="item that is rolled back")

    def start_threads(self) -> None:
        self.save()
        self.run_together([self.save, self.save_and_fail])

    def fork(self) -> None:
        from thread_connections.models import Item

        self.save()
        if (pid := os.fork()) == 0:
            code = 1
            try:
                gc.collect()
                Item.objects.exists()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
        self.save()
        with lock:
            self.forks += 1

    def count_rows(self) -> int:
        from thread_connections.models import Item

        return Item.objects.count()


lock = threading.Lock()

if __name__ == "__main__":
    main(int(sys.argv[1]))
