"""The asking side of discovery.  Asked is the loopback interface only; other networks are for the namespace tests."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.discovery import ask
from himbeerecouch.discovery.ask import Destination, Round, broadcast_message, destinations, probe
from himbeerecouch.discovery.netif import interfaces
from himbeerecouch.discovery.sealing import reply
from himbeerecouch.discovery.wire import parse_request
from himbeerecouch.errors import DatagramError, NobodyAnswered, SeveralAnswered
from himbeerecouch.model import Answer

SERVER = "http://server.name:5984"
ONE = Answer(1, "p", "10.0.0.1")
TWO = Answer(2, "q", "10.0.0.2")
ENROLLED = Answer(3, None, "10.0.0.3")


def has_password(answer: Answer) -> bool:
    return answer.password is not None


class Rounds(SynchronousTestCase):
    """One round of asking, by the clock that the test says."""

    def test_asks_each_second(self) -> None:
        """It asks at once and then each second, and says how long there is nothing to do but listen."""
        a_round = Round(2.5, 100.0, has_password)
        for now_s, asks, wait_s, over in (
            (100.0, True, 1.0, False),
            (100.4, False, 0.6, False),
            (101.0, True, 1.0, False),
            (102.25, True, 0.25, False),
            (102.5, False, 0.0, True),
        ):
            self.assertIs(a_round.over(now_s), over, now_s)
            self.assertIs(a_round.asks(now_s), asks, now_s)
            self.assertAlmostEqual(a_round.wait_s(now_s), wait_s)

    def test_a_pi_counts_once(self) -> None:
        """A Pi that answers several times is listed once, and not with this machine's own address if it has another."""
        for addresses, kept in (
            (("10.0.0.1", "10.0.0.1", "10.1.0.1"), "10.0.0.1"),
            (("127.0.0.1", "10.0.0.1", "127.0.0.1"), "10.0.0.1"),
            (("127.0.0.1", "127.0.0.1"), "127.0.0.1"),
        ):
            a_round = Round(3, 0.0, has_password)
            for address in addresses:
                a_round.heard(Answer(1, "p", address), 0.1)
            self.assertEqual(a_round.answers(), [Answer(1, "p", kept)])

    def test_who_is_listed(self) -> None:
        """Sorted by MacID; two passwords for one MacID are two, and an answer with a password beats one without."""
        a_round = Round(3, 0.0, has_password)
        for answer in (ENROLLED, TWO, ONE, Answer(1, None), Answer(2, "another")):
            a_round.heard(answer, 0.1)
        self.assertEqual(
            [(answer.mac_id, answer.password) for answer in a_round.answers()],
            [(1, "p"), (2, "another"), (2, "q"), (3, None)],
        )

    def test_without_end(self) -> None:
        """Without a timeout it goes on until an answer that is wanted came, and a second more."""
        a_round = Round(None, 0.0, has_password)
        a_round.heard(ENROLLED, 500.0)
        self.assertFalse(a_round.over(1e9))
        a_round.heard(ONE, 1000.0)
        a_round.heard(TWO, 1000.5)
        self.assertFalse(a_round.over(1000.9))
        self.assertTrue(a_round.over(1001.0))

    def test_with_a_short_end(self) -> None:
        """Who looks for a certain Pi goes on for a moment after it has answered, and at most to his timeout."""
        for heard_s, end_s in ((0.5, 0.7), (2.9, 3.0)):
            a_round = Round(3, 0.0, has_password, linger_s=0.2)
            a_round.heard(ENROLLED, 0.1)
            a_round.heard(ONE, heard_s)
            a_round.heard(TWO, heard_s + 0.05)
            self.assertFalse(a_round.over(end_s - 0.01))
            self.assertTrue(a_round.over(end_s))

    def test_bounded(self) -> None:
        """A flood of invented answers does not fill the memory."""
        a_round = Round(3, 0.0, has_password)
        for mac_id in range(ask.MOST_ANSWERS + 10):
            a_round.heard(Answer(mac_id, "p"), 0.1)
        self.assertEqual(len(a_round.answers()), ask.MOST_ANSWERS)


class Pis:
    """A thread that answers each request at a port of the loopback interface with the datagrams given.

    In place of a datagram an ``Answer`` may be given: what a daemon makes of it for that very request.
    """

    def __init__(self, *answers: bytes | Answer) -> None:
        self._answers = answers
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.heard: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            data, address = self._socket.recvfrom(4096)
            try:
                request = parse_request(data)
                self.heard.append(request.server)
            except DatagramError:
                return
            for answer in self._answers:
                self._socket.sendto(reply(answer, request, data)[0] if isinstance(answer, Answer) else answer, address)

    def stop(self) -> None:
        self._socket.sendto(b"stop", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


class Asking(SynchronousTestCase):
    """The two functions that people call, with real sockets of the loopback interface."""

    def setUp(self) -> None:
        self.patch(ask, "destinations", lambda: [Destination("127.0.0.1")])

    def pis(self, *answers: bytes | Answer) -> Pis:
        made = Pis(*answers)
        self.addCleanup(made.stop)
        return made

    def test_one(self) -> None:
        """The one Pi that waits is returned as the documentation shows it, however many are enrolled."""
        pis = self.pis(b'{"MacID": 1234566, "password": "apassword"}', b'{"MacID": 7, "enrolled": true}')
        found = broadcast_message(SERVER, 0.2, port=pis.port)
        self.assertEqual(found, {"MacID": 1234566, "password": "apassword"})
        self.assertEqual(pis.heard, [SERVER])

    def test_nobody(self) -> None:
        """Where only enrolled ones answer, or things that are no answers, the error names the enrolled ones."""
        pis = self.pis(b"{", b"", b"x" * 3000, b'{"MacID": 7, "enrolled": true}')
        error = self.assertRaises(NobodyAnswered, broadcast_message, SERVER, 0.2, port=pis.port)
        self.assertEqual(error.enrolled, (7,))
        self.assertIn("7", str(error))

    def test_several(self) -> None:
        """Where several wait, the error names them all."""
        pis = self.pis(b'{"MacID": 2, "password": "q"}', b'{"MacID": 1, "password": "p"}')
        error = self.assertRaises(SeveralAnswered, broadcast_message, SERVER, 0.2, port=pis.port)
        self.assertEqual(error.mac_ids, (1, 2))

    def test_all(self) -> None:
        """A probe lists all that answer, with their addresses."""
        pis = self.pis(b'{"MacID": 2, "enrolled": true}', b'{"MacID": 1, "password": "p"}')
        self.assertEqual(probe(SERVER, 0.2, port=pis.port), [Answer(1, "p", "127.0.0.1"), Answer(2, None, "127.0.0.1")])

    def test_find(self) -> None:
        """Who looks for a certain Pi gets what that one answers, and everything that says it is the same one."""
        pis = self.pis(b'{"MacID": 2, "password": "q"}', b'{"MacID": 1, "password": "p"}')
        self.assertEqual(ask.find(SERVER, 1, 60, port=pis.port), [Answer(1, "p", "127.0.0.1")])
        self.assertEqual(ask.find(SERVER, 3, 0.1, port=pis.port), [])
        pis = self.pis(b'{"MacID": 1, "password": "q"}', b'{"MacID": 1, "password": "p"}')
        self.assertEqual([answer.password for answer in ask.find(SERVER, 1, 60, port=pis.port)], ["p", "q"])

    def test_sealed(self) -> None:
        """What comes sealed is read beside what does not, and a box of somebody else's is passed over."""
        pis = self.pis(
            Answer(2, "q"), b'{"MacID": 1, "password": "p"}', b'{"MacID": 3, "sealed": "' + b"A" * 400 + b'"}'
        )
        found = probe(SERVER, 0.2, port=pis.port)
        self.assertEqual(found, [Answer(1, "p", "127.0.0.1"), Answer(2, "q", "127.0.0.1", sealed=True)])

    def test_one_sealed(self) -> None:
        """To the one who asks for the one Pi it makes no difference that its answer was sealed."""
        pis = self.pis(Answer(1234566, "apassword"), Answer(7, None))
        found = broadcast_message(SERVER, 0.2, port=pis.port)
        self.assertEqual(found, {"MacID": 1234566, "password": "apassword"})

    def test_repeats(self) -> None:
        """Without a timeout it asks again until somebody is there."""
        self.patch(ask, "REPEAT_S", 0.05)
        self.patch(ask, "LINGER_S", 0.05)
        asked: list[float] = []
        late = self.pis(b'{"MacID": 1, "password": "p"}')

        def where() -> list[Destination]:
            asked.append(time.monotonic())
            return [Destination("127.0.0.1")] if len(asked) >= 3 else []

        self.patch(ask, "destinations", where)
        self.assertEqual(broadcast_message(SERVER, None, port=late.port), {"MacID": 1, "password": "p"})
        self.assertGreaterEqual(len(asked), 3)

    def test_networks_that_are_not_there(self) -> None:
        """A network that can't be reached, or an interface that went away, keeps no other from being asked."""
        (loopback, *_) = [interface for interface in interfaces() if interface.name == "lo"]
        gone = type(loopback)("gone0", 2**30, "10.99.99.1", "10.99.99.255")
        self.patch(ask, "destinations", lambda: [Destination("10.99.99.255", gone), Destination("127.0.0.1", loopback)])
        pis = self.pis(b'{"MacID": 1, "password": "p"}')
        self.assertEqual(len(probe(SERVER, 0.2, port=pis.port)), 1)

    def test_wrong_arguments(self) -> None:
        """A server that is no URL, and a timeout that is not positive, are errors at once, before anything is sent."""
        self.patch(ask, "destinations", lambda: self.fail("asked all the same"))
        ways: tuple[Callable[[], object], ...] = (
            lambda: broadcast_message("server.name:5984", 1),
            lambda: probe("", 1),
            lambda: probe(SERVER, -1),
            lambda: probe(SERVER, 0),
            lambda: broadcast_message(SERVER, float("nan")),
        )
        for way in ways:
            self.assertRaises(ValueError, way)

    def test_a_broken_wire(self) -> None:
        """An error that the kernel reports for an earlier datagram ends nothing."""

        class Broken:
            def __init__(self, made: socket.socket) -> None:
                self.fileno = made.fileno

            def recvfrom(self, _size: int) -> object:
                raise OSError(errno.ECONNREFUSED, "refused")

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.bind(("127.0.0.1", 0))
            made.sendto(b"x", made.getsockname())
            a_round = Round(1, 0.0, has_password)
            ask._listen(Broken(made), a_round, None, 1.0)  # type: ignore[arg-type]
            self.assertEqual(a_round.answers(), [])


class Where(SynchronousTestCase):
    """Who is asked."""

    def test_all_there_is(self) -> None:
        """Every interface's broadcast address, the limited broadcast, and this machine."""
        found = destinations()
        self.assertIn("127.255.255.255", [destination.address for destination in found])
        self.assertEqual(found[-2:], [Destination("255.255.255.255"), Destination("127.0.0.1")])
        self.assertEqual([destination.through for destination in found[:-2]], list(interfaces()))
