"""The log document, within its size."""

from __future__ import annotations

import json
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.model import Json
from himbeerecouch.status.logbook import LIMIT_BYTES, ProgramLog, document_id, render

NOW = "2026-11-22T10:00:00.000Z"


def logs(count: int, lines: Sequence[str]) -> list[ProgramLog]:
    return [ProgramLog(f"p{number:04}", f"program {number}", lines, number, 7) for number in range(count)]


def size(document: Json) -> int:
    return len(json.dumps(document | {"_rev": "1234567-" + "0" * 32}))


class LogbookTests(SynchronousTestCase):
    def test_small(self) -> None:
        """What fits is all there, in its order."""
        self.assertEqual(
            render(7, NOW, logs(2, ["first", "last \ud800"])),
            {
                "_id": "7_log",
                "type": "log",
                "timestamp": NOW,
                "programs": {
                    "p0000": {
                        "name": "program 0",
                        "lines": ["first", "last \\ud800"],
                        "dropped_lines": 0,
                        "first_line": 7,
                    },
                    "p0001": {
                        "name": "program 1",
                        "lines": ["first", "last \\ud800"],
                        "dropped_lines": 1,
                        "first_line": 7,
                    },
                },
                "left_out": 0,
            },
        )
        self.assertEqual(document_id(7), "7_log")
        self.assertEqual(render(7, NOW, [])["programs"], {})

    def test_never_larger(self) -> None:
        """Whatever is printed, the document has at most 32 KiB."""
        for count in (1, 3, 40, 2000):
            for line in ("x", "x" * 150, "ä" * 4000, "\N{GRINNING FACE}" * 4000):
                document = render(7, NOW, logs(count, [line] * 200))
                self.assertLessEqual(size(document), LIMIT_BYTES, (count, line[:1]))
                self.assertEqual(len(document["programs"]) + document["left_out"], count)
                self.assertTrue(all(entry["lines"] for entry in document["programs"].values()))

    def test_fair(self) -> None:
        """The newest lines of every program come first: one that prints much does not push out another."""
        loud = ProgramLog("loud", "loud", [f"{number:04}" * 30 for number in range(1000)], 0)
        quiet = ProgramLog("quiet", "quiet", ["one", "two"], 0)
        programs = render(7, NOW, [loud, quiet])["programs"]
        self.assertEqual(programs["quiet"]["lines"], ["one", "two"])
        self.assertGreater(len(programs["loud"]["lines"]), 200)
        self.assertEqual(programs["loud"]["lines"][-1], "0999" * 30)
        self.assertEqual(programs["loud"]["first_line"], 1000 - len(programs["loud"]["lines"]))
        self.assertEqual(programs["loud"]["lines"], loud.lines[-len(programs["loud"]["lines"]) :])

    def test_too_many(self) -> None:
        """With too many programs the first ones count, and the others are counted."""
        document = render(7, NOW, logs(5, ["x" * 30]), limit_bytes=400)
        self.assertEqual((sorted(document["programs"]), document["left_out"]), (["p0000", "p0001"], 3))
