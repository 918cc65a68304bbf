"""``_all_docs`` and ``_bulk_get``: many documents by their ids."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime

from himbeerecouch.embedded import jsontext
from himbeerecouch.embedded.call import Call, Stream
from himbeerecouch.embedded.changes import taken, turn
from himbeerecouch.embedded.databases import Room
from himbeerecouch.embedded.ledger import Stored, document_text
from himbeerecouch.embedded.refused import bad_request


def _row(stored: Stored, include_docs: bool) -> str:
    identity = jsontext.write(stored.id)
    deleted = ',"deleted":true' if stored.leaf.deleted else ""
    text = f'{{"id":{identity},"key":{identity},"value":{{"rev":"{stored.leaf.rev}"{deleted}}}'
    if include_docs:
        text += ',"doc":' + ("null" if stored.leaf.deleted else stored.text())
    return text + "}"


def _json_argument(call: Call, name: str) -> Any:
    text = call.arguments.get(name)
    return None if text is None else jsontext.read(text)


async def all_docs(call: Call, room: Room, clock: IReactorTime) -> None:
    """Answer ``GET`` or ``POST /db/_all_docs``."""
    body = call.posted() if call.method == "POST" else {}
    keys = body.get("keys", _json_argument(call, "keys"))
    key = body.get("key", _json_argument(call, "key"))
    if key is not None:
        keys = [key]
    include_docs = call.flag("include_docs", body.get("include_docs") is True)
    total = room.database.counts()[0]
    if keys is None:
        await _all_in_order(call, body, room, clock, include_docs)
        return
    if not isinstance(keys, list):
        raise bad_request("`keys` body member must be an array.")
    stream = call.stream()
    stream.write(f'{{"total_rows":{total},"offset":null,"rows":[\n')
    first = True
    for name in keys:
        stored = room.database.get(name) if isinstance(name, str) and not room.database.is_closed else None
        if stored is None and key is not None:
            break
        text = jsontext.write({"key": name, "error": "not_found"}) if stored is None else _row(stored, include_docs)
        await stream.send(("" if first else ",\n") + text)
        first = False
    _end(stream)


def _end(stream: Stream) -> None:
    stream.write("\n]}\n")
    stream.finish()


async def _all_in_order(call: Call, body: dict[str, Any], room: Room, clock: IReactorTime, include_docs: bool) -> None:
    descending = call.flag("descending", body.get("descending") is True)
    limit = _count(body, "limit", call.count("limit"))
    skip = _count(body, "skip", call.count("skip", 0)) or 0
    start = body.get("startkey", body.get("start_key", _either(call, "startkey", "start_key")))
    end = body.get("endkey", body.get("end_key", _either(call, "endkey", "end_key")))
    if not all(value is None or _is_text(value) for value in (start, end)):
        raise bad_request("startkey and endkey of _all_docs must be strings")
    inclusive = call.flag("inclusive_end", True)
    place, after_place = (start if start is not None else ("\U0010ffff" if descending else "")), False
    database = room.database
    stream = call.stream()
    stream.write(f'{{"total_rows":{database.counts()[0]},"offset":{skip},"rows":[\n')
    sent = 0
    while not stream.is_lost and not database.is_closed and (limit is None or sent < limit):
        rows = taken(database.by_id(place, end, after_low=after_place, descending=descending, with_body=include_docs))
        if not rows:
            break
        for stored in rows:
            place, after_place = stored.id, True
            if skip:
                skip -= 1
            elif (limit is None or sent < limit) and (inclusive or stored.id != end):
                await stream.send((",\n" if sent else "") + _row(stored, include_docs))
                sent += 1
        await turn(clock)
    _end(stream)


def _count(body: dict[str, Any], name: str, default: int | None) -> int | None:
    value = body.get(name, default)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise bad_request(f"Invalid value for {name}: {value!r}")
    return value


def _is_text(value: Any) -> bool:
    """Whether it is a string, and no half of a character in it, which has no place among ids."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _either(call: Call, *names: str) -> Any:
    return next((_json_argument(call, name) for name in names if name in call.arguments), None)


async def bulk_get(call: Call, room: Room) -> None:
    """Answer ``POST /db/_bulk_get``."""
    asked = call.posted().get("docs")
    if not isinstance(asked, list) or not all(isinstance(item, dict) for item in asked):
        raise bad_request("Missing JSON list of 'docs'.")
    room.database.commit()
    stream = call.stream()
    stream.write('{"results":[')
    for number, item in enumerate(asked):
        identity, rev = str(item.get("id")), item.get("rev")
        leaves = [] if room.database.is_closed else room.database.leaves(identity)
        leaf = next((leaf for leaf in leaves if rev in (None, leaf.rev)), None)
        if leaf is None:
            wrong = {"id": identity, "rev": rev or "undefined", "error": "not_found", "reason": "missing"}
            result = jsontext.write({"error": wrong})
        else:
            history = {"start": leaf.generation, "ids": list(leaf.path)}
            extra = ',"_revisions":' + jsontext.write(history) if call.flag("revs") else ""
            result = f'{{"ok":{document_text(identity, leaf, extra)}}}'
        await stream.send(f'{"," if number else ""}{{"id":{jsontext.write(identity)},"docs":[{result}]}}')
    stream.write("]}\n")
    stream.finish()
