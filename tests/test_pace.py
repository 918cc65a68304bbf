"""When a status is due."""

from __future__ import annotations

import math
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.status.pace import HEARTBEAT, LOG, LONGEST_BACKOFF_S, SETTLE_S, WATCHED_LOG, Pace, Rate


def write(pace: Pace, now: float, rate: Rate = HEARTBEAT, random: float = 0.0) -> None:
    pace.written(now, pace.version, rate, random)


class PaceTests(SynchronousTestCase):
    def test_nothing_to_say(self) -> None:
        """Where nothing has changed and nothing was ever written, nothing is due."""
        self.assertEqual(Pace().due(HEARTBEAT), math.inf)

    def test_burst(self) -> None:
        """Four changes are written at once, and from then on one in two seconds; what was saved up comes back."""
        pace = Pace()
        written = []
        now = 100.0
        for _ in range(8):
            pace.changed(now)
            now = pace.due(HEARTBEAT)
            write(pace, now)
            written.append(round(now - 100, 3))
        steps = [round(after - before, 3) for before, after in pairwise(written)]
        self.assertEqual(written[0], SETTLE_S)
        self.assertEqual(steps[:3], [SETTLE_S] * 3)
        self.assertLessEqual(sum(steps[:5]), 4.0)
        self.assertEqual(steps[5:], [2.0] * 2)
        pace.changed(now + 60)
        self.assertEqual(pace.due(HEARTBEAT), min(now + 60 + SETTLE_S, now + 30))

    def test_regular(self) -> None:
        """Without a change it is due within 30 s, up to a fifth earlier at random."""
        for random, at in ((0.0, 30.0), (0.5, 27.0), (0.999, 24.006)):
            pace = Pace()
            write(pace, 0.0, random=random)
            self.assertAlmostEqual(pace.due(HEARTBEAT), at)
        pace = Pace()
        write(pace, 0.0, LOG)
        self.assertEqual(pace.due(LOG), math.inf)

    def test_changes_come_in_groups(self) -> None:
        """Later changes do not put off the write; those that come while it is under way are written after it."""
        pace = Pace()
        pace.changed(10.0)
        pace.changed(10.05)
        self.assertEqual(pace.due(HEARTBEAT), 10.0 + SETTLE_S)
        version = pace.version
        pace.changed(10.2)
        pace.written(10.3, version, HEARTBEAT, 0.0)
        self.assertEqual((pace.pending, pace.due(HEARTBEAT)), (True, 10.3 + SETTLE_S))
        write(pace, 10.5)
        self.assertFalse(pace.pending)

    def test_watched(self) -> None:
        """A log that waits for its minute is due after two seconds once somebody watches."""
        pace = Pace()
        pace.changed(0.0)
        write(pace, 1.0, LOG)
        pace.changed(1.5)
        self.assertEqual((pace.due(LOG), pace.due(WATCHED_LOG)), (61.0, 3.0))
        write(pace, 3.0, WATCHED_LOG)
        pace.changed(4.0)
        self.assertLessEqual(pace.due(LOG), 63.0 + 60.0)
        self.assertEqual(pace.due(WATCHED_LOG), 5.0)

    def test_failures(self) -> None:
        """A server that is away is asked less and less often, up to a limit, and sooner once it answers somebody."""
        pace = Pace()
        pace.changed(0.0)
        waits = []
        for _ in range(8):
            pace.failed(100.0, 0.5, None)
            waits.append(pace.due(HEARTBEAT) - 100.0)
        self.assertEqual(waits, [0.5, 1.0, 2.0, 4.0, 8.0, LONGEST_BACKOFF_S / 2, LONGEST_BACKOFF_S / 2, 15.0])
        pace.hurry()
        self.assertEqual(pace.due(HEARTBEAT), SETTLE_S)
        pace.failed(100.0, 0.0, 75.0, asked=True)
        pace.hurry()
        self.assertEqual(pace.due(HEARTBEAT), 175.0)
        write(pace, 175.0)
        pace.failed(200.0, 1.0, None)
        self.assertEqual(pace.not_before, 201.0)
