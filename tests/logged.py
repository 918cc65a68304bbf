"""What is logged while something is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher


def warnings(namespace: str) -> contextlib.AbstractContextManager[list[LogEvent]]:
    """The warnings of one module."""
    return logged(namespace, "warn")


@contextlib.contextmanager
def logged(namespace: str, level: str = "info") -> Iterator[list[LogEvent]]:
    """What one module says at one level."""
    found: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event["log_namespace"] == namespace and event["log_level"].name == level:
            found.append(event)

    observer = cast(ILogObserver, observe)
    globalLogPublisher.addObserver(observer)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observer)
