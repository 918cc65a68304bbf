"""The connections of an HTTP server of ours: what browsers ask over TLS, and how they end.  In the reactor's thread."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from twisted.web.http_headers import Headers
from zope.interface import implementer

HANG_UP_S = 1.0
"""A client that does not read is cut off so long after the server's end has begun."""


class KnownChannel(HTTPChannel):
    """One connection, which its server knows of until it ends."""

    factory: HttpServer

    def connectionMade(self) -> None:
        """Keep it in mind, to close it when the server ends.  Called by Twisted."""
        self.factory.channels.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget it.  Called by Twisted."""
        super().connectionLost(reason)
        self.factory.lost(self)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Write the head of an answer in one piece.  Called by Twisted.

        It would hand over each header in four, and the transport looks at every one: an eighth of what a write takes.
        """
        lines = [b"%b: %b\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        self.write(b"%b %b %b\r\n%b\r\n" % (version, code, reason, b"".join(lines)))

    def flush(self) -> None:
        """Send what was written now, as far as the socket takes it, and not in the reactor's next turn.

        What fails here, or is left over, is the reactor's as ever.  So is all of an answer that its writer was to pause
        in: he would go on right here, inside of whatever this is called from.  Over TLS nothing is hurried.
        """
        transport = self.transport
        if not isinstance(transport, Connection) or not transport.connected:
            return
        if not transport.disconnecting and not transport.producerPaused:
            transport.doWrite()


@implementer(IProtocolNegotiationFactory)
class HttpServer(Factory):
    """Knows its connections, and ends them."""

    noisy = False

    def __init__(self, reactor: Any) -> None:
        self.channels: set[KnownChannel] = set()
        self._reactor = reactor
        self._emptied: list[Deferred[None]] = []

    def adopt(self, channel: KnownChannel, idle_s: float) -> None:
        """Make it a channel of this server, to be closed where it is idle for so long."""
        channel.factory = self
        channel.timeOut = idle_s  # type: ignore[assignment]  # Twisted takes any number
        channel.callLater = self._reactor.callLater  # type: ignore[method-assign]  # Twisted's own way to give a clock

    def acceptableProtocols(self) -> list[bytes]:
        """Give what is spoken over TLS: browsers and curl ask, and get no connection without an answer."""
        return [b"http/1.1"]

    def log(self, request: Request) -> None:
        """Requests are not logged: a fleet's polls would wear out the card.  Called by Twisted."""

    def lost(self, channel: KnownChannel) -> None:
        """A connection has ended."""
        self.channels.discard(channel)
        if not self.channels:
            emptied, self._emptied = self._emptied, []
            for done in emptied:
                done.callback(None)

    def hang_up(self) -> Deferred[None]:
        """End all connections, after what has been answered is sent; fires when they are gone."""
        done: Deferred[None] = Deferred()
        if not self.channels:
            done.callback(None)
            return done
        timer = self._reactor.callLater(HANG_UP_S, self._abort)
        self._emptied.append(done)
        for channel in list(self.channels):
            if channel.transport is not None:
                # Not the channel's own loseConnection: that fails where its idle timeout has just begun to close it.
                channel.transport.loseConnection()

        def gone(_: None) -> None:
            if timer.active():
                timer.cancel()

        return done.addCallback(gone)

    def _abort(self) -> None:
        for channel in list(self.channels):
            channel.forceAbortClient()
