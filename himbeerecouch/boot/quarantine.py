"""Keeps a program that takes the daemon with it from being started again, and lets all others run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.application.service import Service
from twisted.logger import Logger

from himbeerecouch.boot.suspects import (
    PROVEN_AFTER_S,
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
from himbeerecouch.errors import StateError
from himbeerecouch.model import GlobalModule, Program, ProgramState, Report
from himbeerecouch.store import StateFolder

RECORD = "quarantine.json"
MARK = "starting.json"
FEED_WAIT_S = 30.0
"""How long suspects wait for the feed, which may have them mended.  With one accused, the others don't wait."""

_GUILTY = (
    "quarantined: again and again the daemon ended without warning while this program was starting. It runs again when "
    "its document is changed"
)
_WAITS = "held back: the daemon ended without warning again and again; until the cause is found programs start in turn"

log = Logger()


def boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Which boot of the machine this is; "" where nobody knows."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


class Quarantine(Service):
    """Remembers what was starting when the daemon ended without warning, and says what may be started.

    All of it on the reactor thread.  ``released`` is called when more may be started than before, ``changed`` with the
    id of a program that is held back or released.  Writes when programs start in the first minute, and nothing after.
    """

    name = "quarantine"

    def __init__(
        self,
        state: StateFolder,
        *,
        clock: Any,
        boot: str,
        released: Callable[[], None],
        changed: Callable[[str], None] = lambda id: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._clock = clock
        self._released = released
        self._changed = changed
        self._now = now
        self._complained = False
        before = self._read(RECORD, parse_record) or Record()
        self._record = judge(before, self._read(MARK, parse_mark), boot)
        self._mark = Mark(boot)
        self._by_turns = self._record.by_turns
        self._waiting = list(self._record.order) if self._by_turns else []
        self._turns_begun = False
        self._open = True
        """What is started now has to prove itself."""
        self._held: dict[str, Report] = {}
        self._timer: Any = None
        if self._record != before:
            self._write(RECORD, render_record(self._record))
        self._delete(MARK)

    # --- its life -----------------------------------------------------------------------------------------------------

    def startService(self) -> None:
        """Give the programs that start now a minute to prove themselves."""
        super().startService()
        if self._by_turns:
            log.warn(
                "the daemon ended without warning {ends} times in a row while programs were starting: these start one "
                "by one now",
                ends=self._record.ends,
            )
            self._timer = self._clock.callLater(0 if self._record.accused else FEED_WAIT_S, self._begin_turns)
        else:
            self._timer = self._clock.callLater(PROVEN_AFTER_S, self._all_proven)

    def stopService(self) -> None:
        """Remember that this end is a clean one."""
        super().stopService()
        self.close()

    def close(self) -> None:
        """Remember that the daemon ends, or replaces itself, of its own will.  Idempotent."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._open:
            self._open = False
            self._keep(clean(self._record))
            self._delete(MARK)

    # --- what may be started ------------------------------------------------------------------------------------------

    def allowed(
        self, programs: Mapping[str, Program], global_modules: Mapping[str, GlobalModule]
    ) -> Mapping[str, Program]:
        """Those of ``programs`` that may run now."""
        reasons = {id: (print, _GUILTY) for id, print in self._record.held.items()}
        reasons |= {id: (self._record.suspects[id], _WAITS) for id in self._waiting}
        held = {
            id: reason
            for id, (print, reason) in reasons.items()
            if id in programs and fingerprint(programs[id], global_modules) == print
        }
        self._tell(programs, held)
        return {id: program for id, program in programs.items() if id not in held} if held else programs

    def starting(self, programs: Iterable[Program], global_modules: Mapping[str, GlobalModule]) -> None:
        """These are about to be started.  Called before they are."""
        if not self._open:
            return
        prints = {program.id: fingerprint(program, global_modules) for program in programs}
        starting = {**self._mark.starting, **prints}
        turn = {**self._mark.turn, **prints} if self._by_turns else {}
        if (starting, turn) != (self._mark.starting, self._mark.turn):
            self._set_mark(evolve(self._mark, starting=starting, turn=turn))

    def learn(self, programs: Mapping[str, Program], global_modules: Mapping[str, GlobalModule]) -> None:
        """This is what the database has: what was changed there may be started."""
        record = self._record
        known = {*record.suspects, *record.held}
        self._keep(current(record, {id: fingerprint(programs[id], global_modules) for id in known & programs.keys()}))
        self._waiting = [id for id in self._waiting if id in self._record.suspects]
        if self._by_turns and self._open and not self._turns_begun:
            self._begin_turns()

    def reports(self) -> Sequence[Report]:
        """How those are doing that are not started, in the order of their ids."""
        return [self._held[id] for id in sorted(self._held)]

    def _tell(self, programs: Mapping[str, Program], held: Mapping[str, str]) -> None:
        before = self._held
        self._held = {}
        for id, reason in held.items():
            program = programs[id]
            report = Report(id, program.name, program.rev, ProgramState.QUARANTINED, self._now(), 0, reason)
            old = before.get(id)
            same = old is not None and evolve(report, since=old.since) == old
            self._held[id] = old if same and old is not None else report
            if not same:
                log.warn("program {name} is {reason}", name=program.name, reason=reason)
        for id in sorted(before.keys() | held.keys()):
            if before.get(id) is not self._held.get(id):
                self._changed(id)

    # --- turns --------------------------------------------------------------------------------------------------------

    def _begin_turns(self) -> None:
        self._turns_begun = True
        if self._timer.active():
            self._timer.cancel()
        # In the next turn of the reactor: what the feed has just brought is started, and has a turn of its own.
        self._timer = self._clock.callLater(0, self._first_turn)

    def _first_turn(self) -> None:
        self._timer = self._clock.callLater(self._record.turn_s if self._mark.turn else 0, self._next_turn)

    def _next_turn(self) -> None:
        self._set_mark(evolve(self._mark, turn={}))
        turn_s = self._record.turn_s
        if not self._waiting:
            self._timer = self._clock.callLater(max(0.0, PROVEN_AFTER_S - turn_s), self._all_proven)
            return
        self._timer = self._clock.callLater(turn_s, self._next_turn)
        del self._waiting[0]
        self._released()

    def _all_proven(self) -> None:
        self._open = False
        self._keep(proven(self._record))
        self._delete(MARK)

    # --- the disk -----------------------------------------------------------------------------------------------------

    def _keep(self, record: Record) -> None:
        if record != self._record:
            self._record = record
            self._write(RECORD, render_record(record))

    def _set_mark(self, mark: Mark) -> None:
        self._mark = mark
        # A process that ends leaves it behind all the same, and an edit does not wait for the disk.
        self._write(MARK, render_mark(mark), synced=False)

    def _read(self, name: str, parse: Callable[[bytes], Any]) -> Any:
        try:
            data = self._state.read(name)
            value = None if data is None else parse(data)
            if data and value is None:  # an empty one is what a power cut leaves of what was not synced
                self._state.set_aside(name)
        except StateError as error:
            self._complain(error)
            return None
        return value

    def _write(self, name: str, data: bytes, *, synced: bool = True) -> None:
        try:
            self._state.write(name, data, synced=synced)
        except StateError as error:
            self._complain(error)

    def _delete(self, name: str) -> None:
        try:
            self._state.delete(name)
        except StateError as error:
            self._complain(error)

    def _complain(self, error: StateError) -> None:
        if not self._complained:
            self._complained = True
            log.warn("{error}: a program that makes the daemon end may be started again", error=error)
