"""The log document: the last lines of each program, within a fixed size.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from attrs import frozen

from himbeerecouch.model import Json
from himbeerecouch.status.sizes import cut, size_bytes, text

LIMIT_BYTES = 32 * 1024
LINE_BYTES = 2_000
_REV_BYTES = 64
"""What CouchDB's ``_rev`` takes, which is added later."""


@frozen
class ProgramLog:
    """What one program has printed last."""

    id: str
    name: str
    lines: Sequence[str]
    dropped_lines: int
    """How many lines were never logged, since it printed too fast."""
    first_line: int = 0
    """The number of the first of ``lines``: how many it had printed before, since the daemon was started."""


def document_id(mac_id: int) -> str:
    """The ``_id`` of this Pi's log document."""
    return f"{mac_id}_log"


def render(mac_id: int, timestamp: str, logs: Sequence[ProgramLog], *, limit_bytes: int = LIMIT_BYTES) -> Json:
    """The document with as many of the last lines as there is room for, the newest of every program first.

    Where there are too many programs for that, the first of ``logs`` count, and the others are counted.
    """
    programs: dict[str, Json] = {}
    document: Json = {
        "_id": document_id(mac_id),
        "type": "log",
        "timestamp": timestamp,
        "programs": programs,
        "left_out": len(logs),
    }
    room_bytes = limit_bytes - size_bytes(document) - _REV_BYTES
    older: list[tuple[list[str], Iterator[str]]] = []
    for log in logs:
        lines = (cut(line, LINE_BYTES) for line in reversed(log.lines))
        id = text(log.id)
        entry: Json = {
            "name": text(log.name),
            "lines": list(islice(lines, 1)),
            "dropped_lines": log.dropped_lines,
            "first_line": log.first_line + len(log.lines),
        }
        needed_bytes = size_bytes({id: entry})
        if needed_bytes <= room_bytes:
            room_bytes -= needed_bytes
            programs[id] = entry
            older.append((entry["lines"], lines))
    document["left_out"] -= len(programs)
    _fill(older, room_bytes)
    for entry in programs.values():
        entry["lines"].reverse()
        entry["first_line"] -= len(entry["lines"])
    return document


def _fill(older: list[tuple[list[str], Iterator[str]]], room_bytes: int) -> None:
    """Give each list, in turn, one line more of its iterator, until there is no room or no line."""
    while older:
        still = []
        for lines, rest in older:
            line = next(rest, None)
            needed_bytes = 0 if line is None else size_bytes(line) + 2
            if line is not None and needed_bytes <= room_bytes:
                room_bytes -= needed_bytes
                lines.append(line)
                still.append((lines, rest))
        older = still
