"""HTTP under the routes: one connection's requests, their bodies within limits, answers and streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.web.http import HTTPChannel, Request, datetimeToString

from himbeerecouch.connections import HttpServer, KnownChannel
from himbeerecouch.embedded import jsontext
from himbeerecouch.embedded.call import Answer, Call
from himbeerecouch.embedded.refused import Refused

log = Logger()

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""The largest request body: a document of the largest size may take six times that as JSON."""
IDLE_S = 300
"""A connection without a request is closed after this time."""
SERVER = "himbeerecouch-embedded/1.0 (not CouchDB)"


class Exchange(Request):
    """One request and its answer."""

    channel: Any

    def __init__(self, channel: HTTPChannel, *arguments: Any) -> None:
        super().__init__(channel, *arguments)
        self.lost: list[Callable[[], None]] = []
        self.is_lost = False
        self.cookie: str | None = None
        """A session that is to be given or renewed with the answer."""
        self.content_type = ""
        self._received_bytes = 0

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Note the content type, and go on.  Called by Twisted.

        Twisted would look whether the body is a form, by a parser for the headers of e-mails: a seventh of all the
        time that a request takes, for what nobody asks of it here.
        """
        given = self.requestHeaders.getRawHeaders(b"content-type", [b""])[-1]
        self.content_type = given.partition(b";")[0].strip().lower().decode("latin-1")
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body, and forget what is over the limit.  Called by Twisted."""
        self._received_bytes += len(data)
        if self._received_bytes <= MAX_REQUEST_BYTES:
            super().handleContentChunk(data)
        elif self._received_bytes > 2 * MAX_REQUEST_BYTES:
            self.channel.forceAbortClient()

    def body(self) -> bytes:
        """The whole body of the request."""
        data: bytes = b"" if self.content is None else self.content.read()
        return data

    def process(self) -> None:
        """Answer the request, which is complete.  Called by Twisted."""
        ensureDeferred(self._answer()).addErrback(self._failed)

    async def _answer(self) -> None:
        try:
            if self._received_bytes > MAX_REQUEST_BYTES:
                raise Refused(413, "too_large", "the request entity is too large")
            answer = await self.channel.factory.serve(self._call())
        except Refused as refused:
            answer = Answer(refused.status, {"error": refused.error, "reason": refused.reason})
        if answer is not None:
            self.send(answer)

    def _failed(self, failure: Any) -> None:
        """The last resort: a mistake in this program, or the client went while we waited for something."""
        if failure.check(CancelledError) is None:
            log.failure("a request could not be answered; this is a mistake in himbeerecouch", failure=failure)
        if not self.is_lost and not self.startedWriting:
            self.send(Answer(500, {"error": "internal_server_error", "reason": "see the log of the server"}))
        elif not self.finished:  # then there is no channel any more
            self.channel.forceAbortClient()

    def _call(self) -> Call:
        path, _, query = self.uri.decode("utf-8", "replace").partition("?")
        segments = [unquote(part) for part in path.split("/")[1:]]
        if segments and segments[-1] == "":  # CONNECT names a host, no path
            segments.pop()
        arguments = dict(parse_qsl(query, keep_blank_values=True))
        return Call(self.method.decode("ascii", "replace"), segments, arguments, self)

    def send_headers(self, status: int, headers: Mapping[str, str]) -> None:
        """Set status and headers; they go out with the first byte of the body."""
        self.setResponseCode(status)
        self.setHeader("server", SERVER)
        self.setHeader("date", datetimeToString())
        self.setHeader("cache-control", "must-revalidate")
        self.setHeader("content-type", "application/json")
        if self.cookie is not None:
            self.setHeader("set-cookie", self.cookie)
        for name, value in headers.items():
            self.setHeader(name, value.encode("utf-8"))

    def send(self, answer: Answer) -> None:
        """Send a whole answer."""
        if self.is_lost:
            return
        text = answer.text if answer.text is not None else jsontext.write(answer.value) + "\n"
        body = text.encode("utf-8")
        self.send_headers(answer.status, answer.headers)
        self.setHeader("content-length", str(len(body)))
        self.write(body)
        self.end()

    def end(self) -> None:
        """Finish, unless the client has gone, and send it.

        At once, so that answers leave in the order in which they were ready: whoever waits for a change mostly has it
        before it is acknowledged, and is not kept waiting by what the writer does then.
        """
        if not self.is_lost and not self.finished:
            channel = self.channel
            self.finish()
            channel.flush()

    def connectionLost(self, reason: Any) -> None:
        """The client has gone before the end of the answer.  Called by Twisted."""
        self.is_lost = True
        super().connectionLost(reason)
        calls, self.lost = self.lost, []
        for call in calls:
            call()


class Channel(KnownChannel):
    """One connection."""

    factory: Server
    requestFactory: type[Request] = Exchange


class Server(HttpServer):
    """Makes a channel for each connection, and asks ``serve`` for each request's answer.

    ``serve`` returns None where it has written the answer itself, and raises ``Refused``.
    """

    def __init__(self, serve: Callable[[Call], Awaitable[Answer | None]], reactor: Any) -> None:
        super().__init__(reactor)
        self.serve = serve

    def buildProtocol(self, address: IAddress | None) -> Channel:  # type: ignore[override]  # is a protocol, untyped
        """Make the channel of a connection.  Called by Twisted."""
        channel = Channel()
        self.adopt(channel, IDLE_S)
        return channel
