"""A database in memory, with the calls that commands need.

``tests/integration/test_commands.py`` holds it to the real client.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from twisted.internet.defer import Deferred

from himbeerecouch.errors import Conflict, NotFound
from himbeerecouch.model import Json


class MemoryCouch:
    """Documents with revisions.  ``faults`` hold what goes wrong, request by request; None: nothing."""

    def __init__(self, seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.documents: dict[str, Json] = {}
        self.deleted: dict[str, int] = {}
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Exception | None] = []
        self.late_faults: list[Exception | None] = []
        """As ``faults``, for writes, but only after the server has done what it was asked to do."""
        self.held: list[Deferred[None]] | None = None
        """Where it is a list, requests wait, each for one of these."""
        self.server_time_known = True
        self._seconds = seconds

    def server_time(self) -> float:
        return self._seconds()

    async def get(self, db: str, document_id: str) -> Json:
        await self._ask("GET", document_id)
        if document_id not in self.documents:
            reason = "deleted" if document_id in self.deleted else "missing"
            raise NotFound(f"GET {document_id}", status=404, reason=reason)
        return dict(self.documents[document_id])

    async def put(self, db: str, document: Json) -> str:
        await self._ask("PUT", document["_id"])
        rev = self.save(document)
        fault = self.late_faults.pop(0) if self.late_faults else None
        if fault is not None:
            raise fault
        return rev

    async def _ask(self, method: str, document_id: str) -> None:
        self.requests.append((method, document_id))
        if self.held is not None:
            gate: Deferred[None] = Deferred()
            self.held.append(gate)
            await gate
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault

    # --- for the test -------------------------------------------------------------------------------------------------

    def save(self, document: Json) -> str:
        """Save as anybody might, at once."""
        id = document["_id"]
        there = self.documents.get(id)
        if document.get("_rev") != (there["_rev"] if there else None):
            raise Conflict(f"PUT {id}", status=409, reason="Document update conflict.")
        generation = int(there["_rev"].partition("-")[0]) if there else self.deleted.pop(id, 0)
        content = json.dumps(document, sort_keys=True).encode()
        rev = f"{generation + 1}-{hashlib.md5(content).hexdigest()}"
        self.documents[id] = {**document, "_rev": rev}
        return rev

    def edit(self, id: str, **changes: object) -> Json:
        """Change a document as somebody else would."""
        self.save({**self.documents[id], **changes})
        return dict(self.documents[id])

    def delete(self, id: str) -> None:
        """Delete a document."""
        self.deleted[id] = int(self.documents.pop(id)["_rev"].partition("-")[0]) + 1
