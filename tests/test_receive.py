"""Waiting on the Pi without a daemon, over real sockets of the loopback interface."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import util
from himbeerecouch.discovery import sealing
from himbeerecouch.discovery.receive import receive_broadcast_message
from himbeerecouch.discovery.wire import Request, parse_answer, render_request
from himbeerecouch.errors import NobodyAsked
from himbeerecouch.model import Answer

PROBE = render_request(Request("http://server.name:5984"))


def free_port() -> int:
    """A UDP port that nobody has just now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Receiving(SynchronousTestCase):
    """One who waits."""

    def setUp(self) -> None:
        self.patch(util, "getmacid", lambda: 1234566)
        self.patch(util, "getpassword", lambda: "apassword")
        self.port = free_port()
        self.asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.asker.close)
        self.asker.bind(("127.0.0.1", 0))
        self.asker.settimeout(0.05)
        pool = ThreadPoolExecutor(1)
        self.addCleanup(pool.shutdown)
        self.waiting: Future[str] = pool.submit(receive_broadcast_message, 5, port=self.port)

    def ask(self, *datagrams: bytes) -> bytes | None:
        """Send the datagrams until one is answered or nobody waits any more; None where nothing came back."""
        while not self.waiting.done():
            for datagram in datagrams:
                self.asker.sendto(datagram, ("127.0.0.1", self.port))
            with contextlib.suppress(TimeoutError):
                return self.asker.recv(2048)
        with contextlib.suppress(TimeoutError):
            return self.asker.recv(2048)
        return None

    def test_asked(self) -> None:
        """Whoever asks is given the identity, and the server that he named is returned."""
        data = self.ask(PROBE)
        assert data is not None
        self.assertEqual(parse_answer(data, ""), Answer(1234566, "apassword"))
        self.assertEqual(self.waiting.result(5), "http://server.name:5984")

    def test_asked_with_a_key(self) -> None:
        """Whoever asks with a key is answered sealed."""
        datagram, asked = sealing.ask("http://server.name:5984")
        data = self.ask(datagram)
        assert data is not None
        self.assertEqual(parse_answer(data, "", asked), Answer(1234566, "apassword", sealed=True))
        self.assertEqual(self.waiting.result(5), "http://server.name:5984")

    def test_nonsense_first(self) -> None:
        """What is no request is passed over."""
        data = self.ask(b"", b"{", b"x" * 4000, render_request(Request("http://a", bytes(32))), PROBE)
        assert data is not None
        self.assertEqual(parse_answer(data, "").mac_id, 1234566)
        self.assertEqual(self.waiting.result(5), "http://server.name:5984")

    def test_without_end(self) -> None:
        """Without a timeout it waits until it is asked."""
        self.ask(PROBE)
        self.waiting.result(5)
        with ThreadPoolExecutor(1) as pool:
            self.waiting = pool.submit(receive_broadcast_message, port=self.port)
            self.ask(PROBE)
            self.assertEqual(self.waiting.result(5), "http://server.name:5984")


class NobodyThere(SynchronousTestCase):
    """Where nobody asks."""

    def test_expired(self) -> None:
        """After the timeout the error says how long was waited; a flood of nonsense does not put it off."""
        self.patch(util, "getmacid", lambda: 1)
        self.patch(util, "getpassword", lambda: "p")
        port = free_port()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(receive_broadcast_message, 0.1, port=port)
            started_s = time.monotonic()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
                while not waiting.done() and time.monotonic() - started_s < 5:
                    flood.sendto(b"{", ("127.0.0.1", port))
            error = self.assertRaises(NobodyAsked, waiting.result, 0)
        self.assertEqual(error.timeout_s, 0.1)

    def test_silence(self) -> None:
        """Where nothing comes in at all, the error comes after the timeout, and at once for a timeout of 0."""
        self.patch(util, "getmacid", lambda: 1)
        self.patch(util, "getpassword", lambda: "p")
        for timeout_s in (0.05, 0):
            self.assertRaises(NobodyAsked, receive_broadcast_message, timeout_s, port=0)

    def test_may_not_know_the_password(self) -> None:
        """Whoever may not read the password learns it at once."""

        def refused() -> str:
            raise PermissionError("run with sudo")

        self.patch(util, "getmacid", lambda: 1)
        self.patch(util, "getpassword", refused)
        self.assertRaises(PermissionError, receive_broadcast_message, 1000, port=0)
