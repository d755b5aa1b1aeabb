"""
What projects do by hand to close the connections of their threads, written
with connections.scope().
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from django.contrib.auth.models import Group
from django.db import connections


# A decorator that calls close_old_connections() or close_all() after a job, as
# for schedulers.
@connections.scope()
def save(name):
    Group.objects.create(name=name)


def run_timers(names):
    timers = [threading.Timer(0, save, [name]) for name in names]
    for timer in timers:
        timer.start()
    for timer in timers:
        timer.join()


# An executor that wraps what's submitted to it: each call has connections of
# its own ...
def save_all(names):
    with ThreadPoolExecutor(max_workers=3) as executor:
        list(executor.map(save, names))


# ... or each thread of the executor has, which is faster.
def save_all_with_initializer(names):
    with ThreadPoolExecutor(
        max_workers=3, initializer=connections.scope().__enter__
    ) as executor:
        list(executor.map(lambda name: Group.objects.create(name=name), names))


# A Thread subclass that closes connections at the end of run().
class SavingThread(threading.Thread):
    def __init__(self, name):
        super().__init__()
        self.group_name = name

    @connections.scope()
    def run(self):
        Group.objects.create(name=self.group_name)


# Hooks before and after the tasks of a queue.
def consume(queue):
    while (task := queue.get()) is not None:
        with connections.scope():
            task()


# A health check that queries each database and closes its connections.
@connections.scope()
def check_databases():
    unavailable = []
    for alias in connections:
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")
        except Exception:
            unavailable.append(alias)
    return unavailable


# A variant of sync_to_async() for code that may run in any thread.
def database_sync_to_async(func):
    return sync_to_async(connections.scope()(func), thread_sensitive=False)


# The same for asyncio.to_thread().
async def save_in_threads(names):
    await asyncio.gather(*[asyncio.to_thread(save, name) for name in names])


# Tasks that run in the background of an event loop.
@connections.scope()
async def save_in_task(name):
    await Group.objects.acreate(name=name)


# An ASGI middleware that closes persistent connections at the end of requests,
# or of WebSockets. The context is the one that Django would enter.
class ScopeMiddleware:
    def __init__(self, application):
        self.application = application

    async def __call__(self, scope, receive, send):
        async with ThreadSensitiveContext(), connections.scope():
            await self.application(scope, receive, send)
