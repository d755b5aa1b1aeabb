"""The benchmarks run, and show each case."""

import subprocess
import sys

from lab import ROOT


def test_benchmarks() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--rounds", "1"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert "connections[alias]" in run.stdout
    assert "thread with a scope" in run.stdout
