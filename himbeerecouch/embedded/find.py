"""``_find`` and ``_index``: Mango queries, by an index where one serves."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from himbeerecouch.embedded import jsontext
from himbeerecouch.embedded.call import Call
from himbeerecouch.embedded.changes import SLICE_BYTES, SLICE_ROWS, taken, turn
from himbeerecouch.embedded.databases import Room
from himbeerecouch.embedded.indexes import Choice, Index, choose, field_names
from himbeerecouch.embedded.ledger import Stored
from himbeerecouch.embedded.refused import Refused, bad_request, not_implemented
from himbeerecouch.embedded.selector import Selector, compile_selector, conditions_on, is_there, look_up, split_field

DEFAULT_LIMIT = 25

Place = tuple[bytes, str]
"""How far a query has come: key (empty without an index) and id."""

_IGNORED = {"r", "conflicts", "update", "stable", "stale", "partition"}
_KNOWN = {"selector", "limit", "skip", "fields", "sort", "use_index", "bookmark", "execution_stats"} | _IGNORED


@frozen
class Query:
    """What is asked for."""

    selector: Selector
    limit: int
    skip: int
    fields: Sequence[str] | None
    place: Place | None
    bookmark: str
    choice: Choice
    descending: bool


def _number(body: dict[str, Any], name: str, default: int) -> int:
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise bad_request(f"Invalid value for {name}: {value!r}")
    return value


def _use_index(value: Any) -> tuple[str, str | None] | None:
    parts = [value] if isinstance(value, str) else value
    if not parts:
        return None
    if not isinstance(parts, list) or len(parts) > 2 or not all(isinstance(part, str) for part in parts):
        raise bad_request(f"Invalid value for use_index: {value!r}")
    ddoc = parts[0] if parts[0].startswith("_design/") else "_design/" + parts[0]
    return ddoc, parts[1] if len(parts) == 2 else None


def read_query(body: dict[str, Any], indexes: Sequence[Index]) -> Query:
    """Read the body of ``_find``; ``Refused`` for what makes no sense."""
    if "selector" not in body:
        raise bad_request("Missing required key: selector")
    for name in body.keys() - _KNOWN:
        raise bad_request(f"Unknown key: {name}")
    if body.get("execution_stats"):
        raise not_implemented("_find with execution_stats")
    selector = compile_selector(body["selector"])
    sort = field_names(body["sort"]) if body.get("sort") else ()
    descending = _is_descending(body.get("sort") or [])
    choice = _choose(body, indexes, sort)
    fields = body.get("fields") or None
    if fields is not None and not (isinstance(fields, list) and all(isinstance(name, str) for name in fields)):
        raise bad_request(f"Invalid value for fields: {fields!r}")
    bookmark = body.get("bookmark") or "nil"
    return Query(
        selector=selector,
        limit=_number(body, "limit", DEFAULT_LIMIT),
        skip=_number(body, "skip", 0),
        fields=fields,
        place=read_bookmark(bookmark),
        bookmark=bookmark,
        choice=choice,
        descending=descending,
    )


def _is_descending(sort: list[Any]) -> bool:
    directions = {next(iter(item.values())) if isinstance(item, dict) else "asc" for item in sort}
    if len(directions) > 1:
        raise Refused(400, "unsupported_mixed_sort", "Sorts currently only support a single direction for all fields.")
    return directions == {"desc"}


def _choose(body: dict[str, Any], indexes: Sequence[Index], sort: tuple[str, ...]) -> Choice:
    use_index = _use_index(body.get("use_index"))
    if sort in ((), ("_id",)):
        return choose(body["selector"], indexes if not sort else (), use_index if not sort else None)
    fitting = [index for index in indexes if index.fields[: len(sort)] == sort]
    choice = choose(body["selector"], fitting, use_index)
    if choice.index is None:
        raise Refused(400, "no_usable_index", "No index exists for this sort, try indexing by the sort fields.")
    return choice


def read_bookmark(text: Any) -> Place | None:
    """Read what a page before gave; ``nil`` is the beginning."""
    if text == "nil":
        return None
    try:
        key, identity = jsontext.read(base64.urlsafe_b64decode(text))
        str(identity).encode("utf-8")
        return bytes.fromhex(key), str(identity)
    except (ValueError, TypeError, binascii.Error, Refused):
        raise Refused(400, "invalid_bookmark", f"Invalid bookmark value: {text!r}") from None


def write_bookmark(place: Place) -> str:
    """The other way round."""
    return base64.urlsafe_b64encode(jsontext.write([place[0].hex(), place[1]]).encode()).decode()


# --- the walk ---------------------------------------------------------------------------------------------------------


class Walk:
    """Goes through all documents that may match, in slices."""

    def __init__(self, room: Room, query: Query) -> None:
        self._database = room.database
        self._query = query
        self._place = query.place
        self._spans = list(query.choice.spans)
        if query.descending:
            self._spans.reverse()

    def slice(self) -> list[tuple[Place, Stored]]:
        """The next documents, with the places where they stand; none at the end."""
        if self._database.is_closed:
            return []
        self._database.commit()
        index = self._query.choice.index
        found = self._of_ids() if index is None else self._of_index(index)
        if found:
            self._place = found[-1][0]
        return found

    def _of_ids(self) -> list[tuple[Place, Stored]]:
        ids = _ids(self._query.selector.source)
        place = None if self._place is None else self._place[1]
        if ids is not None:
            wanted = sorted(ids, reverse=self._query.descending)
            if place is not None:
                wanted = [name for name in wanted if (name < place if self._query.descending else name > place)]
            one_slice = filter(None, map(self._database.get, wanted[:SLICE_ROWS]))
            return [((b"", stored.id), stored) for stored in one_slice if not stored.leaf.deleted] or self._skip(wanted)
        start = place if place is not None else ("\U0010ffff" if self._query.descending else "")
        rows = self._database.by_id(
            start, None, after_low=place is not None, descending=self._query.descending, with_body=True
        )
        return [((b"", stored.id), stored) for stored in taken(rows)]

    def _skip(self, wanted: list[str]) -> list[tuple[Place, Stored]]:
        """Of a long list of ids a whole slice may be missing: go on behind it."""
        if len(wanted) <= SLICE_ROWS:
            return []
        self._place = (b"", wanted[SLICE_ROWS - 1])
        return self._of_ids()

    def _of_index(self, index: Index) -> list[tuple[Place, Stored]]:
        while self._spans:
            span = self._spans[0]
            rows = self._database.by_key(index, span.low, span.high, self._place, self._query.descending)
            found = self._read(rows)
            if found:
                return found
            self._spans.pop(0)
        return []

    def _read(self, rows: Iterator[Place]) -> list[tuple[Place, Stored]]:
        found: list[tuple[Place, Stored]] = []
        size_bytes = 0
        for key, identity in rows:
            stored = self._database.existing(identity)
            found.append(((key, identity), stored))
            size_bytes += len(stored.leaf.body)
            if len(found) >= SLICE_ROWS or size_bytes >= SLICE_BYTES:
                break
        return found


def _ids(selector: Any) -> list[str] | None:
    """The ids that a match must have one of, where the selector names them."""
    for condition in conditions_on(selector, "_id"):
        named = [condition["$eq"]] if "$eq" in condition else condition.get("$in")
        if isinstance(named, list):
            return sorted({name for name in named if isinstance(name, str)})
    return None


def _shown(stored: Stored, document: dict[str, Any], fields: Sequence[str] | None) -> str:
    if fields is None:
        return stored.text()
    shown: dict[str, Any] = {}
    for name in fields:
        path = split_field(name)
        value = look_up(document, path)
        if not is_there(value):
            continue
        inside = shown
        for part in path[:-1]:
            inside = inside.setdefault(part, {})
        inside[path[-1]] = value
    return jsontext.write(shown)


async def find(call: Call, room: Room, clock: IReactorTime) -> None:
    """Answer ``POST /db/_find``."""
    query = read_query(call.posted(), room.database.indexes)
    walk = Walk(room, query)
    stream = call.stream()
    stream.write('{"docs":[\n')
    sent, skipped, place = 0, 0, query.place
    while sent < query.limit and not stream.is_lost:
        rows = walk.slice()
        if not rows:
            break
        for here, stored in rows:
            document = jsontext.read(stored.text())
            if sent >= query.limit:
                break
            if stored.id.startswith("_design/") or not query.selector.matches(document):
                continue
            if skipped < query.skip:
                skipped += 1
                continue
            await stream.send((",\n" if sent else "") + _shown(stored, document, query.fields))
            sent, place = sent + 1, here
        if sent < query.limit:
            await turn(clock)
    bookmark = query.bookmark if place is None or not sent else write_bookmark(place)
    end = {"bookmark": bookmark, **({"warning": "\n".join(query.choice.warnings)} if query.choice.warnings else {})}
    stream.write(f"\n],\n{jsontext.write(end)[1:]}\n")
    stream.finish()
