"""What the benchmarks say of samples is what was measured; no time is judged here."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.__main__ import report
from benchmarks.samples import Goal, Measurement, as_json, spread, table

MEASUREMENT = Measurement(
    "a thing",
    "ms",
    [2.0, 4.0, 6.0],
    {"the floor": [1.0, 2.0, 3.0], "nothing": [0.0]},
    [Goal("at most 5", True), Goal("at most 3", False)],
    {"another": "it is not installed"},
)


class SamplesTests(SynchronousTestCase):
    def test_spread(self) -> None:
        """Median, tenths and the 99th percentile are those of the samples."""
        found = spread([float(value) for value in range(1, 201)])
        self.assertEqual((found.median, found.p99, found.number), (100.5, 199.0, 200))
        self.assertEqual((round(found.low, 1), round(found.high, 1)), (20.9, 180.1))

    def test_few_samples(self) -> None:
        """Of one sample all figures are that one; of fewer than 100 the 99th percentile is the largest."""
        self.assertEqual(spread([7.0]), (7.0, 7.0, 7.0, 7.0, 1))
        self.assertEqual(spread([3.0, 1.0]).p99, 3.0)

    def test_no_samples(self) -> None:
        """What was not measured has no figures."""
        self.assertRaises(ValueError, spread, [])

    def test_table(self) -> None:
        """A table has each figure, the ratio of ours to it, what is missing and why, and every goal's outcome."""
        shown = table(MEASUREMENT).splitlines()
        self.assertEqual(shown[0], "a thing (ms)")
        for part, line in zip(
            ("himbeerecouch", "2.00 x", "nothing", "another", "met", "MISSED"), shown[1:], strict=True
        ):
            self.assertIn(part, line)
        self.assertIn("not measured: it is not installed", shown[4])
        self.assertNotIn(" x", shown[3])

    def test_json(self) -> None:
        """The report holds every sample, and can be read again."""
        told = json.loads(json.dumps(report([MEASUREMENT])))
        self.assertEqual(told["measurements"], [json.loads(json.dumps(as_json(MEASUREMENT)))])
        self.assertEqual(told["measurements"][0]["ours"]["samples"], [2.0, 4.0, 6.0])
        self.assertEqual(told["measurements"][0]["goals"][1], {"text": "at most 3", "met": False})
