"""Indexes: what a design document of the language ``query`` declares, and which one answers a ``_find``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from himbeerecouch.embedded import collate
from himbeerecouch.embedded.refused import Refused, bad_request
from himbeerecouch.embedded.selector import (
    Selector,
    compile_selector,
    conditions_on,
    is_there,
    look_up,
    split_field,
)

HIGHEST = b"\xff"
"""Sorts after every key."""


@frozen
class Index:
    """One index of a database."""

    ddoc: str
    """``_design/...``"""
    name: str
    fields: tuple[str, ...]
    partial: Selector | None = field(eq=False)
    definition: Mapping[str, Any] = field(eq=False)
    """``fields`` and ``partial_filter_selector`` as ``GET /db/_index`` shows them."""

    def key_of(self, document: Mapping[str, Any]) -> bytes | None:
        """The key that the document stands under; None where it does not belong in."""
        values = [look_up(document, split_field(name)) for name in self.fields]
        if not all(map(is_there, values)) or (self.partial is not None and not self.partial.matches(document)):
            return None
        return b"".join(map(collate.sort_bytes, values))


@frozen
class Span:
    """Keys from ``low`` to ``high``, both included; ``high`` counts for everything that starts with it."""

    low: bytes
    high: bytes


@frozen
class Choice:
    """How a query is to be answered."""

    index: Index | None
    """None: every document is looked at."""
    spans: tuple[Span, ...]
    """In ascending order, and apart from each other."""
    warnings: tuple[str, ...]


def read_design(identity: str, design: Mapping[str, Any]) -> Iterator[Index]:
    """Give the indexes that a design document declares; a view of another language is none."""
    views = design.get("views")
    if design.get("language") != "query" or not isinstance(views, dict):
        return
    for name, view in views.items():
        declared = view.get("map") if isinstance(view, dict) else None
        if not isinstance(declared, dict) or not isinstance(declared.get("fields"), dict) or not declared["fields"]:
            continue
        partial = declared.get("partial_filter_selector") or None
        definition: dict[str, Any] = {"fields": [{field_name: "asc"} for field_name in declared["fields"]]}
        if partial is not None:
            definition["partial_filter_selector"] = partial
        compiled = None if partial is None else compile_selector(partial)
        yield Index(identity, name, tuple(declared["fields"]), compiled, definition)


def field_names(fields: Any) -> tuple[str, ...]:
    """Read ``fields`` of an index, or ``sort``: names, or objects of a name and a direction."""
    if not isinstance(fields, list) or not fields:
        raise bad_request("Missing required key: fields")
    names = []
    for item in fields:
        directed = isinstance(item, dict) and len(item) == 1 and next(iter(item.values())) in ("asc", "desc")
        name = next(iter(item)) if directed else item
        if not isinstance(name, str):
            raise Refused(400, "invalid_index_field", "Invalid index field definition.")
        names.append(name)
    return tuple(names)


# --- which one --------------------------------------------------------------------------------------------------------


def choose(selector: Any, indexes: Sequence[Index], use_index: tuple[str, str | None] | None) -> Choice:
    """Find the index for a selector: the one asked for if it can serve, else one that is not partial."""
    warnings: list[str] = []
    if use_index is not None:
        ddoc, name = use_index
        named = [index for index in indexes if index.ddoc == ddoc and name in (None, index.name)]
        for index in named:
            if _serves(selector, index):
                return Choice(index, spans_of(selector, index), ())
        shown = ddoc if name is None else f"{ddoc}, {name}"
        why = "because it is not a valid index for this selector" if named else "because it does not exist"
        warnings.append(f"{shown} was not used {why}.")
    usable = [index for index in indexes if index.partial is None and _serves(selector, index)]
    if usable:
        best = min(usable, key=lambda index: (-_conditions(selector, index), len(index.fields), index.ddoc, index.name))
        return Choice(best, spans_of(selector, best), tuple(warnings))
    if list(conditions_on(selector, "_id")):
        return Choice(None, (), tuple(warnings))
    warnings.append("No matching index found, create an index to optimize query time.")
    return Choice(None, (), tuple(warnings))


def _conditions(selector: Any, index: Index) -> int:
    return sum(bool(list(conditions_on(selector, name))) for name in index.fields)


def _needs(condition: Mapping[str, Any]) -> bool:
    """A condition that no document without the field fulfils."""
    return any(name not in ("$exists", "$not", "$nor", "$or", "$and") for name in condition) or (
        condition.get("$exists") is True
    )


def _serves(selector: Any, index: Index) -> bool:
    """An index knows only documents that have all its fields: the selector must ask for them all."""
    return all(any(map(_needs, conditions_on(selector, name))) for name in index.fields)


def spans_of(selector: Any, index: Index) -> tuple[Span, ...]:
    """Return the parts of the index that hold every match, by the conditions on the index's first fields."""
    prefixes = [b""]
    spans: list[Span] = []
    for name in index.fields:
        conditions = list(conditions_on(selector, name))
        values, lists_too = _values(conditions)
        if values is None:
            low, high = _range(conditions)
            spans += [Span(prefix + low, prefix + high) for prefix in prefixes]
            prefixes = []
            break
        if lists_too:
            # A list in the document matches by one of its items, and stands elsewhere in the index.
            spans += [Span(prefix + _LISTS, prefix + _LISTS) for prefix in prefixes]
            values = [value for value in values if not isinstance(value, list)]
        prefixes = sorted({prefix + collate.sort_bytes(value) for prefix in prefixes for value in values})
    spans += [Span(prefix, prefix) for prefix in prefixes]
    return tuple(sorted(spans, key=lambda span: span.low))


_LISTS = bytes([collate.LIST])


def _values(conditions: list[dict[str, Any]]) -> tuple[list[Any] | None, bool]:
    """The values that the field must have one of, None where that is not known; and whether lists of them count."""
    for condition in conditions:
        if "$eq" in condition:
            return [condition["$eq"]], False
    for condition in conditions:
        if isinstance(condition.get("$in"), list):
            return condition["$in"], True
    return None, False


def _range(conditions: list[dict[str, Any]]) -> tuple[bytes, bytes]:
    low, high = b"", HIGHEST
    for condition in conditions:
        for name, argument in condition.items():
            if name in ("$gt", "$gte"):
                low = max(low, collate.sort_bytes(argument))
            elif name in ("$lt", "$lte"):
                high = min(high, collate.sort_bytes(argument))
    return low, high


def after(prefix: bytes) -> bytes:
    """The first key behind all that start with ``prefix``."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else HIGHEST
