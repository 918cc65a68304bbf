"""Asks the network which Pis are there; for people at a prompt, and for scripts.

Plain blocking sockets: no reactor is needed, none is started, and none that runs is disturbed.
"""

from __future__ import annotations

import math
import select
import socket
import struct
import time
from collections.abc import Callable

from attrs import frozen

from himbeerecouch.discovery import sealing
from himbeerecouch.discovery.netif import Interface, interfaces
from himbeerecouch.discovery.wire import LIMIT_BYTES, PORT, Asked, parse_answer
from himbeerecouch.errors import DatagramError, NobodyAnswered, SeveralAnswered
from himbeerecouch.model import Answer

REPEAT_S = 1.0
"""How often is asked: datagrams get lost, and a Pi answers one second in one."""

LINGER_S = 1.0
"""How long one who waits without end listens for others after the first answer."""

FIND_LINGER_S = 0.2
"""How long one who looks for a certain Pi listens for another that says it is the same one."""

MOST_ANSWERS = 10_000
"""More are not kept: nobody has so many Pis on one network, but anybody may pretend to."""

_IP_PKTINFO = 8
"""Linux: by which interface, and from which address, a datagram leaves.  Python names it from 3.14 on."""


class Round:
    """One round of asking, without sockets or a clock: when to ask, what has been heard, and when it ends."""

    def __init__(
        self,
        timeout_s: float | None,
        now_s: float,
        wanted: Callable[[Answer], bool],
        linger_s: float | None = None,
    ) -> None:
        """``timeout_s`` None: until an answer that is ``wanted`` came, and ``LINGER_S`` more.

        With ``linger_s`` it ends so long after such an answer, and at ``timeout_s`` at the latest.
        """
        self._ask_s = now_s
        self._linger_s = LINGER_S if timeout_s is None else linger_s
        self._end_s = math.inf if timeout_s is None else now_s + timeout_s
        self._wanted = wanted
        self._answers: dict[tuple[int, str | None], Answer] = {}

    def asks(self, now_s: float) -> bool:
        """Whether it is time to ask (again); if so, the next time is set."""
        if now_s < self._ask_s:
            return False
        self._ask_s = now_s + REPEAT_S
        return True

    def wait_s(self, now_s: float) -> float:
        """How long to listen before it is time to ask again or the round is over."""
        return min(self._ask_s, self._end_s) - now_s

    def over(self, now_s: float) -> bool:
        """Whether the round is over."""
        return now_s >= self._end_s

    def heard(self, answer: Answer, now_s: float) -> None:
        """Take in an answer.

        A Pi answers several times, and over each interface that it shares with us: it counts once.  One that gives
        another password for the same MacID is another one, or pretends to be: both are kept.
        """
        pi = (answer.mac_id, answer.password)
        known = self._answers.get(pi)
        if known is None and len(self._answers) >= MOST_ANSWERS:
            return
        if known is None or known.address.startswith("127."):
            self._answers[pi] = answer
        if self._linger_s is not None and self._wanted(answer):
            self._end_s = min(self._end_s, now_s + self._linger_s)

    def answers(self) -> list[Answer]:
        """One answer of each Pi, by MacID; where one got enrolled meanwhile, the answer with the password."""
        with_password = {mac_id for mac_id, password in self._answers if password is not None}
        kept = [pi for pi in self._answers if pi[1] is not None or pi[0] not in with_password]
        return [self._answers[pi] for pi in sorted(kept, key=lambda pi: (pi[0], pi[1] or ""))]


def probe(server: str, timeout: float | None = 3, *, port: int = PORT) -> list[Answer]:
    """All Pis of the networks that this machine is on, each with its address, by MacID; an empty list if none answers.

    ``server`` is the URL of the CouchDB server, as in ``http://server.name:5984``: those who wait on a Pi
    (``receive_broadcast_message``) are told it.  Asks once a second, and takes ``timeout`` seconds in any case; with
    None it waits until a Pi answers, and one second more.  A ``server`` that is no URL, or a ``timeout`` that is not
    positive, is a ``ValueError``.  Where PyNaCl is installed here and on a Pi, its password comes sealed.
    """
    return _ask(server, timeout, port, lambda _answer: True)


def find(server: str, mac_id: int, timeout: float = 3, *, port: int = PORT) -> list[Answer]:
    """What the Pi ``mac_id`` answers, as soon as it does; an empty list where it does not within ``timeout``.

    Otherwise as ``probe``.  More than one answer: somebody pretends to be that Pi, as they give different passwords.
    """
    answers = _ask(server, timeout, port, lambda answer: answer.mac_id == mac_id, FIND_LINGER_S)
    return [answer for answer in answers if answer.mac_id == mac_id]


def broadcast_message(server: str, timeout: float | None = 3, *, port: int = PORT) -> dict[str, int | str]:
    """``{"MacID": int, "password": str}`` of the one Pi that waits to be enrolled.

    Asks as ``probe`` does; with ``timeout`` None it waits until a Pi answers with its password.  Pis that are enrolled
    already don't count.  ``NobodyAnswered`` where there is none (its ``enrolled`` names those that are enrolled),
    ``SeveralAnswered`` where there is more than one (its ``mac_ids`` names them).
    """
    answers = _ask(server, timeout, port, lambda answer: answer.password is not None)
    waiting = [(answer.mac_id, answer.password) for answer in answers if answer.password is not None]
    if not waiting:
        raise NobodyAnswered(tuple(answer.mac_id for answer in answers))
    if len(waiting) > 1:
        raise SeveralAnswered(tuple(mac_id for mac_id, _ in waiting))
    ((mac_id, password),) = waiting
    return {"MacID": mac_id, "password": password}


def _ask(
    server: str,
    timeout_s: float | None,
    port: int,
    wanted: Callable[[Answer], bool],
    linger_s: float | None = None,
) -> list[Answer]:
    data, keyed = sealing.ask(server)
    if timeout_s is not None and not timeout_s > 0:
        raise ValueError(f"a timeout of {timeout_s!r} s: give more than 0, or None to wait until somebody answers")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        asked.setblocking(False)
        asked.bind(("", 0))
        now_s = time.monotonic()
        a_round = Round(timeout_s, now_s, wanted, linger_s)
        while not a_round.over(now_s):
            if a_round.asks(now_s):
                for destination in destinations():
                    _send(asked, data, port, destination)
            _listen(asked, a_round, keyed, a_round.wait_s(now_s))
            now_s = time.monotonic()
        return a_round.answers()


def _listen(asked: socket.socket, a_round: Round, keyed: Asked | None, wait_s: float) -> None:
    """Wait for a datagram, and take in what it says, if it is an answer."""
    if not select.select([asked], [], [], wait_s)[0]:
        return
    try:
        data, (address, _port) = asked.recvfrom(LIMIT_BYTES + 1)
        answer = parse_answer(data, address, keyed)
    except (OSError, DatagramError):
        # An earlier datagram could not be delivered; or somebody sends something else to our port.
        return
    a_round.heard(answer, time.monotonic())


@frozen
class Destination:
    """Where Pis may be listening."""

    address: str
    through: Interface | None = None
    """The interface that it leaves by; None leaves that to the kernel."""


def destinations() -> list[Destination]:
    """All networks that this machine is on, and the machine itself, as they are now.

    Each interface is asked at its own broadcast address, and by name: without a default route the kernel does not know
    where 255.255.255.255 is, and of two interfaces on one network it would always take the same one.
    """
    by_interface = [Destination(interface.broadcast, interface) for interface in interfaces()]
    # The last two are for systems whose interfaces are not known.
    return [*by_interface, Destination("255.255.255.255"), Destination("127.0.0.1")]


def _send(asked: socket.socket, data: bytes, port: int, to: Destination) -> None:
    try:
        if to.through is None:
            asked.sendto(data, (to.address, port))
        else:
            # struct in_pktinfo: the interface, the source address, and a field that is not used here.
            information = struct.pack("@i4s4x", to.through.index, socket.inet_aton(to.through.address))
            asked.sendmsg([data], [(socket.IPPROTO_IP, _IP_PKTINFO, information)], 0, (to.address, port))
    except OSError:
        # A network that can't be reached is none from which a Pi could answer.
        return
