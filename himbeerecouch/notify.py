"""What the daemon tells systemd: that it is ready, that it is alive, that it ends.  The protocol is sd_notify(3).

Where nobody has asked to be told, nothing happens.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

NAMES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""The environment variables by which systemd asks to be told."""
RETRY_S = 1.0

log = Logger()


def take(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Return systemd's variables and remove them: what programs and commands start must not speak for the daemon."""
    return {name: environ.pop(name) for name in NAMES if name in environ}


class Notify(Service):
    """Tells systemd how the daemon is, from ``startService`` on.

    ``asked`` is what ``take`` returned.  While it runs it says at twice the rate that systemd wants that the daemon is
    alive, by a timer of the reactor: when the reactor is blocked, that ends, and systemd starts the daemon afresh.
    All of it on the reactor's thread; no call blocks or raises.
    """

    def __init__(self, clock: IReactorTime, asked: Mapping[str, str]) -> None:
        self.asked = dict(asked)
        """What the next image of this process has to have in its environment."""
        self._clock = clock
        self._address = asked.get("NOTIFY_SOCKET", "")
        self._unsaid: dict[str, None] = {}
        self._complained = False
        self._beats: IDelayedCall | None = None
        self._retry: IDelayedCall | None = None

    def startService(self) -> None:
        super().startService()
        self._beat()

    def stopService(self) -> None:
        super().stopService()
        for call in (self._beats, self._retry):
            if call is not None and call.active():
                call.cancel()

    def ready(self) -> None:
        """The daemon does its work now."""
        self._say("READY=1")

    def stopping(self) -> None:
        """The daemon begins to end."""
        self._say("STOPPING=1")

    def alive(self) -> None:
        """Say now that the daemon is alive: what comes next may take a while."""
        if self._watchdog_s() is not None:
            self._say("WATCHDOG=1")

    def _beat(self) -> None:
        watchdog_s = self._watchdog_s()
        if watchdog_s is not None:
            self._beats = self._clock.callLater(watchdog_s / 2, self._beat)
            self.alive()

    def _watchdog_s(self) -> float | None:
        """After how long without a word systemd takes this process for blocked; None where it does not watch it."""
        try:
            pid = int(self.asked.get("WATCHDOG_PID", os.getpid()))
            usec = int(self.asked.get("WATCHDOG_USEC", 0))
        except ValueError:
            return None
        return usec / 1e6 if usec > 0 and pid == os.getpid() else None

    def _say(self, state: str) -> None:
        if self._address:
            self._unsaid[state] = None
            self._send()

    def _send(self) -> None:
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        try:
            _send(self._address, "\n".join(self._unsaid))
            self._unsaid.clear()
        except (OSError, ValueError) as error:
            # Its queue is full while it is busy, as during its own reload: what was not said is said later.
            if not self._complained:
                self._complained = True
                log.warn("systemd can't be told how the daemon is: {error}", error=error)
            if self.running:
                self._retry = self._clock.callLater(RETRY_S, self._send)


def _send(address: str, message: str) -> None:
    # A leading @ stands for the NUL byte of an abstract socket, one that is no file.
    where = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(message.encode(), where)
