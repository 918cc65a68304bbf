"""What is new in a log document, for somebody who has seen the one before.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from himbeerecouch.fleet import lenient
from himbeerecouch.model import Json


@frozen
class Seen:
    """How far one program's lines have been seen."""

    next_line: int | None
    """The number of the line that comes next; None where the daemon does not number them."""
    lines: tuple[str, ...]
    """The last ones."""


@frozen
class News:
    """New lines of one program."""

    id: str
    name: str
    lines: tuple[str, ...]
    left_out: int | None = 0
    """How many lines are missing before them; None: some may be, and nobody knows how many."""
    restarted: bool = False
    """The count has begun anew: the daemon was restarted."""


def news(document: Json, seen: Mapping[str, Seen]) -> tuple[list[News], dict[str, Seen]]:
    """Give what is new in a log document, and what has been seen then.  Of a program not seen before all is new."""
    found: list[News] = []
    now: dict[str, Seen] = {}
    for id, entry in lenient.mapping(document.get("programs")).items():
        if not isinstance(entry, dict):
            continue
        lines = tuple(line for line in lenient.sequence(entry.get("lines")) if isinstance(line, str))
        first = lenient.integer(entry.get("first_line"))
        now[id] = Seen(None if first is None else first + len(lines), lines)
        name = lenient.text(entry.get("name")) or lenient.text(id)
        fresh = _fresh(News(id, name, lines), first, seen.get(id))
        if fresh.lines or fresh.left_out:
            found.append(fresh)
    # What there was no room for comes back later.
    return found, {**seen, **now}


def _fresh(whole: News, first: int | None, seen: Seen | None) -> News:
    if seen is None:
        return whole
    if first is None or seen.next_line is None:
        overlap = _overlap(seen.lines, whole.lines)
        return News(whole.id, whole.name, whole.lines[overlap:], 0 if overlap or not seen.lines else None)
    known = seen.next_line - first
    if known > len(whole.lines) or _differ(seen.lines, whole.lines, known):
        return News(whole.id, whole.name, whole.lines, first, restarted=True)
    return News(whole.id, whole.name, whole.lines[max(0, known) :], max(0, -known))


def _differ(before: Sequence[str], lines: Sequence[str], known: int) -> bool:
    """Whether the lines that are in both are not the same: they are counted from another beginning."""
    count = min(known, len(before))
    return count > 0 and list(before[-count:]) != list(lines[known - count : known])


def _overlap(before: Sequence[str], lines: Sequence[str]) -> int:
    """How many of the first lines were the last ones before."""
    most = min(len(before), len(lines))
    return next((count for count in range(most, 0, -1) if list(before[-count:]) == list(lines[:count])), 0)
