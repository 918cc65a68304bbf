"""The embedded server without a socket: requests are bytes, and time is a Clock."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.http import _ChunkedTransferDecoder as ChunkedDecoder

from himbeerecouch.embedded.home import Login
from himbeerecouch.embedded.service import Embedded

ADMIN = ("admin", "secret")


async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a slow function here and now: with few rounds it is not slow."""
    return function(*arguments)


@define
class Reply:
    """An answer, or as much of it as has come."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Pending:
    """A request that has been sent, on a connection of its own."""

    def __init__(self, wire: Wire, data: bytes) -> None:
        self._wire = wire
        self.transport = StringTransport()
        self.channel = wire.server.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(data)

    def reply(self) -> Reply:
        """What has come so far."""
        head, _, rest = self.transport.value().partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body, complete = rest, False
        if headers.get("transfer-encoding") == "chunked":
            parts: list[bytes] = []
            ended: list[bytes] = []
            ChunkedDecoder(parts.append, ended.append).dataReceived(rest)
            body, complete = b"".join(parts), bool(ended)
        elif "content-length" in headers:
            complete = len(rest) in (int(headers["content-length"]), 0)
        return Reply(int(lines[0].split(" ")[1]) if head else 0, headers, body, complete)

    def drop(self) -> None:
        """Let the client go."""
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.channel.connectionLost(Failure(ConnectionDone()))


class Wire:
    """An embedded server whose reactor is a Clock."""

    def __init__(self, folder: Path | None = None, *, iterations: int = 1) -> None:
        self.clock = Clock()
        self.service = Embedded(
            self.clock,
            None,  # type: ignore[arg-type]  # nothing listens: connections are made by hand
            folder=folder,
            admin=Login(*ADMIN),
            iterations=iterations,
            wall_s=lambda: 1_800_000_000.0 + self.clock.seconds(),
            in_thread=at_once,
        )
        self.server = self.service.open()

    def turn(self, times: int = 50) -> None:
        """Let everything happen that is to happen at once."""
        for _ in range(times):
            self.clock.advance(0)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        login: tuple[str, str] | None = ADMIN,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Render a request; a str or bytes body goes as it is, anything else as JSON."""
        sent = {"Host": "127.0.0.1:5984", "Accept": "application/json"}
        if login is not None:
            sent["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        data = b""
        if body is not None:
            text = body if isinstance(body, str | bytes) else json.dumps(body)
            data = text if isinstance(text, bytes) else text.encode()
            sent["Content-Type"] = "application/json"
            sent["Content-Length"] = str(len(data))
        sent.update(headers or {})
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + data

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> Pending:
        """Send a request, on a connection of its own, and let happen what it brings about at once."""
        pending = Pending(self, self.request(method, path, body, **options))
        self.turn()
        return pending

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        """Send a request whose answer comes at once."""
        reply = self.send(method, path, body, **options).reply()
        assert reply.complete, f"{method} {path} was not answered at once"
        return reply

    def make(self, *names: str) -> None:
        """Create databases."""
        for name in names:
            assert self.ask("PUT", "/" + name).status == 201

    def close(self) -> None:
        """Stop the server and see that nothing of it is left."""
        stopped: list[Any] = []
        self.service.stopService().addBoth(stopped.append)
        self.turn()
        for channel in list(self.server.channels):
            channel.connectionLost(None)  # type: ignore[arg-type]  # a StringTransport never tells by itself
        self.turn()
        assert stopped == [None], stopped
        assert not self.clock.getDelayedCalls(), self.clock.getDelayedCalls()
