"""Run modules in Python processes of their own that use the test databases."""

import json
import os
import subprocess
import sys
import tempfile

import django
from django.conf import settings
from django.db import connections


def run_module(name, *args, options=()):
    """
    Run a module, which has to call setup(), with Python's options. Return the
    completed process.
    """
    return subprocess.run(
        [sys.executable, *options, "-m", name, *args],
        env=get_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )


def get_environment():
    """Return the environment of a module that calls setup()."""
    databases = {alias: connections[alias].settings_dict for alias in connections}
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        # Compile Django once, even if nothing may be written to its tree.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": tempfile.gettempdir(),
        "TEST_DATABASES": json.dumps(databases, default=str),
    }


def setup():
    """Set up Django in a process that has the environment."""
    settings.configure(
        DATABASES=json.loads(os.environ["TEST_DATABASES"]),
        # A third-party database backend may import a model.
        INSTALLED_APPS=["django.contrib.contenttypes"],
    )
    django.setup()
