"""CouchDB over treq, as typed calls; every failure is mapped to what the caller does next.

All requests of the daemon pass one gate.  All of it runs on the reactor's thread; times are in seconds, by the
reactor's clock.
"""

from __future__ import annotations

import json as json_text
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred

from himbeerecouch.couch import answers
from himbeerecouch.couch.address import document_path
from himbeerecouch.couch.asks import Timing
from himbeerecouch.couch.fetch import Bounds
from himbeerecouch.couch.login import Login
from himbeerecouch.couch.session import Call, ConnectionsLike, Session
from himbeerecouch.couch.transport import Connections
from himbeerecouch.couch.writes import Writes
from himbeerecouch.model import Batch, DatabaseInfo, Json

__all__ = ["ANSWER_BYTES", "Couch", "Login", "connect"]

ANSWER_BYTES = 16 * 1024 * 1024


def connect(
    reactor: Any, *, login: Login, ca_file: str | None, random: Callable[[], float], timing: Timing | None = None
) -> Couch:
    """Make a client; it has no server before ``move``.

    With ``ca_file``, certificates are trusted that are signed by those in it, and no others.  Raises CaFileError.
    """
    return Couch(reactor, Connections(reactor, ca_file=ca_file), login=login, random=random, timing=timing)


class Couch:
    """One CouchDB server at a time, as one user."""

    def __init__(
        self,
        clock: Any,
        connections: ConnectionsLike,
        *,
        login: Login,
        random: Callable[[], float],
        wall: Callable[[], float] = time.time,
        timing: Timing | None = None,
    ) -> None:
        self.timing = timing or Timing()
        self.login = login
        self._session = Session(clock, connections, login=login, random=random, wall=wall, timing=self.timing)
        self._writes = Writes(self._put, self._put_all)
        self.on_news = self._session.on_news
        """Called when what failed may work now; with True where it is another server."""

    @property
    def url(self) -> str | None:
        """The server's URL, without user and password; None where there is none."""
        return self._session.url

    def move(self, url: str | None) -> None:
        """Talk to another server from now on; None: to nobody, as there is no usable server file.

        Requests that are under way fail.  The same URL again changes nothing.  Raises ValueError, with a text for
        people, for what is no URL.
        """
        self._session.move(url)

    def hurry(self) -> None:
        """Log in at once where that waits: somebody is enrolling this Pi right now."""
        self._session.hurry()

    def close(self) -> Deferred[None]:
        """End every request; fires when all sockets are closed."""
        return self._session.close()

    def server_time(self) -> float:
        """Give the Unix time by the server's clock, and by this machine's while the server's is not known."""
        return self._session.server_time()

    @property
    def server_time_known(self) -> bool:
        """Whether ``server_time`` is the server's: it has said what time it is."""
        return self._session.server_time_known

    @property
    def server_offset_s(self) -> float:
        """The server's clock minus this machine's; 0.0 while the server's is not known."""
        return self._session.server_offset_s

    @property
    def local_address(self) -> str | None:
        """The address of this machine that the server is talked to from; None before there was a connection."""
        return self._session.local_address

    # --- typed calls; each raises CouchError --------------------------------------------------------------------------

    async def info(self, db: str) -> DatabaseInfo:
        """Give what ``GET /db`` says."""
        what = f"database {db}"
        return answers.database_info(what, await self._get(what, db))

    async def server_uuid(self) -> str:
        """Give the server's uuid; empty where it has none."""
        what = "the server's front page"
        return answers.uuid(what, await self._session.request(Call(what, "GET", ("",), self._bounds(), proves=False)))

    async def changes(
        self,
        db: str,
        *,
        since: object,
        limit: int,
        timeout_s: float | None,
        selector: Json,
        include_docs: bool = True,
    ) -> Batch:
        """Poll ``_changes`` for at most ``timeout_s``; None: give what there is now."""
        parameters = {"filter": "_selector", "limit": limit}
        if timeout_s is not None:
            # No heartbeat: with one, CouchDB ignores the timeout, and a poll that never ends never moves the sequence.
            parameters |= {"feed": "longpoll", "timeout": round(timeout_s * 1000)}
        if include_docs:
            parameters["include_docs"] = "true"
        parameters["since"] = since if isinstance(since, str) else json_text.dumps(since)
        timing = self.timing
        gap_s = timing.request_s if timeout_s is None else timeout_s + timing.grace_s
        what = f"changes of {db}"
        bounds = Bounds(gap_s, gap_s, timing.poll_total_s, ANSWER_BYTES)
        query = urlencode(parameters)
        call = Call(what, "POST", (db, "_changes"), bounds, {"selector": selector}, query, poll=True)
        answer = await self._session.request(call)
        return answers.batch(what, answer) if include_docs else answers.ids(what, answer)

    async def find(
        self,
        db: str,
        selector: Json,
        *,
        use_index: tuple[str, str] | None = None,
        limit: int,
        bookmark: str | None = None,
        ids_only: bool = False,
    ) -> tuple[list[Json], str | None]:
        """Give one page of ``_find``, and the bookmark of the next one."""
        asked: Json = {"selector": selector, "limit": limit}
        if use_index is not None:
            asked["use_index"] = list(use_index)
        if bookmark is not None:
            asked["bookmark"] = bookmark
        if ids_only:
            asked["fields"] = ["_id"]
        what = f"documents of {db}"
        total_s = self.timing.request_s  # an index that is new is built first: let it have all the time there is
        bounds = Bounds(total_s, total_s, total_s, ANSWER_BYTES)
        return answers.page(what, await self._session.request(Call(what, "POST", (db, "_find"), bounds, asked)))

    async def get(self, db: str, document_id: str) -> Json:
        """Give one document."""
        what = f"document {document_id!r:.200} of {db}"
        return answers.document(what, await self._get(what, db, *document_path(document_id)))

    async def put(self, db: str, document: Json) -> str:
        """Store one document, with its ``_id`` and the ``_rev`` that it replaces; give its new revision."""
        return await self._writes.put(db, document)

    async def _put(self, db: str, document: Json) -> str:
        document_id = str(document["_id"])
        what = f"document {document_id!r:.200} of {db}"
        call = Call(what, "PUT", (db, *document_path(document_id)), self._bounds(), document)
        return answers.revision(what, await self._session.request(call))

    async def _put_all(self, db: str, documents: Sequence[Json]) -> Sequence[str | None]:
        what = f"{len(documents)} documents of {db}"
        call = Call(what, "POST", (db, "_bulk_docs"), self._bounds(), {"docs": documents})
        return answers.revisions(what, await self._session.request(call), [str(one["_id"]) for one in documents])

    async def _get(self, what: str, *path: str) -> Any:
        return await self._session.request(Call(what, "GET", path, self._bounds()))

    def _bounds(self) -> Bounds:
        gap_s = min(self.timing.poll_timeout_s + self.timing.grace_s, self.timing.request_s)
        return Bounds(gap_s, gap_s, self.timing.request_s, ANSWER_BYTES)
