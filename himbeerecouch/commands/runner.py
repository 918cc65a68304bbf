"""The service that runs the commands of the database, each one at most once, and answers every one of them."""

from __future__ import annotations

import math
import os
import random as random_module
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import deferLater
from twisted.logger import Logger

from himbeerecouch.commands.answering import Claim, CommandCouch, CommandDocuments, Stored
from himbeerecouch.commands.entry import Entry, Phase
from himbeerecouch.commands.execution import claim_of
from himbeerecouch.commands.executor import NOT_KNOWN, Executor
from himbeerecouch.commands.journal import Journal
from himbeerecouch.commands.memory import CommandMemory, newer
from himbeerecouch.commands.orphans import answered_unnoted, end_orphans
from himbeerecouch.commands.process import environment
from himbeerecouch.commands.record import record_of
from himbeerecouch.commands.work import Work
from himbeerecouch.model import Action, Command, CommandState, Json, Result

log = Logger()

LIMIT = 8
STOP_GRACE_S = 0.8
"""From TERM to KILL when the daemon ends: it has two seconds in all."""
STOP_LIMIT_S = 1.8

_RUN_BEFORE = "interrupted: it was run before, and the database has lost its answer"
_KILLED = "interrupted: the daemon was ended before it could note how the command had; how far that came is not known"


class Commands(Service):
    """Runs commands in the order they are submitted in, at most ``limit`` at once.

    All methods are called on the reactor thread, by the node.  ``actions`` says what the documents with an "action" do:
    each returns the message to answer with, or raises with the reason.  ``ours`` is the daemon's environment.
    """

    def __init__(
        self,
        reactor: Any,
        couch: CommandCouch,
        database: str,
        *,
        actions: Mapping[Action, Callable[[], Awaitable[str]]],
        journal: Journal,
        limit: int = LIMIT,
        ours: Mapping[str, str] | None = None,
        random: Callable[[], float] = random_module.random,
        new_claim: Callable[[], str] = lambda: os.urandom(8).hex(),
    ) -> None:
        self._reactor = reactor
        self._couch = couch
        self._documents = CommandDocuments(couch, database, clock=reactor, random=random)
        self._limit = limit
        self._journal = journal
        self._new_claim = new_claim
        self._hand: dict[str, Entry] = {}
        self._awaited: dict[Deferred[None], set[str]] = {}
        """Who waits for which of them to be answered."""
        self._queue: deque[Entry] = deque()
        self._timeless: deque[Entry] = deque()
        """Whether they have expired is not known, since the server has not said what time it is."""
        self._busy = 0
        self._filling = False
        self._draining = False
        self._last: Deferred[None] | None = None
        self._work = Work(reactor, "a command")
        self._executor = Executor(
            reactor,
            couch,
            self._documents,
            actions=actions,
            journal=journal,
            env=environment(os.environ if ours is None else ours),
            may_start=lambda: bool(self.running) and not self._draining,
        )
        self._answers = DeferredSemaphore(4)
        self._memory = CommandMemory()
        self._left = journal.left()
        for record in journal.settled():
            self._memory.settle(record.id, record.rev, record.claim, -math.inf)

    # --- what the feed brings -----------------------------------------------------------------------------------------

    def submit(self, command: Command, *, stale: bool = False) -> None:
        """Take a command that has no ``ret``; again and again, as the feed brings it.

        ``stale``: it was there before this Pi's first start, and is run only where its ``expires`` says so.
        """
        entry = self._hand.get(command.id)
        if entry is not None:
            self._renew(entry, command)
            return
        if self._draining or self._memory.is_echo(command, self._reactor.seconds()) or self._memory.is_foreign(command):
            return
        entry = self._take(command)
        if self._memory.was_run(command):
            self._answer_only(entry, CommandState.INTERRUPTED, _RUN_BEFORE)
        elif command.claimed:
            self._interrupt(entry)
        elif stale and command.expires is None:
            reason = "expired: it was there before this Raspberry Pi was started for the first time"
            self._answer_only(entry, CommandState.EXPIRED, reason)
        elif command.cancel:
            self._answer_only(entry, CommandState.CANCELLED)
        else:
            self._queue.append(entry)
            self._fill()

    def refuse(self, document: Json, reason: str) -> None:
        """Answer a command document that can't be understood with ``reason``."""
        command = Command(
            id=document["_id"],
            rev=document.get("_rev", ""),
            argv=(),
            action=None,
            timeout_s=0.0,
            expires=None,
            cancel=False,
            claimed="execution" in document,
            body=document,
        )
        entry = self._hand.get(command.id)
        if entry is not None and entry.phase in (Phase.QUEUED, Phase.WAITING):
            self._forget(entry)
        elif entry is not None or self._draining or self._memory.is_echo(command, self._reactor.seconds()):
            # What runs is answered with what it wrote, whatever has become of its document since.
            return
        self._answer_only(self._take(command), CommandState.REJECTED, reason)

    def gone(self, id: str) -> None:
        """The document is deleted, answered, or not for this Pi any more.  What runs goes on to its end."""
        self._memory.forget(id)
        entry = self._hand.get(id)
        # The others find out by themselves, when they write; an index that lags may have missed the document.
        if entry is not None and entry.phase is Phase.WAITING:
            self._forget(entry)

    def hurry(self) -> None:
        """The server has just answered: what waits for it, or for the time by its clock, is tried now."""
        self._documents.hurry()
        if self._couch.server_time_known:
            self._queue.extendleft(reversed(self._timeless))
            self._timeless.clear()
            self._fill()

    def in_use(self) -> Collection[str]:
        """The ids of all commands in hand: the feed has to tell of their every change."""
        return set(self._hand)

    def answering(self, ids: Iterable[str]) -> Deferred[None] | None:
        """Give what fires once these commands are answered; None where none is on its way to that.

        One that has been running since before the feed has told of its claim may run for hours, and one that waits for
        the feed itself is not waited for.  It may be cancelled.
        """
        awaited = {id for id in ids if id in self._hand and self._hand[id].is_quick()}
        if not awaited:
            return None
        answered: Deferred[None] = Deferred(self._awaited.__delitem__)
        self._awaited[answered] = awaited
        return answered

    def _take(self, command: Command) -> Entry:
        entry = self._hand[command.id] = Entry(command, f"{self._journal.owner}-{self._new_claim()}")
        return entry

    def _renew(self, entry: Entry, command: Command) -> None:
        if command.rev != entry.command.rev:
            entry.latest = command
        if command.claimed and entry.phase in (Phase.QUEUED, Phase.WAITING) and newer(command.rev, entry.command.rev):
            self._forget(entry)
            self._leave(entry)
        elif command.cancel and entry.phase in (Phase.QUEUED, Phase.WAITING):
            self._forget(entry)
            self.submit(command)
        elif command.cancel:
            entry.end(CommandState.CANCELLED)
        elif entry.phase is Phase.QUEUED and newer(command.rev, entry.command.rev):
            entry.command = command
        elif entry.phase is Phase.WAITING and command.rev != entry.command.rev:
            self._forget(entry)
            self.submit(command)

    def _leave(self, entry: Entry) -> None:
        log.warn("command {id} is run by another daemon with the same MacID", id=entry.command.id)
        self._memory.leave(entry.command.id)

    # --- from the queue to the answer ---------------------------------------------------------------------------------

    def _fill(self) -> None:
        if self._filling:
            return
        self._filling = True
        try:
            while self.running and not self._draining and self._queue and self._busy < self._limit:
                entry = self._queue.popleft()
                if entry.command.expires is not None and not self._couch.server_time_known:
                    self._timeless.append(entry)
                    continue
                self._busy += 1
                # Claims may come back in any order: they are started in that of the feed.
                entry.before, self._last = self._last, entry.started
                self._work.start(self._carry_out(entry))
        finally:
            self._filling = False

    async def _carry_out(self, entry: Entry) -> None:
        try:
            claim, body, result = await self._executor.run(entry)
        finally:
            entry.let_on()
            self._busy -= 1
            self._fill()
        if result is not None:
            await self._answer(entry, body, result)
            return
        if claim is Claim.FOREIGN:
            self._leave(entry)
        edited = claim is Claim.EDITED and self.running
        if edited and (entry.latest is None or entry.latest.rev != body.get("_rev")):
            entry.phase = Phase.WAITING
            self._let_go(entry.command.id)
            return
        self._forget(entry)
        if edited and entry.latest is not None:
            self.submit(entry.latest)

    def _answer_only(self, entry: Entry, state: CommandState, reason: str | None = None) -> None:
        entry.phase = Phase.STORING
        result = self._executor.not_run(state, reason)

        async def answering() -> None:
            # There may be years of them, and the requests of what runs come first.
            await self._answers.run(self._answer, entry, entry.command.body, result)

        self._work.start(answering())

    async def _answer(self, entry: Entry, body: Json | None, result: Result) -> None:
        command = entry.command
        stored = await self._executor.answer(entry, body, result)
        if stored is not Stored.NOT_OURS or entry.ours:
            self._memory.settle(command.id, command.rev, entry.claim, self._reactor.seconds())
        self._forget(entry)
        if stored is Stored.NOT_OURS and entry.latest is not None:
            self.submit(entry.latest)

    def _forget(self, entry: Entry) -> None:
        if self._hand.get(entry.command.id) is entry:
            del self._hand[entry.command.id]
        for waiting in (self._queue, self._timeless):
            if entry in waiting:
                waiting.remove(entry)
        self._let_go(entry.command.id)

    def _let_go(self, id: str) -> None:
        """Have nobody wait for its answer any more."""
        for answered, awaited in list(self._awaited.items()):
            awaited.discard(id)
            if not awaited:
                del self._awaited[answered]
                answered.callback(None)

    # --- what a former daemon has left --------------------------------------------------------------------------------

    def _interrupt(self, entry: Entry) -> None:
        """Answer what somebody has claimed of whom nothing is known here."""
        entry.phase = Phase.STORING
        claim = claim_of(entry.command.body)

        async def interrupting() -> None:
            # Without a journal that lasts, its processes are known by nothing but the claim in the document.  One that
            # is known here is a copy of a document that runs, or did.
            if claim is not None and not self._journal.knows(claim):
                await end_orphans(self._reactor, [record_of(0, entry.command, claim, None)])
            self._answer_only(entry, CommandState.INTERRUPTED, NOT_KNOWN)

        self._work.start(interrupting())

    def _take_up(self) -> None:
        """End what a former daemon has left running, and answer what it has not answered."""
        left, self._left = self._left, ()
        taken = [(Entry(r.command(), r.claim, Phase.STORING, ours=True), r) for r in left if not r.settled]
        self._hand.update({record.id: entry for entry, record in taken})

        async def taking_up() -> None:
            # The client is told of its server by whoever starts us, right after.
            await deferLater(self._reactor, 0, lambda: None)
            # Its answer shall not say that it has ended while it goes on.
            ended = await answered_unnoted(self._reactor, left, self._documents.has_ended)
            await end_orphans(self._reactor, [one for one in left if one.open_ended and one.claim not in ended])
            for entry, record in taken:
                result = record.result or Result(
                    CommandState.DONE if record.claim in ended else CommandState.INTERRUPTED,
                    None,
                    None,
                    reason=NOT_KNOWN if record.birth is None else _KILLED,
                    started=record.started,
                )
                self._work.start(self._answer(entry, None, result))

        if left:
            self._work.start(taking_up())

    # --- its life -----------------------------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self._take_up()
        self._fill()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def drain(self, timeout_s: float) -> None:
        """Start nothing more, and wait for what runs and for its answers, at most ``timeout_s``; then end the rest.

        For the daemon's replacing itself; ``stopService`` may come at any time.
        """
        self._draining = True
        self._put_back()
        await self._work.wait(timeout_s, self._gone(), lambda: None)
        if self._work or self._executor.tasks:
            await self._stop()

    async def _stop(self) -> None:
        self._draining = True
        self._put_back()
        self._documents.stop()
        for entry in list(self._hand.values()):
            entry.end(CommandState.INTERRUPTED, STOP_GRACE_S)
        for task in list(self._executor.tasks):
            task.end(CommandState.INTERRUPTED, STOP_GRACE_S)
        await self._work.wait(STOP_LIMIT_S, self._gone(), self._give_up)

    def _put_back(self) -> None:
        """Forget what is not claimed: it stays in the database for the next start."""
        for entry in list(self._hand.values()):
            if entry.phase in (Phase.QUEUED, Phase.WAITING):
                self._forget(entry)

    def _gone(self) -> list[Deferred[None]]:
        return [task.gone for task in self._executor.tasks]

    def _give_up(self) -> None:
        for task in list(self._executor.tasks):
            task.abandon()
        self._work.cancel()
        for id in list(self._hand):
            del self._hand[id]
            self._let_go(id)
