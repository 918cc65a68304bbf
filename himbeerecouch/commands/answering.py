"""Command documents in the database: claimed by one daemon only, and answered once, whatever happens in between."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from himbeerecouch.commands.execution import answered, claim_of, claimed, same_owner, same_task, smaller
from himbeerecouch.errors import BadRequest, Conflict, CouchError, Forbidden, LoginRefused, NotFound, Unavailable
from himbeerecouch.model import Command, CommandState, Json, Result

log = Logger()

LONGEST_PAUSE_S = 60.0
MISSING_PAUSE_S = 30.0
"""Where the database is missing or forbidden, at least; twice that at most."""
SMALLER_CHARACTERS = (64 * 1024, 1024, 0)
"""What is left of each stream, step by step, where the server finds an answer too large."""


BY_ITSELF = (CommandState.DONE.value, CommandState.FAILED.value)


class CommandCouch(Protocol):
    """What of the CouchDB client is needed here."""

    async def get(self, db: str, id: str, /) -> Json:
        """The document."""
        ...

    async def put(self, db: str, document: Json, /) -> str:
        """The document's new revision."""
        ...

    def server_time(self) -> float:
        """Unix time by the server's clock, and by this machine's while the server's is not known."""
        ...

    @property
    def server_time_known(self) -> bool:
        """Whether the server has said what time it is."""
        ...


class Claim(enum.Enum):
    """How claiming a command ended."""

    OURS = "ours"
    FORMER = "former"
    """The daemon of this Pi had claimed it before it was ended, and the server took that only now."""
    FOREIGN = "foreign"
    """Somebody else was faster, and runs it."""
    EDITED = "edited"
    """Its document has been changed meanwhile: the feed brings the new one."""
    DROPPED = "dropped"
    """There is nothing to be run, or no way to say so."""


class Stored(enum.Enum):
    """How storing an answer ended."""

    SETTLED = "settled"
    """It is there, or there is nothing to be answered any more."""
    NOT_OURS = "not ours"
    """The document asks for something else by now, or somebody else runs it."""
    LATER = "later"
    """The daemon ends, and the server is away."""


class CommandDocuments:
    """Writes claims and answers, as often as it takes.  Used by ``Commands``, on the reactor thread.

    ``random`` gives a number from 0 to 1.
    """

    def __init__(self, couch: CommandCouch, database: str, *, clock: Any, random: Callable[[], float]) -> None:
        self._couch = couch
        self._database = database
        self._clock = clock
        self._random = random
        self._trying = True
        self._pauses: dict[Deferred[None], CouchError] = {}

    def stop(self) -> None:
        """From now on everything is tried once more at most, and at once."""
        self._trying = False
        for pause in list(self._pauses):
            pause.callback(None)

    def hurry(self) -> None:
        """The server has just answered: what waits for it, and was not told for how long, is tried now."""
        for pause, error in list(self._pauses.items()):
            if isinstance(error, Unavailable) and not error.retry_after_s:
                pause.callback(None)

    async def claim(self, command: Command, claim: str) -> tuple[Claim, Json]:
        """Mark the command as being run, by the name of ``claim``; with how that ended, the document as it is now.

        Whatever the server says, this can be OURS for one daemon only, and only once.
        """
        attempts, last = 0, False
        while not last:
            last = not self._trying
            body = claimed(command.body, claim, self._couch.server_time())
            try:
                rev, there = await self._put(body)
            except CouchError as error:
                if isinstance(error, Forbidden) or not _may_pass(error):
                    log.warn("command {id} is not run, since it can't be claimed: {error}", id=command.id, error=error)
                    return Claim.DROPPED, body
                await self._pause(error, attempts)
                attempts += 1
                continue
            if rev is not None:
                return Claim.OURS, body | {"_rev": rev}
            return _judge(there, command, claim), there or body
        return Claim.DROPPED, command.body

    async def store(
        self, command: Command, body: Json | None, claim: str | None, result: Result, keep: Callable[[], None]
    ) -> Stored:
        """Write the answer into the document as it is in ``body``; merges it with what others change.

        ``body`` is None where nothing is known of it, and ``claim`` where the command was not claimed.  Where it has to
        wait, ``keep`` is called before that is said: from then on the answer is on the disk.
        """
        attempts, last = 0, False
        shorter, written = iter(SMALLER_CHARACTERS), result
        while not last:
            last = not self._trying
            try:
                if body is None:
                    rev, there = None, await self._there(command.id)
                else:
                    rev, there = await self._put(answered(body, written))
            except CouchError as error:
                if error.status == 413 or isinstance(error, BadRequest):
                    limit = next(shorter, None)
                    if limit is not None:
                        log.warn("the answer of command {id} is shortened: {error}", id=command.id, error=error)
                        written = smaller(result, limit)
                        last = False
                        continue
                if not _may_pass(error) or (isinstance(error, Forbidden) and claim is None):
                    log.error("command {id} can't be answered: {error}", id=command.id, error=error)
                    return Stored.SETTLED
                if attempts == 0:
                    keep()
                    log.warn("the answer of command {id} has to wait: {error}", id=command.id, error=error)
                await self._pause(error, attempts)
                attempts += 1
                continue
            if rev is not None or there is None or "ret" in there:
                return Stored.SETTLED
            if not _may_answer(there, command, claim):
                return Stored.NOT_OURS
            # Each conflict means that somebody else has got on; only a storm of them is worth a pause.
            body = there
            last = False
        log.warn("the answer of command {id} is not stored: the daemon ends, and the server is away", id=command.id)
        return Stored.LATER

    async def has_ended(self, id: str) -> bool:
        """Whether its answer is there, and says that the command came to its own end.  Raises CouchError."""
        there = await self._there(id) or {}
        execution = there.get("execution")
        return "ret" in there and isinstance(execution, dict) and execution.get("state") in BY_ITSELF

    async def _put(self, body: Json) -> tuple[str | None, Json | None]:
        """The new revision; or None and the document as it is, which is None where it is gone."""
        try:
            return await self._couch.put(self._database, body), None
        except Conflict:
            return None, await self._there(body["_id"])

    async def _there(self, id: str) -> Json | None:
        """The document as it is; None where it is gone."""
        try:
            return await self._couch.get(self._database, id)
        except NotFound as error:
            # The same status stands for a missing database; a document is "missing" or "deleted".
            if "missing" in error.reason or "deleted" in error.reason:
                return None
            raise

    async def _pause(self, error: CouchError, attempts: int) -> None:
        if not self._trying:
            return
        if isinstance(error, (NotFound, Forbidden)):
            pause_s = MISSING_PAUSE_S * (1 + self._random())
        else:
            pause_s = self._random() * min(LONGEST_PAUSE_S, 2.0 ** min(attempts, 10))
        pause_s = max(pause_s, getattr(error, "retry_after_s", None) or 0.0)
        pause: Deferred[None] = Deferred()
        self._pauses[pause] = error
        call = self._clock.callLater(pause_s, pause.callback, None)
        try:
            await pause
        finally:
            del self._pauses[pause]
            if call.active():
                call.cancel()


def _judge(there: Json | None, command: Command, claim: str) -> Claim:
    """What a conflict means: ``there`` is the document as it is."""
    if there is None or "ret" in there or there.get("type") != command.body.get("type"):
        return Claim.DROPPED
    found = claim_of(there)
    if found == claim:
        # The server took the claim, and only its answer got lost.
        return Claim.OURS
    if same_owner(claim, found):
        return Claim.FORMER
    return Claim.FOREIGN if "execution" in there else Claim.EDITED


def _may_answer(there: Json, command: Command, claim: str | None) -> bool:
    if not str(there.get("type")).endswith("_cmd"):
        # It has become a program, say, and with a "ret" in it nobody would run it.
        return False
    if "execution" not in there:
        return claim is not None and same_task(there, command)
    if claim is not None and claim_of(there) == claim:
        return True
    return bool(there["execution"] == command.body.get("execution"))


def _may_pass(error: CouchError) -> bool:
    """Whether trying again later can help."""
    return isinstance(error, (Unavailable, LoginRefused, NotFound, Forbidden))
