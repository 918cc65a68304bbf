"""The quickest parts of the benchmarks, once each."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.follower import follower
from benchmarks.samples import table
from benchmarks.start import start
from benchmarks.world import World


class PartTests(SynchronousTestCase):
    def test_parts(self) -> None:
        """A start and a follower are measured beside their floors, with samples above 0 of each."""
        folder = Path(self.mktemp())
        folder.mkdir()
        with World(folder) as world:
            found = [*start(world, 1, full=False), *follower(world, 1, (300,), full=False)]
        self.assertEqual([len(one.beside) for one in found], [1, 1, 1, 1])
        for measurement in found:
            for samples in (measurement.ours, *measurement.beside.values()):
                self.assertEqual(len(samples), 1)
                self.assertGreater(samples[0], 0)
            self.assertIn(measurement.name, table(measurement))
