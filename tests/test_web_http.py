"""HTTP under the page's routes: bounds of time, size and number, and how requests end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.connections import HANG_UP_S
from himbeerecouch.web import http
from himbeerecouch.web.http import Channel, Exchange, Server
from himbeerecouch.web.rules import Refused


class Connection:
    """One connection to a server, in memory."""

    def __init__(self, server: Server) -> None:
        channel = server.buildProtocol(None)
        assert channel is not None
        self.channel: Channel = channel
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """Send something; give all that came back since the last time."""
        self.channel.dataReceived(data)
        return self.received()

    def received(self) -> bytes:
        """Give all that came back since the last time."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def leave(self) -> None:
        """Close it from the client's end."""
        self.channel.connectionLost(Failure(ConnectionDone()))


class HttpCase(SynchronousTestCase):
    """A server whose answers the test decides."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Exchange] = []
        self.waiting: Deferred[None] | None = None
        self.error: Exception | None = None
        self.server = Server(self.clock, self.serve, self.headers)

    def tearDown(self) -> None:
        for channel in list(self.server.channels):
            channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def headers(self, _: Exchange) -> Mapping[str, str]:
        """Give the headers of every answer."""
        return {"X-Ours": "1"}

    async def serve(self, exchange: Exchange) -> None:
        """Answer with the body."""
        self.asked.append(exchange)
        if self.error is not None:
            raise self.error
        if self.waiting is not None:
            await self.waiting
        assert exchange.content is not None
        exchange.send(200, exchange.content.read() or b"-", {})


class AnswerTests(HttpCase):
    def test_keeps_open(self) -> None:
        """One connection carries many requests, pipelined ones too, in their order."""
        connection = Connection(self.server)
        for _ in range(2):
            answer = connection.send(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab")
            self.assertEqual(answer.partition(b"\r\n\r\n")[2], b"ab")
            self.assertIn(b"X-Ours: 1\r\n", answer)
            self.assertNotIn(b"Server:", answer)
        self.assertEqual(connection.send(b"GET / HTTP/1.1\r\n\r\n" * 3).count(b"HTTP/1.1 200"), 3)

    def test_refused(self) -> None:
        """A refusal is an answer in CouchDB's form."""
        self.error = Refused(418, "teapot", "it is none")
        answer = Connection(self.server).send(b"GET / HTTP/1.1\r\n\r\n")
        self.assertIn(b"HTTP/1.1 418", answer)
        self.assertIn(b'{"error": "teapot", "reason": "it is none"}', answer)
        self.assertIn(b"X-Ours: 1", answer)

    def test_mistake(self) -> None:
        """A mistake of ours is logged, and says nothing of itself to the browser."""
        self.error = ValueError("secret")
        answer = Connection(self.server).send(b"GET / HTTP/1.1\r\n\r\n")
        self.assertIn(b"HTTP/1.1 500", answer)
        self.assertNotIn(b"secret", answer)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_mistake_in_the_midst(self) -> None:
        """Where a part of the answer is out, a mistake closes the connection: no half is taken for a whole."""

        async def serve(exchange: Exchange) -> None:
            exchange.headers(200, {})
            exchange.write(b"half")
            raise ValueError

        connection = Connection(Server(self.clock, serve, self.headers))
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(connection.transport.disconnecting)
        self.flushLoggedErrors(ValueError)
        connection.leave()

    def test_refused_in_the_midst(self) -> None:
        """So does a refusal, which can't be said any more."""

        async def serve(exchange: Exchange) -> None:
            exchange.headers(200, {})
            exchange.write(b"half")
            raise Refused(500, "x", "y")

        connection = Connection(Server(self.clock, serve, self.headers))
        self.assertNotIn(b"500", connection.send(b"GET / HTTP/1.1\r\n\r\n"))
        self.assertTrue(connection.transport.disconnecting)
        connection.leave()

    def test_client_goes(self) -> None:
        """What a client that has gone was waiting for is cancelled, and nothing is logged."""
        self.waiting = Deferred()
        cancelled: list[Failure] = []
        self.waiting.addErrback(cancelled.append)
        connection = Connection(self.server)
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        connection.leave()
        self.assertEqual(len(cancelled), 1)
        self.asked[0].cut()
        self.asked[0].send_json(200, {})

    def test_secure(self) -> None:
        """A proxy before us may say that the browser talks TLS to it."""
        Connection(self.server).send(b"GET / HTTP/1.1\r\nX-Forwarded-Proto: https\r\n\r\n")
        Connection(self.server).send(b"GET / HTTP/1.1\r\nX-Forwarded-Proto: http\r\n\r\n")
        self.assertEqual([exchange.secure for exchange in self.asked], [True, False])


class BoundTests(HttpCase):
    def test_slow_head(self) -> None:
        """A request whose headers come byte by byte is given up, though each byte comes in time."""
        connection = Connection(self.server)
        for _ in range(int(http.HEAD_S) - 1):
            connection.send(b"X")
            self.clock.advance(1)
        self.assertFalse(connection.transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(connection.transport.disconnecting)

    def test_slow_body(self) -> None:
        """So is one whose body does."""
        connection = Connection(self.server)
        connection.send(b"PUT / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(int(http.BODY_S / 10) - 1):
            connection.send(b"x")
            self.clock.advance(10)
        self.assertFalse(connection.transport.disconnecting)
        self.clock.advance(10)
        self.assertTrue(connection.transport.disconnecting)
        self.assertEqual(self.asked, [])

    def test_slow_answer(self) -> None:
        """While a request is answered its connection is kept, however long that takes."""
        self.waiting = Deferred()
        connection = Connection(self.server)
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        connection.send(b"GET /next")
        self.clock.advance(3600)
        self.assertFalse(connection.transport.disconnecting)
        self.waiting.callback(None)
        self.assertIn(b"200", connection.received())

    def test_idle(self) -> None:
        """A connection without a request is closed, and cut off where the client does not go."""
        connection = Connection(self.server)
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        self.clock.advance(http.IDLE_S)
        self.assertTrue(connection.transport.disconnecting)
        connection.leave()

    def test_number(self) -> None:
        """So many connections and no more; when one ends there is room again."""
        self.server.most = 2
        first, _ = Connection(self.server), Connection(self.server)
        self.assertIsNone(self.server.buildProtocol(None))
        first.leave()
        self.assertIsNotNone(self.server.buildProtocol(None))

    def test_size(self) -> None:
        """A body over the limit is refused when it has ended, is not kept, and is cut off where it does not end."""
        self.patch(http, "REQUEST_BYTES", 100)
        connection = Connection(self.server)
        answer = connection.send(b"PUT / HTTP/1.1\r\nContent-Length: 150\r\n\r\n" + b"x" * 150)
        self.assertIn(b"HTTP/1.1 413", answer)
        self.assertEqual(self.asked, [])
        connection.send(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            connection.send(b"50\r\n" + b"x" * 0x50 + b"\r\n")
        self.assertTrue(connection.transport.disconnecting)


class EndTests(HttpCase):
    def test_hang_up(self) -> None:
        """The server's end closes all connections, and cuts off the clients that do not go."""
        self.successResultOf(self.server.hang_up())
        first, second = Connection(self.server), Connection(self.server)
        done = self.server.hang_up()
        self.assertTrue(first.transport.disconnecting)
        first.leave()
        self.assertNoResult(done)
        second.transport.disconnecting = False
        self.clock.advance(HANG_UP_S)
        self.assertTrue(second.transport.disconnecting)
        second.leave()
        self.successResultOf(done)

    def test_hang_up_at_once(self) -> None:
        """Where all clients go, nothing is left to wait for."""
        connection = Connection(self.server)
        done: Any = self.server.hang_up()
        connection.leave()
        self.successResultOf(done)
