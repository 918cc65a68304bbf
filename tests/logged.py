"""What is logged while something is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher


@contextlib.contextmanager
def warnings(namespace: str) -> Iterator[list[LogEvent]]:
    """The warnings of one module."""
    found: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event["log_namespace"] == namespace and event["log_level"].name == "warn":
            found.append(event)

    observer = cast(ILogObserver, observe)
    globalLogPublisher.addObserver(observer)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observer)
