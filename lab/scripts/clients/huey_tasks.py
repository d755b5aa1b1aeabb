"""huey with Redis: a task, and its calls when this is run."""

import os

from huey import RedisHuey

import jobs

huey = RedisHuey("clients", url=f"unix://{os.environ['REDIS_SOCKET']}")


@huey.task()
def save():
    jobs.save()


if __name__ == "__main__":
    from huey_tasks import save  # the worker knows it by the name of its module

    for _ in range(jobs.ROWS):
        save()
