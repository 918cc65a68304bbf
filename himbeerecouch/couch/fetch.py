"""One HTTP request with deadlines and a bounded answer, every failure of the wire mapped to an error of ours."""

from __future__ import annotations

from http.cookiejar import CookieJar
from typing import Any

from attrs import frozen
from hyperlink import EncodedURL
from OpenSSL.SSL import Error as TLSError
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall
from twisted.internet.protocol import Protocol
from twisted.internet.protocol import connectionDone as connection_done
from twisted.python.failure import Failure
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from himbeerecouch.errors import AnswerTooLarge, BadAnswer, CouchError, TooSlow, Unavailable, Unreachable, Untrusted

ERROR_BYTES = 64 * 1024
"""What is read of an answer that is an error."""
PIECE_BYTES = 64 * 1024


@frozen
class Bounds:
    """What one request may take."""

    headers_s: float
    """To the end of the headers, connecting included."""
    gap_s: float
    """Between two pieces of the body."""
    total_s: float
    body_bytes: int


@frozen
class Reply:
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes | None
    """None where an error's was too large to be read."""
    sent_at: float
    """When the request began, and when the headers were there, by the reactor's clock."""
    headed_at: float


class Body:
    """The bytes of a request's body, to be let go when it is over.

    A failure keeps the frames that it went through, and what those hold, until the garbage collector comes by at last:
    they hold this, and no megabytes.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data

    def drop(self) -> None:
        """Let the bytes go."""
        self.data = b""


@implementer(IBodyProducer)
class BytesBody:
    """The body of a request, sent piece by piece: a large one is not copied as a whole into the connection's buffer."""

    def __init__(self, body: Body) -> None:
        self.length = len(body.data)
        self._body = body
        self._sent_bytes = 0
        self._paused = False
        self._done: Deferred[None] = Deferred()
        self._consumer: IConsumer | None = None

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Send it; fires when all of it is handed to the connection."""
        self._consumer = consumer
        self._send()
        return self._done

    def pauseProducing(self) -> None:
        """The connection has enough for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The connection takes more."""
        self._paused = False
        self._send()

    def stopProducing(self) -> None:
        """Nobody wants the rest."""
        self._consumer = None

    def _send(self) -> None:
        while self._consumer is not None and not self._paused and self._sent_bytes < self.length:
            piece = self._body.data[self._sent_bytes : self._sent_bytes + PIECE_BYTES]
            self._sent_bytes += len(piece)
            self._consumer.write(piece)
        if self._consumer is not None and self._sent_bytes == self.length:
            self._consumer = None
            self._done.callback(None)


class _Written(EncodedURL):
    """A URL as it goes over the wire: treq would take it apart and encode all of it once more, for each request.

    It is no more than that: nobody but treq gets one, and treq asks for nothing but these two.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def to_uri(self) -> EncodedURL:
        """Give what treq asks for."""
        return self

    def to_text(self, with_password: bool = False) -> str:
        """Give what treq asks for."""
        return self._text


class _NoCookies(CookieJar):
    """Holds no cookie: ``OriginAgent`` takes care of those that there are."""

    def add_cookie_header(self, request: object) -> None:
        """Add none."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Keep none."""


_NO_COOKIES: Any = _NoCookies()


@implementer(IAgent)
class OriginAgent:
    """An agent around an agent: gives a user and password to one server, and refuses to talk to any other.

    It also keeps compressed answers from being asked for and from being unpacked, and takes no cookies along but the
    one that it was given.
    """

    def __init__(
        self, agent: IAgent, origin: tuple[str, str, int], authorization: bytes | None, cookie: bytes | None = None
    ) -> None:
        self._agent = agent
        scheme, host, port = origin
        self._origin = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/".encode("ascii")
        self._own = {b"authorization": authorization, b"cookie": cookie}

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """Send one request; treq calls this."""
        if not uri.startswith(self._origin):
            raise ValueError("a request to another server than the one in the server file")
        own = Headers() if headers is None else headers.copy()
        own.removeHeader("accept-encoding")
        for name, value in self._own.items():
            own.removeHeader(name)
            if value is not None:
                own.setRawHeaders(name, [value])
        answer: Deferred[IResponse] = self._agent.request(method, uri, own, bodyProducer)
        return answer.addCallback(_as_it_is)


def _as_it_is(response: IResponse) -> IResponse:
    """Hide that an answer is compressed: nothing unpacks it then, and it is refused as no JSON."""
    response.headers.removeHeader("content-encoding")
    response.headers.removeHeader("set-cookie")
    return response


async def fetch(
    clock: Any,
    agent: IAgent,
    what: str,
    method: str,
    url: str,
    *,
    body: Body | None,
    bounds: Bounds,
) -> Reply:
    """Make one request and read its whole answer, whatever its status; ``what`` names it in errors.

    Raises Unreachable and Untrusted where nothing was sent, TooSlow past a deadline, AnswerTooLarge, and BadAnswer or
    Unavailable for what comes back broken or not at all; ``status`` of the error tells whether there were headers.
    Cancelling it closes the connection.
    """
    sent_at = clock.seconds()
    headers = Headers({"Accept": ["application/json"]})
    if body is not None:
        headers.setRawHeaders("Content-Type", ["application/json"])
    client = HTTPClient(agent, _NO_COOKIES, BytesBody)
    data: Any = body  # which treq hands to its body producer as it is
    late: IDelayedCall | None = None
    try:
        request: Deferred[Any] = client.request(
            method,
            _Written(url),
            headers=headers,
            data=data,
            cookies=_NO_COOKIES,
            allow_redirects=False,
            unbuffered=True,
            reactor=clock,
        )
        late = clock.callLater(min(bounds.headers_s, bounds.total_s), request.cancel)
        response = await request
    except Exception as e:
        timed_out = late is not None and not late.active()
        raise mapped(what, e, late=timed_out, within_s=bounds.headers_s) from e
    finally:
        if late is not None and late.active():
            late.cancel()
    headed_at = clock.seconds()
    reader = _Reader(clock, what, response.code, bounds, sent_at + bounds.total_s)
    response.deliverBody(reader)
    return Reply(response.code, response.headers, await reader.finished, sent_at, headed_at)


class _Reader(Protocol):
    """Reads one body, within bounds; its connection is closed where they are not kept."""

    def __init__(self, clock: Any, what: str, status: int, bounds: Bounds, until: float) -> None:
        self._clock = clock
        self._what = what
        self._status = status
        self._gap_s = bounds.gap_s
        self._until = until
        self._limit = bounds.body_bytes if status < 300 else ERROR_BYTES
        self._pieces: list[bytes] = []
        self._length = 0
        self._last = clock.seconds()
        self._late: IDelayedCall | None = None
        self._done = False
        self.finished: Deferred[bytes | None] = Deferred(lambda _: self._abort())
        self._watch()

    def connectionMade(self) -> None:
        """The body begins; it may be too late for it."""
        if self._done:
            self._abort()

    def dataReceived(self, data: bytes) -> None:
        """Take one piece."""
        if self._done:
            return
        self._length += len(data)
        self._last = self._clock.seconds()
        if self._length <= self._limit:
            self._pieces.append(data)
        elif self._status < 300:
            self._fail(AnswerTooLarge(self._what, limit_bytes=self._limit))
        else:
            self._abort()
            self.finished.callback(None)

    def connectionLost(self, reason: Failure = connection_done) -> None:
        """The body has ended, one way or the other."""
        if self._done:
            return
        self._close()
        # Without a length the end can't be told from a cut: an answer is JSON, which knows its own end.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.finished.callback(b"".join(self._pieces))
        else:
            self.finished.errback(BadAnswer(f"{self._what}: the answer was cut off", status=self._status))

    def _watch(self) -> None:
        now = self._clock.seconds()
        end = min(self._last + self._gap_s, self._until)
        if now >= end:
            self._late = None
            self._fail(TooSlow(f"{self._what}: the answer did not come to its end", status=self._status))
        else:
            self._late = self._clock.callLater(end - now, self._watch)

    def _fail(self, error: CouchError) -> None:
        self._abort()
        self.finished.errback(error)

    def _abort(self) -> None:
        self._close()
        if self.transport is not None:
            self.transport.stopProducing()  # type: ignore[attr-defined]  # the producer's way to say: never again

    def _close(self) -> None:
        self._done = True
        if self._late is not None and self._late.active():
            self._late.cancel()
        self._late = None


_AFTER_SENDING = (ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed)


def mapped(what: str, error: Exception, *, late: bool, within_s: float) -> CouchError:
    """Map what a request without an answer failed with."""
    if not isinstance(error, _AFTER_SENDING):
        return Unreachable(what, reason=f"no connection within {within_s:g} s" if late else _text(error))
    reasons = [failure.value for failure in error.reasons]
    for cause in reasons:
        if isinstance(cause, VerificationError) or (
            isinstance(cause, TLSError) and "certificate verify failed" in str(cause)
        ):
            return Untrusted(what, reason=f"its certificate is refused: {_text(cause)}")
        if isinstance(cause, CouchError):
            return cause
    if late:
        return TooSlow(f"{what}: no answer within {within_s:g} s")
    return Unavailable(what, reason="; ".join(_text(cause) for cause in reasons))


def _text(error: Exception) -> str:
    """Say what failed, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
