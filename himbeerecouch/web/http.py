"""HTTP under the routes: connections and requests, bounded in size, number and time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from himbeerecouch.connections import HttpServer, KnownChannel
from himbeerecouch.web.rules import Refused

MAX_CONNECTIONS = 1000
REQUEST_BYTES = 16 * 1024 * 1024
IDLE_S = 60
"""A connection on which nothing comes in, and nothing is waited for, is closed after this time."""
HEAD_S = 20.0
"""From the first byte of a request to the end of its headers."""
BODY_S = 120.0
"""From there to the end of its body."""

log = Logger()


class Exchange(Request):
    """One request and its answer."""

    channel: Any

    def __init__(self, channel: HTTPChannel, *_: Any) -> None:
        super().__init__(channel, parsePOSTFormSubmission=False)
        self.is_lost = False
        self.received_bytes = 0
        self._answering: Deferred[None] | None = None

    @property
    def secure(self) -> bool:
        """Whether the browser talks TLS: to us, or to a proxy before us that says so."""
        return bool(self.isSecure()) or self.header("x-forwarded-proto") == "https"

    def header(self, name: str) -> str | None:
        """Give a header of the request, the last one of that name; a browser may send any bytes in it."""
        values = self.requestHeaders.getRawHeaders(name.encode("ascii"))
        return None if not values else values[-1].decode("latin-1")

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body, and forget what is over the limit.  Called by Twisted."""
        self.received_bytes += len(data)
        if self.received_bytes <= REQUEST_BYTES:
            super().handleContentChunk(data)
        elif self.received_bytes > 2 * REQUEST_BYTES:
            self.channel.forceAbortClient()

    def process(self) -> None:
        """Answer the request, which is complete.  Called by Twisted."""
        self._answering = ensureDeferred(self._answer())
        self._answering.addErrback(self._failed)

    async def _answer(self) -> None:
        try:
            if self.received_bytes > REQUEST_BYTES:
                raise Refused(413, "too_large", f"a request has at most {REQUEST_BYTES} bytes")
            await self.channel.factory.serve(self)
        except Refused as refused:
            if self.startedWriting:
                raise
            self.send_json(refused.status, {"error": refused.error, "reason": refused.reason})

    def _failed(self, failure: Any) -> None:
        """The last resort: the answer can't be ended, or there is a mistake in this program."""
        if self.is_lost:
            return
        if failure.check(CancelledError, Refused) is None:
            log.failure("a request could not be answered; this is a mistake in himbeerecouch", failure=failure)
        if self.startedWriting:
            self.cut()
        else:
            self.send_json(500, {"error": "internal_server_error", "reason": "see the log of the page's server"})

    def headers(self, status: int, headers: Mapping[str, str]) -> None:
        """Set status and headers; they go out with the first byte of the body."""
        self.setResponseCode(status)
        for name, value in {**self.channel.factory.headers(self), **headers}.items():
            self.setHeader(name, value.encode("latin-1", "replace"))

    def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole answer."""
        if self.is_lost:
            return
        length = {} if status == 304 else {"Content-Length": str(len(body))}
        self.headers(status, {**length, **headers})
        self.write(body)
        self.finish()

    def send_json(self, status: int, value: Any) -> None:
        """Send a whole answer that nobody keeps."""
        body = json.dumps(value).encode() + b"\n"
        self.send(status, body, {"Content-Type": "application/json", "Cache-Control": "no-store"})

    def cut(self) -> None:
        """Close the connection, so that nobody takes half an answer for a whole one."""
        if not self.is_lost:
            self.channel.forceAbortClient()

    def connectionLost(self, reason: Any) -> None:
        """The client has gone before the end of the answer.  Called by Twisted."""
        self.is_lost = True
        super().connectionLost(reason)
        if self._answering is not None:
            self._answering.cancel()


class Channel(KnownChannel):
    """One connection.  Twisted bounds the time between two bytes of a request; here is a bound for all of them."""

    factory: Server
    requestFactory: type[Request] = Exchange
    _late: IDelayedCall | None = None
    _answering = False

    def dataReceived(self, data: bytes) -> None:
        """Take in a part of a request.  Called by Twisted."""
        if self._late is None and not self._answering:
            self._within(HEAD_S)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:
        """Wait for the body.  Called by Twisted."""
        self._within(BODY_S)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """Begin the answer, which has a clock of its own.  Called by Twisted."""
        self._within(None)
        self._answering = True
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """Go on with the next request.  Called by Twisted."""
        self._answering = False
        super().requestDone(request)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget it.  Called by Twisted."""
        self._within(None)
        self._answering = True  # no clock is started any more
        super().connectionLost(reason)

    def _within(self, seconds: float | None) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()
        self._late = None if seconds is None else self.callLater(seconds, self.forceAbortClient)


class Server(HttpServer):
    """Makes a channel for each connection; ``serve`` answers the requests, ``headers`` are those of every answer."""

    def __init__(
        self,
        reactor: Any,
        serve: Callable[[Exchange], Awaitable[None]],
        headers: Callable[[Exchange], Mapping[str, str]],
        *,
        most: int = MAX_CONNECTIONS,
    ) -> None:
        """``most`` is how many connections there may be at the same time."""
        super().__init__(reactor)
        self.most = most
        self.serve = serve
        self.headers = headers

    def buildProtocol(self, address: IAddress | None) -> Channel | None:  # type: ignore[override]  # untyped
        """Make the channel of a connection; None closes it, as there are too many.  Called by Twisted."""
        if len(self.channels) >= self.most:
            return None
        channel = Channel()
        self.adopt(channel, IDLE_S)
        return channel
