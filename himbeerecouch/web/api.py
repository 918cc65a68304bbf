"""What the page asks Python for: whether sources compile, which Pis are there, and to enrol one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock

from himbeerecouch.errors import CouchError, LoginRefused, Unavailable
from himbeerecouch.fleet import syntax
from himbeerecouch.fleet.desk import Desk, Who
from himbeerecouch.fleet.syntax import Complaint
from himbeerecouch.web import rules
from himbeerecouch.web.http import Exchange
from himbeerecouch.web.rules import Refused
from himbeerecouch.web.upstream import Upstream, bad_gateway

SOURCE_BYTES = 1024 * 1024
CHECK_S = 20.0


class Api:
    """The calls, by name: each takes a request, and gives what is answered."""

    def __init__(self, reactor: Any, upstream: Upstream) -> None:
        self._reactor = reactor
        self._upstream = upstream
        self._checking = DeferredLock()
        self.calls = {"check": self.check}

    async def check(self, exchange: Exchange) -> object:
        """Compile sources: ``{"modules": {name: source}}`` -> ``{"errors": [...]}``."""
        modules = _posted(exchange).get("modules")
        if not isinstance(modules, dict) or not all(isinstance(source, str) for source in modules.values()):
            raise Refused(400, "bad_request", 'give {"modules": {name: source}}')
        for name, source in modules.items():
            if len(source.encode("utf-8", "surrogatepass")) > SOURCE_BYTES:
                raise Refused(413, "too_large", f"{name} has more than {SOURCE_BYTES} bytes")
        async with self._user(exchange):
            pass
        # One at a time: it takes a processor, and memory.
        found = await self._checking.run(self._findings, list(modules.values()))
        pairs = zip(modules, found, strict=True)
        return {"errors": [_told(name, each) for name, complaints in pairs for each in complaints]}

    def _findings(self, sources: list[str]) -> Deferred[list[tuple[Complaint, ...]]]:
        return Deferred.fromCoroutine(syntax.findings(self._reactor, sources, timeout_s=CHECK_S))

    @asynccontextmanager
    async def _user(self, exchange: Exchange) -> AsyncIterator[tuple[Desk, Who]]:
        """Give CouchDB as who is logged in, who it is, and its errors as Refused.  Raises Refused where nobody is."""
        session = rules.session_of(exchange.getHeader("cookie"))
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
