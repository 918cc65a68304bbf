"""What the page asks Python for: whether sources compile, which Pis are there, and to enrol one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock

from himbeerecouch.discovery.wire import PORT
from himbeerecouch.errors import AlreadyEnrolled, CouchError, LoginRefused, NotSetUp, SeveralPasswords, Unavailable
from himbeerecouch.fleet import network, rights, syntax
from himbeerecouch.fleet.desk import Desk, Who
from himbeerecouch.fleet.enrol import enrol
from himbeerecouch.fleet.syntax import Complaint
from himbeerecouch.web import rules
from himbeerecouch.web.http import Exchange
from himbeerecouch.web.rules import Refused
from himbeerecouch.web.upstream import Upstream, bad_gateway

T = TypeVar("T")
SOURCE_BYTES = 1024 * 1024
CHECK_S = 20.0
CHECK_DEATHS = 2
PROBE_S = 3.0
WAKE_S = 0.4


class Api:
    """The calls, by name: each takes a request, and gives what is answered."""

    def __init__(self, reactor: Any, upstream: Upstream, *, discovery_port: int = PORT) -> None:
        self._reactor = reactor
        self._upstream = upstream
        self._checking = DeferredLock()
        self._probing = DeferredLock()
        self._discovery_port = discovery_port
        self.calls = {"check": self.check, "probe": self.probe, "enroll": self.enroll}

    async def check(self, exchange: Exchange) -> object:
        """Compile sources: ``{"modules": {name: source}}`` -> ``{"errors": [...]}``."""
        async with self._user(exchange):
            modules = _posted(exchange).get("modules")
        if not isinstance(modules, dict) or not all(isinstance(source, str) for source in modules.values()):
            raise Refused(400, "bad_request", 'give {"modules": {name: source}}')
        for name, source in modules.items():
            if len(source.encode("utf-8", "surrogatepass")) > SOURCE_BYTES:
                raise Refused(413, "too_large", f"{name} has more than {SOURCE_BYTES} bytes")
        # One at a time: it takes a processor, and memory.
        sources = list(modules.values())
        found = await alone(
            self._checking,
            lambda: syntax.findings(self._reactor, sources, timeout_s=CHECK_S, most_deaths=CHECK_DEATHS),
        )
        pairs = zip(modules, found, strict=True)
        return {"errors": [_told(name, each) for name, complaints in pairs for each in complaints]}

    async def probe(self, exchange: Exchange) -> object:
        """Ask the network for Pis: ``[{"mac_id", "address", "enrolled"}]``, for operators."""
        async with self._user(exchange) as (_, who):
            if not who.is_admin and rights.OPERATOR not in who.roles:
                raise Refused(403, "forbidden", f"this needs the role {rights.OPERATOR}")
            answers = await self._asking(network.probe, timeout_s=PROBE_S)
        # Two that answer for one MacID are one of them here, and are refused where it is to be enrolled.
        addresses = {answer.mac_id: answer for answer in answers}
        return [
            {"mac_id": each.mac_id, "address": each.address, "enrolled": each.password is None}
            for each in addresses.values()
        ]

    async def enroll(self, exchange: Exchange) -> object:
        """Make the user of a Pi that waits, with the password that it says: ``{"mac_id": int}``, for admins.

        ``"replace": true`` gives a user that is there already the Pi's new password.  The browser never hears it.
        """
        async with self._user(exchange) as (desk, who):
            if not who.is_admin:
                raise Refused(403, "forbidden", "only a server admin may enroll a Pi")
            asked = _posted(exchange)
            mac_id, replace = asked.get("mac_id"), asked.get("replace", False)
            if type(mac_id) is not int or type(replace) is not bool:
                raise Refused(400, "bad_request", 'give {"mac_id": number}')
            password = await self._password(mac_id)
            try:
                await enrol(desk, mac_id, password, replace=replace)
            except AlreadyEnrolled as error:
                raise Refused(409, "enrolled", str(error)) from error
            except NotSetUp as error:
                raise Refused(409, "not_set_up", str(error)) from error
        for _ in range(2):  # a Pi that is asked by one who asked before logs in now, and not some seconds later
            await self._asking(network.probe, timeout_s=WAKE_S)
        return {"ok": True, "mac_id": mac_id}

    async def _password(self, mac_id: int) -> str:
        """Give the password that the Pi tells.  Raises Refused."""
        try:
            found = await self._asking(network.find, mac_id, timeout_s=PROBE_S)
        except SeveralPasswords as error:
            raise Refused(409, "conflict", str(error)) from error
        if found is None or found.password is None:
            reason = "says that it is enrolled already" if found else "does not answer on this network"
            raise Refused(404, "not_found", f"the Pi {mac_id} {reason}")
        return found.password

    async def _asking(self, how: Callable[..., Coroutine[Any, Any, T]], *arguments: int, timeout_s: float) -> T:
        """Ask the network, one at a time: it takes a thread for seconds."""
        url, port = self._upstream.url, self._discovery_port
        return await alone(self._probing, lambda: how(self._reactor, url, *arguments, timeout_s=timeout_s, port=port))

    @asynccontextmanager
    async def _user(self, exchange: Exchange) -> AsyncIterator[tuple[Desk, Who]]:
        """Give CouchDB as who is logged in, who it is, and its errors as Refused.  Raises Refused where nobody is."""
        session = rules.session_of(exchange.header("cookie"))
        if session is None:
            raise _nobody()
        desk = self._upstream.desk(session)
        try:
            who = await desk.who()
            if who.name is None:
                raise _nobody()
            yield desk, who
        except LoginRefused:
            raise _nobody() from None
        except Unavailable as error:
            raise bad_gateway(error) from error
        except CouchError as error:
            raise Refused(error.status or 502, "refused", str(error)) from error
        finally:
            await desk.close()


async def alone(lock: DeferredLock, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do it once nobody else does, and to its end: its thread goes on also when whoever asked has gone."""

    async def held() -> T:
        try:
            return await work()
        finally:
            lock.release()

    await lock.acquire()
    done = Deferred.fromCoroutine(held())
    heard: Deferred[T] = Deferred()
    done.chainDeferred(heard)
    return await heard


def _told(module: str, complaint: Complaint) -> dict[str, Any]:
    warning = {"warning": True} if complaint.warning else {}
    place = {"line": complaint.line or 1, "column": complaint.column or 1}
    return {"module": module, **place, "message": complaint.message, **warning}


def _nobody() -> Refused:
    return Refused(401, "unauthorized", "log in first")


def _posted(exchange: Exchange) -> dict[str, Any]:
    """Give the JSON object of a request.  Raises Refused."""
    try:
        value = json.loads(exchange.content.read() if exchange.content is not None else b"")
    except (ValueError, RecursionError):
        raise Refused(400, "bad_request", "the body is no JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "bad_request", "the body is no JSON object")
    return value
