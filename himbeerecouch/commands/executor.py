"""One command from its claim to its stored answer; which one, and when, is the runner's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from himbeerecouch.commands.answering import Claim, CommandCouch, CommandDocuments, Stored
from himbeerecouch.commands.entry import Entry, Phase
from himbeerecouch.commands.execution import claim_of
from himbeerecouch.commands.journal import Journal
from himbeerecouch.commands.processes import MARK, birth_of
from himbeerecouch.commands.task import Task
from himbeerecouch.documents import printable
from himbeerecouch.errors import HimbeerecouchError
from himbeerecouch.model import Action, Command, CommandState, Json, Result

log = Logger()

ANSWER_NOTED_S = 0.02
"""An answer that the server has sooner than this is not noted down: it costs a sync, and a card is worn by each."""
NOT_KNOWN = "interrupted: whether it was run is not known"
_WHY_NOT_RUN = {
    CommandState.CANCELLED: "cancelled before it was started",
    CommandState.INTERRUPTED: "interrupted: the daemon ended before it was started",
    CommandState.EXPIRED: "expired before it was started",
}


class Executor:
    """Claims, runs and answers commands, one at each call; used by ``Commands``, on the reactor thread.

    ``may_start`` says whether what is claimed may still be started.  ``tasks`` is what runs.
    """

    def __init__(
        self,
        reactor: Any,
        couch: CommandCouch,
        documents: CommandDocuments,
        *,
        actions: Mapping[Action, Callable[[], Awaitable[str]]],
        journal: Journal,
        env: Mapping[str, str],
        may_start: Callable[[], bool],
    ) -> None:
        self.tasks: set[Task] = set()
        self._reactor = reactor
        self._couch = couch
        self._documents = documents
        self._actions = actions
        self._journal = journal
        self._env = env
        self._may_start = may_start

    async def run(self, entry: Entry) -> tuple[Claim | None, Json, Result | None]:
        """Claim it, and run it where it is ours: how claiming ended, the document, and what to answer.

        The claim is None where it was not even tried; the result is None where there is nothing to be answered.
        """
        command = entry.command
        if self._expired(command):
            return None, command.body, self.not_run(CommandState.EXPIRED)
        entry.phase = Phase.CLAIMING
        claim, body = await self._documents.claim(command, entry.claim)
        if claim is Claim.FORMER:
            entry.claim, entry.ours = claim_of(body) or entry.claim, True
            return claim, body, self.not_run(CommandState.INTERRUPTED, NOT_KNOWN)
        if claim is not Claim.OURS:
            return claim, body, None
        entry.ours = True
        if entry.before is not None:
            await entry.before
        return claim, body, await self._run_once(entry)

    async def _run_once(self, entry: Entry) -> Result:
        command = entry.command
        if not self._may_start():
            entry.cause = entry.cause or CommandState.INTERRUPTED
        if entry.cause is None and self._expired(command):
            entry.cause = CommandState.EXPIRED
        if entry.cause is not None:
            return self.not_run(entry.cause)
        try:
            self._journal.claimed(command, entry.claim, self._couch.server_time())
        except HimbeerecouchError as error:
            return self.not_run(CommandState.FAILED, f"not started, since it could not be noted down: {error}")
        return await self._run(entry)

    async def _run(self, entry: Entry) -> Result:
        command = entry.command
        entry.phase = Phase.RUNNING
        task = Task(
            command,
            reactor=self._reactor,
            actions=self._actions,
            env={**self._env, MARK: entry.claim},
            server_time=self._couch.server_time,
            started=lambda pid: self._journal.started(entry.claim, birth_of(pid)),
        )
        self.tasks.add(task)
        task.gone.addCallback(lambda _: self.tasks.discard(task))
        entry.task = task
        try:
            ended = Deferred.fromCoroutine(task.run())
            # Nobody waits for the log, but for the command.
            what = command.action.value if command.action else printable(command.argv[0])
            log.info("command {id}: {what}", id=printable(command.id), what=what)
            entry.let_on()
            return await ended
        finally:
            entry.task = None

    async def answer(self, entry: Entry, body: Json | None, result: Result) -> Stored:
        """Store the answer, however long that takes, in ``body`` or in the document as it is then."""
        entry.phase = Phase.STORING
        noting = Deferred.fromCoroutine(self._note(entry, result))
        noting.addErrback(lambda failure: failure.trap(CancelledError) and None)
        stored = Stored.LATER

        def keep() -> None:
            noting.cancel()
            self._keep(entry.claim, result)

        try:
            claim = entry.claim if entry.ours else None
            stored = await self._documents.store(entry.command, body, claim, result, keep)
        finally:
            noting.cancel()
            if stored is Stored.LATER:
                keep()
            else:
                self._journal.answered(entry.claim, result)
        return stored

    def _keep(self, claim: str, result: Result) -> None:
        """Note down how it ended, synced; nothing happens where it is."""
        self._journal.ended(claim, result)

    async def _note(self, entry: Entry, result: Result) -> None:
        """Say in the log how it ended, and note it down, once the server has the answer or takes its time.

        Not before: what else is written meanwhile takes the processor and the disk from the answer, and these may be
        the server's as well.
        """
        try:
            await deferLater(self._reactor, ANSWER_NOTED_S, lambda: None)
        finally:
            if result.started is not None:
                log.info("command {id}: {state}", id=printable(entry.command.id), state=result.state.value)
        self._keep(entry.claim, result)

    def not_run(self, state: CommandState, reason: str | None = None) -> Result:
        """What a command is answered with that was not run."""
        return Result(state, None, None, reason=reason or _WHY_NOT_RUN[state], finished=self._couch.server_time())

    def _expired(self, command: Command) -> bool:
        return command.expires is not None and self._couch.server_time() > command.expires
