"""What a signal may interrupt, and what is cleaned up when it does."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends_on_signals() -> Iterator[None]:
    """
    Let SIGTERM and SIGHUP unwind the stack, as Ctrl-C does, so that cleanup runs.

    Raise SystemExit with the shell's exit code for that signal. Main thread only.
    """

    def leave(signum: int, frame: object) -> None:
        signal.signal(signum, signal.SIG_IGN)  # a second one must not stop the cleanup
        sys.exit(128 + signum)

    previous = {
        signum: signal.signal(signum, leave)
        for signum in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """
    Hold back what would end the program until the block is done.

    A git that is started inside inherits it. It holds while the program has one
    thread: another one would still take the signal.
    """
    signals = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
