"""A program that says by UDP when its first line ran, and the one who listens."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple

PYTHON = """import time
now = time.monotonic_ns()
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"{mark} %d" % now, ("127.0.0.1", {port}))
"""
"""Sends the moment of its first line, in nanoseconds of the monotonic clock that all processes of a machine share."""


class Beacon(NamedTuple):
    """Where the programs send to."""

    socket: socket.socket
    port: int

    def source(self, mark: int) -> str:
        """Give Python source that sends ``mark``."""
        return PYTHON.format(mark=mark, port=self.port)

    def heard(self, mark: int, within_s: float = 60.0) -> int:
        """Wait for ``mark``; give the moment that was sent along.  Raises TimeoutError, with what came instead."""
        until = time.monotonic() + within_s
        others: set[int] = set()
        while (left_s := until - time.monotonic()) > 0:
            self.socket.settimeout(left_s)
            with contextlib.suppress(TimeoutError):
                said, _, moment = self.socket.recv(200).partition(b" ")
                if int(said) == mark:
                    return int(moment)
                others.add(int(said))
        instead = f", but {', '.join(map(str, sorted(others)))}" if others else ""
        raise TimeoutError(f"number {mark} was not heard of within {within_s:g} s{instead}")

    def heard_all(self, marks: set[int], within_s: float = 60.0) -> None:
        """Wait until each of these was heard.  Raises TimeoutError."""
        self.socket.settimeout(within_s)
        left = set(marks)
        while left:
            left.discard(int(self.socket.recv(200).partition(b" ")[0]))


@contextlib.contextmanager
def beacon() -> Iterator[Beacon]:
    """A port of this machine that programs can send to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("127.0.0.1", 0))
        yield Beacon(port, port.getsockname()[1])
