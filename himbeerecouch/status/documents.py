"""The status documents in the database: written over whatever is there, since nobody else has a say in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from himbeerecouch.errors import Conflict, NotFound
from himbeerecouch.model import Json

ATTEMPTS = 3
"""Somebody who edits the document just now may come in between twice; whoever goes on for ever is another daemon."""


class StatusCouch(Protocol):
    """What of the CouchDB client is needed here."""

    async def get(self, db: str, document_id: str, /) -> Json:
        """The document."""
        ...

    async def put(self, db: str, document: Json, /) -> str:
        """The document's new revision."""
        ...


class StatusDocuments:
    """Stores documents, and remembers their revisions: one request each, as long as nobody else writes them."""

    def __init__(self, couch: StatusCouch) -> None:
        self._couch = couch
        self._revs: dict[tuple[str, str], str | None] = {}

    def forget(self) -> None:
        """It is another server: nothing is known of its revisions."""
        self._revs.clear()

    async def store(self, database: str, id: str, render: Callable[[], Json]) -> None:
        """Store what ``render`` gives, which is asked right before it is sent.  Raises CouchError."""
        key = (database, id)
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._put(key, render)
            except Conflict:
                pass
        return await self._put(key, render)

    async def _put(self, key: tuple[str, str], render: Callable[[], Json]) -> None:
        if key not in self._revs:
            self._revs[key] = await self._rev(*key)
        # Whatever comes in between, it is not known then what the server has.
        rev = self._revs.pop(key)
        document = render()
        self._revs[key] = await self._couch.put(key[0], document if rev is None else document | {"_rev": rev})

    async def _rev(self, database: str, id: str) -> str | None:
        try:
            found = await self._couch.get(database, id)
        except NotFound as error:
            # The same status stands for a missing database; a document is "missing" or "deleted".
            if "missing" in error.reason or "deleted" in error.reason:
                return None
            raise
        return str(found["_rev"])
