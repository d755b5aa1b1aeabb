import os
import signal

from .processes import run_module
from .utils import ThreadConnectionsTestCase

# A crash may need many runs to show.
RUNS = int(os.environ.get("EXIT_RUNS", 3))


class ExitTests(ThreadConnectionsTestCase):
    """A process may end at any time. What its threads query doesn't matter."""

    def assertExit(self, name, returncode, stderr=""):
        """
        A process that ends as the function of the exits module does has the
        return code, doesn't crash, doesn't hang, and leaves no connection
        open.
        """
        for _ in range(RUNS):
            process = run_module("thread_connections.exits", name)
            self.assertEqual(process.returncode, returncode, process.stderr)
            # A traceback ends with the exception.
            self.assertEqual(process.stderr.strip().rpartition("\n")[2], stderr)
        self.assertOpenConnections(0)

    def test_end_of_main_thread(self):
        """The other threads go on."""
        self.assertExit("end_of_main_thread", 0)

    def test_exit_of_threads(self):
        """sys.exit() ends nothing but the thread."""
        self.assertExit("exit_of_threads", 0)

    def test_end_with_daemon_threads(self):
        self.assertExit("end_with_daemon_threads", 0)

    def test_sys_exit(self):
        self.assertExit("sys_exit", 3)

    def test_os_exit(self):
        self.assertExit("os_exit", 3)

    def test_exception(self):
        self.assertExit("exception", 1, "ValueError: failed")

    def test_exception_at_exit(self):
        """
        A function that's called at exit may query, even if it fails then.
        """
        self.assertExit("exception_at_exit", 0, "ValueError: failed")

    def test_sigterm(self):
        self.assertExit("sigterm", -signal.SIGTERM)

    def test_sigterm_with_handler(self):
        self.assertExit("sigterm_with_handler", 3)
