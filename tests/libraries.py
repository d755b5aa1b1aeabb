"""
Which line is named if a library stands between the user's code and a connection:
`tox -e examples`; with `-rP` it prints what docs/measurements.md says.

Its name keeps this module out of `tox -e tool`, which lacks the libraries.
"""

import json
import shutil
from dataclasses import dataclass

import pytest

from .conftest import write
from .projects import create_project, run_script

SETTINGS = """
INSTALLED_APPS += [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "rest_framework",
    "silk",
]
SESSION_ENGINE = "django.contrib.sessions.backends.file"
"""

# The innermost line outside of Django is the one that used to be named.
SCRIPT = """
import json, sys, threading, warnings
import django
from django.db import connections

def get_new_connection(*args):
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(django.__path__[0]):
        frame = frame.f_back
    innermost.append(f"{{frame.f_code.co_filename}}:{{frame.f_lineno}}")
    return real_get_new_connection(*args)

{setup}
connections.close_all()
innermost = []
wrapper_class = type(connections["default"])
real_get_new_connection = wrapper_class.get_new_connection
wrapper_class.get_new_connection = get_new_connection
import importer
with warnings.catch_warnings(record=True) as recorded:
    warnings.simplefilter("always", ResourceWarning)
    {run}
[warning] = [w for w in recorded if "ended without closing" in str(w.message)]
print(json.dumps([innermost[0], f"{{warning.filename}}:{{warning.lineno}}"]))
"""
THREAD = """thread = threading.Thread(target=importer.use)
    thread.start()
    thread.join()"""


@dataclass
class Case:
    """
    What the user's function does, in its only line, and what's called by which way.

    `innermost` and `named` are the ends of the files of the lines that used to be
    named, and are now.
    """

    line: str
    innermost: str
    named: str = "/importer.py"
    imports: str = ""
    settings: str = ""
    setup: str = ""
    run: str = THREAD


SCHEDULE = """scheduler = BackgroundScheduler()
    done = threading.Event()
    scheduler.add_listener(lambda event: done.set(), EVENT_JOB_EXECUTED)
    scheduler.add_job({job})
    scheduler.start()
    assert done.wait(30)
    scheduler.shutdown()"""
SCHEDULER = """
from apscheduler.events import EVENT_JOB_EXECUTED
from apscheduler.schedulers.background import BackgroundScheduler
"""

CASES = {
    "nothing": Case("Entry.objects.count()", "/importer.py"),
    "sentry-sdk": Case(
        "Entry.objects.count()",
        "/sentry_sdk/integrations/django/__init__.py",
        setup="import sentry_sdk\n"
        "sentry_sdk.init(dsn='http://key@127.0.0.1:9/1', traces_sample_rate=1.0)",
    ),
    "django-silk": Case(
        "Entry.objects.count()",
        "/silk/sql.py",
        setup="from django.test import RequestFactory\n"
        "from silk.middleware import SilkyMiddleware\n"
        "SilkyMiddleware(None).process_request(RequestFactory().get('/'))",
    ),
    "django-cachalot": Case(
        "Entry.objects.count()",
        "/cachalot/monkey_patch.py",
        settings='INSTALLED_APPS += ["cachalot"]',
    ),
    "djangorestframework": Case(
        "EntrySerializer(Entry.objects.all(), many=True).data",
        "/rest_framework/serializers.py",
        imports="from rest_framework.serializers import ModelSerializer\n\n"
        "class EntrySerializer(ModelSerializer):\n"
        "    class Meta:\n"
        "        model = Entry\n"
        "        fields = ['title']\n",
    ),
    "APScheduler": Case(
        "Entry.objects.count()",
        "/importer.py",
        setup=SCHEDULER,
        run=SCHEDULE.format(job="importer.use"),
    ),
    # No line of the user's is in the stack of the thread.
    "APScheduler, Django's function": Case(
        "",
        "/apscheduler/executors/base.py",
        "/apscheduler/executors/base.py",
        setup=SCHEDULER,
        run=SCHEDULE.format(job="importer.Entry.objects.count"),
    ),
    "APScheduler, atomic()": Case(
        "Entry.objects.count()",
        "/contextlib.py",
        "/apscheduler/executors/base.py",
        setup=SCHEDULER,
        run=SCHEDULE.format(job="transaction.atomic(importer.use)").replace(
            "scheduler =", "from django.db import transaction\n    scheduler =", 1
        ),
    ),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return create_project(tmp_path_factory.mktemp("template"), SETTINGS)


@pytest.mark.parametrize("library", CASES)
def test_line_of_the_user_is_named(library, template, tmp_path):
    case = CASES[library]
    project = shutil.copytree(template, tmp_path / "project")
    with (project / "settings.py").open("a") as settings:
        settings.write(case.settings)
    write(
        project / "importer.py",
        f"from blog.models import Entry\n{case.imports}\n"
        f"def use():\n    {case.line or 'pass'}\n",
    )
    output = run_script(project, SCRIPT.format(setup=case.setup, run=case.run))
    innermost, named = json.loads(output.splitlines()[-1])
    print(f"{library}: {innermost} -> {named}")
    assert innermost.rpartition(":")[0].endswith(case.innermost)
    assert named.rpartition(":")[0].endswith(case.named)
    if case.named == "/importer.py":
        lines = (project / "importer.py").read_text().splitlines()
        assert lines[int(named.rpartition(":")[2]) - 1].strip() == case.line
