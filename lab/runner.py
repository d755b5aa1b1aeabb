"""Run Django's own test runner in a Django tree, on a chosen database."""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import ROOT, scratch
from lab.processes import run
from overlay.errors import OverlayError

# What is imported, and the extra of this project that brings it.
PACKAGES = {
    "asgiref": "django",
    "mirakuru": "lab",
    "psutil": "lab",
    "sqlparse": "django",
    "xmlrunner": "django",
}
DRIVERS = {
    "sqlite": {},
    "mysql": {"MySQLdb": "mysql"},
    "postgres": {"psycopg": "postgres"},
}
# What our own tests use connections with. They would skip, or fail, without.
OURS = dict.fromkeys(
    (
        "daphne",
        "dj_db_conn_pool",
        "django_db_geventpool",
        "eventlet",
        "gevent",
        "gunicorn",
        "pytest_django",
        "uvicorn",
        "xdist",
    ),
    "tests",
)


def require_packages(db: str, *, ours: bool = False) -> None:
    """
    Raise OverlayError if this Python lacks what Django's tests need for `db`.

    Our tests, if `ours`, need more than Django's own.
    """
    needed = PACKAGES | DRIVERS[db] | (OURS if ours else {})
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(dict.fromkeys(needed.values()))
        raise OverlayError(
            f"This Python lacks {', '.join(missing)}: in {ROOT} run "
            f"`{sys.executable} -m pip install --editable '.[{extras}]'`."
        )


def run_tests(
    tree: Path,
    settings: str,
    labels: Sequence[str],
    options: Sequence[str],
    *,
    env: Mapping[str, str],
    report: Path | None = None,
    output: Path | None = None,
    timeout: float | None = None,
) -> int:
    """
    Run the tests that `labels` name in `tree`; return the runner's exit code.

    `settings` says which of settings/test_*.py. `options` are the runner's; `env` is
    added to the environment. With `report` a JUnit file is written there. See
    lab.processes.run for `output` and `timeout`.
    """
    added = {
        "PYTHONPATH": f"{tree}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",  # the tree may be the user's
        **env,
    }
    if report:
        added["OVERLAY_REPORT"] = str(report)
    # In one process, unless `options` say otherwise: tests that count the connections
    # of a server would see those of the other processes, too.
    command = [sys.executable, "runtests.py", f"--settings=settings.test_{settings}"]
    command += ["--parallel=1", "--noinput", *labels, *options]
    with tempfile.TemporaryDirectory(prefix="overlay-", dir=scratch.parent()) as name:
        return run(
            command,
            cwd=tree / "tests",
            env={**os.environ, **added, "TMPDIR": name},
            output=output,
            timeout=timeout,
        )
