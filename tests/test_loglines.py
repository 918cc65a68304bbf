"""What is new in a log document."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.fleet.loglines import News, Seen, news
from himbeerecouch.status.logbook import ProgramLog, render


def document(*lines: str, first: int = 0, name: str = "clock") -> dict[str, Any]:
    """A log document as the daemon renders it."""
    return render(7, "", [ProgramLog("a", name, lines, 0, first)])


class NewsTests(SynchronousTestCase):
    def after(self, before: dict[str, Any], now: dict[str, Any]) -> list[News]:
        """What is new in one document after the other."""
        _, seen = news(before, {})
        return news(now, seen)[0]

    def test_first(self) -> None:
        """All is new to somebody who has seen nothing."""
        found, seen = news(document("x", "y", first=3), {})
        self.assertEqual(found, [News("a", "clock", ("x", "y"))])
        self.assertEqual(seen, {"a": Seen(5, ("x", "y"))})
        self.assertEqual(news({}, {}), ([], {}))

    def test_new_lines(self) -> None:
        """Only lines that were not there before are new, even where they read the same."""
        before = document("x", "x", "x")
        for now, expected in (
            (document("x", "x", "x"), None),
            (document("x", "x", "x", "x"), News("a", "clock", ("x",))),
            (document("x", "x", "x", first=2), News("a", "clock", ("x", "x"))),
            (document("x", "x", "x", first=3), News("a", "clock", ("x", "x", "x"))),
            (document("x", first=10), News("a", "clock", ("x",), left_out=7)),
        ):
            self.assertEqual(self.after(before, now), [] if expected is None else [expected])

    def test_restarted(self) -> None:
        """After a restart of the daemon the lines are counted from 0 again, and all of them are new."""
        before = document("x", "y", "z", first=100)
        self.assertEqual(self.after(before, document("a")), [News("a", "clock", ("a",), 0, restarted=True)])
        printed_more = document("a", "b", "c", "d", first=100)
        self.assertEqual(
            self.after(before, printed_more), [News("a", "clock", ("a", "b", "c", "d"), 100, restarted=True)]
        )

    def test_without_room(self) -> None:
        """A program that was left out of one document goes on where it was."""
        _, seen = news(document("x"), {})
        found, seen = news({"programs": {}}, seen)
        self.assertEqual(found, [])
        self.assertEqual(news(document("x", "y"), seen)[0], [News("a", "clock", ("y",))])

    def test_without_numbers(self) -> None:
        """Of a daemon that does not number its lines, what the two documents share is not new."""

        def old(*lines: str) -> dict[str, Any]:
            return {"programs": {"a": {"lines": list(lines)}}}

        self.assertEqual(self.after(old("x", "y"), old("x", "y", "z")), [News("a", "a", ("z",))])
        self.assertEqual(self.after(old("x", "y"), old("y", "z")), [News("a", "a", ("z",))])
        self.assertEqual(self.after(old("x"), old("y")), [News("a", "a", ("y",), left_out=None)])
        self.assertEqual(self.after(old(), old("y")), [News("a", "a", ("y",))])

    def test_anything(self) -> None:
        """Whatever stands in the document, nothing but lines is taken from it."""
        odd: dict[str, Any] = {"a": 1, "b": {}, "c": {"lines": "no"}, "d": {"lines": [1, "x"], "first_line": True}}
        self.assertEqual(news({"programs": odd}, {})[0], [News("d", "d", ("x",))])
        self.assertEqual(news({"programs": [1]}, {}), ([], {}))
