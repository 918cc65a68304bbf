"""What the real daemon tells systemd, with a test at systemd's end of the socket."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.world import MAC_ID, WITHIN_S, Daemon, World, until

SHOW = """import os, subprocess

def main():
    log('seen', [name for name in os.environ if name.startswith(('NOTIFY', 'WATCHDOG'))])
    log('child', subprocess.run(['env'], capture_output=True, text=True).stdout.count('NOTIFY_SOCKET'))
"""

HOLD = """import ctypes, pathlib

def main():
    pathlib.Path({path!r}).touch()
    # What PyDLL calls keeps the interpreter's lock: no other thread runs any more, the reactor's neither.
    ctypes.PyDLL(None).sleep(3600)
"""

WATCHDOG_S = 1.0


class NotifyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        self.address = f"{folder}/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.bind(self.address)
        self.heard: list[str] = []

    def start(self, wait: str = "") -> Daemon:
        """Start the daemon as systemd does."""
        asked = {
            "NOTIFY_SOCKET": self.address,
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
            "PYTHONFAULTHANDLER": "1",
        }
        with mock.patch.dict(os.environ, asked):
            return self.world.start(wait=wait)

    def listen(self, within_s: float) -> bool:
        """Hear one more message; False where none comes in."""
        self.socket.settimeout(within_s)
        try:
            self.heard += self.socket.recv(4096).decode().split("\n")
        except TimeoutError:
            return False
        return True

    def hear(self, what: str, times: int = 1) -> None:
        """Listen until that was said so many times."""
        deadline = time.monotonic() + WITHIN_S
        while self.heard.count(what) < times:
            if time.monotonic() > deadline or not self.listen(WITHIN_S):
                self.fail(f"not heard {times} times: {what}, but {self.heard}")

    def test_life(self) -> None:
        """It is ready, then alive for as long as it runs, across its replacing itself; what programs and commands
        start does not know of it; and it says that it stops."""
        self.world.program("show", SHOW)
        daemon = self.start()
        self.hear("READY=1")
        daemon.wait_for("seen []")
        daemon.wait_for("child 0")
        self.assertNotIn("NOTIFY_SOCKET", self.world.command("env", "env")["ret"][0])
        before = self.heard.count("WATCHDOG=1")
        self.hear("WATCHDOG=1", before + 4)

        self.world.save("again", type=f"{MAC_ID}_cmd", action="restart")
        self.hear("READY=1", 2)
        self.assertIsNone(daemon.process.poll())
        before = self.heard.count("WATCHDOG=1")
        self.hear("WATCHDOG=1", before + 4)
        self.assertNotIn("NOTIFY_SOCKET", self.world.command("env-again", "env")["ret"][0])

        self.assertNotIn("STOPPING=1", self.heard)
        self.assertEqual(daemon.stop(), 0)
        self.hear("STOPPING=1")

    def test_blocked(self) -> None:
        """A program that lets no other thread run ends the feeding; the signal of the watchdog then shows the line."""
        held = self.world.folder / "held"
        daemon = self.start()
        self.hear("READY=1")
        self.hear("WATCHDOG=1", 3)
        self.world.program("hold", HOLD.format(path=str(held)))
        until(held.exists, "the program that blocks all")
        # What it had said before is still in the socket.
        for _ in range(1000):
            if not self.listen(within_s=3 * WATCHDOG_S):
                break
        else:
            self.fail("it is fed for ever")
        self.assertIsNone(daemon.process.poll())
        daemon.signal(signal.SIGABRT)
        self.assertEqual(daemon.wait(), -signal.SIGABRT)
        self.assertRegex(daemon.log(), r'File "hold@[^"]*main.py", line 6 in main')
