"""dramatiq with Redis: an actor, and its messages when this is run."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

import jobs

dramatiq.set_broker(RedisBroker(url=f"unix://{os.environ['REDIS_SOCKET']}"))


@dramatiq.actor
def save():
    jobs.save()


if __name__ == "__main__":
    for _ in range(jobs.ROWS):
        save.send()
