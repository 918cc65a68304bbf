"""The service that runs the commands of the database, each one at most once, and answers every one of them."""

from __future__ import annotations

import enum
import os
import random as random_module
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any

from attrs import Factory, define
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure

from himbeerecouch.commands.answering import Claim, CommandCouch, CommandDocuments
from himbeerecouch.commands.journal import Journal, NoJournal
from himbeerecouch.commands.memory import CommandMemory, newer
from himbeerecouch.commands.process import GRACE_S, environment
from himbeerecouch.commands.task import Task
from himbeerecouch.documents import printable
from himbeerecouch.errors import HimbeerecouchError
from himbeerecouch.model import Action, Command, CommandState, Json, Result

log = Logger()

LIMIT = 8
STOP_GRACE_S = 0.8
"""From TERM to KILL when the daemon ends: it has two seconds in all."""
STOP_LIMIT_S = 1.8

_WHY_NOT_RUN = {
    CommandState.CANCELLED: "cancelled before it was started",
    CommandState.INTERRUPTED: "interrupted: the daemon ended before it was started",
    CommandState.EXPIRED: "expired before it was started",
}


class Phase(enum.Enum):
    """How far a command has come."""

    QUEUED = "queued"
    CLAIMING = "claiming"
    WAITING = "waiting"
    """Its document has been edited before it was claimed: the feed will bring the new one."""
    RUNNING = "running"
    STORING = "storing"


@define(eq=False)
class _Entry:
    """One command in hand."""

    command: Command
    claim: str
    phase: Phase = Phase.QUEUED
    latest: Command | None = None
    """As the feed has brought it since."""
    ours: bool = False
    """It has been claimed here."""
    cause: CommandState | None = None
    """Why it is to end, or has been ended, before its time."""
    task: Task | None = None
    """What runs."""
    before: Deferred[None] | None = None
    """Fires when the one that was taken from the queue before it has been started, or is not going to be."""
    started: Deferred[None] = Factory(Deferred)


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
        limit: int = LIMIT,
        ours: Mapping[str, str] | None = None,
        journal: Journal | None = None,
        random: Callable[[], float] = random_module.random,
        new_claim: Callable[[], str] = lambda: os.urandom(8).hex(),
    ) -> None:
        self._reactor = reactor
        self._couch = couch
        self._documents = CommandDocuments(couch, database, clock=reactor, random=random)
        self._actions = actions
        self._limit = limit
        self._env = environment(os.environ if ours is None else ours)
        self._journal = journal or NoJournal()
        self._new_claim = new_claim
        self._hand: dict[str, _Entry] = {}
        self._queue: deque[_Entry] = deque()
        self._busy = 0
        self._filling = False
        self._draining = False
        self._last: Deferred[None] | None = None
        self._work: set[Deferred[None]] = set()
        self._tasks: set[Task] = set()
        self._answers = DeferredSemaphore(4)
        self._memory = CommandMemory()

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
        entry = self._hand[command.id] = _Entry(command, self._new_claim())
        if command.claimed or self._memory.was_run(command):
            self._answer_only(entry, CommandState.INTERRUPTED, "interrupted: whether it was run is not known")
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
        entry = self._hand[command.id] = _Entry(command, self._new_claim())
        self._answer_only(entry, CommandState.REJECTED, reason)

    def gone(self, id: str) -> None:
        """The document is deleted, answered, or not for this Pi any more.  What runs goes on to its end."""
        self._memory.forget(id)
        entry = self._hand.get(id)
        # The others find out by themselves, when they write; an index that lags may have missed the document.
        if entry is not None and entry.phase is Phase.WAITING:
            self._forget(entry)

    def hurry(self) -> None:
        """The server has just answered: claims and answers that wait for it are tried now."""
        self._documents.hurry()

    def in_use(self) -> Collection[str]:
        """The ids of all commands in hand: the feed has to tell of their every change."""
        return set(self._hand)

    def _renew(self, entry: _Entry, command: Command) -> None:
        if command.rev != entry.command.rev:
            entry.latest = command
        if command.cancel and entry.phase in (Phase.QUEUED, Phase.WAITING):
            self._forget(entry)
            self.submit(command)
        elif command.cancel:
            self._end(entry, CommandState.CANCELLED)
        elif entry.phase is Phase.QUEUED and newer(command.rev, entry.command.rev):
            entry.command = command
        elif entry.phase is Phase.WAITING and command.rev != entry.command.rev:
            self._forget(entry)
            self.submit(command)

    # --- from the queue to the answer ---------------------------------------------------------------------------------

    def _fill(self) -> None:
        if self._filling:
            return
        self._filling = True
        try:
            while self.running and not self._draining and self._queue and self._busy < self._limit:
                self._busy += 1
                entry = self._queue.popleft()
                # Claims may come back in any order: they are started in that of the feed.
                entry.before, self._last = self._last, entry.started
                self._spawn(self._carry_out(entry))
        finally:
            self._filling = False

    def _spawn(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        going: Deferred[None] = Deferred.fromCoroutine(work)
        self._work.add(going)

        def done(result: Failure | None) -> None:
            self._work.discard(going)
            if isinstance(result, Failure) and not isinstance(result.value, CancelledError):
                log.failure("a command broke down; this is a bug in himbeerecouch", failure=result)

        going.addBoth(done)

    async def _carry_out(self, entry: _Entry) -> None:
        try:
            body, result = await self._claim_and_run(entry)
        finally:
            self._started(entry)
            self._busy -= 1
            self._fill()
        if result is not None:
            await self._answer(entry, body, result)
        elif entry.phase is not Phase.WAITING:
            self._forget(entry)
        elif entry.latest is not None and entry.latest.rev == body.get("_rev"):
            self._forget(entry)
            self.submit(entry.latest)

    async def _claim_and_run(self, entry: _Entry) -> tuple[Json, Result | None]:
        command = entry.command
        if self._expired(command):
            return command.body, self._not_run(CommandState.EXPIRED)
        entry.phase = Phase.CLAIMING
        claim, body = await self._documents.claim(command, entry.claim)
        if claim is not Claim.OURS:
            entry.phase = Phase.WAITING if claim is Claim.EDITED and self.running else Phase.STORING
            if claim is Claim.FOREIGN:
                log.warn("command {id} is run by another daemon with the same MacID", id=command.id)
                self._memory.leave(command.id)
            return body, None
        entry.ours = True
        if entry.before is not None:
            await entry.before
        if not self.running or self._draining:
            entry.cause = entry.cause or CommandState.INTERRUPTED
        if entry.cause is None and self._expired(command):
            entry.cause = CommandState.EXPIRED
        if entry.cause is not None:
            return body, self._not_run(entry.cause)
        try:
            self._journal.claimed(command.id)
        except HimbeerecouchError as error:
            return body, self._not_run(CommandState.FAILED, f"not started, since it could not be noted down: {error}")
        return body, await self._run(entry)

    async def _run(self, entry: _Entry) -> Result:
        command = entry.command
        entry.phase = Phase.RUNNING
        task = Task(
            command,
            reactor=self._reactor,
            actions=self._actions,
            env=self._env,
            server_time=self._couch.server_time,
        )
        self._tasks.add(task)
        task.gone.addCallback(lambda _: self._tasks.discard(task))
        what = command.action.value if command.action else printable(command.argv[0])
        log.info("command {id}: {what}", id=printable(command.id), what=what)
        entry.task = task
        try:
            ended = Deferred.fromCoroutine(task.run())
            self._started(entry)
            result = await ended
        finally:
            entry.task = None
        log.info("command {id}: {state}", id=printable(command.id), state=result.state.value)
        return result

    def _started(self, entry: _Entry) -> None:
        if not entry.started.called:
            entry.started.callback(None)

    def _answer_only(self, entry: _Entry, state: CommandState, reason: str | None = None) -> None:
        entry.phase = Phase.STORING
        result = self._not_run(state, reason)

        async def answering() -> None:
            # There may be years of them, and the requests of what runs come first.
            await self._answers.run(self._answer, entry, entry.command.body, result)

        self._spawn(answering())

    async def _answer(self, entry: _Entry, body: Json, result: Result) -> None:
        entry.phase = Phase.STORING
        stored = await self._documents.store(entry.command, body, entry.claim if entry.ours else None, result)
        self._journal.ended(entry.command.id)
        if stored or entry.ours:
            self._memory.settle(entry.command, entry.claim, self._reactor.seconds())
        self._forget(entry)
        if not stored and entry.latest is not None:
            self.submit(entry.latest)

    def _not_run(self, state: CommandState, reason: str | None = None) -> Result:
        return Result(state, None, None, reason=reason or _WHY_NOT_RUN[state], finished=self._couch.server_time())

    def _expired(self, command: Command) -> bool:
        return command.expires is not None and self._couch.server_time() > command.expires

    def _end(self, entry: _Entry, cause: CommandState, grace_s: float = GRACE_S) -> None:
        entry.cause = entry.cause or cause
        if entry.task is not None:
            entry.task.end(cause, grace_s)

    def _forget(self, entry: _Entry) -> None:
        if self._hand.get(entry.command.id) is entry:
            del self._hand[entry.command.id]
        if entry in self._queue:
            self._queue.remove(entry)

    # --- its life -----------------------------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
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
        await self._wait(timeout_s, lambda: None)
        if self._work or self._tasks:
            await self._stop()

    async def _stop(self) -> None:
        self._draining = True
        self._put_back()
        self._documents.stop()
        for entry in list(self._hand.values()):
            self._end(entry, CommandState.INTERRUPTED, STOP_GRACE_S)
        for task in list(self._tasks):
            task.end(CommandState.INTERRUPTED, STOP_GRACE_S)
        await self._wait(STOP_LIMIT_S, self._give_up)

    def _put_back(self) -> None:
        """Forget what is not claimed: it stays in the database for the next start."""
        for entry in list(self._hand.values()):
            if entry.phase in (Phase.QUEUED, Phase.WAITING):
                self._forget(entry)

    async def _wait(self, timeout_s: float, otherwise: Callable[[], None]) -> None:
        """Wait until nothing is left in hand; after ``timeout_s`` do ``otherwise``, and wait no more."""
        over: Deferred[None] = Deferred()

        def finish() -> None:
            if not over.called:
                over.callback(None)

        def give_up() -> None:
            otherwise()
            finish()

        limit = self._reactor.callLater(timeout_s, give_up)
        everything: Deferred[Any] = DeferredList([*self._work, *(task.gone for task in self._tasks)])
        everything.addCallback(lambda _: finish())
        await over
        if limit.active():
            limit.cancel()

    def _give_up(self) -> None:
        for task in list(self._tasks):
            task.abandon()
        for going in list(self._work):
            going.cancel()
        self._hand.clear()
