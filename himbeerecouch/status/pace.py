"""When the next status is due: at once after a change, but never too often, and regularly all the same.  Pure.

Times are seconds of a clock that only goes forward; random numbers, from [0, 1), come in.
"""

from __future__ import annotations

import math

from attrs import define, frozen

SETTLE_S = 0.1
"""Changes come in groups (a program is starting, and running a moment later): they are written as one."""
JITTER = 0.2
"""The share of a period by which it is shorter at random, so that a fleet does not write in step."""
SHORTEST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0


@frozen
class Rate:
    """How often a document may be written."""

    burst: int
    """So many changes are written at once ..."""
    spacing_s: float
    """... and from then on one in this time."""
    period_s: float = math.inf
    """It is written after this time at the latest, even when nothing has changed."""


HEARTBEAT = Rate(4, 2.0, 30.0)
FALLBACK = Rate(4, 10.0, 600.0)
"""Of a heartbeat that goes into the code database, where every write costs every follower."""
LOG = Rate(1, 60.0)
WATCHED_LOG = Rate(1, 2.0)


@define
class Pace:
    """When one document is due."""

    version: int = 0
    """Of what is to be written: how often it has changed."""
    not_before: float = -math.inf
    """After a failure nothing is due before this time."""
    _asked: bool = False
    _changed_at: float | None = None
    _period_ends: float = math.inf
    _written_at: float = 0.0
    _debt: float = 0.0
    """How many writes of the burst were used up, at ``_written_at``."""
    _failures: int = 0

    @property
    def pending(self) -> bool:
        """Something has changed that is not written yet."""
        return self._changed_at is not None

    def changed(self, now: float) -> None:
        """Take in that what is written is not true any more."""
        self.version += 1
        if self._changed_at is None:
            self._changed_at = now

    def due(self, rate: Rate) -> float:
        """Say when the next write is due; infinite where there is no reason for one."""
        at = self._period_ends
        if self._changed_at is not None:
            allowed = self._written_at + max(0.0, self._debt - (rate.burst - 1)) * rate.spacing_s
            at = min(at, max(self._changed_at + SETTLE_S, allowed))
        return max(at, self.not_before)

    def written(self, now: float, version: int, rate: Rate, random: float) -> None:
        """Take in that ``version`` is written; what changed since is still to be."""
        self._debt = max(0.0, self._debt - (now - self._written_at) / rate.spacing_s) + 1
        self._written_at = now
        self._changed_at = None if version == self.version else now
        self._period_ends = now + rate.period_s * (1 - JITTER * random)
        self._failures = 0
        self.not_before = -math.inf

    def failed(self, now: float, random: float, retry_after_s: float | None, *, asked: bool = False) -> None:
        """Take in that the server is not to be had: try again later; ``asked``: it said itself when."""
        wait_s = random * min(LONGEST_BACKOFF_S, 2.0 ** min(self._failures, 10))
        self.not_before = now + max(SHORTEST_BACKOFF_S, wait_s, retry_after_s or 0.0)
        self._asked = asked
        self._failures += 1

    def hurry(self) -> None:
        """The server has just answered: don't wait any longer, unless it asked for that."""
        if not self._asked:
            self.not_before = -math.inf
