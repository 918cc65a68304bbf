"""A TCP proxy that does to a real connection what networks do: delays, stalls, cuts, slices, rewrites, swallows.

Between any client and any server of the loopback interface, on the reactor that the test runs on::

    proxy = FaultProxy(reactor, server_port)
    port = await proxy.start()
    proxy.stalled = True
    ...
    await proxy.close()

What is set holds for all connections from then on, those that are open included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.protocol import connectionDone as connection_done
from twisted.python.failure import Failure


class FaultProxy:
    """Carries bytes between clients and the server at ``target_port``, with faults."""

    def __init__(self, reactor: Any, target_port: int) -> None:
        self.reactor = reactor
        self.target_port = target_port
        self.latency_s = 0.0
        """Each piece is held back for so long."""
        self.slice_s: float | None = None
        """What the server says comes one byte at a time, so many seconds apart."""
        self.cut_after: int | None = None
        """Each connection is reset after so many bytes of the server's."""
        self.refuse = False
        """New connections are reset."""
        self.rewrite: Callable[[bytes], bytes] | None = None
        """Changes each piece of what the server says."""
        self.rewrite_request: Callable[[bytes], bytes] | None = None
        """Changes each piece of what clients say."""
        self.hold: Callable[[bytes], bool] | None = None
        """Says which piece of a client's is held back, with all that follows on its connection, until ``release``."""
        self.held = 0
        """How many pieces were held back."""
        self.lasted_s: list[float] = []
        """How long each connection that is gone was open."""
        self.connections: set[_Link] = set()
        """Those that are open."""
        self.accepted = 0
        self.cuts = 0
        """How many connections had more to say than ``cut_after``."""
        self.sent_bytes = 0
        """What clients have said, swallowed bytes included."""
        self._stalled = False
        self._silent = False
        self._port: Any = None
        self._emptied: list[Deferred[None]] = []

    @property
    def stalled(self) -> bool:
        """Nothing gets through, in either direction, until this is False again; then all of it does."""
        return self._stalled

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        self._stalled = stalled
        for link in tuple(self.connections):
            link.go()

    @property
    def silent(self) -> bool:
        """Whatever is sent is swallowed, and nobody is told; a connection that lost bytes is dead for ever."""
        return self._silent

    @silent.setter
    def silent(self, silent: bool) -> None:
        self._silent = silent
        if silent:
            for link in self.connections:
                link.dead = True

    async def start(self, endpoint: Any = None) -> int:
        """Listen on a port of the loopback interface, or at ``endpoint``, and give the port."""
        endpoint = endpoint or TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        self._port = await endpoint.listen(Factory.forProtocol(lambda: _Front(self)))
        return int(self._port.getHost().port)

    def reset(self) -> None:
        """Reset every connection that is open."""
        for link in tuple(self.connections):
            link.abort()

    def release(self) -> None:
        """Let go what was held back, and hold back no more."""
        self.hold = None
        for link in tuple(self.connections):
            link.up.held = False
            link.go()

    async def close(self) -> None:
        """Listen no more, and reset what is open; ends when it is gone."""
        await self._port.stopListening()
        self.reset()
        await self.empty()

    def empty(self) -> Deferred[None]:
        """Fire when no connection is open."""
        if not self.connections:
            return succeed(None)
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        return emptied

    def gone(self, link: _Link) -> None:
        """Forget a connection whose two ends are closed."""
        self.lasted_s.append(self.reactor.seconds() - link.opened_at)
        self.connections.discard(link)
        if not self.connections:
            waiting, self._emptied = self._emptied, []
            for d in waiting:
                d.callback(None)


class _Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: FaultProxy, front: _Front) -> None:
        self.proxy = proxy
        self.front: Protocol | None = front
        self.back: Protocol | None = None
        self.up = _Direction(self, lambda: self.back)
        self.down = _Direction(self, lambda: self.front)
        self.dead = proxy.silent
        self.received = 0
        self.opened_at = proxy.reactor.seconds()

    def go(self) -> None:
        """Carry on."""
        self.up.go()
        self.down.go()

    def said(self, data: bytes) -> None:
        """Take what the client says."""
        proxy = self.proxy
        proxy.sent_bytes += len(data)
        if proxy.rewrite_request is not None:
            data = proxy.rewrite_request(data)
        if proxy.hold is not None and proxy.hold(data):
            proxy.held += 1
            self.up.held = True
        self.up.put(data)

    def heard(self, data: bytes) -> None:
        """Take what the server says."""
        proxy = self.proxy
        if proxy.rewrite is not None:
            data = proxy.rewrite(data)
        if proxy.cut_after is not None and self.received + len(data) > proxy.cut_after:
            data = data[: max(0, proxy.cut_after - self.received)]
            self.received += len(data)
            self.down.put(data)
            if not self.down.cut:
                self.down.cut = True
                proxy.cuts += 1
            self.down.go()
            return
        self.received += len(data)
        if proxy.slice_s is None:
            self.down.put(data)
        else:
            for at in range(len(data)):
                self.down.put(data[at : at + 1])

    def abort(self) -> None:
        """Reset both ends."""
        for end in (self.front, self.back):
            if end is not None:
                end.transport.abortConnection()  # type: ignore[union-attr]

    def lost(self, end: Protocol) -> None:
        """One end is closed: close the other one, when what it has to hear was said."""
        if end is self.front:
            self.front = None
            self.up.end()
            self.down.stop()
        else:
            self.back = None
            self.down.end()
            self.up.stop()
        if self.dead:
            self.abort()
        if self.front is None and self.back is None:
            self.up.stop()
            self.down.stop()
            self.proxy.gone(self)


class _Direction:
    """The bytes on their way to one end."""

    def __init__(self, link: _Link, target: Callable[[], Protocol | None]) -> None:
        self._link = link
        self._target = target
        self._pieces: deque[bytes] = deque()
        self._timer: Any = None
        self._ended = False
        self.cut = False
        self.held = False

    def put(self, data: bytes) -> None:
        """Send a piece when its time has come."""
        if self._link.proxy.silent:
            self._link.dead = True
        if not self._link.dead and data:
            self._pieces.append(data)
            self.go()

    def end(self) -> None:
        """There will be nothing more."""
        self._ended = True
        self.go()

    def stop(self) -> None:
        """Forget what has not been sent."""
        self._pieces.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def go(self) -> None:
        """Send what may be sent now."""
        proxy = self._link.proxy
        while self._timer is None and not proxy.stalled and not self._link.dead and not self.held:
            target = self._target()
            if not self._pieces:
                if self.cut:
                    self._link.abort()
                elif self._ended and target is not None:
                    target.transport.loseConnection()  # type: ignore[union-attr]
                return
            if target is None:
                return
            wait_s = proxy.latency_s or proxy.slice_s or 0.0
            if wait_s:
                self._timer = proxy.reactor.callLater(wait_s, self._tick)
            else:
                target.transport.write(self._pieces.popleft())  # type: ignore[union-attr]

    def _tick(self) -> None:
        self._timer = None
        target = self._target()
        if not self._link.proxy.stalled and not self._link.dead and target is not None and self._pieces:
            target.transport.write(self._pieces.popleft())  # type: ignore[union-attr]
        self.go()


class _Front(Protocol):
    """The end that a client has connected to."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._link = _Link(proxy, self)

    def connectionMade(self) -> None:
        """A client is there: connect to the server."""
        proxy = self._proxy
        proxy.accepted += 1
        proxy.connections.add(self._link)
        if proxy.refuse:
            self._link.abort()
            return
        endpoint = TCP4ClientEndpoint(proxy.reactor, "127.0.0.1", proxy.target_port, timeout=5)
        d: Deferred[Any] = endpoint.connect(Factory.forProtocol(lambda: _Back(self._link)))
        d.addErrback(lambda _: self._link.abort())

    def dataReceived(self, data: bytes) -> None:
        """Carry to the server."""
        self._link.said(data)

    def connectionLost(self, reason: Failure = connection_done) -> None:
        """The client has gone."""
        self._link.lost(self)


class _Back(Protocol):
    """The end that is connected to the server."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    def connectionMade(self) -> None:
        """The server is there."""
        self._link.back = self
        if self._link.front is None:
            self.transport.abortConnection()  # type: ignore[union-attr]
        else:
            self._link.go()

    def dataReceived(self, data: bytes) -> None:
        """Carry to the client."""
        self._link.heard(data)

    def connectionLost(self, reason: Failure = connection_done) -> None:
        """The server has gone."""
        self._link.lost(self)
