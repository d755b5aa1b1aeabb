"""A Django project in a folder, and scripts that run in it on patched Django."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from lab import trees
from overlay.series import read_all

from .conftest import write

SETTINGS = """
from pathlib import Path

INSTALLED_APPS = ["blog"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(__file__).with_name("database"),
        "CONN_MAX_AGE": 600,
        "OPTIONS": {"timeout": 60},
    }
}
ROOT_URLCONF = "urls"
SECRET_KEY = "secret"
USE_TZ = True
"""

MODELS = """
from django.db import models


class Entry(models.Model):
    title = models.TextField()

    def count_words(self):
        self.refresh_from_db()
        return len(self.title.split())
"""


def create_project(folder: Path, settings: str = "") -> Path:
    """Write a project with one model, `blog.models.Entry`, and create its database."""
    write(folder / "settings.py", SETTINGS + settings)
    write(folder / "urls.py", "urlpatterns = []")
    write(folder / "blog/__init__.py", "")
    write(folder / "blog/models.py", MODELS)
    run_script(
        folder,
        "from django.core.management import call_command\n"
        "call_command('migrate', run_syncdb=True, verbosity=0)",
    )
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a process that uses the project and patched Django."""
    series, release = trees.choose(None, read_all())
    tree = trees.build(series, release, patched=True)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [folder, tree])),
        "DJANGO_SETTINGS_MODULE": "settings",
    }


def run_script(folder: Path, script: str, *options: str) -> str:
    """
    Run a script in the project, with `options` of Python; return what it writes.

    Raise AssertionError, with what it has written, if it fails.
    """
    script = f"import django\ndjango.setup()\n{textwrap.dedent(script)}"
    process = subprocess.run(
        [sys.executable, *options, "-c", script],
        check=False,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0, process.stdout
    return process.stdout
