"""Which selectors a changed document can possibly match, found without asking each of them.

A thousand parked polls differ in little but the number of their Pi.  An anchor is a fact about one top-level field
that must hold for a match; polls are kept by their anchors, and a change looks up the few that share a fact with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from himbeerecouch.embedded import collate
from himbeerecouch.embedded.selector import split_field

Anchor = tuple[str, object]
"""A field, and the key of its value; PRESENT where the field only has to be there."""

PRESENT = "present"

T = TypeVar("T")


def anchors_of(selector: Any) -> frozenset[Anchor] | None:
    """Return facts of which at least one holds for every match; None where there are no such facts."""
    if not isinstance(selector, dict):
        return None
    return _smallest(_of_part(name, argument) for name, argument in selector.items())


def _smallest(parts: Iterable[frozenset[Anchor] | None]) -> frozenset[Anchor] | None:
    """All parts must hold: the part with the fewest facts, and best with values, serves for all."""
    known = [part for part in parts if part is not None]
    return min(known, key=lambda part: (any(value == PRESENT for _, value in part), len(part)), default=None)


def _of_part(name: str, argument: Any) -> frozenset[Anchor] | None:
    if name == "$and" and isinstance(argument, list):
        return _smallest(anchors_of(part) for part in argument)
    if name == "$or" and isinstance(argument, list):
        found: set[Anchor] = set()
        for part in argument:
            anchors = anchors_of(part)
            if anchors is None:
                return None
            found |= anchors
        return frozenset(found)
    if name.startswith("$"):
        return None
    path = split_field(name)
    return _of_field(path[0], argument if len(path) == 1 else {"deeper": argument})


def _of_field(field: str, condition: Any) -> frozenset[Anchor] | None:
    if not isinstance(condition, dict) or not condition:
        return frozenset([_of_value(field, condition)])
    return _smallest(_of_operator(field, name, argument) for name, argument in condition.items())


def _of_operator(field: str, name: str, argument: Any) -> frozenset[Anchor] | None:
    if name == "$eq":
        return frozenset([_of_value(field, argument)])
    if name == "$in" and isinstance(argument, list):
        return frozenset(_of_value(field, item) for item in argument)
    if name in ("$and", "$or", "$nor", "$not") or (name == "$exists" and argument is not True):
        return None
    if not name.startswith("$"):
        deeper = _of_field(field, argument)
        return None if deeper is None else frozenset([(field, PRESENT)])
    return frozenset([(field, PRESENT)])


def _of_value(field: str, value: Any) -> Anchor:
    return (field, PRESENT) if isinstance(value, list | dict) else (field, collate.key(value))


def facts_of(document: dict[str, Any], fields: Iterable[str]) -> Iterator[Anchor]:
    """Give the facts about those fields of a document that an anchor can name."""
    for field in fields:
        if field not in document:
            continue
        value = document[field]
        yield (field, PRESENT)
        if isinstance(value, list):
            # A selector's equality with one of several values holds for a list that has one of them, too.
            yield from {(field, collate.key(item)) for item in value if not isinstance(item, list | dict)}
        elif not isinstance(value, dict):
            yield (field, collate.key(value))


class Moorings(Generic[T]):
    """What is parked, by its anchors."""

    def __init__(self) -> None:
        self._by_anchor: dict[Anchor, dict[T, None]] = {}
        self._without: dict[T, None] = {}
        self._fields: dict[str, int] = {}

    def add(self, item: T, anchors: frozenset[Anchor] | None) -> None:
        """Keep an item; without anchors it is found for every document."""
        if anchors is None:
            self._without[item] = None
            return
        for anchor in anchors:
            self._by_anchor.setdefault(anchor, {})[item] = None
            self._fields[anchor[0]] = self._fields.get(anchor[0], 0) + 1

    def remove(self, item: T, anchors: frozenset[Anchor] | None) -> None:
        """Forget an item that was added with these anchors."""
        if anchors is None:
            del self._without[item]
            return
        for anchor in anchors:
            items = self._by_anchor[anchor]
            del items[item]
            if not items:
                del self._by_anchor[anchor]
            self._fields[anchor[0]] -= 1
            if not self._fields[anchor[0]]:
                del self._fields[anchor[0]]

    def candidates(self, document: dict[str, Any]) -> list[T]:
        """Return every item whose selector may match, each once, in a stable order."""
        found = dict(self._without)
        for fact in facts_of(document, self._fields):
            found.update(self._by_anchor.get(fact, {}))
        return list(found)

    def __len__(self) -> int:
        return len(set(self._without).union(*self._by_anchor.values()))
