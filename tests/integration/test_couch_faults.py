"""What networks and broken servers do, on real sockets."""

from __future__ import annotations

import gzip
import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.protocol import connectionDone as connection_done
from twisted.python.failure import Failure

from himbeerecouch import errors
from himbeerecouch.couch import client as couch
from tests.follow import DATABASE, SHORT, FollowCase

T_S = SHORT.poll_timeout_s


class FeedFaultTests(FollowCase):
    """The feed, through a proxy of faults."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        await self.put("first")
        self.follow()
        await self.until(lambda: "first" in self.heard.documents)
        await self.sleep(0.05)

    async def arrives(self, name: str, within_s: float) -> None:
        """Store a document and see it arrive."""
        await self.put(name, code="x" * 2000)
        await self.until(lambda: name in self.heard.documents, within_s)

    async def test_reset(self) -> None:
        """Fault 3: a connection that is reset costs a moment, and nothing is read afresh."""
        for number in range(5):
            self.proxy.reset()
            await self.arrives(f"n{number}", 2.0)
        self.assertEqual(self.heard.snapshots, 1)

    async def test_cut_in_a_row(self) -> None:
        """Fault 4: half a row counts for nothing; the feed goes on behind the last good one."""
        self.proxy.cut_after = 700
        self.proxy.reset()
        await self.put("cut", code="x" * 2000)
        await self.sleep(0.5)
        self.assertNotIn("cut", self.heard.documents)
        self.proxy.cut_after = None
        await self.until(lambda: "cut" in self.heard.documents)
        self.assertEqual(self.heard.snapshots, 1)

    async def test_half_open(self) -> None:
        """Fault 5: a connection that is silently dead is noticed, and its socket is closed."""
        self.proxy.silent = True
        await self.put("unheard")
        await self.sleep(2.5)
        self.assertNotIn("unheard", self.heard.documents)
        self.proxy.silent = False
        took_s = await self.until(lambda: "unheard" in self.heard.documents, 3 * T_S + 1)
        self.assertLess(took_s, 3 * T_S)
        await self.until(lambda: not any(link.dead for link in self.proxy.connections), 2.0)
        self.assertEqual(self.heard.snapshots, 1)

    async def test_stalled(self) -> None:
        """A network that stalls for longer than the deadlines, and then goes on, loses nothing."""
        self.proxy.stalled = True
        await self.put("stalled")
        await self.sleep(2.0)
        self.proxy.stalled = False
        await self.until(lambda: "stalled" in self.heard.documents, 3 * T_S)
        self.assertLessEqual(len(self.proxy.connections), 5)

    async def test_refused(self) -> None:
        """A server that is down and comes back is followed on."""
        self.proxy.refuse = True
        self.proxy.reset()
        await self.put("meanwhile")
        await self.sleep(1.0)
        self.proxy.refuse = False
        await self.until(lambda: "meanwhile" in self.heard.documents, 2.0)
        self.assertEqual(self.heard.snapshots, 1)

    async def test_one_byte_at_a_time(self) -> None:
        """Fault 6: an answer that comes in single bytes is read, as long as they keep coming."""
        self.proxy.slice_s = 0.0005
        await self.put("slow")
        await self.until(lambda: "slow" in self.heard.documents, 5.0)

    async def test_latency(self) -> None:
        """A slow network is no fault."""
        self.proxy.latency_s = 0.05
        await self.arrives("late", 2.0)
        self.assertEqual(self.heard.snapshots, 1)

    async def test_garbage(self) -> None:
        """Answers that are changed on the way are dropped, whatever they have become; nothing half is delivered."""
        for rewrite in (
            lambda data: data.replace(b'"results"', b'"resul_s"'),
            lambda data: data.replace(b'"last_seq"', b'"last_s_q"'),
            lambda data: data.replace(b"{", b"<"),
            lambda data: data.replace(b"\r\n", b"\r\nzz\r\n"),
            lambda data: b"\x00" * len(data),
            lambda data: b"",
        ):
            self.proxy.rewrite = rewrite
            self.proxy.reset()
            await self.sleep(0.15)
        self.proxy.rewrite = None
        self.proxy.reset()
        await self.arrives("after", 3 * T_S)
        self.assertEqual(self.heard.snapshots, 1)

    async def test_requests_end(self) -> None:
        """Fault 6: a request that is not the feed ends in time, however slowly its answer drips, and is closed."""
        self.proxy.slice_s = 0.05
        with self.assertRaises(errors.TooSlow):
            await self.couch.get(DATABASE, "first")


class _Canned(Protocol):
    """Answers every request with the same bytes."""

    def __init__(self, server: CannedServer) -> None:
        self._server = server

    def connectionMade(self) -> None:
        """Keep count."""
        self._server.open.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Answer; what is asked is kept."""
        transport: Any = self.transport
        self._server.asked += data
        if b"\r\n\r\n" in data or data.endswith(b"}"):
            transport.write(self._server.answer)
            if self._server.closes:
                transport.loseConnection()
            elif self._server.endless:
                self._repeat()

    def _repeat(self) -> None:
        transport: Any = self.transport
        if self in self._server.open:
            transport.write(self._server.endless)
            self._server.sent += len(self._server.endless)
            self._server.reactor.callLater(0, self._repeat)

    def connectionLost(self, reason: Failure = connection_done) -> None:
        """Keep count."""
        self._server.open.discard(self)


class CannedServer:
    """A server that always says the same."""

    def __init__(self, reactor: Any, answer: bytes, *, endless: bytes = b"", closes: bool = False) -> None:
        self.reactor = reactor
        self.answer = answer
        self.endless = endless
        self.closes = closes
        self.asked = b""
        self.sent = 0
        self.open: set[_Canned] = set()

    async def start(self, test: FollowCase) -> str:
        """Listen, and give the URL."""
        endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        port: Any = await endpoint.listen(Factory.forProtocol(lambda: _Canned(self)))
        test.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}"


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """An answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


INFO = json.dumps({"update_seq": "1-a", "instance_start_time": "1"}).encode()


class AnswerFaultTests(FollowCase):
    """Answers that no server should give."""

    async def told(self, server: CannedServer) -> type[BaseException] | None:
        """Ask for the database's info; give the kind of error, and see that a failed connection is closed."""
        client = self.client(await server.start(self))
        try:
            await client.info(DATABASE)
        except errors.CouchError as e:
            failed: type[BaseException] | None = type(e)
        else:
            failed = None
        if failed not in {None, errors.Unavailable, errors.BadAnswer, errors.NotFound}:
            await self.until(lambda: not server.open, 1.0)
        closed: Deferred[None] = client.close()
        await closed
        await self.until(lambda: not server.open, 1.0)
        return failed

    async def test_answers(self) -> None:
        """Each bad answer is the error that it should be, in time, and its socket is closed."""
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        spliced = b'5\r\n{"a":\r\nHTTP/1.1 500 Internal Server Error\r\n\r\n'
        other = "http://127.0.0.1:9/"
        table: list[tuple[str, bytes, bool, type[BaseException] | None]] = [
            ("good", http(INFO), False, None),
            ("no length", b"HTTP/1.1 200 OK\r\n\r\n" + INFO, True, None),
            ("no length, cut", b"HTTP/1.1 200 OK\r\n\r\n" + INFO[:-5], True, errors.BadAnswer),
            ("redirect", http(b"", f"Location: {other}", status="302 Found"), False, errors.BadAnswer),
            ("html", http(b"<html>hello</html>"), False, errors.BadAnswer),
            ("short", http(INFO, length=999), True, errors.BadAnswer),
            ("bad chunk", chunked + b"zz\r\n{}\r\n", False, errors.BadAnswer),
            ("spliced", chunked + spliced, False, errors.BadAnswer),
            ("gzip", http(gzip.compress(b" " * 10_000_000), "Content-Encoding: gzip"), False, errors.BadAnswer),
            ("too long", http(b"", length=17 * 1024 * 1024), False, errors.TooSlow),
            ("closed", b"", True, errors.Unavailable),
            ("no http", b"SSH-2.0-x\r\n", False, errors.Unavailable),
            ("silent", b"", False, errors.TooSlow),
            ("half", http(INFO, length=999), False, errors.TooSlow),
        ]
        for name, answer, closes, kind in table:
            server = CannedServer(self.reactor, answer, closes=closes)
            self.assertEqual(await self.told(server), kind, name)

    async def test_endless(self) -> None:
        """Headers are cut at 64 KiB, a line of them at less, a body at its limit; memory does not grow."""
        self.patch(couch, "ANSWER_BYTES", 1_000_000)
        head = b"HTTP/1.1 200 OK\r\n"
        for answer, endless, kind, most in (
            (head, b"X-A: " + b"a" * 995 + b"\r\n", errors.BadAnswer, 2_000_000),
            (b"", b"HTTP/1.1 100 Continue\r\nX-A: " + b"a" * 970 + b"\r\n\r\n", errors.BadAnswer, 2_000_000),
            (head + b"X-A: ", b"a" * 1000, errors.Unavailable, 2_000_000),
            (head + b"\r\n", b" " * 200_000, errors.AnswerTooLarge, 20_000_000),
        ):
            server = CannedServer(self.reactor, answer, endless=endless)
            self.assertEqual(await self.told(server), kind)
            self.assertLess(server.sent, most)

    async def test_error_page_without_end(self) -> None:
        """An error whose page does not end is known by its status, and the page is not read."""
        server = CannedServer(self.reactor, b"HTTP/1.1 404 Not Found\r\n\r\n", endless=b"x" * 10_000)
        self.assertEqual(await self.told(server), errors.NotFound)
        self.assertLess(server.sent, 2_000_000)

    async def test_nobody(self) -> None:
        """A port where nobody listens, and a name that nobody has, are unreachable."""
        for url in (
            f"http://127.0.0.1:{await self.free_port()}",
            "http://no-such-host.invalid:5984",
            f"http://[::1]:{await self.free_port()}",
            "http://a..b:5984",
            "http://" + "a" * 70 + ".b:5984",
        ):
            client = self.client(url)
            for _ in range(5):  # more often than logins are allowed: it costs none
                with self.assertRaises(errors.Unreachable):
                    await client.info(DATABASE)

    async def free_port(self) -> int:
        """A port where nobody listens any more."""
        endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        port: Any = await endpoint.listen(Factory.forProtocol(Protocol))
        number = int(port.getHost().port)
        await port.stopListening()
        return number
