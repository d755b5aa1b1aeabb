"""Child processes that end with the process that started them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GRACE = 5.0  # seconds between SIGINT, which Python cleans up after, and SIGKILL


def dies_with_parent(command: Sequence[str], *, user: str | None = None) -> list[str]:
    """
    Return `command`, changed so that SIGKILL of its parent kills it too.

    With `user` it also runs as that user. The kernel looks at the *thread* that starts
    the command, so start it in the main thread. Where there is no setpriv(1), that is
    outside Linux, only the orderly ways to end are covered.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return list(command)
    identity = (
        ["--reuid", user, "--regid", str(_group_of(user)), "--clear-groups"]
        if user
        else []
    )
    return [setpriv, "--pdeathsig", "KILL", *identity, *command]


def _group_of(user: str) -> int:
    import pwd  # not on Windows, where nobody is root

    return pwd.getpwnam(user).pw_gid


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    output: Path | None = None,
    timeout: float | None = None,
) -> int:
    """
    Run `command` to its end and return its exit code.

    With `output` it is not interactive: what it prints goes to that file. Whatever ends
    this call early, `timeout` (in seconds, subprocess.TimeoutExpired), Ctrl-C or
    another exception, ends the command and all of its children first.
    """
    interactive = output is None and sys.stdin.isatty()
    with (
        Path(output or os.devnull).open("wb") as sink,
        subprocess.Popen(
            dies_with_parent(command),
            cwd=cwd,
            env=env,
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=sink if output else None,
            stderr=sink if output else None,
            # In a group of its own it could not read from the terminal (--pdb); in
            # ours the terminal sends it Ctrl-C itself.
            process_group=None if interactive else 0,
        ) as process,
    ):
        try:
            return process.wait(timeout)
        except BaseException as reason:
            if interactive:
                _end(process, told=isinstance(reason, KeyboardInterrupt))
            else:
                _end_group(process)
            raise


def _end(process: subprocess.Popen, *, told: bool) -> None:
    """End a process; `told` if the terminal has sent it Ctrl-C already."""
    if not told:
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    process.kill()


def _end_group(process: subprocess.Popen) -> None:
    """End a process and the children that it may leave behind."""
    with suppress(subprocess.TimeoutExpired, ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
