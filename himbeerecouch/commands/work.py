"""Coroutines that are under way side by side, and can be waited for, for so long, and given up."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()


class Work:
    """Used by ``Commands`` on the reactor thread; ``what`` names one of the coroutines in the log."""

    def __init__(self, clock: Any, what: str) -> None:
        self._clock = clock
        self._what = what
        self._going: set[Deferred[None]] = set()

    def __len__(self) -> int:
        return len(self._going)

    def start(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Run it; what it raises is a bug, and logged."""
        going: Deferred[None] = Deferred.fromCoroutine(work)
        self._going.add(going)

        def done(result: Failure | None) -> None:
            self._going.discard(going)
            if isinstance(result, Failure) and not isinstance(result.value, CancelledError):
                log.failure("{what} broke down; this is a bug in himbeerecouch", failure=result, what=self._what)

        going.addBoth(done)

    def cancel(self) -> None:
        """Give up all of it."""
        for going in list(self._going):
            going.cancel()

    async def wait(self, timeout_s: float, also: Iterable[Deferred[None]], otherwise: Callable[[], None]) -> None:
        """Wait until it is over, and ``also`` has fired; after ``timeout_s`` do ``otherwise``, and wait no more."""
        over: Deferred[None] = Deferred()

        def finish() -> None:
            if not over.called:
                over.callback(None)

        def give_up() -> None:
            otherwise()
            finish()

        limit = self._clock.callLater(timeout_s, give_up)
        everything: Deferred[Any] = DeferredList([*self._going, *also])
        everything.addCallback(lambda _: finish())
        await over
        if limit.active():
            limit.cancel()
