"""
Projects whose tests leave threads and connections, run in processes of their
own.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from django.db import connection, connections
from django.test import SimpleTestCase

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
import time
import unittest

from django.db import close_old_connections, connection, connections, transaction
from django.test import LiveServerTestCase, TestCase, TransactionTestCase
from django.test.runner import DiscoverRunner

from app.leaks import forever, leak, start
from app.models import Item
"""

LEAKS = Path(__file__).with_name("leaks.py").read_text()


class Project:
    """
    A project with one app, which has one model, Item. Outside of its tests it
    uses the current test databases.
    """

    # Seconds after which a run is said to hang.
    time_limit = 40

    def __init__(self, tests, settings="", **test_settings):
        self.folder = Path(tempfile.mkdtemp(prefix="project_"))
        databases = {
            alias: self.get_settings(connections[alias].settings_dict, test_settings)
            for alias in ["default", "other"]
        }
        files = {
            "manage.py": MANAGE,
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


class ProjectTestCase(SimpleTestCase):
    databases = {"default", "other"}
    # Of the databases of worker processes.
    worker_suffixes = ["_1", "_2"]
    maxDiff = None

    def setUp(self):
        if connection.vendor == "sqlite" and connection.is_in_memory_db():
            self.skipTest("Other processes can't use in-memory databases.")
        self.name = connection.settings_dict["NAME"]
        # Runs that failed, or were killed, have left databases behind.
        self.drop_databases()
        self.addCleanup(self.drop_databases)

    def drop_databases(self):
        for alias in self.databases:
            conn = connections[alias]
            for suffix in ["", *self.worker_suffixes]:
                name = f"{conn.settings_dict['NAME']}_leaked{suffix}"
                if conn.vendor == "sqlite":
                    Path(name).unlink(missing_ok=True)
                    continue
                with conn.cursor() as cursor:
                    force = " WITH (FORCE)" if conn.vendor == "postgresql" else ""
                    cursor.execute(f"DROP DATABASE IF EXISTS {name}{force}")

    def get_database_names(self):
        """Return the names of the test databases that projects have left."""
        if connection.vendor == "sqlite":
            paths = Path(self.name).parent.glob("*_leaked*")
            return [path.name for path in paths]
        with connection.cursor() as cursor:
            cursor.execute(
                {
                    "mysql": "SELECT schema_name FROM information_schema.schemata",
                    "postgresql": "SELECT datname FROM pg_database",
                }[connection.vendor]
            )
            return [name for (name,) in cursor.fetchall() if "_leaked" in name]

    def create_project(self, tests, **kwargs):
        project = Project(tests, **kwargs)
        self.addCleanup(project.remove)
        return project

    def run_tests(self, project, *options, exit_code=0, **env):
        """
        Run the project's tests with Django's runner and return the output.
        """
        code, output = project.run("manage.py", "test", "--noinput", *options, **env)
        self.assertEqual(code, exit_code, output)
        return output
