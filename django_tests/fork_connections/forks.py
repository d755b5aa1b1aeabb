"""
Create a process in the way that the argument names, print a result, and check
that the sessions of all threads survive.
"""

import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from thread_connections.processes import setup

from .utils import get_session

# Processes that are spawned import this module, too.
setup()


def fork(target):
    """Run the target in a forked process. Return its exit code."""
    if (pid := os.fork()) == 0:
        target()
        # Unlike os._exit(), this deallocates what is inherited.
        sys.exit()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fail():
    raise ValueError


def run_process(method):
    """
    Whether a process of the multiprocessing module has a session of its own.
    """
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as executor:
        return executor.submit(get_session).result() != get_session()


PROCESSES = {
    "exit": lambda: fork(lambda: None),
    "exception": lambda: fork(fail),
    "multiprocessing_fork": lambda: run_process("fork"),
    "multiprocessing_forkserver": lambda: run_process("forkserver"),
    "multiprocessing_spawn": lambda: run_process("spawn"),
}


def main(process):
    connected = threading.Barrier(4)
    ended = threading.Event()
    survivors = []

    def run():
        session = get_session()
        connected.wait(30)
        ended.wait(30)
        survivors.append(get_session() == session)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    session = get_session()
    connected.wait(30)
    print(PROCESSES[process](), flush=True)
    ended.set()
    for thread in threads:
        thread.join()
    assert survivors == [True] * 3
    assert get_session() == session


if __name__ == "__main__":
    main(sys.argv[1])
