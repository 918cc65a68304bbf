"""Documents that are to be stored while others are on their way go together, in one request.

A hundred commands at once are two hundred writes: each by itself costs a request here and on the server, and there a
commit on the disk.  All of it runs on the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred

from himbeerecouch.couch.message import encode
from himbeerecouch.errors import BadRequest, Conflict, Forbidden, NotFound, Unavailable
from himbeerecouch.model import Json

AT_ONCE = 2
"""Requests to one database that are under way before a document waits for the next one."""
MOST_TOGETHER = 25
LARGE_BYTES = 64 * 1024
"""A document with more goes alone and at once: no small one waits for it."""


@frozen(eq=False)
class _Waiting:
    document: Json
    done: Deferred[str | None] = field(factory=Deferred)
    """Fires with its revision; with None where it has to be asked for alone."""


@define
class _Line:
    """The writes to one database."""

    under_way: int = 0
    waiting: list[_Waiting] = field(factory=list)


class Writes:
    """Stores documents, each with its own outcome."""

    def __init__(
        self,
        alone: Callable[[str, Json], Awaitable[str]],
        together: Callable[[str, Sequence[Json]], Awaitable[Sequence[str | None]]],
    ) -> None:
        """``alone`` stores one document of a database, and gives its revision.

        ``together`` stores several, and gives the revision of each in their order, None for one that is not stored.
        """
        self._alone = alone
        self._together = together
        self._lines: dict[str, _Line] = {}

    async def put(self, db: str, document: Json) -> str:
        """Store one document, and give its new revision.  Raises CouchError."""
        what = f"document {document.get('_id')!r:.200} of {db}"
        if len(encode(what, document)) > LARGE_BYTES:
            return await self._alone(db, document)
        line = self._lines.setdefault(db, _Line())
        if line.under_way < AT_ONCE:
            line.under_way += 1
            try:
                return await self._alone(db, document)
            finally:
                self._back(db, line)
        waiting = _Waiting(document)
        line.waiting.append(waiting)
        try:
            rev = await waiting.done
        except CancelledError:
            raise Unavailable(what, reason="it was cancelled") from None
        return await self._alone(db, document) if rev is None else rev

    def _back(self, db: str, line: _Line) -> None:
        """A request has come back: send what has been waiting for it, before anybody acts on its answer."""
        line.under_way -= 1
        waiting = [one for one in line.waiting if not one.done.called]
        batch, line.waiting = waiting[:MOST_TOGETHER], waiting[MOST_TOGETHER:]
        if batch:
            line.under_way += 1
            Deferred.fromCoroutine(self._send(db, line, batch))

    async def _send(self, db: str, line: _Line, batch: Sequence[_Waiting]) -> None:
        revs: Sequence[str | None] = [None] * len(batch)
        failed: Exception | None = None
        try:
            revs = await self._together(db, [one.document for one in batch])
        except (BadRequest, Conflict, Forbidden, NotFound):
            pass  # refused as a whole, and nothing is stored: each finds out by itself whether that is its own fault
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            failed = error
        self._back(db, line)
        for one, rev in zip(batch, revs, strict=True):
            if one.done.called:
                continue  # it was cancelled meanwhile
            if failed is None:
                one.done.callback(rev)
            else:
                one.done.errback(failed)
