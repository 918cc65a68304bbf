"""HTTP connections that are bounded in every way, and really closed.

Twisted reads headers without end, and leaves sockets open whose answer nobody reads.  So every connection is wrapped
here: what is closed is aborted, headers are cut, and who owns the connections can drop all of them and wait for it.
All of it runs on the reactor's thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import connectionDone as connection_done
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from himbeerecouch.errors import BadAnswer, CaFileError

HEADERS_BYTES = 64 * 1024
CONNECT_S = 30.0
CACHED_S = 30.0
"""How long an idle connection is kept: shorter than what many proxies wait before they drop it."""
CACHED_CONNECTIONS = 4
_CERTIFICATE_END = b"-----END CERTIFICATE-----"


class Wire(ProtocolWrapper):
    """One connection: its headers are cut when they don't end, and to close it is to abort it."""

    factory: Wires
    transport: Any  # a TCP or a TLS transport: both can abort
    _cut = False

    def __init__(self, factory: Wires, wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)
        self._head: bytearray | None = bytearray()

    def write(self, data: bytes) -> None:
        """Send a part of a request: headers are expected after it."""
        self._head = bytearray()
        super().write(data)

    def writeSequence(self, data: list[bytes]) -> None:
        """Send a part of a request: headers are expected after it."""
        self._head = bytearray()
        super().writeSequence(data)

    def dataReceived(self, data: bytes) -> None:
        """Pass on what came in, unless it is one header too many."""
        if self._head is not None:
            self._measure(data)
        if not self._cut:
            super().dataReceived(data)

    def _measure(self, data: bytes) -> None:
        head = self._head = self._head or bytearray()
        scanned = max(0, len(head) - 3)
        head += data
        ends = [end for end in (head.find(b"\n\r\n", scanned), head.find(b"\n\n", scanned)) if end >= 0]
        length = min(ends) if ends else len(head)
        if length > HEADERS_BYTES:
            self._cut = True
            self.abort()
        elif ends and head[9:10] != b"1":  # 100 and the like have other headers after them
            self._head = None

    def connectionLost(self, reason: Failure = connection_done) -> None:
        """The connection is gone: say so to who waits for an answer, and to who waits for the end."""
        if self._cut:
            reason = Failure(BadAnswer("the headers of the answer do not end"))
        super().connectionLost(reason)

    def loseConnection(self) -> None:
        """Abort: an HTTP client closes what it is done with, and a silent peer would hold the socket for ever."""
        self.abort()

    def stopProducing(self) -> None:
        """Abort: nobody wants the rest of the answer."""
        self.abort()

    def abort(self) -> None:
        """Close the socket now, whatever the peer does."""
        self.disconnecting = 1
        if self.transport is not None:
            self.transport.abortConnection()


if TYPE_CHECKING:
    _WireFactory = WrappingFactory[Wire]
else:  # generic from Twisted 26.4 on
    _WireFactory = WrappingFactory


class Wires(_WireFactory):
    """Wraps the connections that it makes, and tells their owner of them."""

    protocol = Wire

    def __init__(self, wrapped: IProtocolFactory, connections: Connections) -> None:
        super().__init__(wrapped)
        self._connections = connections

    def doStart(self) -> None:
        """Say nothing of it in the log: connections come and go."""

    def doStop(self) -> None:
        """Say nothing of it in the log."""

    def registerProtocol(self, p: Wire) -> None:
        """A connection is there."""
        self._connections.wires.add(p)
        self._connections.local_address = p.transport.getHost().host

    def unregisterProtocol(self, p: Wire) -> None:
        """A connection is gone."""
        self._connections.gone(p)


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """An endpoint whose connections are wrapped."""

    def __init__(self, endpoint: IStreamClientEndpoint, connections: Connections) -> None:
        self._endpoint = endpoint
        self._connections = connections

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect, and give the protocol of ``protocolFactory``."""
        d: Deferred[Any] = self._endpoint.connect(Wires(protocolFactory, self._connections))
        return d.addCallback(lambda wire: wire.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class Connections:
    """All HTTP connections of one client, and the agent that makes them."""

    def __init__(self, reactor: Any, *, ca_file: str | None) -> None:
        self._reactor = reactor
        self._policy = _policy(ca_file)
        self.wires: set[Wire] = set()
        self.local_address: str | None = None
        self._emptied: list[Deferred[None]] = []
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = CACHED_CONNECTIONS
        self._pool.cachedConnectionTimeout = CACHED_S  # type: ignore[assignment]  # Twisted infers int
        self.agent: IAgent = Agent.usingEndpointFactory(reactor, self, self._pool)

    def endpointForURI(self, uri: URI) -> _Endpoint:
        """Give the way to a server; the agent calls this."""
        host = uri.host.decode("ascii")
        # A name is looked up in a thread; what is an address already needs none.
        kind: Any = HostnameEndpoint
        if isIPAddress(host):
            kind = TCP4ClientEndpoint
        elif isIPv6Address(host):
            kind = TCP6ClientEndpoint
        endpoint: Any = kind(self._reactor, host, uri.port, timeout=CONNECT_S)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _Endpoint(endpoint, self)

    def drop(self) -> None:
        """Close every connection at once; requests that are under way fail, later ones connect anew."""
        self._pool.closeCachedConnections().addErrback(lambda _: None)
        for wire in list(self.wires):
            wire.abort()

    def drop_idle(self) -> None:
        """Close the connections that wait for a next request: where one was dead, they are likely dead too."""
        self._pool.closeCachedConnections().addErrback(lambda _: None)

    def close(self) -> Deferred[None]:
        """Close every connection; fires when all sockets are gone."""
        self.drop()
        if not self.wires:
            return succeed(None)
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        return emptied

    def gone(self, wire: Wire) -> None:
        """Forget a connection that is lost."""
        self.wires.discard(wire)
        if not self.wires:
            waiting, self._emptied = self._emptied, []
            if waiting:
                # Who closes us out of an answer's own callback is told so before that connection becomes idle.
                self.drop_idle()
            for d in waiting:
                d.callback(None)


def _policy(ca_file: str | None) -> BrowserLikePolicyForHTTPS:
    """Trust the certificates of ``ca_file`` and no others; without one, those that the system trusts."""
    if ca_file is None:
        return BrowserLikePolicyForHTTPS()
    try:
        blocks = Path(ca_file).read_bytes().split(_CERTIFICATE_END)[:-1]
        roots = [Certificate.loadPEM(block + _CERTIFICATE_END + b"\n") for block in blocks]
    except OSError as e:
        raise CaFileError(ca_file, e.strerror or "it can't be read") from e
    except Exception as e:
        raise CaFileError(ca_file, "a certificate in it can't be read") from e
    if not roots:
        raise CaFileError(ca_file, "there is no certificate in it")
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates(roots))
