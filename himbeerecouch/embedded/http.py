"""HTTP under the routes: one connection's requests, their bodies within limits, answers and streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.web.http import HTTPChannel, Request, datetimeToString
from zope.interface import implementer

from himbeerecouch.embedded import jsontext
from himbeerecouch.embedded.refused import Refused, bad_request
from himbeerecouch.embedded.security import User

log = Logger()

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""The largest request body: a document of the largest size may take six times that as JSON."""
IDLE_S = 300
"""A connection without a request is closed after this time."""
HANG_UP_S = 1.0
"""A client that does not read is cut off so long after the server's end has begun."""
SERVER = "himbeerecouch-embedded/1.0 (not CouchDB)"


@frozen
class Answer:
    """A whole answer."""

    status: int
    value: Any = None
    """Sent as JSON, unless ``text`` is given."""
    text: str | None = None
    headers: Mapping[str, str] = field(factory=dict)


@define(eq=False)
class Call:
    """One request as the routes see it."""

    method: str
    segments: list[str]
    """Of the path, decoded one by one: a name may contain a slash."""
    arguments: dict[str, str]
    exchange: Exchange
    user: User = field(factory=User)

    def header(self, name: str) -> str | None:
        """A request header, or None."""
        return self.exchange.getHeader(name)

    @property
    def address(self) -> str:
        """Where the request comes from."""
        return str(getattr(self.exchange.client, "host", ""))

    @property
    def is_reading(self) -> bool:
        """GET or HEAD."""
        return self.method in ("GET", "HEAD")

    def json(self) -> Any:
        """The body as JSON, or ``Refused``."""
        content = self.exchange.content
        return jsontext.read(content.read())

    def posted(self) -> dict[str, Any]:
        """The JSON object of a POST, which must say that it is one."""
        kind = (self.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(415, "bad_content_type", "Content-Type must be application/json")
        value = self.json()
        if not isinstance(value, dict):
            raise bad_request("Request body must be a JSON object")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean of the query string."""
        text = self.arguments.get(name)
        if text is None:
            return default
        if text not in ("true", "false"):
            raise Refused(400, "query_parse_error", f"Invalid boolean parameter: {text!r}")
        return text == "true"

    def count(self, name: str, default: int | None = None) -> int | None:
        """A number of the query string that is not negative."""
        text = self.arguments.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            raise Refused(400, "query_parse_error", f"Invalid value for {name}: {text!r}")
        return int(text)

    def stream(self) -> Stream:
        """Send the headers of a 200, and get what the body is written to."""
        self.exchange.send_headers(200, {})
        return Stream(self.exchange)


def location(call: Call, *parts: str) -> str:
    """The ``Location`` of what has been made."""
    host = call.header("host") or "localhost"
    return f"http://{host}/" + "/".join(quote(part, safe=":") for part in parts)


@implementer(IPushProducer)
class Stream:
    """A body that is written piece by piece, no faster than the client reads."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._resumed: Deferred[None] | None = None
        self._paused = False
        self._registered = False

    @property
    def is_lost(self) -> bool:
        """The client has gone."""
        return self._exchange.is_lost

    def when_lost(self, call: Callable[[], None]) -> None:
        """Have a function called when the client goes before the end."""
        self._exchange.lost.append(call)

    def write(self, text: str) -> None:
        """Send something short, at once."""
        if not self.is_lost:
            self._exchange.write(text.encode("utf-8"))

    async def send(self, text: str) -> None:
        """Send something, and wait while the client does not keep up."""
        if not self._registered and not self.is_lost:
            self._registered = True
            self._exchange.registerProducer(self, True)
        self.write(text)
        if self._paused and not self.is_lost:
            self._resumed = Deferred()
            await self._resumed

    def finish(self) -> None:
        """End the body."""
        if self._registered and not self.is_lost:
            self._exchange.unregisterProducer()
        self._exchange.end()

    def pauseProducing(self) -> None:
        """The client does not keep up.  Called by the transport."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client has read on.  Called by the transport."""
        self._paused = False
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:
        """The client has gone.  Called by the transport."""
        self.resumeProducing()


class Exchange(Request):
    """One request and its answer."""

    channel: Channel

    def __init__(self, channel: HTTPChannel, *arguments: Any) -> None:
        super().__init__(channel, *arguments)
        self.lost: list[Callable[[], None]] = []
        self.is_lost = False
        self.cookie: str | None = None
        """A session that is to be given or renewed with the answer."""
        self._received_bytes = 0

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body, and forget what is over the limit.  Called by Twisted."""
        self._received_bytes += len(data)
        if self._received_bytes <= MAX_REQUEST_BYTES:
            super().handleContentChunk(data)
        elif self._received_bytes > 2 * MAX_REQUEST_BYTES:
            self.channel.forceAbortClient()

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
        else:
            self.channel.forceAbortClient()

    def _call(self) -> Call:
        path, _, query = self.uri.decode("utf-8", "replace").partition("?")
        segments = [unquote(part) for part in path.split("/")[1:]]
        if segments[-1] == "":
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
        """Finish, unless the client has gone."""
        if not self.is_lost and not self.finished:
            self.finish()

    def connectionLost(self, reason: Any) -> None:
        """The client has gone before the end of the answer.  Called by Twisted."""
        self.is_lost = True
        super().connectionLost(reason)
        calls, self.lost = self.lost, []
        for call in calls:
            call()


class Channel(HTTPChannel):
    """One connection."""

    factory: Server
    requestFactory = Exchange

    def connectionMade(self) -> None:
        """Keep it in mind, to close it when the server ends.  Called by Twisted."""
        self.factory.channels.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Any) -> None:
        """Forget it.  Called by Twisted."""
        super().connectionLost(reason)
        self.factory.lost(self)


class Server(Factory):
    """Makes a channel for each connection, and asks ``serve`` for each request's answer.

    ``serve`` returns None where it has written the answer itself, and raises ``Refused``.
    """

    noisy = False

    def __init__(self, serve: Callable[[Call], Awaitable[Answer | None]], reactor: Any) -> None:
        self.serve = serve
        self.channels: set[Channel] = set()
        self._reactor = reactor
        self._drained: list[Deferred[None]] = []

    def buildProtocol(self, address: IAddress) -> Channel:
        """Make the channel of a connection.  Called by Twisted."""
        channel = Channel()
        channel.factory = self
        channel.timeOut = IDLE_S
        channel.callLater = self._reactor.callLater
        return channel

    def log(self, request: Request) -> None:
        """Requests are not logged: a fleet's polls would wear out the card.  Called by Twisted."""

    def lost(self, channel: Channel) -> None:
        """A connection has ended."""
        self.channels.discard(channel)
        if not self.channels:
            drained, self._drained = self._drained, []
            for done in drained:
                done.callback(None)

    def hang_up(self) -> Deferred[None]:
        """End all connections, after what has been answered is sent; fires when they are gone."""
        done: Deferred[None] = Deferred()
        if not self.channels:
            done.callback(None)
            return done
        timer = self._reactor.callLater(HANG_UP_S, self._abort)
        self._drained.append(done)
        for channel in list(self.channels):
            channel.loseConnection()

        def gone(_: None) -> None:
            if timer.active():
                timer.cancel()

        return done.addCallback(gone)

    def _abort(self) -> None:
        for channel in list(self.channels):
            channel.forceAbortClient()
