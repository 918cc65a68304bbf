"""Makes a Pi that waits for its user log in soon after somebody has asked for it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

PATIENCE_S = 4.0
"""From a probe's first datagram to the login.  One who asks listens for 3 s, and then creates the user: a login before
that would be wasted, and there are only four in 300 s."""
PAUSE_S = 15.0
"""Between two such logins, however often somebody asks."""
AGAIN_S = 0.1
"""Who asks once more has created the user by then: the login is due so soon after that ..."""
AGAIN_PAUSE_S = 2.0
"""... though never so soon after the one before."""


class Enrolment(Service):
    """Calls ``hurry`` a little after each time that somebody has looked for this Pi, while ``waiting()`` says so.

    All of it on the reactor's thread, times by ``clock``.
    """

    def __init__(self, clock: IReactorTime, *, waiting: Callable[[], bool], hurry: Callable[[], None]) -> None:
        self._clock = clock
        self._waiting = waiting
        self._hurry = hurry
        self._last_s = float("-inf")
        self._port: int | None = None
        self._call: IDelayedCall | None = None

    def probed(self, asker: tuple[str, int]) -> None:
        """Somebody has asked for this Pi just now; called for each of his requests, with where it came from.

        One round of asking has one port, several requests, and the addresses of all its machine's networks; another
        port is somebody who asks once more.
        """
        if not self.running or not self._waiting():
            return
        now_s = self._clock.seconds()
        if self._call is None:
            self._port = asker[1]
            delay_s = max(PATIENCE_S, self._last_s + PAUSE_S - now_s)
            self._call = self._clock.callLater(delay_s, self._log_in)
        elif asker[1] != self._port:
            delay_s = max(AGAIN_S, self._last_s + AGAIN_PAUSE_S - now_s)
            if now_s + delay_s < self._call.getTime():
                self._call.reset(delay_s)

    def stopService(self) -> None:
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _log_in(self) -> None:
        self._call = None
        self._last_s = self._clock.seconds()
        if self._waiting():
            self._hurry()
