"""
Projects whose tests leave connections open, run in processes of their own.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from django.db import connections

SETTINGS = """
INSTALLED_APPS = ["app"]
DATABASES = {databases!r}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "secret"
USE_TZ = True
"""

MANAGE = """
import multiprocessing, os, sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    if method := os.environ.get("START_METHOD"):
        multiprocessing.set_start_method(method)
    execute_from_command_line(sys.argv)
"""

MODELS = """
from django.db import models


class Item(models.Model):
    name = models.CharField(max_length=100)
"""

IMPORTS = """
import threading
import unittest

from django.db import close_old_connections, connection, connections, transaction
from django.test import LiveServerTestCase, TestCase, TransactionTestCase
from django.test.runner import DiscoverRunner

from app.leaks import forever, leak, start
from app.models import Item
"""

LEAKS = Path(__file__).with_name("leaks.py").read_text()

PYTEST = """
[pytest]
python_files = tests.py
"""


class Project:
    """
    A project with one app, which has one model, Item. Outside of its tests it
    uses the current test databases.
    """

    # Seconds after which a run is said to hang.
    time_limit = 20

    def __init__(self, tests, settings="", **test_settings):
        self.folder = Path(tempfile.mkdtemp(prefix="leaked_connections_"))
        databases = {
            alias: self.get_settings(connections[alias].settings_dict, test_settings)
            for alias in ["default", "other"]
        }
        files = {
            "manage.py": MANAGE,
            "pytest.ini": PYTEST,
            "settings.py": SETTINGS.format(databases=databases) + settings,
            "app/__init__.py": "",
            "app/leaks.py": LEAKS,
            "app/models.py": MODELS,
            "app/tests.py": IMPORTS + tests,
        }
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content.lstrip())

    def get_settings(self, database, test_settings):
        return {
            **database,
            "TEST": {
                "CHARSET": database["TEST"]["CHARSET"],
                "NAME": f"{database['NAME']}_leaked",
                **test_settings,
            },
        }

    def remove(self):
        shutil.rmtree(self.folder)

    def run(self, *args, **env):
        """
        Run Python with the given arguments in the project's folder. Return the
        exit code and the output, or raise TimeoutExpired if it hangs.
        """
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [sys.executable, *args],
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    # Compile Django once, even if its tree is read-only.
                    "PYTHONDONTWRITEBYTECODE": "",
                    "PYTHONPYCACHEPREFIX": tempfile.gettempdir(),
                    "DJANGO_SETTINGS_MODULE": "settings",
                    "RUNNING_DJANGOS_TEST_SUITE": "false",
                    **env,
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                # Its worker processes have to end with it.
                start_new_session=True,
            )
            try:
                process.wait(self.time_limit)
            except subprocess.TimeoutExpired as e:
                output.seek(0)
                e.add_note(output.read())
                raise
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            return process.returncode, output.read()
