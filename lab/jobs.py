"""Run one command several times side by side, each for a part of the work."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.processes import dies_with_parent

PATIENCE = 30.0  # seconds to clean up after SIGTERM


def run_parts(command: Callable[[int], Sequence[str]], parts: int) -> list[int]:
    """
    Run `command(part)` for each part from 1 to `parts`; return their exit codes.

    They run at the same time. What each prints is shown once it and all parts before it
    have ended. Whatever ends this call early, Ctrl-C or another exception, ends the
    commands, which are given the time to clean up. Call it in the main thread.
    """
    with tempfile.TemporaryDirectory(prefix="overlay-") as folder:
        running = []
        try:
            for part in range(1, parts + 1):
                output = Path(folder, str(part))
                running.append((_start(command(part), output), output))
            return [_show_when_done(process, output) for process, output in running]
        finally:
            _end([process for process, _ in running])


def _start(command: Sequence[str], output: Path) -> subprocess.Popen:
    with output.open("wb") as sink:
        return subprocess.Popen(
            dies_with_parent(command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            # Else the terminal's Ctrl-C would reach it, and then our SIGTERM, too.
            process_group=0,
        )


def _show_when_done(process: subprocess.Popen, output: Path) -> int:
    code = process.wait()
    sys.stdout.write(output.read_text(errors="replace"))
    sys.stdout.flush()
    return code


def _end(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        process.terminate()  # nothing if it has ended
    for process in processes:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
