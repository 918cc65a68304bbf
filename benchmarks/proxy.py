"""Carries bytes to a server until it is told, on its standard input, to ``cut`` and to ``restore``."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.protocols.basic import LineOnlyReceiver

from tests.fault_proxy import FaultProxy


class Words(LineOnlyReceiver):
    """What is said on the standard input."""

    delimiter = b"\n"

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy

    def lineReceived(self, line: bytes) -> None:
        """One word; answered when it is done."""
        self._proxy.refuse = line == b"cut"
        if self._proxy.refuse:
            self._proxy.reset()
        self.sendLine(b"done")


async def main(reactor: Any, target: int) -> None:
    """Print the port, then do what is said."""
    proxy = FaultProxy(reactor, target)
    print(await proxy.start(), flush=True)
    StandardIO(Words(proxy))
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, int(sys.argv[1]))))
