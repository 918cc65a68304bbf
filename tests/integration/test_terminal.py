"""The command himbeerecouch at a real terminal: what it asks for there, and Ctrl-C."""

from __future__ import annotations

import math
import os
import pty
import select
import signal
import sys
import time

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.world import MAC_ID, WITHIN_S, World, environment

PATIENCE_S = 10.0


class Terminal:
    """The command at a terminal of its own."""

    def __init__(self, test: SynchronousTestCase, *arguments: str, **told: str) -> None:
        environ = {**environment(), "XDG_CONFIG_HOME": "/nonexistent", "NO_COLOR": "1", **told}
        command = [sys.executable, "-m", "himbeerecouch.cli", *arguments]
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            # Whoever runs the tests in the background has it ignored; who sits at a terminal has not.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execve(sys.executable, command, environ)
        self.shown = ""
        self._status: int | None = None
        test.addCleanup(os.close, self._terminal)
        test.addCleanup(self.kill)

    def wait_for(self, text: str) -> None:
        """Wait until ``text`` is on the terminal."""
        deadline = time.monotonic() + 2 * WITHIN_S
        while text not in self.shown:
            if time.monotonic() > deadline or not self._read():
                raise AssertionError(f"no {text!r} in {self.shown!r}")

    def _read(self) -> bool:
        """Wait a second for what is new, and take it in; False where the command has ended."""
        try:
            if select.select([self._terminal], [], [], 1.0)[0]:
                data = os.read(self._terminal, 4096)
                self.shown += data.decode()
                return bool(data)
        except OSError:  # EIO: nobody has the other end open any more
            return False
        return True

    def type(self, text: str) -> None:
        """Type it."""
        os.write(self._terminal, text.encode())

    def interrupt(self) -> int:
        """Press Ctrl-C until it has ended, and give the exit status.

        One that comes between the prompt and the very moment at which Python begins to read is seen at the next key.
        """
        pressed_at = -math.inf
        while self._read():
            if time.monotonic() - pressed_at > PATIENCE_S:
                pressed_at = time.monotonic()
                self.type("\x03")
        return self.end()

    def end(self) -> int:
        """Wait for the end, and give the exit status."""
        while self._read():
            pass
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def kill(self) -> None:
        """End it, where the test has failed."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


class TerminalTests(SynchronousTestCase):
    timeout = 300

    def setUp(self) -> None:
        try:
            for end in os.openpty():
                os.close(end)
        except OSError as error:
            raise SkipTest(f"this machine has no terminals to give: {error}") from None
        self.world = World(self)
        self.user, self.password = self.world.server.admin

    def begin(self, *arguments: str) -> Terminal:
        """Start the command as somebody whose password it does not know, and answer what it asks for."""
        terminal = Terminal(self, "--server", self.world.server.url, *arguments)
        terminal.wait_for("User at ")
        terminal.type(f"{self.user}\n")
        terminal.wait_for(f"Password of {self.user} at ")
        terminal.type(f"{self.password}\n")
        return terminal

    def enrolled(self) -> bool:
        """Whether the Pi has its user."""
        rows = self.world.couch.ask("GET", "/_users/_all_docs")["rows"]
        return f"org.couchdb.user:{MAC_ID}" in [row["id"] for row in rows]

    def test_asked(self) -> None:
        """Who it is, the password and a yes are asked for; the password is not shown."""
        terminal = self.begin("revoke", str(MAC_ID))
        terminal.wait_for("[y/N]")
        terminal.type("y\n")
        self.assertEqual(terminal.end(), 0, terminal.shown)
        self.assertIn("revoked", terminal.shown)
        self.assertNotIn(self.password, terminal.shown)
        self.assertFalse(self.enrolled())

    def test_interrupted(self) -> None:
        """Ctrl-C at a question ends it at once, and nothing is done."""
        terminal = self.begin("revoke", str(MAC_ID))
        terminal.wait_for("[y/N]")
        self.assertEqual(terminal.interrupt(), 1, terminal.shown)
        self.assertIn("Aborted!", terminal.shown)
        terminal = Terminal(self, "--server", self.world.server.url, "name")
        terminal.wait_for("User at ")
        self.assertEqual(terminal.interrupt(), 1, terminal.shown)
        self.assertTrue(self.enrolled())

    def test_a_password_for_a_pi(self) -> None:
        """The password of a Pi that is not on the network is asked for, and not shown."""
        terminal = self.begin("enroll", "7", "--timeout", "0.1", "--discovery-port", "9", "--wait", "0")
        terminal.wait_for("Password of the Pi 7")
        terminal.type("of-the-pi\n")
        self.assertEqual(terminal.end(), 1, terminal.shown)
        # As the databases were made for one Pi by its name, and not for the role.
        self.assertIn("himbeerecouch setup", terminal.shown)
        self.assertNotIn("of-the-pi", terminal.shown)
