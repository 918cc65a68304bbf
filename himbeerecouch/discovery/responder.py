"""Answers those who ask the network which Pis are there.

The datagrams come from anybody, at any rate.  So few are answered, all others are dropped and counted, and however many
come in, the reactor's other work goes on.
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure

from himbeerecouch.discovery.sealing import reply
from himbeerecouch.discovery.wire import LIMIT_BYTES, PORT, parse_request
from himbeerecouch.errors import DatagramError
from himbeerecouch.model import Answer

log = Logger()

RETRY_S = 30.0
"""How long to wait before a port that is in use is tried again."""

_LOG_PERIOD_S = 60.0
_SHOWN_CHARACTERS = 200

_WHAT = {
    (True, True): "with the password, sealed",
    (True, False): "with the password, which the whole network can read",
    (False, False): "that this Pi is enrolled",
}


class Mode(enum.Enum):
    """Who is told the password; the values are those of ``--discovery``."""

    OPEN = "open"
    """Whoever asks."""
    ENROLL = "enroll"
    """Whoever asks, until the Pi has once logged in to its server."""
    OFF = "off"
    """Nobody: the port is not even opened."""


class Ration:
    """Grants so many answers: one a second to each address, ten a second in all.

    It remembers those it granted within the last second, so never more than ten addresses.
    """

    IN_ALL = 10
    PERIOD_S = 1.0

    def __init__(self) -> None:
        self._granted: dict[str, float] = {}

    def grant(self, address: str, now_s: float) -> bool:
        """Whether ``address`` may be answered at ``now_s`` (seconds of a monotonic clock); if so, it counts."""
        self._granted = {who: when for who, when in self._granted.items() if now_s - when < self.PERIOD_S}
        if address in self._granted or len(self._granted) >= self.IN_ALL:
            return False
        self._granted[address] = now_s
        return True


class Tally:
    """Counts what happens often, and says once a minute at most that it is time for a line in the log."""

    def __init__(self) -> None:
        self.total = 0
        self._logged_total = 0
        self._logged_s: float | None = None

    def count(self, now_s: float) -> int:
        """Count one more; return 0, or the number of those since the last line when a line is due."""
        self.total += 1
        if self._logged_s is not None and now_s - self._logged_s < _LOG_PERIOD_S:
            return 0
        fresh = self.total - self._logged_total
        self._logged_s, self._logged_total = now_s, self.total
        return fresh


class Discovery(DatagramProtocol):
    """Answers requests with this Pi's MacID, and with its password where ``mode`` allows it.

    Runs on the reactor's thread.  ``password`` and ``enrolled`` are asked anew for each answer.  ``probed`` is called
    for each request that was answered, or would have been but for the ration, with where it came from: somebody is
    enrolling Pis just now, so that one that waits for its user may try to log in soon.
    """

    noisy = False

    def __init__(
        self,
        mac_id: int,
        password: Callable[[], str],
        enrolled: Callable[[], bool],
        mode: Mode,
        *,
        clock: IReactorTime,
        probed: Callable[[tuple[str, int]], None],
    ) -> None:
        self.mode = mode
        self._mac_id = mac_id
        self._password = password
        self._enrolled = enrolled
        self._clock = clock
        self._probed = probed
        self._ration = Ration()
        self.answered = Tally()
        self.dropped = Tally()
        """Datagrams that were no requests, or came from port 0."""
        self.rationed = Tally()
        """Good requests that went unanswered because there were too many."""

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Answer a request; drop everything else in silence."""
        now_s = self._clock.seconds()
        try:
            if addr[1] == 0:
                raise DatagramError("it came from port 0, where nobody can be answered")
            request = parse_request(datagram)
        except DatagramError as error:
            self._drop(addr[0], str(error), now_s)
            return
        transport = self.transport
        if transport is None or self.mode is Mode.OFF:
            return
        if not self._ration.grant(addr[0], now_s):
            self.rationed.count(now_s)
            self._probed(addr)
            return
        gives_password = self.mode is Mode.OPEN or not self._enrolled()
        answer = Answer(self._mac_id, self._password() if gives_password else None)
        try:
            data, sealed = reply(answer, request, datagram)
            transport.write(data, addr)
        except DatagramError as error:
            self._drop(addr[0], str(error), now_s)
            return
        except OSError as error:
            # No route back, or an address that nobody can be reached at.
            self._drop(addr[0], f"it can't be answered: {error}", now_s)
            return
        fresh = self.answered.count(now_s)
        if fresh:
            log.info(
                "answered {address}, who asks for Pis on behalf of {server!r}, {what} (answers since the last such "
                "line: {fresh}, requests over the limit so far: {rationed})",
                address=addr[0],
                server=request.server[:_SHOWN_CHARACTERS],
                what=_WHAT[gives_password, sealed],
                fresh=fresh,
                rationed=self.rationed.total,
            )
        self._probed(addr)

    def _drop(self, address: str, reason: str, now_s: float) -> None:
        fresh = self.dropped.count(now_s)
        if fresh:
            log.warn(
                "dropped a datagram from {address} at the discovery port: {reason} (dropped since the last such line: "
                "{fresh}). If you don't know who sends them, --discovery off closes the port",
                address=address,
                reason=reason,
                fresh=fresh,
            )


class DiscoveryPort(Port):
    """A UDP port that reads a few datagrams at a time, and then lets the reactor turn to everything else.

    Twisted's own one reads up to 256 KiB in one go, and counts nothing for an empty datagram: a flood of those keeps
    the reactor in there for as long as it lasts.  Between two full batches is a pause, so that a flood takes a small
    part of the processor only; what comes meanwhile waits in the kernel's buffer or is lost, as it is with UDP.
    """

    BATCH = 32
    PAUSE_S = 0.01

    def __init__(self, port: int, protocol: DatagramProtocol, interface: str, reactor: IReactorTime) -> None:
        # One byte more than is taken, so that a longer datagram is seen to be one.
        super().__init__(port, protocol, interface, LIMIT_BYTES + 1, reactor)
        self._clock = reactor
        self._pause: IDelayedCall | None = None

    def createInternetSocket(self) -> socket.socket:
        """Let several daemons of one machine (simulated Pis) share the port: all of them get a broadcast."""
        made: socket.socket = super().createInternetSocket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return made

    def doRead(self) -> None:
        """Called by the reactor when there is something to read."""
        for _ in range(self.BATCH):
            try:
                data, addr = self.socket.recvfrom(self.maxPacketSize)
            except OSError:
                # Nothing more for now; or the kernel passes on an error of an earlier answer, which concerns nobody.
                return
            try:
                self.protocol.datagramReceived(data, addr)
            except Exception:  # noqa: BLE001 - one datagram must not take the port down
                log.failure("a datagram from {address} was not answered because of an error of ours", address=addr[0])
        self.stopReading()
        self._pause = self._clock.callLater(self.PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self.startReading()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Called by Twisted once the port is to be closed; ends a pause as well."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        super().connectionLost(reason)


class DiscoveryService(Service):
    """Keeps the discovery port open while it runs; a port that is in use is tried again every 30 s."""

    def __init__(
        self,
        discovery: Discovery,
        *,
        reactor: IReactorTime,
        port: int = PORT,
        interface: str = "",
        retry_s: float = RETRY_S,
    ) -> None:
        self._discovery = discovery
        self._reactor = reactor
        self._number = port
        self._interface = interface
        self._retry_s = retry_s
        self._retry: IDelayedCall | None = None
        self._port: DiscoveryPort | None = None
        self._complained = False

    @property
    def port(self) -> int | None:
        """The number of the port that is open, None while there is none."""
        return None if self._port is None else int(self._port.getHost().port)

    def startService(self) -> None:
        """Open the port, unless discovery is off."""
        super().startService()
        self._complained = False
        if self._discovery.mode is not Mode.OFF:
            self._open()

    def _open(self) -> None:
        self._retry = None
        port = DiscoveryPort(self._number, self._discovery, self._interface, self._reactor)
        try:
            port.startListening()
        except CannotListenError as error:
            if not self._complained:
                log.warn(
                    "discovery can't open UDP port {port} ({error}), so that this Pi does not answer those who look "
                    "for it; all else goes on. End the program that has the port (ss -ulpn shows which), or give "
                    "another one with --discovery-port. It is tried again every {retry_s:g} s",
                    port=self._number,
                    error=error.socketError,
                    retry_s=self._retry_s,
                )
                self._complained = True
            self._retry = self._reactor.callLater(self._retry_s, self._open)
            return
        self._port = port
        if self._complained:
            log.info("discovery has opened UDP port {port} now", port=self._number)

    def stopService(self) -> Deferred[None]:
        """Close the port; fires when it is closed."""
        super().stopService()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        port, self._port = self._port, None
        if port is None:
            return maybeDeferred(lambda: None)
        return maybeDeferred(port.stopListening)
