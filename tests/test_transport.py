"""How servers are connected to, on a reactor in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI

from himbeerecouch.couch.transport import Connections


class Looked(MemoryReactorClock):
    """A reactor in memory that tells which names were looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up: list[str] = []
        self.nameResolver: Any = self

    def resolveHostName(self, _receiver: Any, hostName: str, *_arguments: Any, **_options: Any) -> None:
        """Twisted calls this for a name."""
        self.looked_up.append(hostName)


class ConnectionsTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        """Only a name is looked up, which takes a thread; an address is connected to as it is."""
        for url, connected, looked_up in (
            (b"http://10.0.0.1:5984/db", [("10.0.0.1", 5984)], []),
            (b"https://10.0.0.1/db", [("10.0.0.1", 443)], []),
            (b"http://[fe80::1]:5984/db", [("fe80::1", 5984)], []),
            (b"http://server.name:5984/db", [], ["server.name"]),
        ):
            reactor = Looked()
            connections = Connections(reactor, ca_file=None)
            connections.endpointForURI(URI.fromBytes(url)).connect(Factory.forProtocol(Protocol))
            self.assertEqual([client[:2] for client in reactor.tcpClients], connected, url)
            self.assertEqual(reactor.looked_up, looked_up, url)
