"""The gate before CouchDB's logins."""

from __future__ import annotations

import math

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.couch.gate import BESIDES_POLL, LOGINS, WINDOW_S, Closed, Gate, Ticket, Verdict, Wait


class GateTests(SynchronousTestCase):
    """Gate: who gets through, and when."""

    def setUp(self) -> None:
        self.gate = Gate()

    def through(self, now: float, *, poll: bool = False) -> Ticket:
        """Get one request through, or fail."""
        ticket = self.gate.admit(now, poll=poll)
        assert isinstance(ticket, Ticket), ticket
        return ticket

    def outside(self, now: float, *, poll: bool = False) -> Wait:
        """See that a request stays outside."""
        wait = self.gate.admit(now, poll=poll)
        assert isinstance(wait, Wait), wait
        return wait

    def prove(self) -> None:
        """Log in with success."""
        self.gate.back(self.through(0), 0, Verdict.PROVEN)

    def test_one_at_a_time(self) -> None:
        """With a password that is not proven one request is under way at once, a poll included."""
        for poll in (False, True):
            ticket = self.through(0, poll=poll)
            for other in (False, True):
                self.assertEqual(self.outside(1, poll=other), Wait(math.inf))
            self.gate.back(ticket, 1, Verdict.NOTHING)

    def test_proven(self) -> None:
        """Once it is proven, one poll and three others are under way at once, and no more."""
        self.prove()
        self.assertTrue(self.gate.proven)
        poll = self.through(1, poll=True)
        tickets = [self.through(1) for _ in range(BESIDES_POLL)]
        self.assertEqual(self.outside(1), Wait(math.inf))
        self.assertEqual(self.outside(1, poll=True), Wait(math.inf))
        self.gate.back(poll, 2, Verdict.PROVEN)
        self.gate.back(tickets[0], 2, Verdict.UNANSWERED)
        self.assertFalse(self.gate.doubtful)
        self.through(2, poll=True)
        self.through(2)

    def test_refused(self) -> None:
        """A refused password closes the gate for 75 s and a random part of 15 s."""
        for random, wait_s in ((0.0, 75), (0.5, 82.5)):
            self.gate = Gate()
            self.gate.back(self.through(0), 0, Verdict.REFUSED, random=random)
            self.assertEqual(self.outside(0), Wait(wait_s, Closed.REFUSED))
            self.through(wait_s)

    def test_four_logins(self) -> None:
        """Whatever happens, no more than four logins in 300 s."""
        times = []
        now = 0.0
        while now < 1000:
            answer = self.gate.admit(now)
            if isinstance(answer, Ticket):
                times.append(now)
                self.gate.back(answer, now, Verdict.REFUSED)
                self.gate.hurry()
            now += 1
        self.assertEqual(times[:5], [0, 1, 2, 3, 300])
        for start in times:
            self.assertLessEqual(len([at for at in times if start <= at < start + WINDOW_S]), LOGINS)

    def test_slow_login(self) -> None:
        """A login whose answer takes longer than it counts is as good as any."""
        ticket = self.through(0, poll=True)
        self.outside(WINDOW_S + 1)
        self.gate.back(ticket, WINDOW_S + 2, Verdict.PROVEN)
        self.through(WINDOW_S + 2)
        self.assertTrue(self.gate.proven)

    def test_too_many_logins(self) -> None:
        """The fifth login is told how long it waits, and why."""
        for now in range(4):
            self.gate.back(self.through(now), now, Verdict.NEXT)
        self.assertEqual(self.outside(10), Wait(290, Closed.LOGINS))

    def test_the_last_login(self) -> None:
        """While the last of four logins is under way the others wait for how it ends, and are not sent off for long."""
        for now in range(3):
            self.gate.back(self.through(now), now, Verdict.NEXT)
        for ends, after in ((Verdict.PROVEN, None), (Verdict.NEXT, Wait(297, Closed.LOGINS))):
            last = self.through(3)
            self.assertEqual(self.outside(3), Wait(math.inf))
            self.gate.back(last, 3, ends)
            if after is None:
                self.gate.back(self.through(3), 3, Verdict.PROVEN)
                self.gate.restart()
            else:
                self.assertEqual(self.outside(3), after)

    def test_next_at_once(self) -> None:
        """Another password at hand is tried at once."""
        self.gate.back(self.through(0), 0, Verdict.NEXT)
        self.gate.back(self.through(0), 0, Verdict.PROVEN)
        self.assertTrue(self.gate.proven)

    def test_turned_wrong(self) -> None:
        """A proven password that turns wrong costs the four that are under way, and then none for 300 s."""
        self.prove()
        tickets = [self.through(1, poll=True)] + [self.through(1) for _ in range(BESIDES_POLL)]
        for ticket in tickets:
            self.gate.back(ticket, 2, Verdict.REFUSED)
        self.assertFalse(self.gate.proven)
        self.gate.hurry()
        self.assertEqual(self.outside(2), Wait(300, Closed.LOGINS))
        self.through(302)

    def test_old_success(self) -> None:
        """A poll that began before the password turned wrong, and ends well after that, proves nothing."""
        self.prove()
        poll = self.through(1, poll=True)
        self.gate.back(self.through(1), 2, Verdict.REFUSED)
        self.gate.back(poll, 3, Verdict.PROVEN)
        self.assertFalse(self.gate.proven)

    def test_locked(self) -> None:
        """A locked account closes the gate for 300 s, and nobody hurries it."""
        self.gate.back(self.through(0), 0, Verdict.LOCKED, random=0.5)
        self.gate.hurry()
        self.assertEqual(self.outside(0), Wait(315, Closed.LOCKED))

    def test_retry_after(self) -> None:
        """What the server asks for is kept, up to ten minutes, and does not shorten another wait."""
        self.gate.back(self.through(0), 0, Verdict.NOTHING, retry_after_s=20)
        self.assertEqual(self.outside(0), Wait(20, Closed.ASKED))
        self.gate.back(self.through(20), 20, Verdict.NOTHING, retry_after_s=1e9)
        self.assertEqual(self.outside(20), Wait(600, Closed.ASKED))
        self.gate.back(self.through(620), 620, Verdict.REFUSED, retry_after_s=-5)
        self.assertEqual(self.outside(620), Wait(75, Closed.REFUSED))

    def test_nothing_costs_nothing(self) -> None:
        """A server that is down, asked again and again, costs no login."""
        for now in range(20):
            self.gate.back(self.through(now), now, Verdict.NOTHING)
        self.through(20)

    def test_doubt(self) -> None:
        """A login without an answer counts as one, and is in doubt until the server has answered something."""
        self.gate.back(self.through(0), 0, Verdict.UNANSWERED)
        self.assertTrue(self.gate.doubtful)
        self.gate.back(self.through(1), 1, Verdict.NOTHING)
        self.assertTrue(self.gate.doubtful)
        self.gate.greeted()
        self.assertFalse(self.gate.doubtful)
        self.gate.back(self.through(1), 1, Verdict.UNANSWERED)
        self.gate.back(self.through(2), 2, Verdict.NEXT)
        self.assertFalse(self.gate.doubtful)
        for now in (100,):
            self.gate.back(self.through(now), now, Verdict.NEXT)
        self.assertEqual(self.outside(102).reason, Closed.LOGINS)

    def test_restart(self) -> None:
        """Another password is not proven, and waits for nothing but the four logins."""
        self.prove()
        self.gate.back(self.through(1), 1, Verdict.REFUSED)
        self.gate.restart()
        self.assertFalse(self.gate.proven)
        self.through(2)
