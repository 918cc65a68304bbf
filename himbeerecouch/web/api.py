"""What the page asks Python for: whether sources compile, which Pis are there, and to enrol one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredLock

from himbeerecouch.errors import CouchError, LoginRefused, Unavailable
from himbeerecouch.fleet.desk import Desk, Who
from himbeerecouch.web import rules, syntax
from himbeerecouch.web.http import Exchange
from himbeerecouch.web.rules import Refused
from himbeerecouch.web.upstream import Upstream, bad_gateway

SOURCE_BYTES = 1024 * 1024
CHECK_S = 20.0

InThread = Callable[..., Awaitable[Any]]


class Api:
    """The calls, by name: each takes a request, and gives what is answered."""

    def __init__(self, upstream: Upstream, in_thread: InThread) -> None:
        self._upstream = upstream
        self._in_thread = in_thread
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
        return {"errors": await self._checking.run(self._in_thread, check, modules)}

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


def check(modules: dict[str, str]) -> list[dict[str, Any]]:
    """Compile sources in a process of their own; blocks."""
    names = list(modules)
    argv = [sys.executable, "-I", "-S", str(Path(syntax.__file__))]
    try:
        done = subprocess.run(  # noqa: S603 - our own script
            argv, input=json.dumps(modules).encode(), capture_output=True, timeout=CHECK_S, check=True
        )
        errors: list[dict[str, Any]] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError):
        if len(names) > 1:  # one of them is to blame: the others are to be looked at all the same
            return [found for name in names for found in check({name: modules[name]})]
        message = "Python could not compile it within its limits of time and memory"
        return [{"module": name, "line": 1, "column": 1, "message": message} for name in names]
    return errors
