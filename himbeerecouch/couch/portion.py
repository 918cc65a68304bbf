"""How many rows of the feed are asked for at a time.  Pure.

Who has a long way to catch up asks for more and more, since each poll has its price; and for less where that was too
much.
"""

from __future__ import annotations

QUICK_S = 1.0
GROWTH = 4


class Portion:
    """A number of rows that follows how the answers come in."""

    def __init__(self, usual: int, most: int) -> None:
        self.rows = usual
        self._usual = usual
        self._most = most

    def answered(self, rows: int, took_s: float) -> None:
        """Take in that an answer had so many rows, and how long it took."""
        if self.rows < self._usual:
            self.rows = min(self._usual, self.rows * 2)
        elif rows >= self.rows and took_s <= QUICK_S:
            self.rows = min(self._most, self.rows * GROWTH)
        else:
            self.rows = self._usual

    def was_too_much(self) -> None:
        """Take in that an answer was too large, or did not come to its end: one row is the least."""
        self.rows = self._usual if self.rows > self._usual else max(1, self.rows // 2)
