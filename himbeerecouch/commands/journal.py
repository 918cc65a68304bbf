"""What has to be known of a command after a crash."""

from __future__ import annotations

from typing import Protocol


class Journal(Protocol):
    """Remembers across a crash what has been claimed."""

    def claimed(self, id: str, /) -> None:
        """It is about to be started; ``HimbeerecouchError`` where that can't be kept, and it is not started."""
        ...

    def ended(self, id: str, /) -> None:
        """Its answer is stored."""
        ...


class NoJournal:
    """Relies on the claim in the database alone."""

    def claimed(self, id: str, /) -> None:
        """Nothing is kept."""

    def ended(self, id: str, /) -> None:
        """Nothing is kept."""
