"""The ground for tests of the daemon as a process: what they change of this one is as before afterwards."""

from __future__ import annotations

import os
import signal
from typing import Any, cast

from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import offspring
from himbeerecouch.unix import HANDOVER


class Reactor:
    """Keeps what it is asked for, and calls at once."""

    def __init__(self) -> None:
        self.stops = 0
        self.triggers: list[tuple[Any, ...]] = []

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        call(*arguments)

    callWhenRunning = callFromThread

    def addSystemEventTrigger(self, *trigger: Any) -> None:
        self.triggers.append(trigger)

    def stop(self) -> None:
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning


class Replaced(BaseException):
    """Stands for the end of this image."""


class ProcessCase(SynchronousTestCase):
    def setUp(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.addCleanup(os.environ.pop, HANDOVER, None)
        self.addCleanup(offspring.unmark)
        self.addCleanup(offspring.let_go_in_children, ())
        self.logged: list[str] = []
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: LogEvent) -> None:
        self.logged.append(formatEvent(event))
