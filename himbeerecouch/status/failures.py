"""The last failures of the programs, as the heartbeat tells them, within a fixed size.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from himbeerecouch.model import Failure, Json
from himbeerecouch.status.sizes import cut, size_bytes, text

ERROR_BYTES = 4 * 1024
LINE_BYTES = 500
LINES_BYTES = 4 * 1024
LIMIT_BYTES = 64 * 1024
"""Of all programs together: the heartbeat is written twice a minute, also when nothing new has failed."""


def render(
    failures: Mapping[str, Sequence[Failure]], time: Callable[[float], str], *, limit_bytes: int = LIMIT_BYTES
) -> dict[str, list[Json]]:
    """Program id -> its failures, oldest first: as many as there is room for, the newest of every program first.

    ``time`` makes a text of the time of a failure.
    """
    told: dict[str, list[Json]] = {}
    room_bytes = limit_bytes
    left = {id: list(those) for id, those in sorted(failures.items())}
    while left:
        still = {}
        for id, those in left.items():
            entry = _entry(those.pop(), time) if those else None
            needed_bytes = 0 if entry is None else size_bytes(entry) + 2
            if entry is not None and needed_bytes <= room_bytes:
                room_bytes -= needed_bytes
                told.setdefault(id, []).insert(0, entry)
                still[id] = those
        left = still
    return told


def _entry(failure: Failure, time: Callable[[float], str]) -> Json:
    lines: list[str] = []
    room_bytes = LINES_BYTES
    for line in reversed(failure.lines):
        shown = cut(line, LINE_BYTES)
        room_bytes -= size_bytes(shown) + 2
        if room_bytes < 0:
            break
        lines.insert(0, shown)
    return {
        "rev": text(failure.rev),
        "time": time(failure.time),
        "error": cut(failure.error, ERROR_BYTES),
        "log": lines,
    }
