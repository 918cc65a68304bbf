"""A reactor for tests whose time stands still, and whose threads are real."""

from __future__ import annotations

import queue
from collections.abc import Callable

from twisted.internet.task import Clock


class ThreadClock(Clock):
    """A Clock that also takes calls from threads, and carries them out when the test waits for something."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: queue.Queue[Callable[[], object]] = queue.Queue()

    def callFromThread(self, callable: Callable[..., object], *args: object) -> None:
        """Queue the call, as the reactor does."""
        self._calls.put(lambda: callable(*args))

    def turn(self) -> None:
        """Carry out what the threads have asked for so far."""
        while not self._calls.empty():
            self._calls.get()()

    def until(self, condition: Callable[[], object], timeout_s: float = 5.0) -> None:
        """Carry out calls until ``condition`` holds; an AssertionError where no more come and it does not."""
        while not condition():
            try:
                self._calls.get(timeout=timeout_s)()
            except queue.Empty:
                raise AssertionError("what the test waits for did not happen") from None
