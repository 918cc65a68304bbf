"""The way into the reactor, and out of it again, for one command."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


def run_async(main: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """Run ``main(reactor)`` to its end in the reactor of this process, which ends with it; return or raise its result.

    Ctrl-C and SIGTERM cancel it: what it awaits raises CancelledError, so it may still say good-bye.  A second Ctrl-C
    ends the process at once.  Where it let itself be cancelled, this raises KeyboardInterrupt.
    """
    from twisted.internet import reactor as installed
    from twisted.internet.defer import CancelledError, Deferred
    from twisted.python.failure import Failure

    reactor: Any = installed
    # A clock that nobody sets: deadlines are counted by it.
    reactor.seconds = time.monotonic
    outcome: list[T | Failure] = []
    running: list[Deferred[T]] = []

    def start() -> None:
        running.append(Deferred.fromCoroutine(main(reactor)))
        running[0].addBoth(end)

    def end(result: T | Failure) -> None:
        outcome.append(result)
        reactor.stop()

    def cancel(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        # Out of a signal handler this is the one call that wakes the reactor up.
        reactor.callFromThread(stop)

    def stop() -> None:
        if running and not outcome:
            running[0].cancel()

    reactor.callWhenRunning(start)
    before = {number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    result = outcome[0]
    if not isinstance(result, Failure):
        return result
    if result.check(CancelledError):
        raise KeyboardInterrupt from None
    result.raiseException()
    raise AssertionError
