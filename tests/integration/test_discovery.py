"""The answering side of discovery in a real reactor, under load."""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutput
from twisted.trial.unittest import TestCase

from himbeerecouch.discovery import ask
from himbeerecouch.discovery.ask import Destination, probe
from himbeerecouch.discovery.responder import Discovery, DiscoveryService, Mode
from himbeerecouch.discovery.wire import Request, render_request
from himbeerecouch.model import Answer

reactor: Any = the_reactor
"""Its interfaces are more than its type says."""

SERVER = "http://server.name:5984"

FLOOD = """
import socket, sys, time
port, seconds, rate = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
datagrams = [eval(datagram) for datagram in sys.argv[4:]]
# From many addresses, so that no limit for a single one hides the limit for all.
sockets = []
for n in range(1, 201):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((f"127.0.1.{n}", 0))
    made.connect(("127.0.0.1", port))
    made.setblocking(False)
    sockets.append(made)
started, sent = time.monotonic(), 0
while (passed := time.monotonic() - started) < seconds:
    while sent < passed * rate:
        try:
            sockets[sent % 200].send(datagrams[sent % len(datagrams)])
        except OSError:
            pass
        sent += 1
answers = 0
for made in sockets:
    try:
        while made.recv(2048):
            answers += 1
    except OSError:
        pass
print(sent, answers)
"""


class Answering(TestCase):
    """A service on a port of the loopback interface."""

    def setUp(self) -> None:
        self.probed = 0

        def probed(asker: tuple[str, int]) -> None:
            self.probed += 1

        self.discovery = Discovery(1, lambda: "p", lambda: False, Mode.ENROLL, clock=reactor, probed=probed)
        self.service = DiscoveryService(self.discovery, reactor=reactor, port=0, interface="127.0.0.1")
        self.service.startService()
        self.addCleanup(self.service.stopService)

    async def test_asked(self) -> None:
        """Whoever asks is answered, and the callback tells that somebody did."""
        self.patch(ask, "destinations", lambda: [Destination("127.0.0.1")])
        found = await deferToThread(probe, SERVER, 0.2, port=self.service.port or 0)
        self.assertEqual((found, self.probed), ([Answer(1, "p", "127.0.0.1", sealed=True)], 1))

    async def test_closed(self) -> None:
        """Once it has stopped, the port is free for another."""
        port = self.service.port
        await self.service.stopService()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", port))

    async def flood(self, seconds: int, *datagrams: bytes) -> tuple[float, int, int]:
        """50,000 datagrams a second; give the longest time that the reactor was away, and the numbers."""
        last_s, longest_s = time.monotonic(), 0.0

        def tick() -> None:
            nonlocal last_s, longest_s
            now_s = time.monotonic()
            longest_s, last_s = max(longest_s, now_s - last_s), now_s

        loop = LoopingCall(tick)
        loop.clock = reactor
        loop.start(0.01)
        arguments = [str(self.service.port), str(seconds), "50000", *map(repr, datagrams)]
        try:
            said = await getProcessOutput(sys.executable, ["-c", FLOOD, *arguments], env=os.environ, reactor=reactor)
        finally:
            loop.stop()
        sent, answers = map(int, said.split())
        return longest_s, sent, answers

    async def test_flooded(self) -> None:
        """At 50,000 datagrams a second the reactor goes on, and no more than ten a second are answered."""
        started_s, cpu_s = time.monotonic(), time.process_time()
        longest_s, sent, answers = await self.flood(2, render_request(Request(SERVER)), b"", b"{")
        passed_s, cpu_s = time.monotonic() - started_s, time.process_time() - cpu_s
        self.assertGreater(sent, 20_000)
        self.assertLess(longest_s, 1.0)
        self.assertGreater(answers, 0)
        self.assertLessEqual(answers, 10 * (passed_s + 1))
        self.assertEqual(self.discovery.answered.total + self.discovery.rationed.total, self.probed)
        self.assertLess(cpu_s, passed_s * 0.7)

    async def test_flooded_with_nothing(self) -> None:
        """Empty datagrams, which count for nothing in a limit by bytes, don't hold the reactor either."""
        longest_s, sent, answers = await self.flood(1, b"")
        self.assertGreater(sent, 10_000)
        self.assertLess(longest_s, 1.0)
        self.assertEqual(answers, 0)

    async def test_after_the_flood(self) -> None:
        """When a flood of good requests is over, whoever asks is answered again."""
        self.patch(ask, "destinations", lambda: [Destination("127.0.0.1")])
        await self.flood(1, render_request(Request(SERVER)))
        await deferLater(reactor, 1.1)
        self.assertEqual(len(await deferToThread(probe, SERVER, 0.2, port=self.service.port or 0)), 1)
