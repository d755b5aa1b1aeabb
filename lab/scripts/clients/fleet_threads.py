"""Threads that each save a row; whenever one has ended, another one begins."""

import sys
import time
from threading import Thread

from django.db import DatabaseError

from jobs import save
from lab.scripts.common import say


def main(together: int, wait: float, threads: int) -> None:
    """Run `threads` threads, which stay `wait` seconds each, `together` at a time."""
    numbers = iter(range(threads))
    errors = []

    def work() -> None:
        try:
            save()
        except DatabaseError as error:
            errors.append(str(error))
        else:
            time.sleep(wait)  # as for another service

    def keep_working() -> None:
        for _ in numbers:
            thread = Thread(target=work)
            thread.start()
            thread.join()

    starters = [Thread(target=keep_working) for _ in range(together)]
    say()
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    say(errors=errors)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
