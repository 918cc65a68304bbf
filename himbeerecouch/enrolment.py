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


class Enrolment(Service):
    """Calls ``hurry`` a little after each time that somebody has looked for this Pi, while ``waiting()`` says so.

    All of it on the reactor's thread, times by ``clock``.
    """

    def __init__(self, clock: IReactorTime, *, waiting: Callable[[], bool], hurry: Callable[[], None]) -> None:
        self._clock = clock
        self._waiting = waiting
        self._hurry = hurry
        self._next_s = float("-inf")
        self._call: IDelayedCall | None = None

    def probed(self) -> None:
        """Somebody has asked for this Pi just now; called for each datagram that was answered."""
        if self.running and self._call is None and self._waiting():
            delay_s = max(PATIENCE_S, self._next_s - self._clock.seconds())
            self._call = self._clock.callLater(delay_s, self._log_in)

    def stopService(self) -> None:
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _log_in(self) -> None:
        self._call = None
        self._next_s = self._clock.seconds() + PAUSE_S
        if self._waiting():
            self._hurry()
