"""Commands that run side by side, with real processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lab import jobs

from .conftest import write


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_outputs_are_shown_whole_and_in_order(capfd):
    """The first takes longest; both print in between."""
    code = "import time; print('a{0}', flush=True); time.sleep(0.{1}); print('b{0}')"
    codes = jobs.run_parts(lambda part: python(code.format(part, 6 - 2 * part)), 2)
    assert codes == [0, 0]
    assert capfd.readouterr().out.split() == ["a1", "b1", "a2", "b2"]


def test_they_run_at_the_same_time(tmp_path):
    """Each ends only if the others have started."""
    code = (
        "import pathlib, time\n"
        "folder = pathlib.Path({!r})\n"
        "(folder / '{}').touch()\n"
        "deadline = time.monotonic() + 60\n"
        "while len(list(folder.iterdir())) < 3:\n"
        "    assert time.monotonic() < deadline\n"
        "    time.sleep(0.02)\n"
    )
    command = lambda part: python(code.format(str(tmp_path), part))
    assert jobs.run_parts(command, 3) == [0, 0, 0]


def test_exit_codes_are_in_order():
    assert jobs.run_parts(lambda part: python(f"exit({part % 3})"), 3) == [1, 2, 0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_it_ends_them_and_lets_them_clean_up(number, tmp_path):
    child = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *args: sys.exit())\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "try:\n"
        "    (folder / ('begun' + sys.argv[1])).touch()\n"
        "    time.sleep(60)\n"
        "finally:\n"
        "    (folder / ('ended' + sys.argv[1])).touch()\n"
    )
    write(tmp_path / "child.py", child)
    parent = (
        "import sys\n"
        "from lab.jobs import run_parts\n"
        "from overlay.signals import ends_on_signals\n"
        "command = [sys.executable, sys.argv[1]]\n"
        "with ends_on_signals():\n"
        "    run_parts(lambda part: [*command, str(part)], 2)\n"
    )
    process = subprocess.Popen([*python(parent), str(tmp_path / "child.py")])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("begun*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, number)
    assert process.wait(60) != 0
    assert len(list(tmp_path.glob("ended*"))) == 2
