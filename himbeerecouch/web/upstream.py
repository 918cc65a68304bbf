"""The way to CouchDB: one request of a browser passed on, its answer passed back as it comes in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.protocol import connectionDone as connection_done
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer, IResponse
from zope.interface import implementer

from himbeerecouch.couch import address
from himbeerecouch.couch.fetch import mapped
from himbeerecouch.couch.session import ConnectionsLike
from himbeerecouch.errors import CouchError, ServerFileError, TooSlow
from himbeerecouch.fleet.desk import Cookie, Desk
from himbeerecouch.web import rules
from himbeerecouch.web.http import Exchange
from himbeerecouch.web.rules import Refused

HEADERS_S = 60.0
"""To the headers of an answer: a query without an index takes its time."""
GAP_S = 90.0
"""Without a byte from CouchDB, or one taken by the browser: longer than CouchDB's longest poll, which is 60 s."""
_ASKED = ("accept", "content-type", "if-match", "if-none-match")
"""What is passed on of a request's headers.  No ``Authorization``: whoever is here has logged in."""
_ANSWERED = ("content-type", "content-encoding", "date", "etag", "retry-after")
"""What is passed back.  No ``WWW-Authenticate``: the browser would ask for a password by itself."""

log = Logger()


class Upstream:
    """The one CouchDB server, as the browser's user."""

    def __init__(
        self,
        clock: Any,
        connections: ConnectionsLike,
        url: Callable[[], str],
        *,
        database: str,
        ca_file: str | None = None,
    ) -> None:
        """``url`` gives the server's URL as it is now, or raises ServerFileError."""
        self._clock = clock
        self._connections = connections
        self._url = url
        self._database = database
        self._ca_file = ca_file
        self._trouble: str | None = None

    @property
    def url(self) -> str:
        """The server's URL, without credentials.  Raises Refused."""
        return self._address().base

    def _address(self) -> address.Address:
        try:
            return address.parse(self._url())
        except ServerFileError as error:
            raise Refused(502, "bad_gateway", f"the server file of the page can't be used: {error.reason}") from None

    async def relay(self, exchange: Exchange, path: tuple[str, ...], query: bytes) -> None:
        """Pass one request on, and its answer back.  Raises Refused where there is none; cancelling it ends both."""
        url = self._address().url(*path).encode("ascii") + (b"?" + query if query else b"")
        response = await self._response(exchange, url)
        if 300 <= response.code < 400 and response.code != 304:
            _abort(response)
            reason = "it redirects; put the server's own URL into the server file"
            raise Refused(502, "bad_gateway", f"CouchDB: {reason}")
        exchange.headers(response.code, _answered(exchange, response))
        body_relay = _Relay(self._clock, exchange)
        response.deliverBody(body_relay)
        try:
            await body_relay.finished
        except CouchError:
            exchange.cut()
        else:
            exchange.finish()

    def desk(self, session: str) -> Desk:
        """Give CouchDB as the user of a session; to be closed after use.  Raises Refused."""
        return Desk(
            self._clock, url=self.url, credentials=Cookie(session), database=self._database, ca_file=self._ca_file
        )

    async def _response(self, exchange: Exchange, url: bytes) -> IResponse:
        body: IBodyProducer | None = FileBodyProducer(exchange.content) if exchange.received_bytes else None
        late: IDelayedCall | None = None
        try:
            request: Deferred[IResponse] = self._connections.agent.request(exchange.method, url, _asked(exchange), body)
            late = self._clock.callLater(HEADERS_S, request.cancel)
            response = await request
        except Exception as e:
            if exchange.is_lost:
                raise CancelledError from e  # the agent says otherwise that it was cancelled
            timed_out = late is not None and not late.active()
            error = mapped("CouchDB", e, late=timed_out, within_s=HEADERS_S)
            self._tell(str(error))
            raise bad_gateway(error) from e
        finally:
            if late is not None and late.active():
                late.cancel()
        self._tell(None)
        return response

    def _tell(self, trouble: str | None) -> None:
        """Log that CouchDB does not answer, and why, and that it does again: once each."""
        if trouble is not None and trouble != self._trouble:
            log.warn("{trouble}", trouble=trouble)
        elif trouble is None and self._trouble is not None:
            log.info("CouchDB answers again")
        self._trouble = trouble


def bad_gateway(error: CouchError) -> Refused:
    """Give the answer for a CouchDB that is not there, or does not answer as it should."""
    if isinstance(error, TooSlow):
        return Refused(504, "gateway_timeout", str(error))
    return Refused(502, "bad_gateway", str(error))


def _asked(exchange: Exchange) -> Headers:
    headers = Headers()
    for name in _ASKED:
        if (value := exchange.header(name)) is not None:
            headers.setRawHeaders(name.encode("ascii"), [value.encode("latin-1")])
    if (session := rules.session_of(exchange.header("cookie"))) is not None:
        headers.setRawHeaders("cookie", [f"{rules.COOKIE}={session}"])
    headers.setRawHeaders("x-forwarded-for", [client_of(exchange)])
    return headers


def client_of(exchange: Exchange) -> str:
    """Give the browser's address: CouchDB counts wrong passwords by it, and would lock out all browsers for one.

    A proxy before us on this very machine says it; nobody else's word is taken.
    """
    peer = str(getattr(exchange.client, "host", "") or "127.0.0.1")
    said = (exchange.header("x-forwarded-for") or "").rpartition(",")[2].strip()
    local = peer.startswith("127.") or peer == "::1"
    return said if local and said and all(c in "0123456789abcdefABCDEF.:" for c in said) else peer


def _answered(exchange: Exchange, response: IResponse) -> dict[str, str]:
    found: dict[str, str] = {"Cache-Control": "no-store"}
    for name in _ANSWERED:
        if values := response.headers.getRawHeaders(name.encode("ascii")):
            found[name] = values[-1].decode("latin-1")
    for value in response.headers.getRawHeaders(b"set-cookie") or []:
        if (cookie := rules.set_session(value.decode("latin-1"), secure=exchange.secure)) is not None:
            found["Set-Cookie"] = cookie
    if response.length is not UNKNOWN_LENGTH and exchange.method != b"HEAD":
        found["Content-Length"] = str(response.length)
    return found


@implementer(IPushProducer)
class _Relay(Protocol):
    """Passes a body on, no faster than the browser takes it; where neither side moves, it ends."""

    transport: Any

    def __init__(self, clock: Any, exchange: Exchange) -> None:
        self.finished: Deferred[None] = Deferred(lambda _: self._end())
        self._clock = clock
        self._exchange = exchange
        self._late: IDelayedCall | None = None
        self._ended = False

    def connectionMade(self) -> None:
        """The headers are there, and go out."""
        self._late = self._clock.callLater(GAP_S, self._too_late)
        self._exchange.registerProducer(self, True)
        self._exchange.write(b"")

    def dataReceived(self, data: bytes) -> None:
        """Pass one piece on."""
        if not self._ended:
            self._moved()
            self._exchange.write(data)

    def connectionLost(self, reason: Failure = connection_done) -> None:
        """The body has ended, one way or the other."""
        if self._ended:
            return
        self._close()
        if reason.check(ResponseDone, PotentialDataLoss):
            self.finished.callback(None)
        else:
            self.finished.errback(CouchError("CouchDB", reason="the answer was cut off"))

    def pauseProducing(self) -> None:
        """The browser does not keep up."""
        if not self._ended:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The browser has read on."""
        if not self._ended:
            self._moved()
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The browser has gone: what waits for the end is cancelled in a moment."""

    def _moved(self) -> None:
        if self._late is not None:
            self._late.reset(GAP_S)

    def _too_late(self) -> None:
        self._late = None
        self._end()
        self.finished.errback(CouchError("CouchDB", reason="the answer did not come to its end"))

    def _end(self) -> None:
        """Close the connection to CouchDB: nobody wants the rest."""
        self._close()
        if self.transport is not None:
            self.transport.stopProducing()

    def _close(self) -> None:
        self._ended = True
        if self._late is not None:
            self._late.cancel()
        self._late = None
        if not self._exchange.is_lost:
            self._exchange.unregisterProducer()


class _Nothing(Protocol):
    """Takes no body."""

    transport: Any

    def connectionMade(self) -> None:
        """Close the connection."""
        self.transport.stopProducing()


def _abort(response: IResponse) -> None:
    with suppress(Exception):
        response.deliverBody(_Nothing())
