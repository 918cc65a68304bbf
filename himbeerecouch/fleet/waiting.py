"""Waits until the Pis say what has become of programs: one long poll for all of them.

All of it runs on the reactor's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from attrs import frozen
from twisted.internet.task import deferLater

from himbeerecouch.errors import NotFound, Unavailable
from himbeerecouch.fleet import outcomes, roster
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.outcomes import Outcome, Verdict, Wait
from himbeerecouch.fleet.roster import PiStatus
from himbeerecouch.model import Json
from himbeerecouch.status.heartbeat import document_id
from himbeerecouch.status.pace import HEARTBEAT

POLL_S = 20.0
BUSY = 3
"""A Pi that has told so much here may be at the end of its burst of heartbeats ..."""
BUSY_S = HEARTBEAT.spacing_s
"""... and tells what happens next so much later."""
LEAST_S = 0.1
"""Of one poll, so that the time of one Pi's program after the other's does not make a request each."""
PAUSE_S = 1.0
"""After a poll that failed, or that came back with nothing before its time."""


@frozen
class Awaited:
    """A revision of a program on its way to a Pi."""

    mac_id: int
    program: str
    """The ``_id``."""
    rev: str | None
    """None: the program was removed."""


async def await_outcomes(
    desk: Desk,
    awaited: Sequence[Awaited],
    wait_s: float,
    *,
    told: Callable[[Awaited, Verdict], None] = lambda one, verdict: None,
) -> list[Verdict]:
    """Wait up to ``wait_s`` for the outcomes; give them in the same order, and ``told`` as they come.

    Raises CouchError where the status can't be read at all; a connection that is lost is tried again meanwhile.
    """
    verdicts: dict[Awaited, Verdict] = {}

    def decided(one: Awaited, verdict: Verdict) -> None:
        verdicts[one] = verdict
        told(one, verdict)

    until = desk.reactor.seconds() + wait_s
    for database, those in (await _places(desk, awaited)).items():
        await _Watch(desk, database, those, decided).wait(until, f"within {wait_s:g} s")
    return [verdicts[one] for one in awaited]


async def _places(desk: Desk, awaited: Sequence[Awaited]) -> dict[str, list[Awaited]]:
    """Give the database that each Pi reports in: its own one, or, where that is not to be, the one of the programs."""
    ids = sorted({document_id(one.mac_id) for one in awaited})
    try:
        own = await _heartbeats(desk, desk.status_database, ids)
    except NotFound:
        return {desk.database: list(awaited)}
    now = desk.server_time()
    silent = [id for id in ids if id not in own or outcomes.silence(status(own[id], id, now)) is not None]
    elsewhere = await _heartbeats(desk, desk.database, silent)
    newer = {id for id, there in elsewhere.items() if id not in own or _seen(there, now) > _seen(own[id], now)}
    places: dict[str, list[Awaited]] = {}
    for one in awaited:
        in_code = document_id(one.mac_id) in newer
        places.setdefault(desk.database if in_code else desk.status_database, []).append(one)
    return places


async def _heartbeats(desk: Desk, database: str, ids: Sequence[str]) -> dict[str, Json]:
    rows = await desk.all_docs(database, keys=ids) if ids else []
    return {str(row.get("id")): row["doc"] for row in rows if isinstance(row.get("doc"), dict)}


def status(heartbeat: Json | None, id: str, server_time: float) -> PiStatus:
    """Give how a Pi is by its heartbeat, of which ``id`` is the ``_id``."""
    found = None if heartbeat is None else roster.read(heartbeat, server_time)
    return found or roster.unseen(int(id.partition("_")[0]), ())


def _seen(heartbeat: Json, now: float) -> float:
    found = roster.read(heartbeat, now)
    return 0.0 if found is None or found.seen is None else found.seen


class _Watch:
    """The heartbeats in one database, as far as they are waited for."""

    def __init__(
        self, desk: Desk, database: str, awaited: Sequence[Awaited], decided: Callable[[Awaited, Verdict], None]
    ) -> None:
        self._desk = desk
        self._database = database
        self._pending = list(awaited)
        self._decided = decided
        self._heartbeats: dict[str, Json] = {}
        self._heard: Counter[str] = Counter()
        """How often each has changed while it was watched."""
        self._running_since_s: dict[Awaited, float] = {}
        self._since: object = None
        self._deaf = False
        """The last poll has failed: nothing is known of what has happened since."""

    async def wait(self, until: float, within: str) -> None:
        """Decide about all of them; by then at the latest, by the reactor's clock."""
        seconds = self._desk.reactor.seconds
        await self._read()
        while True:
            waits = self._judge()
            if not self._pending:
                return
            left_s = until - seconds()
            if left_s <= 0:
                for one, wait in waits.items():
                    self._decided(one, Verdict(Outcome.UNKNOWN, f"not {within}: {wait.why}"))
                return
            sooner = [wait.seconds for wait in waits.values() if wait.seconds is not None]
            await self._poll(max(LEAST_S, min([left_s, POLL_S, *sooner])))

    async def _read(self) -> None:
        # First where to follow from: so nothing is missed in between.
        self._since = (await self._desk.info(self._database)).update_seq
        self._heartbeats = await _heartbeats(self._desk, self._database, self._ids())

    def _ids(self) -> list[str]:
        return sorted({document_id(one.mac_id) for one in self._pending})

    async def _poll(self, timeout_s: float) -> None:
        seconds = self._desk.reactor.seconds
        began = seconds()
        selector = {"_id": {"$in": self._ids()}}
        rows = []
        try:
            batch = await self._desk.changes(self._database, since=self._since, selector=selector, timeout_s=timeout_s)
            self._since, rows = batch.last_seq, list(batch.rows)
        except Unavailable:
            self._deaf = True
            timeout_s = PAUSE_S * 2
        else:
            self._deaf = False
        for row in rows:
            self._heard[row.id] += 1
            if row.document is None:
                self._heartbeats.pop(row.id, None)
            else:
                self._heartbeats[row.id] = row.document
        if not rows and seconds() - began < timeout_s / 2:
            await deferLater(self._desk.reactor, min(timeout_s, PAUSE_S))

    def _judge(self) -> dict[Awaited, Wait]:
        """Decide about those that are certain; give why the others are not."""
        waits = {}
        for one in list(self._pending):
            found = self._look_at(one)
            if isinstance(found, Wait):
                waits[one] = found
            else:
                self._pending.remove(one)
                self._decided(one, found)
        return waits

    def _look_at(self, one: Awaited) -> Verdict | Wait:
        if self._deaf:
            self._running_since_s.clear()
            return Wait(None, "the connection to the server was lost")
        id, server_time, now = document_id(one.mac_id), self._desk.server_time(), self._desk.reactor.seconds()
        pi = status(self._heartbeats.get(id), id, server_time)
        if one.rev is None:
            return outcomes.judge_removal(pi, one.program)
        if outcomes.runs(outcomes.program_of(pi, one.program), one.rev):
            seen_s = now - self._running_since_s.setdefault(one, now) - (BUSY_S if self._heard[id] >= BUSY else 0.0)
        else:
            seen_s = 0.0
            self._running_since_s.pop(one, None)
        told_s = outcomes.running_for_s(pi, one.program, one.rev, server_time)
        return outcomes.judge(pi, one.program, one.rev, running_for_s=max(told_s, seen_s))
