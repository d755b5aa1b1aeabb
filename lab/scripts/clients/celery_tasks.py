"""Celery with Redis: a task, and its calls when this is run."""

import os

from celery import Celery

import jobs

app = Celery("celery_tasks", broker=f"redis+socket://{os.environ['REDIS_SOCKET']}")


@app.task
def save():
    jobs.save()


if __name__ == "__main__":
    for _ in range(jobs.ROWS):
        save.delay()
