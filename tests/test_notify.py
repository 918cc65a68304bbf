"""What systemd is told, on real sockets, with a clock of the test's."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.notify import RETRY_S, Notify, take


class Manager:
    """Systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """What has come in since it was last asked."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


class NotifyTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Not mktemp(): the address of a socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.clock = Clock()

    def manager(self, address: str = "") -> Manager:
        manager = Manager(address or f"{self.folder}/notify")
        self.addCleanup(manager.socket.close)
        return manager

    def notify(self, asked: dict[str, str]) -> Notify:
        notify = Notify(self.clock, asked)
        notify.startService()
        self.addCleanup(notify.stopService)
        return notify

    def test_said(self) -> None:
        """On a socket that is a file, and on an abstract one, systemd hears each thing once."""
        for address in ("", f"@himbeerecouch-{os.getpid()}"):
            manager = self.manager(address)
            notify = self.notify({"NOTIFY_SOCKET": manager.address})
            notify.ready()
            notify.alive()
            notify.stopping()
            self.assertEqual(manager.heard(), ["READY=1", "STOPPING=1"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_watchdog(self) -> None:
        """It says that it is alive at once and then twice in the time given, until it is stopped."""
        manager = self.manager()
        notify = self.notify(
            {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "40000000", "WATCHDOG_PID": str(os.getpid())}
        )
        self.assertEqual(manager.heard(), ["WATCHDOG=1"])
        self.clock.pump([19.9])
        self.assertEqual(manager.heard(), [])
        self.clock.pump([0.1, 20.0, 20.0])
        self.assertEqual(manager.heard(), ["WATCHDOG=1"] * 3)
        notify.alive()
        self.assertEqual(manager.heard(), ["WATCHDOG=1"])
        notify.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_watched(self) -> None:
        """A watchdog that is for another process, off, or nonsense is not fed."""
        manager = self.manager()
        table: Sequence[dict[str, str]] = (
            {},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "-1"},
            {"WATCHDOG_USEC": "soon"},
            {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
            {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "x"},
        )
        for asked in table:
            self.notify({"NOTIFY_SOCKET": manager.address, **asked}).alive()
            self.assertEqual((manager.heard(), self.clock.getDelayedCalls()), ([], []), asked)

    def test_nobody_asked(self) -> None:
        """Without a socket nothing is said, watchdog or not."""
        notify = self.notify({"WATCHDOG_USEC": "1000000"})
        notify.ready()
        notify.stopping()
        self.clock.pump([1.0])
        self.assertEqual(notify._unsaid, {})

    def test_not_there_yet(self) -> None:
        """What could not be said is said later, all in one, and the log has it once."""
        messages: list[object] = []
        observer = cast(ILogObserver, messages.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        notify = self.notify({"NOTIFY_SOCKET": f"{self.folder}/notify", "WATCHDOG_USEC": "4000000"})
        notify.ready()
        self.clock.pump([RETRY_S * 0.5])
        self.assertEqual(len(messages), 1)
        manager = self.manager()
        self.clock.pump([RETRY_S * 0.5])
        self.assertEqual(manager.heard(), ["WATCHDOG=1\nREADY=1"])
        notify.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone_at_the_end(self) -> None:
        """Once it is stopped, what can't be said is not tried again."""
        notify = self.notify({"NOTIFY_SOCKET": f"{self.folder}/\0"})
        notify.stopService()
        notify.stopping()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_take(self) -> None:
        """Systemd's variables are removed from the environment, the others stay."""
        environ = {"PATH": "/bin", "NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1"}
        self.assertEqual(take(environ), {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1"})
        self.assertEqual(environ, {"PATH": "/bin"})
