"""The page's own calls: what is done one at a time."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.web.api import alone


class AloneTests(SynchronousTestCase):
    """Work that takes a thread."""

    def test_whoever_asked_has_gone(self) -> None:
        """What has begun is waited for by the next, also when nobody wants it any more; what has not, never begins."""
        lock, begun = DeferredLock(), []
        ends: dict[str, Deferred[str]] = {name: Deferred() for name in "abc"}

        def ask(name: str) -> Deferred[Any]:
            async def work() -> str:
                begun.append(name)
                return await ends[name]

            return Deferred.fromCoroutine(alone(lock, work))

        asked = {name: ask(name) for name in "abc"}
        for name in "ab":
            asked[name].cancel()
            self.failureResultOf(asked[name], CancelledError)
        self.assertEqual(begun, ["a"])
        ends["a"].errback(ValueError())
        self.assertEqual(begun, ["a", "c"])
        ends["c"].callback("done")
        self.assertEqual((self.successResultOf(asked["c"]), lock.locked), ("done", False))
