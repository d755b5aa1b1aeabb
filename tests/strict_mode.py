"""
What common libraries and servers may do with CONN_SCOPE_REQUIRED, and what they leave
open: `tox -e examples`, for docs/measurements.md.

Its name keeps this module out of `tox -e tool`, which lacks the libraries.
"""

import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from .conftest import write
from .projects import create_project, environment, run_script

SETTINGS = """
DATABASES["default"].update(CONN_SCOPE_REQUIRED=True, CONN_MAX_AGE=0)
INSTALLED_APPS += ["channels", "commands"]
ALLOWED_HOSTS = ["*"]
"""

OUTCOMES = """
from blog.models import Entry
from django.core.exceptions import ImplicitConnectionError
from django.db import connections


def use():
    try:
        Entry.objects.count()
    except ImplicitConnectionError:
        return "refused"
    return "allowed"


async def ause():
    try:
        await Entry.objects.acount()
    except ImplicitConnectionError:
        return "refused"
    return "allowed"


def is_open():
    return "left open" if connections.live() else "closed"
"""

URLS = """
import asyncio

from asgiref.sync import sync_to_async
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path, re_path
from outcomes import ause, is_open, use

tasks = []


def sync(request):
    return HttpResponse(use())


async def async_(request):
    return HttpResponse(await ause())


async def not_thread_sensitive(request):
    return HttpResponse(await sync_to_async(use, thread_sensitive=False)())


async def to_thread(request):
    return HttpResponse(await asyncio.to_thread(use))


async def task(request):
    async def use_later():
        await asyncio.sleep(0.5)
        return await ause()

    tasks.append(asyncio.create_task(use_later()))
    return HttpResponse()


async def task_outcome(request):
    return HttpResponse(await tasks.pop())


async def open_(request):
    return HttpResponse(is_open())


urlpatterns = [
    path("sync", sync),
    path("async", async_),
    path("not_thread_sensitive", not_thread_sensitive),
    path("to_thread", to_thread),
    path("task", task),
    path("task_outcome", task_outcome),
    path("open", open_),
]


def messages(outcome):
    yield {"type": "http.response.start", "status": 200, "headers": []}
    yield {"type": "http.response.body", "body": outcome.encode()}


class Async(AsyncConsumer):
    async def use(self):
        return await ause()

    async def http_request(self, message):
        for reply in messages(await self.use()):
            await self.send(reply)

    async def http_disconnect(self, message):
        pass


class AsyncWithFunction(Async):
    async def use(self):
        return await database_sync_to_async(use)()


class Sync(SyncConsumer):
    def http_request(self, message):
        for reply in messages(use()):
            self.send(reply)

    def http_disconnect(self, message):
        pass


application = URLRouter(
    [
        path("consumer_async", Async.as_asgi()),
        path("consumer_function", AsyncWithFunction.as_asgi()),
        path("consumer_sync", Sync.as_asgi()),
        re_path("", get_asgi_application()),
    ]
)
"""

ASGI = "import django\ndjango.setup()\nfrom urls import application\n"

COMMAND = """
import asyncio
from django.core.management.base import BaseCommand
from outcomes import ause


class Command(BaseCommand):
    def handle(self, **options):
        async def run():
            print(await ause(), end=", ")

        asyncio.run(run())
"""

SERVERS = {
    "gunicorn": (
        ["gunicorn", "--bind=127.0.0.1:0", "--threads=2", "--keep-alive=0"],
        "django.core.wsgi:get_wsgi_application()",
        r"Listening at: http://127.0.0.1:(\d+)",
    ),
    "uvicorn": (["uvicorn", "--port=0"], "asgi:application", r"127.0.0.1:(\d+)"),
    "daphne": (["daphne", "--port=0"], "asgi:application", r"127.0.0.1:(\d+)"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write(folder / "commands/management/commands/acount.py", COMMAND)
    write(folder / "outcomes.py", OUTCOMES)
    write(folder / "asgi.py", ASGI)
    create_project(folder, SETTINGS)
    write(folder / "urls.py", URLS)
    return folder


@contextmanager
def serve(project, name):
    """Run the server, and yield a function that returns the body of a response."""
    command, application, pattern = SERVERS[name]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, application],
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def get(path):
        with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as response:
            return response.read().decode()

    try:
        for line in process.stdout:
            if match := re.search(pattern, line):
                port = match[1]
                break
        yield get
    finally:
        process.terminate()
        process.communicate()


def closed(get):
    """Return what is_open() says, which may take a moment after a response."""
    deadline = time.monotonic() + 3
    while (state := get("open")) != "closed" and time.monotonic() < deadline:
        time.sleep(0.05)
    return state


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (
            "gunicorn",
            {
                "sync": "allowed, closed",
                "async": "allowed, closed",
                "not_thread_sensitive": "refused, closed",
                "to_thread": "refused, closed",
            },
        ),
        (
            "uvicorn",
            {
                "sync": "allowed, closed",
                "async": "allowed, closed",
                "not_thread_sensitive": "refused, closed",
                "to_thread": "refused, closed",
                "task": "refused, closed",
            },
        ),
        (
            "daphne",
            {
                "sync": "allowed, closed",
                "async": "allowed, closed",
                "not_thread_sensitive": "refused, closed",
                "to_thread": "refused, closed",
                "task": "refused, closed",
                "consumer_async": "allowed, closed",
                "consumer_function": "allowed, closed",
                "consumer_sync": "allowed, closed",
            },
        ),
    ],
)
def test_server(server, expected, project):
    found = {}
    with serve(project, server) as get:
        for path in expected:
            outcome = get(path)
            if path == "task":
                outcome = get("task_outcome")
            found[path] = f"{outcome}, {closed(get)}"
            print(f"{server}, {path}: {found[path]}")
    assert found == expected


CELERY = """
import os, signal, sys, threading, time
from celery import Celery
from django.db import connections
from outcomes import *

app = Celery("blog", broker="memory://", backend="cache+memory://")
app.task(name="use")({task})

def run():
    outcome = app.send_task("use").get(timeout=30, disable_sync_subtasks=False)
    time.sleep(0.5)
    result.extend([outcome, is_open()])
    os.kill(os.getpid(), signal.SIGTERM)

result = []
threading.Thread(target=run).start()
try:
    app.worker_main(["worker", "--pool={pool}", "--concurrency=2", "--loglevel=ERROR"])
finally:
    # The worker logs what is printed.
    sys.__stdout__.write("\\n" + ", ".join(result) + "\\n")
"""

SCHEDULER = """
import threading
from apscheduler.events import EVENT_JOB_EXECUTED
from apscheduler.schedulers.background import BackgroundScheduler
from outcomes import *

scheduler = BackgroundScheduler()
done = threading.Event()
result = []
scheduler.add_listener(
    lambda event: (result.append(event.retval), done.set()), EVENT_JOB_EXECUTED
)
scheduler.add_job({job})
scheduler.start()
assert done.wait(30)
print(*result, is_open(), sep=", ")
scheduler.shutdown()
"""

EXECUTOR = """
from concurrent.futures import ThreadPoolExecutor
from outcomes import *

with ThreadPoolExecutor({initializer}) as executor:
    print(executor.submit(use).result(), is_open(), sep=", ")
"""

COMMAND_SCRIPT = """
from django.core.management import call_command
from outcomes import *

call_command("acount")
print(is_open())
"""

# A consumer that waits for its next message, as one of an idle WebSocket does.
CONSUMER = """
import asyncio, time
from asgiref.testing import ApplicationCommunicator
from outcomes import *
from urls import Async, AsyncWithFunction, Sync

class AsyncInScope(Async):
    http_request = connections.scope()(Async.http_request)

async def run():
    communicator = ApplicationCommunicator({consumer}.as_asgi(), {{"type": "http"}})
    await communicator.send_input({{"type": "http.request"}})
    await communicator.receive_output(30)
    body = (await communicator.receive_output(30))["body"].decode()
    await asyncio.sleep(0.5)
    print(body, is_open(), sep=", ")

asyncio.run(run())
"""

SCOPED = "connections.scope()(use)"


@pytest.mark.parametrize(
    ("name", "script", "expected"),
    [
        ("Celery, solo", CELERY.format(pool="solo", task="use"), "allowed, closed"),
        (
            "Celery, threads",
            CELERY.format(pool="threads", task="use"),
            "refused, closed",
        ),
        (
            "Celery, threads, scope",
            CELERY.format(pool="threads", task=SCOPED),
            "allowed, closed",
        ),
        ("APScheduler", SCHEDULER.format(job="use"), "refused, closed"),
        ("APScheduler, scope", SCHEDULER.format(job=SCOPED), "allowed, closed"),
        ("executor", EXECUTOR.format(initializer=""), "refused, closed"),
        (
            "executor, initializer",
            EXECUTOR.format(initializer="initializer=connections.scope().__enter__"),
            "allowed, left open",
        ),
        (
            "Channels, acount()",
            CONSUMER.format(consumer="Async"),
            "allowed, left open",
        ),
        (
            "Channels, acount(), scope",
            CONSUMER.format(consumer="AsyncInScope"),
            "allowed, closed",
        ),
        (
            "Channels, database_sync_to_async()",
            CONSUMER.format(consumer="AsyncWithFunction"),
            "allowed, closed",
        ),
        (
            "Channels, SyncConsumer",
            CONSUMER.format(consumer="Sync"),
            "allowed, closed",
        ),
        ("command, asyncio.run(acount())", COMMAND_SCRIPT, "allowed, left open"),
    ],
)
def test_library(name, script, expected, project):
    found = run_script(project, script).strip().splitlines()[-1]
    print(f"{name}: {found}")
    assert found == expected
