"""Celery with Redis: tasks with threads of their own, and their calls when this is run."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from celery import Celery

import jobs
from lab.scripts.common import say

redis = f"redis+socket://{os.environ['REDIS_SOCKET']}"
app = Celery("fleet_tasks", broker=redis, backend=redis)


@app.task
def save_rows(together: int) -> None:
    with ThreadPoolExecutor(together) as pool:
        saved = [pool.submit(jobs.save) for _ in range(jobs.ROWS)]
    for each in saved:
        each.result()


def main(workers: int, together: int, tasks: int) -> None:
    while len(app.control.ping(limit=workers)) < workers:
        pass
    say()
    results = [save_rows.delay(together) for _ in range(tasks)]
    found = [result.get(timeout=60, propagate=False) for result in results]
    say(errors=[str(error) for error in found if error])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
