"""Reads what the programs of a Pi print, and has the Pi write it at once while somebody looks on.

All of it runs on the reactor's thread, and raises CouchError.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from twisted.internet.task import deferLater

from himbeerecouch import rfc3339
from himbeerecouch.errors import Conflict, Forbidden, NotFound, Unavailable
from himbeerecouch.fleet import lenient
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.model import Json

WATCH_S = 60.0
"""So long a Pi writes at once; it is told again while somebody still looks on."""
POLL_S = 15.0
PAUSE_S = 2.0


def document_id(mac_id: int) -> str:
    """The ``_id`` of a Pi's log document."""
    return f"{mac_id}_log"


async def read(desk: Desk, mac_id: int) -> Json | None:
    """Give the log document; None where there is none.  Raises NotFound where there is no status database."""
    return await desk.find_one(desk.status_database, document_id(mac_id))


class Watch:
    """Asks one Pi to write its log at once, for as long as that is extended."""

    def __init__(self, desk: Desk, mac_id: int) -> None:
        self._desk = desk
        self._id = f"{mac_id}_watch"
        self.refused: Forbidden | None = None
        """Why this user may not ask for it: then new lines come once a minute."""
        self._until = 0.0
        self._rev: str | None = None
        """Of what was written here; None where somebody else's watch is long enough."""

    async def extend(self) -> None:
        """Have it go on; writes only where it would soon be over."""
        if self.refused is not None or self._until - self._desk.server_time() > WATCH_S / 2:
            return
        for _ in range(3):
            there = await self._desk.find_one(self._desk.database, self._id) or {}
            until = self._desk.server_time() + WATCH_S
            others = lenient.time(there.get("until"))
            if others is not None and until - WATCH_S / 2 < others < until + WATCH_S:
                self._until, self._rev = others, self._rev if there.get("_rev") == self._rev else None
                return
            document = {**there, "_id": self._id, "type": self._id, "until": rfc3339.render(until)}
            try:
                self._rev, self._until = await self._desk.put(self._desk.database, document), until
            except Conflict:
                continue  # somebody else looks on as well
            except Forbidden as error:
                self.refused = error
            return

    async def end(self) -> None:
        """Have it end now, unless somebody else has extended it."""
        if self._rev is not None:
            try:
                await self._desk.delete(self._desk.database, self._id, self._rev)
            except (Conflict, NotFound):
                return


async def follow(
    desk: Desk, mac_id: int, watch: Watch, troubled: Callable[[Unavailable | None], None] = lambda error: None
) -> AsyncIterator[Json]:
    """Give the log document as it is now, and whenever it changes; never ends by itself.

    A server that is away is waited for: ``troubled`` gets why, and None when all is well again.
    """
    since: object = None
    failed = False
    selector = {"_id": document_id(mac_id)}
    while True:
        asked_at = desk.reactor.seconds()
        try:
            await watch.extend()
            if since is None:
                since = (await desk.info(desk.status_database)).update_seq
                documents = [await read(desk, mac_id)]
            else:
                batch = await desk.changes(desk.status_database, since=since, selector=selector, timeout_s=POLL_S)
                documents, since = [row.document for row in batch.rows], batch.last_seq
        except Unavailable as error:
            failed, since = True, None
            troubled(error)
            await deferLater(desk.reactor, PAUSE_S)
            continue
        if failed:
            failed = False
            troubled(None)
        for document in documents:
            if document is not None:
                yield document
        if not documents and desk.reactor.seconds() - asked_at < 1.0:
            await deferLater(desk.reactor, PAUSE_S)
