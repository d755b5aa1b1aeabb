"""
Run the code blocks of docs/examples.md: `tox -e examples`.

Its name keeps this module out of `tox -e tool`, which lacks the libraries.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from lab import ROOT

from .conftest import write
from .projects import create_project, environment, run_script

DOCUMENT = (ROOT / "docs/examples.md").read_text()

# Other threads may close connections a moment later than they hand over a result.
HELPERS = """
import time
from django.db import connections
from blog.models import Entry

def assert_closed():
    deadline = time.monotonic() + 5
    while (live := connections.live()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert live == [], live
"""


def sections() -> dict[str, str]:
    """Return the Python code of each section of the document, by its title."""
    parts = re.split(r"^## (.+)\n", DOCUMENT, flags=re.MULTILINE)[1:]
    return {
        title.lower(): "\n\n".join(
            re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        )
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    create_project(folder, 'DATABASES["default"]["CONN_SCOPE_REQUIRED"] = True')
    write(folder / "examples/__init__.py", "")
    for title, code in sections().items():
        write(folder / f"examples/{title}.py", code)
    write(folder / "helpers.py", HELPERS)
    return folder


@pytest.fixture
def project(template, tmp_path) -> Path:
    """A project with a module for each section, `examples.executor` for one."""
    return shutil.copytree(template, tmp_path / "project")


def test_each_section_is_run():
    names = {name.removeprefix("test_") for name in globals()}
    assert sections().keys() <= names
    assert all(sections().values())
    assert "```python" not in DOCUMENT.partition("\n## ")[0]


def test_executor(project):
    run_script(
        project,
        """
        from examples.executor import count_words, import_entries
        from helpers import *

        entries = import_entries(["one two", "three"])
        assert_closed()
        assert count_words(entries) == 3
        assert_closed()
        """,
        "-Werror",
    )


def test_apscheduler(project):
    run_script(
        project,
        """
        from datetime import datetime
        from threading import Event
        from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
        from apscheduler.util import obj_to_ref, ref_to_obj
        from examples.apscheduler import delete_drafts, scheduler
        from helpers import *

        Entry.objects.create(title="draft")
        connections.close_all()
        done = Event()
        scheduler.add_listener(
            lambda event: done.set(), EVENT_JOB_EXECUTED | EVENT_JOB_ERROR
        )
        scheduler.start()
        scheduler.modify_job("delete_drafts", next_run_time=datetime.now().astimezone())
        assert done.wait(30)
        assert_closed()
        assert not Entry.objects.exists()
        scheduler.shutdown()
        assert ref_to_obj(obj_to_ref(delete_drafts)) is delete_drafts
        """,
    )


def test_celery(project):
    """The worker runs in the main thread, its tasks run in others."""
    run_script(
        project,
        """
        import os, signal, threading
        from examples.celery import app, import_entry
        from helpers import *

        app.conf.update(broker_url="memory://", result_backend="cache+memory://")
        found = []

        def use():
            try:
                results = [import_entry.delay(title) for title in "abc"]
                for result in results:
                    request_id, pk = result.get(timeout=30, disable_sync_subtasks=False)
                    assert request_id == result.id
                assert_closed()
                assert connections.scope()(Entry.objects.count)() == 3
                found.append(True)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=use).start()
        try:
            app.worker_main(["worker", "--pool=threads", "--concurrency=2"])
        finally:
            assert found
        """,
    )


def test_channels(project):
    run_script(
        project,
        """
        import asyncio
        from channels.testing import WebsocketCommunicator
        from examples.channels import EntryConsumer
        from helpers import *

        async def run():
            communicator = WebsocketCommunicator(EntryConsumer.as_asgi(), "/")
            assert (await communicator.connect())[0]
            await communicator.send_json_to({"title": "one"})
            reply = await communicator.receive_json_from(30)
            # The handler goes on after its reply.
            for _ in range(100):
                await asyncio.sleep(0.01)
                if not connections.live():
                    break
            assert connections.live() == []
            await communicator.disconnect()
            return reply["pk"]

        assert Entry.objects.get(pk=asyncio.run(run())).title == "one"
        """,
    )


def test_asyncio(project):
    run_script(
        project,
        """
        import asyncio
        from examples.asyncio import count_all_words, import_entries
        from helpers import *

        async def run():
            entries = await import_entries(["one two"] * 20)
            assert connections.live() == []
            assert await count_all_words(entries) == 40
            assert connections.live() == []

        asyncio.run(run())
        """,
    )


URLS = """
from blog.models import Entry
from django.db import transaction
from django.http import HttpResponse
from django.urls import path
from examples.prometheus import metrics


def count(request):
    with transaction.atomic():
        return HttpResponse(str(Entry.objects.count()))


urlpatterns = [path("count", count), path("metrics", metrics)]
"""


@pytest.fixture
def gunicorn(project):
    """Return the process of gunicorn, its output, and the address that it serves."""
    write(project / "urls.py", URLS)
    (project / "examples/gunicorn.py").rename(project / "gunicorn.conf.py")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:0"),
            *("--threads=1", "django.core.wsgi:get_wsgi_application()"),
        ],
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def output_until(process: subprocess.Popen, pattern: str) -> re.Match:
    """Return the match of the first line that has one."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if match := re.search(pattern, line):
            return match
    raise AssertionError("".join(seen))


def test_gunicorn(gunicorn):
    address = output_until(gunicorn, r"Listening at: (\S+)")[1]
    worker = int(output_until(gunicorn, r"Booting worker with pid: (\d+)")[1])
    with urlopen(f"{address}/count") as response:
        assert response.read() == b"0"
    os.kill(worker, signal.SIGUSR2)
    output_until(
        gunicorn,
        rf"^\[{worker}\] default: session None, thread .+, opened 0:00:\S+ ago in "
        r".*/urls\.py:10$",
    )


def test_prometheus(gunicorn):
    address = output_until(gunicorn, r"Listening at: (\S+)")[1]
    with urlopen(f"{address}/count"), urlopen(f"{address}/metrics") as response:
        text = response.read().decode()
    metric, label = re.search(r"(\w+)\{(\w+)=\"True\"\} > ", DOCUMENT).groups()
    assert re.search(
        rf'^{metric}{{.*alias="default",{label}="False",line=".*/urls\.py:10",'
        r'.*thread=".+".*} [\d.]+$',
        text,
        re.MULTILINE,
    ), text
