"""When a Pi that waits for its user logs in."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.enrolment import AGAIN_PAUSE_S, AGAIN_S, PATIENCE_S, PAUSE_S, Enrolment

ASKER = ("192.168.1.2", 40000)
AGAIN = ("192.168.1.2", 40001)


class EnrolmentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.waiting = True
        self.logins: list[float] = []
        self.enrolment = Enrolment(
            self.clock, waiting=lambda: self.waiting, hurry=lambda: self.logins.append(self.clock.seconds())
        )
        self.enrolment.startService()

    def probe(self) -> None:
        """As ``broadcast_message`` does: one datagram a second for three seconds."""
        for _ in range(3):
            self.enrolment.probed(ASKER)
            self.clock.advance(1)

    def test_one_login_a_probe(self) -> None:
        """A probe is worth one login, once there was time to create the user."""
        self.probe()
        self.assertEqual(self.logins, [])
        self.clock.advance(PATIENCE_S - 3)
        self.assertEqual(self.logins, [PATIENCE_S])

    def test_many_probes(self) -> None:
        """However often somebody asks, the four logins in five minutes are not used up at once."""
        for _ in range(20):
            self.probe()
        self.assertEqual(self.logins, [PATIENCE_S + n * PAUSE_S for n in range(4)])

    def test_asked_again(self) -> None:
        """Who asks once more, from another port, has created the user: the login is due at once."""
        self.enrolment.probed(ASKER)
        self.clock.advance(0.5)
        self.enrolment.probed(ASKER)
        self.enrolment.probed(("10.0.0.2", ASKER[1]))
        self.clock.advance(AGAIN_S)
        self.assertEqual(self.logins, [])
        self.enrolment.probed(AGAIN)
        self.enrolment.probed(AGAIN)
        self.clock.advance(AGAIN_S)
        self.assertEqual(self.logins, [0.5 + 2 * AGAIN_S])
        self.clock.advance(PATIENCE_S)
        self.assertEqual(len(self.logins), 1)

    def test_asked_again_too_soon(self) -> None:
        """Two logins never follow each other closely, however often and from wherever somebody asks."""
        self.enrolment.probed(ASKER)
        self.enrolment.probed(AGAIN)
        self.clock.advance(AGAIN_S)
        for _ in range(3):
            self.enrolment.probed(ASKER)
            self.enrolment.probed(AGAIN)
            self.clock.advance(AGAIN_PAUSE_S / 4)
        self.assertEqual(self.logins, [AGAIN_S])
        self.clock.advance(AGAIN_PAUSE_S / 4)
        self.assertEqual(self.logins, [AGAIN_S, AGAIN_S + AGAIN_PAUSE_S])

    def test_enrolled(self) -> None:
        """A Pi that is enrolled, or has been meanwhile, takes no notice."""
        self.enrolment.probed(ASKER)
        self.waiting = False
        self.clock.advance(PATIENCE_S)
        self.enrolment.probed(ASKER)
        self.assertEqual((self.logins, self.clock.getDelayedCalls()), ([], []))

    def test_stopped(self) -> None:
        """Nothing is left over at the end, and nothing begins after it."""
        self.enrolment.probed(ASKER)
        self.enrolment.stopService()
        self.enrolment.probed(ASKER)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.enrolment.stopService()
