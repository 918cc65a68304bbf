"""Which database the status goes into, and what becomes of one that does not take it.  Pure.

Writes into the database of the programs cost every Pi that follows it: the status has one of its own, and the other
is used only where that one is missing or forbidden.
"""

from __future__ import annotations

import enum
import math

from attrs import define, field

CLOSED_S = 240.0
CLOSED_JITTER_S = 60.0


class Place(enum.Enum):
    """Where a heartbeat can be written."""

    OWN = "the status database"
    CODE = "the database of the programs"


@define
class Places:
    """Which places are closed, and until when."""

    _closed_until: dict[Place, float] = field(factory=dict)

    def pick(self, now: float) -> Place | None:
        """The best place that is open now; None where all are closed."""
        return next((place for place in Place if self.opens_at(place) <= now), None)

    def refused(self, place: Place, now: float, random: float) -> None:
        """Take in that the place is missing or forbidden: it is looked at again much later."""
        self._closed_until[place] = now + CLOSED_S + CLOSED_JITTER_S * random

    def opens_at(self, place: Place) -> float:
        """When the place may be tried again; long ago where it is open."""
        return self._closed_until.get(place, -math.inf)

    def next_opening(self) -> float:
        """When the first of the places may be tried again."""
        return min(map(self.opens_at, Place))

    def open(self) -> None:
        """Try all of them again: there is reason to believe that something was mended."""
        self._closed_until.clear()
