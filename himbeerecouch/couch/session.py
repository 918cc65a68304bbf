"""The requests of the daemon to one CouchDB server: through the gate, with the login, with every failure mapped.

All of it runs on the reactor's thread; times are in seconds, by the reactor's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from himbeerecouch.couch import address, answers
from himbeerecouch.couch.asks import Timing
from himbeerecouch.couch.clocks import ServerClock
from himbeerecouch.couch.fetch import Body, Bounds, OriginAgent, Reply, fetch
from himbeerecouch.couch.gate import Closed, Gate, Ticket, Verdict
from himbeerecouch.couch.login import Attempt, Login
from himbeerecouch.couch.message import date_of, encode
from himbeerecouch.errors import (
    AnswerTooLarge,
    BadRequest,
    CouchError,
    LoginLocked,
    LoginRefused,
    TooSlow,
    Unavailable,
    Unreachable,
    Untrusted,
)
from himbeerecouch.model import Json

_CLOSED = {
    Closed.REFUSED: (LoginRefused, "the password was refused, and is tried again later"),
    Closed.LOGINS: (LoginRefused, "there were four logins in five minutes, and one more could lock the account"),
    Closed.LOCKED: (LoginLocked, "the account is locked for a time"),
    Closed.ASKED: (Unavailable, "the server asked to be left alone for a time"),
}
HURRY_S = 1.0


class ConnectionsLike(Protocol):
    """What the client needs of its connections."""

    agent: IAgent
    local_address: str | None
    """The address of this machine that the last connection was made from; None before there was one."""

    def drop(self) -> None:
        """Close all at once."""

    def drop_idle(self) -> None:
        """Close those without a request."""

    def close(self) -> Deferred[None]:
        """Close all, and say when they are gone."""


@frozen
class _Server:
    """The server that is talked to now."""

    address: address.Address
    gate: Gate


@frozen
class Call:
    """One request, as the client means it."""

    what: str
    """Names it in errors."""
    method: str
    path: tuple[str, ...]
    bounds: Bounds
    json: Json | None = field(default=None, hash=False)
    query: str = ""
    poll: bool = False
    """It is the long poll, which has a place of its own at the gate."""
    proves: bool = True
    """A good answer to it shows that the password is right."""


class Session:
    """One server at a time, as one user."""

    def __init__(
        self,
        clock: Any,
        connections: ConnectionsLike,
        *,
        login: Login,
        random: Callable[[], float],
        wall: Callable[[], float],
        timing: Timing,
    ) -> None:
        self.login = login
        self.on_news: list[Callable[[bool], None]] = []
        """Called when what failed may work now; with True where it is another server."""
        self._clock = clock
        self._connections = connections
        self._random = random
        self._wall = wall
        self._timing = timing
        self._server: _Server | None = None
        self._gates: dict[tuple[str, str, int], Gate] = {}
        self._server_clock = ServerClock()
        self._parked: dict[Deferred[None], bool] = {}
        """Who waits at the gate, in their order; with True where it is the poll."""
        self._under_way: set[Deferred[Reply]] = set()
        self._closed = False
        self._hurried_at = float("-inf")
        login.on_replaced = self._login_replaced

    # --- the server ---------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str | None:
        """The server's URL, without user and password; None where there is none."""
        return None if self._server is None else self._server.address.base

    def move(self, url: str | None) -> None:
        """Talk to another server from now on; None: to nobody, as there is no usable server file.

        Requests that are under way fail.  The same URL again changes nothing.  Raises ValueError, with a text for
        people, for what is no URL.
        """
        found = None if url is None else address.parse(url)
        if found == (None if self._server is None else self._server.address):
            return
        self._server = None
        if found is not None:
            gate = self._gates.setdefault(found.origin, Gate())
            gate.restart()
            self._server = _Server(found, gate)
        self.login.restart()
        self._server_clock = ServerClock()
        self._drop()
        self._tell(moved=True)

    def hurry(self) -> None:
        """Log in at once where that waits: somebody is enrolling this Pi right now.

        Probes can be sent by anybody, as many as they like: at most one in a second counts.
        """
        now = self._clock.seconds()
        if now - self._hurried_at < HURRY_S:
            return
        self._hurried_at = now
        if self._server is not None:
            self._server.gate.hurry()
        self._tell(moved=False)

    def close(self) -> Deferred[None]:
        """End every request; fires when all sockets are closed."""
        self._closed = True
        self._drop()
        self._wake()
        return self._connections.close()

    def server_time(self) -> float:
        """Give the Unix time by the server's clock, and by this machine's while the server's is not known."""
        now = self._server_clock.now(self._clock.seconds())
        return self._wall() if now is None else now

    @property
    def server_time_known(self) -> bool:
        """Whether ``server_time`` is the server's: it has said what time it is."""
        return self._server_clock.known

    @property
    def server_offset_s(self) -> float:
        """The server's clock minus this machine's; 0.0 while the server's is not known."""
        now = self._server_clock.now(self._clock.seconds())
        return 0.0 if now is None else now - self._wall()

    @property
    def local_address(self) -> str | None:
        """The address of this machine that the server is talked to from; None before there was a connection."""
        return self._connections.local_address

    # --- requests -----------------------------------------------------------------------------------------------------

    async def request(self, call: Call) -> Any:
        """Make one request through the gate, with every password in turn, and give the JSON of its answer.

        Raises CouchError.
        """
        body = None if call.json is None else Body(encode(call.what, call.json))
        try:
            return await self._request(call, body)
        finally:
            if body is not None:
                body.drop()

    async def _request(self, call: Call, body: Body | None) -> Any:
        until = self._clock.seconds() + self._timing.request_s
        again = True
        while again:
            server, ticket = await self._admitted(call, until)
            attempt = self.login.attempt()
            verdict, error, found, retry_after_s = Verdict.NOTHING, None, None, None
            try:
                if ticket.login_at is not None and server.gate.doubtful:
                    await self._greet(server, call)
                verdict = Verdict.UNANSWERED
                reply = await self._fetch(call, server, attempt.authorization, body)
                retry_after_s = self._retry_after_s(reply.headers)
                verdict = Verdict.NOTHING
                error = answers.error_of(call.what, call.method, reply.status, reply.body, retry_after_s)
                if error is None:
                    found = answers.read_json(call.what, reply.body or b"")
                    verdict = Verdict.PROVEN
                elif reply.status < 500 and answers.is_couchdb(reply.body):
                    verdict = Verdict.PROVEN
            except CouchError as e:
                error = e
            finally:
                verdict = self._judged(call, attempt, verdict, error)
                self._back(server.gate, ticket, verdict, retry_after_s)
            again = verdict is Verdict.NEXT
        if isinstance(error, LoginRefused):
            closed = server.gate.closed(self._clock.seconds())
            error.retry_after_s = None if closed is None else closed.wait_s
        if error is not None:
            raise error
        return found

    def _judged(self, call: Call, attempt: Attempt, verdict: Verdict, error: CouchError | None) -> Verdict:
        """Say what an answer means for the login, and tell the login."""
        if isinstance(error, LoginLocked):
            return Verdict.LOCKED
        if isinstance(error, LoginRefused) or (error is not None and error.status == 401):
            return Verdict.NEXT if self.login.refused(attempt) else Verdict.REFUSED
        if verdict is Verdict.UNANSWERED and isinstance(error, Unreachable | Untrusted | BadRequest):
            return Verdict.NOTHING  # nothing was sent
        if isinstance(error, AnswerTooLarge):
            verdict = Verdict.PROVEN
        elif error is not None and error.status is not None and verdict is Verdict.UNANSWERED:
            verdict = Verdict.NOTHING
        if verdict is Verdict.UNANSWERED:
            # One connection was dead: the others that are idle likely are, and would take as long to show it.
            self._connections.drop_idle()
        if verdict is Verdict.PROVEN:
            if not call.proves:
                return Verdict.NOTHING
            self.login.succeeded(attempt)
        return verdict

    async def _admitted(self, call: Call, until: float) -> tuple[_Server, Ticket]:
        """Wait at the gate."""
        while True:
            what = call.what
            if self._closed:
                raise Unavailable(what, reason="the client is closed")
            if self._server is None:
                raise Unavailable(what, reason="there is no usable server file")
            now = self._clock.seconds()
            entry = self._server.gate.admit(now, poll=call.poll)
            if isinstance(entry, Ticket):
                return self._server, entry
            if entry.reason is not None:
                kind, reason = _CLOSED[entry.reason]
                raise kind(what, reason=reason, retry_after_s=entry.wait_s)
            if now >= until:
                raise TooSlow(what, reason="other requests take all the time")
            try:
                await self._park(until - now, poll=call.poll)
            except CancelledError:
                raise Unavailable(what, reason="it was cancelled") from None

    def _park(self, wait_s: float, *, poll: bool) -> Deferred[None]:
        """Wait for another request to come back, for ``wait_s`` at most."""
        parked: Deferred[None] = Deferred()
        late = self._clock.callLater(wait_s, parked.callback, None)

        def end(result: Any) -> Any:
            if late.active():
                late.cancel()
            self._parked.pop(parked, None)
            return result

        self._parked[parked] = poll
        return parked.addBoth(end)

    def _back(self, gate: Gate, ticket: Ticket, verdict: Verdict, retry_after_s: float | None) -> None:
        """Hand a ticket back, and let in who waits for its place.

        Where nothing else has changed at the gate that is one request: with a hundred that wait, a hundred would try
        each time, for nothing.
        """
        now = self._clock.seconds()
        was_proven = gate.proven
        gate.back(ticket, now, verdict, random=self._random(), retry_after_s=retry_after_s)
        here = self._server is not None and self._server.gate is gate
        if here and was_proven and gate.proven and gate.closed(now) is None:
            longest = next((parked for parked, poll in self._parked.items() if poll == ticket.poll), None)
            if longest is not None:
                longest.callback(None)
        else:
            self._wake()

    def _wake(self) -> None:
        """Let all at the gate try again, in their order."""
        for parked in tuple(self._parked):
            if parked in self._parked:
                parked.callback(None)

    async def _greet(self, server: _Server, call: Call) -> None:
        """See that the server answers at all, before one more login is spent on it; any answer will do."""
        try:
            await self._fetch(Call("the server's front page", "GET", ("",), call.bounds), server, None, None)
        except CouchError as e:
            if e.status is None and not isinstance(e, AnswerTooLarge):
                raise
        server.gate.greeted()

    async def _fetch(self, call: Call, server: _Server, authorization: bytes | None, body: Body | None) -> Reply:
        """Make one request to the server itself."""
        try:
            url = server.address.url(*call.path) + (f"?{call.query}" if call.query else "")
        except UnicodeEncodeError:
            raise BadRequest(call.what, reason="an id with half a character in it") from None
        agent = OriginAgent(self._connections.agent, server.address.origin, authorization)
        answer = fetch(self._clock, agent, call.what, call.method, url, body=body, bounds=call.bounds)
        d = Deferred.fromCoroutine(answer)
        self._under_way.add(d)
        try:
            reply = await d
        except CancelledError:
            raise Unavailable(call.what, reason="it was cancelled") from None
        finally:
            self._under_way.discard(d)
        if self._server is server:
            self._hear(reply)
        return reply

    def _hear(self, reply: Reply) -> None:
        date = date_of(reply.headers, b"date")
        if date is not None:
            self._server_clock.heard(date, reply.sent_at, reply.headed_at)

    def _retry_after_s(self, headers: Headers) -> float | None:
        """Read ``Retry-After`` (RFC 9110, section 10.2.3): seconds, or a time."""
        text = (headers.getRawHeaders(b"retry-after") or [b""])[0].strip()
        if text.isdigit():
            return float(text[:9])
        date = date_of(headers, b"retry-after")
        return None if date is None else max(0.0, date - self.server_time())

    # --- news ---------------------------------------------------------------------------------------------------------

    def _login_replaced(self) -> None:
        if self._server is not None:
            self._server.gate.restart()
        self._tell(moved=False)

    def _tell(self, *, moved: bool) -> None:
        self._wake()
        for told in tuple(self.on_news):
            told(moved)

    def _drop(self) -> None:
        for d in tuple(self._under_way):
            d.cancel()
        self._connections.drop()
