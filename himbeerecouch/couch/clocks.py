"""What the server's clock says, learned from its ``Date`` headers.  Pure.

A Pi has no clock that lasts, and boots in the past.  Its monotonic clock is all that is relied on here.
"""

from __future__ import annotations

from attrs import define


@define
class ServerClock:
    """The server's time, to better than a second after a few answers.

    A ``Date`` header has whole seconds: the server's time at the answer was somewhere in that second.  Where it was
    is narrowed down by every answer; when the bounds contradict each other, a clock was set, and it begins anew.
    """

    _least: float | None = None
    _most: float = 0.0

    @property
    def known(self) -> bool:
        """There was a ``Date`` header."""
        return self._least is not None

    def heard(self, date: float, sent: float, received: float) -> None:
        """Take in a ``Date`` (Unix time) of an answer; the others are monotonic times, in seconds."""
        least, most = date - received, date + 1.0 - sent
        if self._least is not None and max(least, self._least) <= min(most, self._most):
            least, most = max(least, self._least), min(most, self._most)
        self._least, self._most = least, most

    def now(self, monotonic: float) -> float | None:
        """Give the server's Unix time, or None while it is not known."""
        if self._least is None:
            return None
        return (self._least + self._most) / 2 + monotonic
