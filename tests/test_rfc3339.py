"""Times in documents."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import rfc3339

GOOD = [
    ("1970-01-01T00:00:00Z", 0.0),
    ("2026-11-22T15:21:08Z", 1795360868.0),
    ("2026-11-22t15:21:08.5z", 1795360868.5),
    ("2026-11-22 15:21:08.123456789Z", 1795360868.123456789),
    ("2026-11-22T16:21:08+01:00", 1795360868.0),
    ("2026-11-22T09:51:08-05:30", 1795360868.0),
    ("2016-12-31T23:59:60Z", 1483228800.0),
    ("1969-12-31T23:59:59.25Z", -0.75),
]

BAD = [
    "",
    "tomorrow",
    "2026-11-22",
    "2026-11-22T15:21:08",
    "2026-11-22T15:21Z",
    "2026-13-22T15:21:08Z",
    "2026-02-30T15:21:08Z",
    "2026-11-22T24:00:00Z",
    "2026-11-22T15:21:61Z",
    "2026-11-22T15:21:08+24:00",
    "2026-11-22T15:21:08+01:60",
    "2026-11-22T15:21:08Z\n",
    "0000-01-01T00:00:00Z",
    "٢٠٢٦-11-22T15:21:08Z",
]


class ParseTests(SynchronousTestCase):
    """rfc3339.parse."""

    def test_good(self) -> None:
        """Every form that RFC 3339 allows is the Unix time that it stands for."""
        for text, unix in GOOD:
            self.assertAlmostEqual(rfc3339.parse(text), unix, places=6, msg=text)

    def test_bad(self) -> None:
        """Everything else is a ValueError, a time without an offset included."""
        for text in BAD:
            with self.assertRaises(ValueError, msg=text):
                rfc3339.parse(text)

    def test_no_string(self) -> None:
        """What is no string is a ValueError too, as the document may hold anything."""
        values: tuple[object, ...] = (None, 5, True, [], {})
        for value in values:
            with self.assertRaises(ValueError):
                rfc3339.parse(value)  # type: ignore[arg-type]


class RenderTests(SynchronousTestCase):
    """rfc3339.render."""

    def test_milliseconds(self) -> None:
        """A time has milliseconds and a Z, rounded, with four digits of the year."""
        for unix, text in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1795360868.5, "2026-11-22T15:21:08.500Z"),
            (1795360868.9996, "2026-11-22T15:21:09.000Z"),
            (-0.75, "1969-12-31T23:59:59.250Z"),
            (-60000000000, "0068-09-03T13:20:00.000Z"),
        ]:
            self.assertEqual(rfc3339.render(unix), text)

    def test_round_trip(self) -> None:
        """What was rendered parses to the same time, to the millisecond."""
        for unix in (0.0, 1795360868.123, 951782400.001):
            self.assertAlmostEqual(rfc3339.parse(rfc3339.render(unix)), unix, places=3)

    def test_no_time(self) -> None:
        """A number outside the calendar is a ValueError."""
        for unix in (float("nan"), float("inf"), 1e15, -1e12):
            with self.assertRaises(ValueError):
                rfc3339.render(unix)
