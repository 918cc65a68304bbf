"""Requests passed on to CouchDB and their answers back: pace, time, and how either end goes."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH

from himbeerecouch.web import upstream
from himbeerecouch.web.http import Exchange
from himbeerecouch.web.upstream import Upstream
from tests import logged
from tests.test_web_http import Connection, HttpCase


class Response:
    """An answer of CouchDB, whose body comes when the test says."""

    def __init__(self, code: int = 200, length: Any = UNKNOWN_LENGTH) -> None:
        self.code = code
        self.length = length
        self.headers = Headers({"Content-Type": ["application/json"]})
        self.transport = StringTransport()
        self.protocol: Any = None

    def deliverBody(self, protocol: Any) -> None:
        """Begin the body."""
        self.protocol = protocol
        protocol.makeConnection(self.transport)


class Agent:
    """Stands for the connections to CouchDB: keeps requests, and answers when the test says."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes, Headers, Any]] = []
        self.answers: list[Deferred[Any]] = []
        self.cancelled = 0
        self.agent = self

    def request(self, method: bytes, url: bytes, headers: Headers, body: Any) -> Deferred[Any]:
        """Take a request."""

        def cancel(d: Deferred[Any]) -> None:
            self.cancelled += 1
            d.errback(ResponseFailed([Failure(ConnectionLost())]))

        self.requests.append((method, url, headers, body))
        self.answers.append(Deferred(cancel))
        return self.answers[-1]


class RelayTests(HttpCase):
    def setUp(self) -> None:
        super().setUp()
        self.agent = Agent()
        connections: Any = self.agent
        self.upstream = Upstream(self.clock, connections, lambda: "http://couch:5984/", database="db")
        self.connection = Connection(self.server)
        self.connection.transport.peerAddr = IPv4Address("TCP", "10.0.0.9", 1)

    async def serve(self, exchange: Exchange) -> None:
        """Pass it on."""
        await self.upstream.relay(exchange, ("db", "a/b"), exchange.uri.partition(b"?")[2])

    def get(self, answer: Any = None) -> bytes:
        """Ask; give what is answered at once."""
        self.connection.send(b"GET /x?rev=1-a%22 HTTP/1.1\r\nHost: us\r\n\r\n")
        if answer is not None:
            self.agent.answers[-1].callback(answer)
        return self.connection.received()

    def test_whole(self) -> None:
        """Headers go out at once, and each piece as it comes; the connection goes on with the next request."""
        for _ in range(2):
            response = Response()
            head = self.get(response)
            self.assertIn(b"HTTP/1.1 200 OK", head)
            self.assertIn(b"Transfer-Encoding: chunked", head)
            response.protocol.dataReceived(b"{}")
            self.assertEqual(self.connection.received(), b"2\r\n{}\r\n")
            response.protocol.connectionLost(Failure(ResponseDone()))
            self.assertEqual(self.connection.received(), b"0\r\n\r\n")
        method, url, headers, body = self.agent.requests[0]
        self.assertEqual((method, url, body), (b"GET", b"http://couch:5984/db/a%2Fb?rev=1-a%22", None))
        self.assertEqual(dict(headers.getAllRawHeaders()), {b"X-Forwarded-For": [b"10.0.0.9"]})

    def test_length(self) -> None:
        """An answer whose length is known says it."""
        self.assertIn(b"Content-Length: 7\r\n", self.get(Response(length=7)))

    def test_pace(self) -> None:
        """CouchDB's answer is read no faster than the browser takes it."""
        response = Response()
        self.get(response)
        self.connection.channel.pauseProducing()
        self.assertEqual(response.transport.producerState, "paused")
        self.connection.channel.resumeProducing()
        self.assertEqual(response.transport.producerState, "producing")

    def test_browser_stands_still(self) -> None:
        """A browser that takes nothing is cut off after a time, and CouchDB's answer with it."""
        response = Response()
        self.get(response)
        self.connection.channel.pauseProducing()
        self.clock.advance(upstream.GAP_S - 1)
        self.assertFalse(self.connection.transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(self.connection.transport.disconnecting)
        self.assertEqual(response.transport.producerState, "stopped")
        self.connection.leave()

    def test_couchdb_stands_still(self) -> None:
        """So is an answer of CouchDB that does not go on; each piece gives it time again."""
        response = Response()
        self.get(response)
        for _ in range(3):
            self.clock.advance(upstream.GAP_S - 1)
            response.protocol.dataReceived(b"\n")
        self.assertFalse(self.connection.transport.disconnecting)
        self.clock.advance(upstream.GAP_S)
        self.assertTrue(self.connection.transport.disconnecting)
        response.protocol.dataReceived(b"late")
        response.protocol.connectionLost(Failure(ConnectionLost()))
        response.protocol.pauseProducing()
        response.protocol.resumeProducing()

    def test_no_headers(self) -> None:
        """Where CouchDB does not answer in time the browser is told so."""
        self.get()
        self.clock.advance(upstream.HEADERS_S)
        answer = self.connection.received()
        self.assertIn(b"HTTP/1.1 504", answer)
        self.assertIn(b"gateway_timeout", answer)
        self.assertEqual(self.agent.cancelled, 1)

    def test_told_once(self) -> None:
        """That CouchDB does not answer stands in the log once, and again after it did."""
        with logged.warnings("himbeerecouch.web.upstream") as warnings:
            for outcome in (ConnectionLost(), ConnectionLost(), Response(304), ConnectionLost()):
                if isinstance(outcome, Response):
                    self.get(outcome)
                    outcome.protocol.connectionLost(Failure(ResponseDone()))
                else:
                    self.get()
                    self.agent.answers[-1].errback(ResponseFailed([Failure(outcome)]))
        self.assertEqual(len(warnings), 2)

    def test_browser_goes_before(self) -> None:
        """A browser that goes before there is an answer takes its request along, which is nothing to be logged."""
        self.get()
        with logged.warnings("himbeerecouch.web.upstream") as warnings:
            self.connection.leave()
        self.assertEqual(warnings, [])
        self.assertEqual(self.agent.cancelled, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_browser_goes_in_the_midst(self) -> None:
        """One that goes in the midst closes the connection to CouchDB."""
        response = Response()
        self.get(response)
        self.connection.channel.stopProducing()
        self.connection.leave()
        self.assertEqual(response.transport.producerState, "stopped")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_redirect(self) -> None:
        """A redirect is refused, and its body is not read."""
        response = Response(301)
        self.assertIn(b"HTTP/1.1 502", self.get(response))
        self.assertEqual(response.transport.producerState, "stopped")

    def test_not_modified(self) -> None:
        """What has not changed is no redirect."""
        response = Response(304)
        self.assertIn(b"HTTP/1.1 304", self.get(response))
        response.protocol.connectionLost(Failure(ResponseDone()))

    def test_whose_address(self) -> None:
        """CouchDB is told the browser's address: by us, or by a proxy on this machine, never by the browser."""
        for peer, said, told in (
            ("10.0.0.9", None, "10.0.0.9"),
            ("10.0.0.9", "1.2.3.4", "10.0.0.9"),
            ("127.0.0.1", None, "127.0.0.1"),
            ("127.0.0.1", "1.2.3.4", "1.2.3.4"),
            ("127.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("127.0.0.1", "fe80::1", "fe80::1"),
            ("127.0.0.1", "x\ty", "127.0.0.1"),
            ("127.0.0.1", "", "127.0.0.1"),
        ):
            connection = Connection(self.server)
            connection.transport.peerAddr = IPv4Address("TCP", peer, 1)
            header = b"" if said is None else b"X-Forwarded-For: " + said.encode() + b"\r\n"
            connection.send(b"GET / HTTP/1.1\r\n" + header + b"\r\n")
            self.assertEqual(self.agent.requests[-1][2].getRawHeaders("x-forwarded-for"), [told])
            connection.leave()
