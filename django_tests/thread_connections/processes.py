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
    databases = {alias: connections[alias].settings_dict for alias in connections}
    return subprocess.run(
        [sys.executable, *options, "-m", name, *args],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            # Compile Django once, even if nothing may be written to its tree.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": tempfile.gettempdir(),
            "TEST_DATABASES": json.dumps(databases, default=str),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


def setup():
    """Set up Django in a process that run_module() started."""
    settings.configure(DATABASES=json.loads(os.environ["TEST_DATABASES"]))
    django.setup()
