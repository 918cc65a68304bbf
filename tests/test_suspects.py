"""What unclean ends tell of the programs, as tables."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.boot.suspects import (
    LEAST_LONG_TURN_S,
    LONG_TURN_S,
    SHORT_TURN_S,
    Mark,
    Record,
    clean,
    current,
    fingerprint,
    judge,
    parse_mark,
    parse_record,
    proven,
    render_mark,
    render_record,
)
from himbeerecouch.model import GlobalModule, Program

A, B, C = {"a": "1"}, {"b": "1"}, {"c": "1"}
ALL = {**A, **B, **C}
TWICE = Record(2, ALL)


def many(count: int) -> dict[str, str]:
    return {f"p{n:03}": "1" for n in range(count)}


class JudgeTests(SynchronousTestCase):
    def test_judge(self) -> None:
        """Each end adds what it tells, and no more."""
        thorough = Record(4, ALL, thorough=True, quarantined={"q": "1"})
        cases: Mapping[str, tuple[Record, Mark | None, Record]] = {
            "a clean end": (Record(), None, Record()),
            "nothing was starting": (Record(1, A), Mark("now"), Record(1, A)),
            "the first": (Record(), Mark("now", ALL), Record(1, ALL)),
            "only what was starting each time": (Record(1, {**A, **B}), Mark("now", {**B, **C}), TWICE_B),
            "another revision each time": (Record(1, A), Mark("now", {"a": "2"}), Record(2, {"a": "2"})),
            "the third, in a's turn": (TWICE, Mark("now", A, A), Record(3, {**B, **C}, A)),
            "the fourth, in b's turn": (Record(3, {**B, **C}, A), Mark("now", B, B), Record(4, C, {**A, **B})),
            "a fifth, with too many accused": (
                Record(5, C, {**A, **B, "d": "1"}),
                Mark("now", C, C),
                Record(6, {**ALL, "d": "1"}, thorough=True),
            ),
            "when all had had their turn": (TWICE, Mark("now", ALL), Record(3, ALL, thorough=True)),
            "with only the accused left out": (
                Record(3, {}, A),
                Mark("now", {**B, **C}),
                Record(4, ALL, thorough=True),
            ),
            "with a document that was saved": (TWICE, Mark("now", A, {**A, "n": "1"}), Record(3, {**ALL, "n": "1"})),
            "in a long turn": (
                thorough,
                Mark("now", {**A, **B}, B),
                Record(5, C, thorough=True, quarantined={"q": "1", **B}),
            ),
            "in a long turn, with a document that was saved": (
                thorough,
                Mark("now", A, {**A, "n": "1"}),
                evolve(thorough, ends=5, suspects={**ALL, "n": "1"}),
            ),
            "after all long turns": (
                thorough,
                Mark("now", ALL),
                evolve(thorough, ends=5),
            ),
            "a power cut": (Record(), Mark("before", A), Record(1, A)),
            "the second power cut": (Record(1, A), Mark("before", A), Record(2, A)),
            "any more of them": (TWICE, Mark("before", A, A), TWICE),
            "a power cut in the search": (thorough, Mark("before", A, A), thorough),
        }
        for name, (record, mark, expected) in cases.items():
            with self.subTest(name=name):
                self.assertEqual(judge(record, mark, "now"), expected)

    def test_by_turns(self) -> None:
        """Suspects take turns from the third start on, and nobody does without suspects."""
        for record, expected in (
            (Record(), False),
            (Record(1, A), False),
            (Record(2, A), True),
            (Record(9, {}), False),
        ):
            self.assertEqual(record.by_turns, expected)

    def test_turns(self) -> None:
        """Short turns are over in half a minute, long ones are as long as it takes to be proven, while that is few."""
        self.assertEqual(TWICE.order, ("a", "b", "c"))
        for count, thorough, expected in (
            (0, False, SHORT_TURN_S),
            (3, False, SHORT_TURN_S),
            (200, False, 0.15),
            (0, True, LONG_TURN_S),
            (10, True, LONG_TURN_S),
            (20, True, 30.0),
            (200, True, LEAST_LONG_TURN_S),
        ):
            self.assertEqual(Record(3, many(count), thorough=thorough).turn_s, expected)

    def test_convergence(self) -> None:
        """Whoever is deadly, after however long, is found in the end, and nobody else is; at most one end a turn."""
        ids = [f"p{n}" for n in range(6)]
        for deadly in ({"p0": 0.5}, {"p5": 0.5}, {"p2": 3.0}, {"p2": 7.0, "p4": 0.1}, {"p0": 40.0}, {"p5": 3.0}):
            with self.subTest(deadly=deadly):
                record, ends = Record(), 0
                while mark := _run(record, ids, deadly):
                    record, ends = judge(record, mark, "now"), ends + 1
                    self.assertLess(ends, 14)
                self.assertEqual(set(proven(record).quarantined), set(deadly))

    def test_after(self) -> None:
        """A proven start clears all but what is quarantined; a clean end before that goes on with a search."""
        self.assertEqual(proven(Record(3, A, B, True, C)), Record(quarantined={**B, **C}))
        for record, expected in (
            (Record(1, A), Record()),
            (TWICE, TWICE),
            (Record(3, {}, A), Record(3, {}, A)),
            (Record(4, {}, {}, True, A), Record(quarantined=A)),
        ):
            self.assertEqual(clean(record), expected)

    def test_current(self) -> None:
        """What has another document, or none, is neither suspect nor held."""
        record = Record(3, ALL, {"d": "1", "e": "1"}, True, {"f": "1", "g": "1"})
        self.assertEqual(
            current(record, {"a": "1", "b": "2", "d": "1", "e": "2", "f": "2", "g": "1"}),
            Record(3, A, {"d": "1"}, True, {"g": "1"}),
        )


TWICE_B = Record(2, B)


def _run(record: Record, ids: list[str], deadly: Mapping[str, float]) -> Mark | None:
    """The mark that a daemon leaves where programs end it so many seconds after their start; None if none does."""
    starts = {id: 0.0 for id in ids if id not in record.held}
    at = 0.0
    if record.by_turns:
        others = starts.keys() - record.suspects.keys()
        at = record.turn_s if others else 0.0
        for id in record.order:
            starts[id] = at
            at += record.turn_s
    ends = [starts[id] + after_s for id, after_s in deadly.items() if id in starts]
    end = min(ends, default=None)
    if end is None:
        return None
    started = {id: "1" for id, start in starts.items() if start <= end}
    turn: dict[str, str] = {}
    if record.by_turns and end < at:
        begin = max(start for start in starts.values() if start <= end)
        turn = {id: "1" for id, start in starts.items() if start == begin}
    return Mark("now", started, turn)


class FingerprintTests(SynchronousTestCase):
    def test_fingerprint(self) -> None:
        """A fingerprint changes with the document, and with the global modules that are named, directly or not."""

        def modules(**sources: str) -> dict[str, GlobalModule]:
            return {name: GlobalModule(name, text, "lib", "1-a", f"digest {text}") for name, text in sources.items()}

        program = Program("p", "1-a", "p", {"main": "import first"}, "digest")
        base = fingerprint(program, modules(first="import second", second="x", third="y"))
        for same in (modules(first="import second", second="x"), modules(first="import second", second="x", third="z")):
            self.assertEqual(fingerprint(program, same), base)
        for other in (modules(), modules(first="import second"), modules(first="import second", second="y")):
            self.assertNotEqual(fingerprint(program, other), base)
        self.assertNotEqual(
            fingerprint(evolve(program, digest="other"), modules(first="import second", second="x")), base
        )
        self.assertEqual(fingerprint(evolve(program, rev="2-b"), modules(first="import second", second="x")), base)


class BytesTests(SynchronousTestCase):
    def test_there_and_back(self) -> None:
        """What is read is what was written."""
        record = Record(3, A, B, True, {"\ud800": "x"})
        self.assertEqual(parse_record(render_record(record)), record)
        mark = Mark("boot", ALL, B)
        self.assertEqual(parse_mark(render_mark(mark)), mark)

    def test_garbage(self) -> None:
        """Anything else is nothing."""
        record = render_record(Record(3, A))
        for data in (
            b"",
            bytes(100),
            record[:-3],
            b"[" * 100_000,
            b"[]",
            b"{}",
            render_mark(Mark("x")),
            record.replace(b'"ends": 3', b'"ends": true'),
            record.replace(b'"1"', b"1"),
        ):
            self.assertIsNone(parse_record(data), data)
        self.assertIsNone(parse_mark(record))
