"""Which program takes the daemon with it: what unclean ends tell, and what the next start does about it.  Pure.

An end is unclean where the mark of what was starting is still there at the next start.  After two in a row, those that
were starting at both are suspects, and start one after the other: first in short turns, where the one whose turn it was
at the third end is accused and not started any more.  Where that does not help (the daemon ends after all had their
turn, or with several accused still), all begin again in long turns, and whose turn it is then at an end is quarantined
for certain.  All others run at the fourth start, and whoever has mended the document never has to wait.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen

from himbeerecouch.model import GlobalModule, Program

ENDS_IN_A_ROW = 3
PROVEN_AFTER_S = 60.0
"""An end later than this after the start is not the fault of what was starting."""
SHORT_TURN_S = 2.0
SHORT_TURNS_S = 30.0
"""All short turns together, at most."""
LONG_TURN_S = PROVEN_AFTER_S
LEAST_LONG_TURN_S = 10.0
LONG_TURNS_S = 600.0
"""All long turns together, where that leaves each of them ``LEAST_LONG_TURN_S``."""
TRUSTED_ACCUSATIONS = 3
"""With more programs accused than this the short turns were too short to tell."""

Fingerprints = Mapping[str, str]
"""Program id -> ``fingerprint`` of what it was."""


@frozen
class Record:
    """What is known from the starts before."""

    ends: int = 0
    """How many unclean ones there were in a row."""
    suspects: Fingerprints = field(factory=dict)
    accused: Fingerprints = field(factory=dict)
    """Whose turn it was at an end in short turns; innocent after all where the daemon still ends."""
    thorough: bool = False
    """The turns are long."""
    quarantined: Fingerprints = field(factory=dict)

    @property
    def by_turns(self) -> bool:
        """Whether the suspects have to take turns at the next start."""
        return self.ends >= ENDS_IN_A_ROW - 1 and bool(self.suspects)

    @property
    def held(self) -> Fingerprints:
        """What is not started until its document changes."""
        return {**self.accused, **self.quarantined}

    @property
    def order(self) -> tuple[str, ...]:
        """In which order the suspects take their turns."""
        return tuple(sorted(self.suspects))

    @property
    def turn_s(self) -> float:
        """How long a turn is."""
        count = max(1, len(self.suspects))
        if self.thorough:
            return min(LONG_TURN_S, max(LEAST_LONG_TURN_S, LONG_TURNS_S / count))
        return min(SHORT_TURN_S, SHORT_TURNS_S / count)


@frozen
class Mark:
    """What is being started: taken away when that has proven itself, and at a clean end."""

    boot: str
    """Which boot of the machine it is."""
    starting: Fingerprints = field(factory=dict)
    turn: Fingerprints = field(factory=dict)
    """Those of them that were started since the present turn began."""


# --- what an end tells ------------------------------------------------------------------------------------------------


def judge(record: Record, mark: Mark | None, boot: str) -> Record:
    """Return what is known at a start that finds ``mark``; ``boot`` is the machine's boot of now."""
    if mark is None or not mark.starting:
        return record
    suspects = record.suspects if record.by_turns else _common(record.suspects, mark.starting) or mark.starting
    ended = evolve(record, ends=record.ends + 1, suspects=suspects)
    if mark.boot != boot:
        # The power was cut, or the whole machine hung: by turns, so that a mended document is read before it can hang
        # again; but a flickering mains is no program's fault.
        return evolve(ended, ends=min(ended.ends, max(record.ends, ENDS_IN_A_ROW - 1)))
    return ended if ended.ends < ENDS_IN_A_ROW else _search(ended, mark)


def _search(ended: Record, mark: Mark) -> Record:
    """Return what is known after an end that is one too many."""
    if len(mark.turn) > 1:  # a document was saved in somebody's turn
        return evolve(ended, suspects={**ended.suspects, **mark.turn})
    if mark.turn and ended.thorough:
        # Those that had their turn before are innocent.
        left = _without(ended.suspects, mark.starting)
        return evolve(ended, suspects=left, quarantined={**ended.quarantined, **mark.turn})
    accused = {**ended.accused, **mark.turn}
    if mark.turn and len(accused) <= TRUSTED_ACCUSATIONS:
        return evolve(ended, suspects=_without(ended.suspects, mark.turn), accused=accused)
    return evolve(ended, suspects={**ended.suspects, **mark.starting, **ended.accused}, accused={}, thorough=True)


def proven(record: Record) -> Record:
    """Return what is known once all that was started has proven itself."""
    return Record(quarantined=record.held)


def clean(record: Record) -> Record:
    """Return what is known after a clean end before that: a row of unclean ones begins anew, a search goes on."""
    return record if record.by_turns or record.accused else proven(record)


def current(record: Record, programs: Fingerprints) -> Record:
    """Return what is still so, with the programs as the database has them."""
    return evolve(
        record,
        suspects=_common(record.suspects, programs),
        accused=_common(record.accused, programs),
        quarantined=_common(record.quarantined, programs),
    )


def _common(some: Fingerprints, others: Fingerprints) -> dict[str, str]:
    return {id: print for id, print in some.items() if others.get(id) == print}


def _without(some: Fingerprints, others: Fingerprints) -> dict[str, str]:
    return {id: print for id, print in some.items() if id not in others}


def fingerprint(program: Program, global_modules: Mapping[str, GlobalModule]) -> str:
    """Give what is another one when the program's document is, or a global module that is named in its sources."""
    named: dict[str, str] = {}
    sources = tuple(program.modules.values())
    while sources:
        found = {
            name: module
            for name, module in global_modules.items()
            if name not in named and any(name.rpartition(".")[2] in source for source in sources)
        }
        named.update((name, module.digest) for name, module in found.items())
        sources = tuple(module.source for module in found.values())
    parts = (program.digest, *(f"{name} {digest}" for name, digest in sorted(named.items())))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


# --- bytes ------------------------------------------------------------------------------------------------------------


def render_record(record: Record) -> bytes:
    """The content of the file that outlives a power cut."""
    return _render(
        ends=record.ends,
        suspects=record.suspects,
        accused=record.accused,
        thorough=record.thorough,
        quarantined=record.quarantined,
    )


def parse_record(data: bytes) -> Record | None:
    """What ``render_record`` made; None for anything else."""
    kinds: dict[str, type] = {"ends": int, "suspects": dict, "accused": dict, "thorough": bool, "quarantined": dict}
    values = _parse(data, kinds)
    return None if values is None else Record(**values)


def render_mark(mark: Mark) -> bytes:
    """The content of the file that is there while programs are starting."""
    return _render(boot=mark.boot, starting=mark.starting, turn=mark.turn)


def parse_mark(data: bytes) -> Mark | None:
    """What ``render_mark`` made; None for anything else."""
    values = _parse(data, {"boot": str, "starting": dict, "turn": dict})
    return None if values is None else Mark(**values)


def _render(**values: object) -> bytes:
    return json.dumps(values, indent=1).encode("ascii") + b"\n"


def _parse(data: bytes, kinds: Mapping[str, type]) -> dict[str, Any] | None:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or {name: type(value) for name, value in values.items()} != kinds:
        return None
    prints = [print for value in values.values() if isinstance(value, dict) for print in value.values()]
    return values if all(isinstance(print, str) for print in prints) else None
