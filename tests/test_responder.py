"""The answering side of discovery, on a clock of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import provider

from himbeerecouch.discovery import sealing
from himbeerecouch.discovery.responder import Discovery, DiscoveryPort, DiscoveryService, Mode, Ration, Tally
from himbeerecouch.discovery.wire import Request, parse_answer, render_request
from tests.test_wire import NOT_OURS

PROBE = render_request(Request("http://server.name:5984"))


class Wire:
    """Stands in for the transport: keeps what is written, or refuses it."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.error: OSError | None = None

    def write(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append((data, addr))


class ReadingClock(Clock):
    """A Clock that knows who wants to read, as a reactor does."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[IReadDescriptor] = set()

    def addReader(self, reader: IReadDescriptor) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        """Nobody writes by way of the reactor here."""


class LoggedCase(SynchronousTestCase):
    """Collects what is logged."""

    def setUp(self) -> None:
        self.logged: list[LogEvent] = []

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.logged.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def lines(self, level: LogLevel | None = None) -> list[str]:
        return [
            formatEvent(event)
            for event in self.logged
            if event["log_namespace"] == "himbeerecouch.discovery.responder" and level in (None, event["log_level"])
        ]


class Rations(SynchronousTestCase):
    """How many are answered."""

    def test_one_a_second_for_each_address(self) -> None:
        """An address is answered once a second, and others are answered meanwhile."""
        ration = Ration()
        for address, now_s, granted in (
            ("a", 100.0, True),
            ("a", 100.0, False),
            ("b", 100.1, True),
            ("a", 100.9, False),
            ("a", 101.0, True),
            ("b", 101.0, False),
            ("b", 101.1, True),
        ):
            self.assertIs(ration.grant(address, now_s), granted, (address, now_s))

    def test_ten_a_second_in_all(self) -> None:
        """In no second are there more than ten answers, and no more than ten addresses are remembered."""
        ration = Ration()
        granted = [n for n in range(5000) if ration.grant(f"address {n}", n / 1000)]
        self.assertEqual(len(granted), 50)
        self.assertLessEqual(len(ration._granted), 10)
        for first, eleventh in zip(granted, granted[10:], strict=False):
            self.assertGreaterEqual(eleventh - first, 1000)


class Tallies(SynchronousTestCase):
    """How often a line is logged."""

    def test_one_line_a_minute(self) -> None:
        """The first one is a line, and then the first one after each minute, with the number of those since."""
        tally = Tally()
        lines = [(second, fresh) for second in range(0, 150) if (fresh := tally.count(second))]
        self.assertEqual(lines, [(0, 1), (60, 60), (120, 60)])
        self.assertEqual(tally.total, 150)


class Answering(LoggedCase):
    """Which datagrams are answered, and with what."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.enrolled = False
        self.probes = 0

    def discovery(self, mode: Mode = Mode.ENROLL, password: Callable[[], str] = lambda: "apassword") -> Discovery:
        def probed(asker: tuple[str, int]) -> None:
            self.probes += 1

        made = Discovery(1234566, password, lambda: self.enrolled, mode, clock=self.clock, probed=probed)
        self.wire = Wire()
        made.transport = self.wire  # type: ignore[assignment]
        return made

    def test_what_is_answered(self) -> None:
        """The password is given as the mode says, to the address that asked."""
        for mode, enrolled, expected in (
            (Mode.ENROLL, False, "apassword"),
            (Mode.ENROLL, True, None),
            (Mode.OPEN, False, "apassword"),
            (Mode.OPEN, True, "apassword"),
        ):
            discovery, self.enrolled = self.discovery(mode), enrolled
            discovery.datagramReceived(PROBE, ("10.0.0.9", 4711))
            ((data, addr),) = self.wire.sent
            self.assertEqual(addr, ("10.0.0.9", 4711))
            answer = parse_answer(data, "")
            self.assertEqual((answer.mac_id, answer.password), (1234566, expected), mode)
        self.assertEqual(self.probes, 4)

    def test_off(self) -> None:
        """With discovery off, not even a good request is answered or passed on."""
        self.discovery(Mode.OFF).datagramReceived(PROBE, ("10.0.0.9", 4711))
        self.assertEqual((self.wire.sent, self.probes), ([], 0))

    def test_enrolled_meanwhile(self) -> None:
        """From the first login on, the password is kept back, without a restart."""
        discovery = self.discovery()
        discovery.datagramReceived(PROBE, ("10.0.0.9", 4711))
        self.enrolled = True
        self.clock.advance(1)
        discovery.datagramReceived(PROBE, ("10.0.0.9", 4711))
        self.assertEqual([parse_answer(data, "").password for data, _ in self.wire.sent], ["apassword", None])

    def test_nonsense(self) -> None:
        """Whatever is no request gets no answer, wakes nobody, is counted, and makes one line a minute at most."""
        discovery = self.discovery(Mode.OPEN)
        for data in NOT_OURS.values():
            discovery.datagramReceived(data, ("10.0.0.9", 4711))
        discovery.datagramReceived(PROBE, ("10.0.0.9", 0))
        self.assertEqual((self.wire.sent, self.probes), ([], 0))
        self.assertEqual(discovery.dropped.total, len(NOT_OURS) + 1)
        self.assertEqual(len(self.lines()), 1)
        self.assertIn("10.0.0.9", self.lines()[0])
        self.clock.advance(60)
        discovery.datagramReceived(b"\x1b[2J", ("10.0.0.9", 4711))
        self.assertEqual(len(self.lines()), 2)
        self.assertIn(f"since the last such line: {len(NOT_OURS) + 1})", self.lines()[1])
        self.assertTrue(self.lines()[1].isprintable())

    def test_nonsense_uses_up_no_ration(self) -> None:
        """An address whose nonsense was dropped is answered when it asks properly."""
        discovery = self.discovery()
        discovery.datagramReceived(b"{", ("10.0.0.9", 4711))
        discovery.datagramReceived(PROBE, ("10.0.0.9", 4711))
        self.assertEqual(len(self.wire.sent), 1)

    def test_rationed(self) -> None:
        """Of many good requests ten a second are answered; the others are counted, and passed on all the same."""
        discovery = self.discovery()
        for n in range(100):
            discovery.datagramReceived(PROBE, (f"10.0.0.{n // 2}", 4711))
        self.assertEqual((len(self.wire.sent), self.probes, discovery.rationed.total), (10, 100, 90))
        self.assertEqual(len(self.lines()), 1)

    def test_no_way_back(self) -> None:
        """An answer that can't be sent is counted as dropped, and nobody is woken."""
        discovery = self.discovery()
        self.wire.error = OSError("Network is unreachable")
        discovery.datagramReceived(PROBE, ("255.255.255.255", 4711))
        self.assertEqual((discovery.dropped.total, discovery.answered.total, self.probes), (1, 0, 0))
        self.assertIn("Network is unreachable", self.lines()[0])

    def test_the_log_line(self) -> None:
        """Who got the password is in the log, what he sent is escaped and cut there, and the password is not there."""
        discovery = self.discovery()
        server = "http://" + "ü" * 300
        discovery.datagramReceived(render_request(Request(server)), ("10.0.0.9", 4711))
        (line,) = self.lines()
        self.assertIn("10.0.0.9", line)
        self.assertIn("with the password", line)
        self.assertNotIn("apassword", line)
        self.assertLess(len(line), 500)

    def test_sealed(self) -> None:
        """Who sends a key is answered sealed, and the log says which answers the whole network could read."""
        discovery = self.discovery()
        datagram, asked = sealing.ask("http://server.name:5984")
        discovery.datagramReceived(datagram, ("10.0.0.9", 4711))
        self.clock.advance(60)
        discovery.datagramReceived(PROBE, ("10.0.0.9", 4711))
        self.assertEqual([parse_answer(data, "", asked).sealed for data, _ in self.wire.sent], [True, False])
        self.assertNotIn(b"apassword", self.wire.sent[0][0])
        sealed, readable = self.lines()
        self.assertIn("with the password, sealed", sealed)
        self.assertIn("with the password, which the whole network can read", readable)

    def test_a_key_of_low_order(self) -> None:
        """A key that can't be used is dropped after the ration, and counted."""
        discovery = self.discovery()
        for _ in range(2):
            discovery.datagramReceived(render_request(Request("http://a", bytes(32))), ("10.0.0.9", 4711))
        self.assertEqual(self.wire.sent, [])
        self.assertEqual((discovery.dropped.total, discovery.rationed.total), (1, 1))
        self.assertIn("key", self.lines()[0])

    def test_closed(self) -> None:
        """Once the port is closed, nothing is answered, and nothing fails."""
        discovery = self.discovery()
        discovery.transport = None
        discovery.datagramReceived(PROBE, ("10.0.0.9", 4711))
        self.assertEqual((discovery.answered.total, self.probes), (0, 0))


class Reading(LoggedCase):
    """How the port reads, on a real socket of the loopback interface."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = ReadingClock()
        self.probes = 0
        self.asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.asker.close)
        self.asker.bind(("127.0.0.1", 0))
        self.asker.setblocking(False)

    def service(self, mode: Mode = Mode.ENROLL, port: int = 0, password: Any = lambda: "p") -> DiscoveryService:
        discovery = Discovery(1, password, lambda: False, mode, clock=self.clock, probed=lambda asker: None)
        self.discovery = discovery
        service = DiscoveryService(discovery, reactor=self.clock, port=port, interface="127.0.0.1", retry_s=30)
        service.startService()
        self.addCleanup(self.stop, service)
        return service

    def stop(self, service: DiscoveryService) -> None:
        if service.running:
            done: Deferred[None] = service.stopService()
            self.clock.advance(0)
            self.successResultOf(done)
        self.assertEqual((self.clock.getDelayedCalls(), self.clock.readers), ([], set()))

    def send(self, service: DiscoveryService, data: bytes, times: int = 1) -> None:
        for _ in range(times):
            self.asker.sendto(data, ("127.0.0.1", service.port or 0))

    def the_port(self) -> DiscoveryPort:
        (port,) = self.clock.readers
        assert isinstance(port, DiscoveryPort)
        return port

    def test_an_answer(self) -> None:
        """A request that comes in is answered from the port, and reading goes on at once."""
        service = self.service()
        self.send(service, PROBE)
        self.the_port().doRead()
        data, addr = self.asker.recvfrom(2048)
        self.assertEqual((parse_answer(data, "").password, addr[1]), ("p", service.port))
        self.the_port()

    def test_a_batch(self) -> None:
        """After a full batch, empty datagrams included, the reactor is let go for a moment; then reading goes on."""
        service = self.service()
        self.send(service, b"", times=DiscoveryPort.BATCH + 5)
        port = self.the_port()
        port.doRead()
        self.assertEqual((self.discovery.dropped.total, self.clock.readers), (DiscoveryPort.BATCH, set()))
        self.clock.advance(DiscoveryPort.PAUSE_S)
        self.the_port().doRead()
        self.assertEqual(self.discovery.dropped.total, DiscoveryPort.BATCH + 5)

    def test_stopped_in_the_pause(self) -> None:
        """A port that is closed while it pauses leaves no delayed call, no reader and no socket."""
        service = self.service()
        self.send(service, b"", times=DiscoveryPort.BATCH)
        self.the_port().doRead()
        self.stop(service)
        self.assertIsNone(service.port)

    def test_too_long(self) -> None:
        """A datagram over the limit is seen to be one, although its beginning would be a request."""
        service = self.service()
        self.send(service, PROBE + b" " * 3000)
        self.the_port().doRead()
        self.assertEqual(self.discovery.dropped.total, 1)
        self.assertRaises(BlockingIOError, self.asker.recvfrom, 2048)

    def test_an_error_of_ours(self) -> None:
        """Where the answer fails because of an error of ours, it is logged, and the next request is answered."""

        def password() -> str:
            raise ZeroDivisionError

        service = self.service(password=password)
        self.send(service, PROBE)
        self.send(service, b"{")
        self.the_port().doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.discovery.dropped.total, 1)

    def test_off(self) -> None:
        """With discovery off, no port is opened."""
        self.assertIsNone(self.service(Mode.OFF).port)
        self.assertEqual(self.clock.readers, set())

    def test_in_use(self) -> None:
        """A port in use is one line that says what to do, tried again every 30 s, and open once it is free."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            number = other.getsockname()[1]
            service = self.service(port=number)
            self.assertIsNone(service.port)
            self.clock.pump([30.0] * 3)
            self.assertIsNone(service.port)
        (line,) = self.lines(LogLevel.warn)
        for part in (str(number), "--discovery-port", "in use", "30 s"):
            self.assertIn(part, line)
        self.clock.advance(30)
        self.assertEqual(service.port, number)
        self.assertIn("now", self.lines(LogLevel.info)[0])

    def test_stopped_while_it_is_in_use(self) -> None:
        """Stopping while the port is in use leaves no delayed call."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            service = self.service(port=other.getsockname()[1])
            self.stop(service)

    def test_shared(self) -> None:
        """Two daemons of one machine share a port."""
        first = self.service()
        second = self.service(port=first.port or 0)
        self.assertEqual(second.port, first.port)
        self.addCleanup(self.clock.advance, 0)
        self.addCleanup(first.stopService)

    def test_started_again(self) -> None:
        """A service that was stopped can be started again."""
        service = self.service()
        self.stop(service)
        service.startService()
        self.assertIsNotNone(service.port)
