"""What the scripts have in common. See lab.script.Script for who runs them."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def report(**facts: object) -> None:
    """Say facts to whoever runs the script."""
    print(json.dumps(facts), flush=True)


def say(**facts: object) -> None:
    """Say facts to whoever runs the script, and wait until it may go on."""
    report(**facts)
    sys.stdin.readline()


@contextmanager
def database(apps: Sequence[str] = ("thread_connections",)) -> Iterator[str]:
    """
    Yield the name of a test database with the tables of `apps`: those of our tests.

    The current thread has no connection to it.
    """
    # benchmarks reads what a script has to offer without Django on the path.
    import django
    from django.conf import settings

    settings.INSTALLED_APPS = apps
    django.setup()
    from django.db import connection

    name = connection.creation.create_test_db(verbosity=0, autoclobber=True)
    connection.close()
    try:
        yield name
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)
