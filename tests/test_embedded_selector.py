"""Selectors, their anchors, and the order of values."""

from __future__ import annotations

import itertools
import random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.embedded import collate
from himbeerecouch.embedded.anchors import Moorings, anchors_of
from himbeerecouch.embedded.selector import SelectorError, compile_selector

DOCUMENT = {
    "_id": "x",
    "type": 5,
    "big": 2**60,
    "half": 0.5,
    "name": "blink",
    "on": True,
    "off": False,
    "nothing": None,
    "list": [1, "a", [2]],
    "numbers": [1, 2, 3],
    "objects": [{"k": 1}, {"k": 2, "m": {"n": 1}}],
    "deep": {"a": {"b": 1}, "a.b": 2, "empty": {}},
    "negative": -7,
}

MATCHES: list[dict[str, Any]] = [
    {},
    {"type": 5},
    {"type": 5.0},
    {"on": True},
    {"nothing": None},
    {"deep.a.b": 1},
    {"deep": {"a": {"b": 1}}},
    {"deep.a\\.b": 2},
    {"deep.empty": {}},
    {"list.0": 1},
    {"type": {"$eq": 5, "$gt": 4}},
    {"type": {"$ne": 6}},
    {"type": {"$gte": 5, "$lte": 5}},
    {"type": {"$lt": "a string sorts behind every number"}},
    {"type": {"$in": [1, 5]}},
    {"list": {"$in": ["a"]}},
    {"list": {"$in": [[1, "a", [2]]]}},
    {"type": {"$nin": [1, 6]}},
    {"type": {"$exists": True}},
    {"missing": {"$exists": False}},
    {"missing.deeper": {"$exists": False}},
    {"$not": {"missing": {"$exists": True}}},
    {"$and": [{"type": 5}, {"name": "blink"}]},
    {"$or": [{"type": 6}, {"name": "blink"}]},
    {"$nor": [{"type": 6}, {"name": "x"}]},
    {"$not": {"type": 6}},
    {"$not": {"$and": [{"type": 5}, {"name": "x"}]}},
    {"$not": {"$or": [{"type": 6}, {"name": "x"}]}},
    {"$not": {"$nor": [{"type": 5}]}},
    {"type": {"$not": {"$eq": 6}}},
    {"type": {"$or": [{"$eq": 5}, {"$eq": 6}]}},
    {"name": {"$regex": "^bl"}},
    {"name": {"$beginsWith": "bl"}},
    {"numbers": {"$all": [1, 3]}},
    {"list": {"$all": [[1, "a", [2]]]}},
    {"numbers": {"$size": 3}},
    {"type": {"$mod": [3, 2]}},
    {"negative": {"$mod": [3, -1]}},
    {"numbers": {"$elemMatch": {"$gt": 2}}},
    {"objects": {"$elemMatch": {"k": 2, "m.n": 1}}},
    {"numbers": {"$allMatch": {"$lt": 4}}},
    {"deep": {"$keyMapMatch": {"$eq": "empty"}}},
    *({name: {"$type": kind}} for name, kind in (("on", "boolean"), ("nothing", "null"), ("half", "number"))),
    *({name: {"$type": kind}} for name, kind in (("name", "string"), ("list", "array"), ("deep", "object"))),
]

MATCHES_NOT: list[dict[str, Any]] = [
    {"on": 1},
    {"off": 0},
    {"missing": None},
    {"missing": {"$ne": 1}},
    {"missing": {"$not": {"$eq": 1}}},
    {"missing": {"$nin": [1]}},
    {"missing.a": 1},
    {"list.9": 1},
    *({f"list.{place}": 1} for place in ("²", "٣", "9" * 5000, "-1")),
    {"type.a": 1},
    {"type": {"$exists": False}},
    {"$not": {"type": 5}},
    {"$not": {}, "type": 6},
    {"$or": [{"type": 6}, {"name": "x"}]},
    {"$nor": [{"type": 5}]},
    {"$and": [{"type": 5}, {"type": 6}]},
    {"name": {"$regex": "^x"}},
    {"type": {"$regex": "5"}},
    {"type": {"$beginsWith": "5"}},
    {"type": {"$size": 1}},
    {"name": {"$mod": [2, 0]}},
    {"type": {"$all": [5]}},
    {"numbers": {"$all": []}},
    {"type": {"$elemMatch": {"$gt": 1}}},
    {"numbers": {"$allMatch": {"$lt": 3}}},
    {"deep.empty": {"$allMatch": {}}},
    {"numbers": {"$keyMapMatch": {"$eq": 1}}},
    {"deep.a": {"b": 1, "c": 2}},
    {"type": {"$in": []}},
    {"$and": [5]},
    {"$or": [{"$not": {"type": 5}}, {"name": "x"}]},
]

WRONG: list[tuple[Any, str]] = [
    (None, "bad_request"),
    ([], "bad_request"),
    ({"$nope": 1}, "invalid_operator"),
    ({"a": {"$nope": 1}}, "invalid_operator"),
    *(
        ({"a": {name: argument}}, "bad_arg")
        for name, argument in (("$in", 1), ("$nin", 1), ("$exists", 1), ("$all", 1))
    ),
    *(({"a": {name: argument}}, "bad_arg") for name, argument in (("$size", "1"), ("$mod", [0, 1]), ("$mod", 2))),
    *(({"a": {name: argument}}, "bad_arg") for name, argument in (("$regex", "("), ("$regex", 1), ("$type", "x"))),
    *(({"a": {name: argument}}, "bad_arg") for name, argument in (("$beginsWith", 1), ("$and", 1), ("$or", {}))),
]


class SelectorTests(SynchronousTestCase):
    """What a selector matches."""

    def test_matches(self) -> None:
        """Each of these selectors matches the document."""
        for selector in MATCHES:
            self.assertTrue(compile_selector(selector).matches(DOCUMENT), selector)

    def test_matches_not(self) -> None:
        """None of these selectors matches the document."""
        for selector in MATCHES_NOT:
            self.assertFalse(compile_selector(selector).matches(DOCUMENT), selector)

    def test_mistakes(self) -> None:
        """A selector that makes no sense is refused by the right name."""
        for selector, error in WRONG:
            refused = self.assertRaises(SelectorError, compile_selector, selector)
            self.assertEqual((refused.status, refused.error), (400, error), selector)


class AnchorTests(SynchronousTestCase):
    """Finding the selectors that may match."""

    def test_every_match_is_a_candidate(self) -> None:
        """No selector that matches a document is left out, whatever its shape."""
        selectors = [*MATCHES, *MATCHES_NOT]
        moorings: Moorings[int] = Moorings()
        for number, selector in enumerate(selectors):
            moorings.add(number, anchors_of(selector))
        documents: list[dict[str, Any]] = [
            DOCUMENT,
            {"_id": "x"},
            {"type": [5, 6]},
            {"list": ["a"]},
            {"deep": {"a": {"b": 1}}},
        ]
        for document in documents:
            found = set(moorings.candidates(document))
            for number, selector in enumerate(selectors):
                if compile_selector(selector).matches(document):
                    self.assertIn(number, found, selector)
        self.assertEqual(len(moorings), len(selectors) - sum(anchors_of(one) == frozenset() for one in selectors))
        for number, selector in enumerate(selectors):
            moorings.remove(number, anchors_of(selector))
        self.assertEqual((len(moorings), moorings.candidates(DOCUMENT)), (0, []))

    def test_others_are_no_candidates(self) -> None:
        """Of a thousand daemons' selectors a document for one of them finds that one."""
        moorings: Moorings[int] = Moorings()
        for mac_id in range(1000):
            selector = {
                "$or": [
                    {"type": {"$in": [mac_id, str(mac_id)]}},
                    {"$and": [{"type": f"{mac_id}_cmd"}, {"ret": {"$exists": False}}]},
                    {"global_modules": {"$exists": True}},
                    {"_id": {"$in": [f"doc{mac_id}"]}},
                ]
            }
            moorings.add(mac_id, anchors_of(selector))
        self.assertEqual(moorings.candidates({"_id": "a", "type": 7}), [7])
        self.assertEqual(moorings.candidates({"_id": "a", "type": "8_cmd"}), [8])
        self.assertEqual(moorings.candidates({"_id": "doc9", "type": 5.5}), [9])
        self.assertEqual(len(moorings.candidates({"_id": "a", "global_modules": {}})), 1000)


class OrderTests(SynchronousTestCase):
    """The order of JSON values."""

    ORDERED: tuple[Any, ...] = (
        *(None, False, True, -(10**400), -1e9, -1, -0.5, 0, 0.5, 1, 2**53, 1e300, 10**400),
        *("", "\0", "a", "a\0", "a\0b", "aa", "b", "ü"),
        *([], [None], [1], [1, 2], [2], ["a"], [[]]),
        *({}, {"a": 1}, {"a": 1, "b": 1}, {"a": 2}, {"b": 0}),
    )

    def test_order(self) -> None:
        """Values compare as CouchDB orders them, and the index's bytes in the same way."""
        for (place, one), (other_place, other) in itertools.combinations(enumerate(self.ORDERED), 2):
            self.assertLess(place, other_place)
            self.assertLess(collate.key(one), collate.key(other), (one, other))
            self.assertLess(collate.sort_bytes(one), collate.sort_bytes(other), (one, other))

    def test_equal_numbers(self) -> None:
        """1 and 1.0 are the same, true and 1 are not; objects are equal in any order."""
        self.assertEqual(collate.key(1), collate.key(1.0))
        self.assertEqual(collate.sort_bytes(0.0), collate.sort_bytes(-0.0))
        self.assertNotEqual(collate.key(True), collate.key(1))
        self.assertEqual(collate.key({"a": 1, "b": 2}), collate.key({"b": 2, "a": 1}))

    def test_random_numbers(self) -> None:
        """The bytes of any two numbers stand in the numbers' order."""
        source = random.Random(1)
        numbers = sorted(source.uniform(-1, 1) * 10 ** source.randint(-300, 300) for _ in range(300))
        self.assertEqual(sorted(numbers, key=collate.sort_bytes), numbers)
