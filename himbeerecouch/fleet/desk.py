"""The operator's client of CouchDB: one user, one server, bounded requests, and nothing tried again in secret.

All of it runs on the reactor's thread.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from himbeerecouch.couch import address, answers
from himbeerecouch.couch.clocks import ServerClock
from himbeerecouch.couch.fetch import Body, Bounds, OriginAgent, Reply, fetch
from himbeerecouch.couch.message import date_of, encode
from himbeerecouch.couch.transport import Connections
from himbeerecouch.errors import AnswerTooLarge, BadAnswer, BadRequest, NotFound, Unavailable
from himbeerecouch.fleet.user import Basic, Cookie, Who, headers, read_who
from himbeerecouch.model import Batch, DatabaseInfo, Json, Row

__all__ = ["DATABASE", "Basic", "Cookie", "Desk", "Who"]

DATABASE = "nedm/raspberries"
"""The database that is meant where nobody names one."""
ANSWER_BYTES = 64 * 1024 * 1024
"""More than any one document can have as JSON."""
PAGE = 500
"""Documents in one answer, where there are more than one."""
POLL_S = 20.0
GRACE_S = 10.0
"""What a long poll may take beyond its own timeout."""
_NO_DOCUMENT = ("missing", "deleted")
PAUSE_S = 1.0
"""Between two polls that came back empty before their time, and after one that failed."""


class Desk:
    """One CouchDB server as one user sees it, with the two databases of a fleet.

    A ``url`` that is no http or https URL raises ValueError, with a text for people, and a ``ca_file`` that can't be
    used CaFileError.  Every request raises CouchError, and CancelledError where its Deferred was cancelled.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        url: str,
        credentials: Basic | Cookie | None,
        database: str = DATABASE,
        ca_file: str | None = None,
    ) -> None:
        self.database = database
        self.credentials = credentials
        self.reactor = reactor
        self._address = address.parse(url)
        self._connections = Connections(reactor, ca_file=ca_file)
        self._agent = OriginAgent(self._connections.agent, self._address.origin, *headers(credentials))
        self._clock = ServerClock()

    @property
    def url(self) -> str:
        """The server's URL, without user and password."""
        return self._address.base

    @property
    def status_database(self) -> str:
        """The database in which the Pis say how they are."""
        return f"{self.database}_status"

    def close(self) -> Deferred[None]:
        """End every request; fires when all sockets are closed."""
        return self._connections.close()

    def drop_idle(self) -> None:
        """Close the connections that wait for a next request: after a long pause the server may have left them."""
        self._connections.drop_idle()

    def server_time(self) -> float:
        """Give the Unix time by the server's clock, and by this machine's before the first answer."""
        now = self._clock.now(self.reactor.seconds())
        return time.time() if now is None else now

    # --- one request --------------------------------------------------------------------------------------------------

    async def ask(
        self,
        method: str,
        *segments: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        timeout_s: float = 30.0,
    ) -> Any:
        """Make one request, and give the JSON of its answer.

        ``segments`` are the parts of the path, each of which may have a slash in it.  Values of ``query`` that are no
        strings are written as JSON; CouchDB wants keys as JSON too, strings included: ``json.dumps`` them.
        """
        what = f"{method} /{'/'.join(segments)}"
        bounds = Bounds(timeout_s, timeout_s, max(timeout_s, 600.0), ANSWER_BYTES)
        data = None if body is None else Body(encode(what, body))
        try:
            reply = await self._fetch(what, method, self._url(what, segments, query), data, bounds)
        finally:
            if data is not None:
                data.drop()
        date = date_of(reply.headers, b"date")
        if date is not None:
            self._clock.heard(date, reply.sent_at, reply.headed_at)
        error = answers.error_of(what, method, reply.status, reply.body, None)
        if error is not None:
            raise error
        return answers.read_json(what, reply.body or b"")

    def _url(self, what: str, segments: Sequence[str], query: Mapping[str, Any] | None) -> str:
        try:
            url = self._address.url(*segments)
            return url if not query else f"{url}?{address.query(query)}"
        except UnicodeEncodeError:
            raise BadRequest(what, reason="an id with half a character in it") from None

    async def _fetch(self, what: str, method: str, url: str, body: Body | None, bounds: Bounds) -> Reply:
        """Fetch, and tell a request that was cancelled from one that failed."""
        asked = Deferred.fromCoroutine(fetch(self.reactor, self._agent, what, method, url, body=body, bounds=bounds))
        cancelled = False

        def cancel(_: Deferred[Reply]) -> None:
            nonlocal cancelled
            cancelled = True
            asked.cancel()

        waiting: Deferred[Reply] = Deferred(cancel)
        asked.chainDeferred(waiting)
        try:
            return await waiting
        except Exception:
            if cancelled:
                raise CancelledError from None
            raise

    # --- documents ----------------------------------------------------------------------------------------------------

    async def get(self, db: str, document_id: str) -> Json:
        """Give one document."""
        path = address.document_path(document_id)
        return answers.document(document_id, await self.ask("GET", db, *path))

    async def find_one(self, db: str, document_id: str) -> Json | None:
        """Give one document, or None where it is not there, or was deleted; a missing database is NotFound."""
        try:
            return await self.get(db, document_id)
        except NotFound as error:
            if error.reason not in _NO_DOCUMENT:
                raise
            return None

    async def put(self, db: str, document: Json) -> str:
        """Store a document, with its ``_id`` and the ``_rev`` that it replaces; give its new revision."""
        path = address.document_path(str(document["_id"]))
        return answers.revision(str(document["_id"]), await self.ask("PUT", db, *path, body=document))

    async def delete(self, db: str, document_id: str, rev: str) -> str:
        """Delete the revision ``rev`` of a document; give the revision of what is left."""
        path = address.document_path(document_id)
        return answers.revision(document_id, await self.ask("DELETE", db, *path, query={"rev": rev}))

    async def bulk(self, db: str, documents: Sequence[Json]) -> list[Json]:
        """Store many documents, each by itself; give for each, in their order, its ``id`` with ``rev`` or ``error``."""
        if not documents:
            return []
        return _objects("_bulk_docs", await self.ask("POST", db, "_bulk_docs", body={"docs": list(documents)}))

    async def all_docs(
        self,
        db: str,
        *,
        start: str | None = None,
        end: str | None = None,
        keys: Sequence[str] | None = None,
        include_docs: bool = True,
    ) -> list[Json]:
        """Give the rows of ``_all_docs`` in the order of their ids: from ``start`` to ``end``, or those of ``keys``.

        A row has ``id``, ``value`` with the ``rev``, and ``doc``; that of a key which is not there has ``error``, and
        of one that was deleted ``doc`` is None.
        """
        if keys is not None:
            return await self._rows_of(db, list(keys), include_docs) if keys else []
        found: list[Json] = []
        place, limit = start, PAGE
        while True:
            # One row more than wanted: its id is where the next page begins, whatever happens in between.
            query = {"startkey": place, "endkey": end}
            written = {name: json.dumps(value) for name, value in query.items() if value is not None}
            try:
                rows = await self._rows(db, None, {**written, "limit": limit + 1}, include_docs)
            except AnswerTooLarge:
                if limit == 1:
                    raise
                limit //= 2
                continue
            found += rows[:limit]
            if len(rows) <= limit:
                return found
            place = str(rows[limit].get("id"))

    async def _rows_of(self, db: str, keys: list[str], include_docs: bool) -> list[Json]:
        """Give the rows of these keys, in halves where they are too many, or too much, for one answer."""
        if len(keys) <= PAGE:
            try:
                return await self._rows(db, {"keys": keys}, {}, include_docs)
            except AnswerTooLarge:
                if len(keys) == 1:
                    raise
        half = len(keys) // 2
        return [row for part in (keys[:half], keys[half:]) for row in await self._rows_of(db, part, include_docs)]

    async def _rows(self, db: str, body: Json | None, query: Json, include_docs: bool) -> list[Json]:
        method = "GET" if body is None else "POST"
        query = {**query, "include_docs": include_docs}
        answer = answers.document("_all_docs", await self.ask(method, db, "_all_docs", body=body, query=query))
        return _objects("_all_docs", answer.get("rows"))

    async def find(self, db: str, selector: Json, fields: Sequence[str] | None = None) -> list[Json]:
        """Give all documents that ``selector`` matches, or these ``fields`` of them."""
        asked: Json = {"selector": selector, "limit": PAGE}
        if fields is not None:
            asked["fields"] = list(fields)
        found: list[Json] = []
        while True:
            documents, bookmark = answers.page("_find", await self.ask("POST", db, "_find", body=asked))
            found += documents
            if len(documents) < asked["limit"] or bookmark is None or bookmark == asked.get("bookmark"):
                return found
            asked["bookmark"] = bookmark

    # --- what changes -------------------------------------------------------------------------------------------------

    async def info(self, db: str) -> DatabaseInfo:
        """Give what ``GET /db`` says; its ``update_seq`` is where to follow from."""
        return answers.database_info(db, await self.ask("GET", db))

    async def changes(
        self, db: str, *, since: object, selector: Json, timeout_s: float = POLL_S, limit: int = PAGE
    ) -> Batch:
        """Wait up to ``timeout_s`` (60 s at most) for changes after ``since`` that ``selector`` matches."""
        query = {
            "filter": "_selector",
            "feed": "longpoll",
            "include_docs": True,
            "timeout": round(timeout_s * 1000),
            "since": since if isinstance(since, str) else json.dumps(since),
            "limit": limit,
        }
        body = {"selector": selector}
        answer = await self.ask("POST", db, "_changes", body=body, query=query, timeout_s=timeout_s + GRACE_S)
        return answers.batch("_changes", answer)

    async def follow(
        self,
        db: str,
        selector: Json,
        since: object,
        *,
        patience_s: float = 0.0,
        timeout_s: float = math.inf,
    ) -> AsyncIterator[Row]:
        """Give every change after ``since`` that ``selector`` matches, as it happens, for ``timeout_s``.

        A row may come twice.  A server that can't be reached is tried again for ``patience_s`` from its last answer.
        """
        now = self.reactor.seconds()
        end, until = now + timeout_s, now + patience_s
        while now < end:
            asked_at, batch = now, None
            try:
                batch = await self.changes(db, since=since, selector=selector, timeout_s=min(POLL_S, end - now))
            except Unavailable:
                if self.reactor.seconds() >= until:
                    raise
            if batch is not None:
                since, until = batch.last_seq, self.reactor.seconds() + patience_s
                for row in batch.rows:
                    yield row
            # A server that answers at once, with nothing, would be asked a thousand times a second.
            if batch is None or (not batch.rows and self.reactor.seconds() - asked_at < PAUSE_S):
                await deferLater(self.reactor, PAUSE_S)
            now = self.reactor.seconds()

    # --- the user -----------------------------------------------------------------------------------------------------

    async def who(self) -> Who:
        """Ask whom the server takes us for."""
        answer = answers.document("_session", await self.ask("GET", "_session"))
        return read_who(answer)


def _objects(what: str, found: Any) -> list[Json]:
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise BadAnswer(f"{what}: the answer is none of CouchDB's")
    return found
