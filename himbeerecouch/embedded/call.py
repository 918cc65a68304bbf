"""One request as the routes see it, and the two ways to answer it: whole, or as a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from himbeerecouch.embedded import jsontext
from himbeerecouch.embedded.refused import Refused, bad_request
from himbeerecouch.embedded.security import User


@frozen
class Answer:
    """A whole answer."""

    status: int
    value: Any = None
    """Sent as JSON, unless ``text`` is given."""
    text: str | None = None
    headers: Mapping[str, str] = field(factory=dict)


class Exchange(Protocol):
    """What is needed of the request and answer under it; ``http.Exchange`` is one."""

    cookie: str | None
    lost: list[Callable[[], None]]
    is_lost: bool
    client: Any
    content_type: str
    """Of the request's body, without its parameters and in small letters; empty where none is given."""

    def getHeader(self, key: str) -> str | None: ...

    def body(self) -> bytes: ...

    def send_headers(self, status: int, headers: Mapping[str, str]) -> None: ...

    def write(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def registerProducer(self, producer: Any, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...


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
        return jsontext.read(self.exchange.body())

    def posted(self) -> dict[str, Any]:
        """The JSON object of a POST, which must say that it is one."""
        if self.exchange.content_type != "application/json":
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
        # Who waits for a client that has gone must not wait for ever.
        exchange.lost.append(self.resumeProducing)

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
