"""Child processes end with us, and so do theirs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.processes import run

PARENT = """\
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_the_exit_code_and_the_output_are_the_command_s(tmp_path):
    output = tmp_path / "output"
    command = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    assert run(command, cwd=tmp_path, env=os.environ, output=output) == 3
    assert output.read_text() == "out\nerr\n"


def test_a_timeout_ends_the_command_and_its_children(tmp_path):
    output = tmp_path / "output"
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run(
            [sys.executable, "-c", PARENT],
            cwd=tmp_path,
            env=os.environ,
            output=output,
            timeout=1,
        )
    assert time.monotonic() - started < 4
    child = int(output.read_text().split()[0])
    while is_alive(child):  # the kernel takes a moment
        assert time.monotonic() - started < 5
        time.sleep(0.01)


def test_a_command_that_ignores_the_interrupt_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.processes.GRACE", 0.2)
    command = ["sh", "-c", "trap '' INT; echo $$; while :; do sleep 0.05; done"]
    output = tmp_path / "output"
    with pytest.raises(subprocess.TimeoutExpired):
        run(command, cwd=tmp_path, env=os.environ, output=output, timeout=0.5)
    assert not is_alive(int(output.read_text().split()[0]))
