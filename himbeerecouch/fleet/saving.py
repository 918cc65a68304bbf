"""Saves and removes programs so that no version of one is ever gone, and who did it is known.

All of it runs on the reactor's thread, and raises CouchError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from attrs import field, frozen

from himbeerecouch.errors import Conflict, CouchError, Forbidden, NotFound, Unavailable
from himbeerecouch.fleet import deployments
from himbeerecouch.fleet.deployments import Deployment
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.model import Json

BULK_BYTES = 8 * 1024 * 1024
"""Of documents in one request; each may be larger by itself."""

_NOT_SENT: Json = {"error": "interrupted", "reason": "it was interrupted before"}


@frozen
class Edit:
    """A program document that is to be saved."""

    before: Json | None = field(hash=False)
    """As it is in the database; None where it is new, or was removed."""
    after: Json = field(hash=False)
    """With ``_id``, and with the ``_rev`` of ``before``."""

    @property
    def changes(self) -> bool:
        """Whether it says something else than before."""
        return self.before is None or deployments.contents(self.before) != deployments.contents(self.after)


@frozen
class Saved:
    """What has become of an edit."""

    program: str
    """The ``_id``."""
    rev: str | None
    """The revision that the document has now; None where it could not be saved."""
    changed: bool
    """False where nothing had to be saved."""
    problem: str = ""
    """Why it could not be saved; or, where it was, what could not be written down about it."""


async def save(desk: Desk, edits: Sequence[Edit], enough: Callable[[], bool] = lambda: False) -> list[Saved]:
    """Save programs, and write down who did; give what has become of each, in their order.

    First of all, what is there now is kept, where it is not yet: so nothing that was saved is ever gone.  Once there is
    ``enough``, no further request saves a program.
    """
    by = (await desk.who()).name
    changing = [edit for edit in edits if edit.changes]
    await keep(desk, [deployments.of(one.before, at=desk.server_time(), by=None) for one in changing if one.before])
    rows: list[Json] = []
    for part in parts([edit.after for edit in changing]):
        rows += [_NOT_SENT] * len(part) if enough() else await desk.bulk(desk.database, part)
    told = {str(edit.after["_id"]): row for edit, row in zip(changing, rows, strict=True)}
    now = desk.server_time()
    revs = {id: str(row["rev"]) for id, row in told.items() if "error" not in row}
    new = [
        deployments.of({**edit.after, "_rev": revs[id]}, at=now, by=by)
        for edit in changing
        if (id := str(edit.after["_id"])) in revs
    ]
    try:
        await keep(desk, new)
        unkept = ""
    except CouchError as error:
        unkept = f"it is saved, but not who did it: {error}"
    return [await _saved(desk, edit, told.get(str(edit.after["_id"])), unkept) for edit in edits]


async def _saved(desk: Desk, edit: Edit, row: Json | None, unkept: str) -> Saved:
    id = str(edit.after["_id"])
    if row is None:
        return Saved(id, str(edit.after.get("_rev")), changed=False)
    if row.get("error") == "conflict":
        return Saved(id, None, changed=False, problem=await _meanwhile(desk, id, edit.before))
    if "error" in row:
        return Saved(id, None, changed=False, problem=str(row.get("reason") or row["error"]))
    return Saved(id, str(row["rev"]), changed=True, problem=unkept)


async def saved_by(desk: Desk, program_id: str, rev: str) -> str:
    """Say who has saved a revision, and when, as far as that is known."""
    document = await desk.find_one(desk.database, deployments.document_id(program_id, rev))
    found = None if document is None else deployments.read(document)
    if found is None or found.by is None:
        return "by somebody who left no name"
    return f"by {found.by} at {found.at}"


async def _meanwhile(desk: Desk, id: str, before: Json | None) -> str:
    """Say who has been faster."""
    there = await desk.find_one(desk.database, id)
    if there is None:
        return f"{id} was removed meanwhile. Nothing was saved"
    if before is None and deployments.mac_id_of(there) != deployments.mac_id_of({"type": id.partition(":")[0]}):
        return f"there is another document {id}, which is no program of this Pi: give it another name"
    who = await saved_by(desk, id, there["_rev"])
    return (
        f"revision {there['_rev']} was saved meanwhile, {who}. Nothing was saved: look at it with pull or diff, "
        "and deploy again to replace it"
    )


async def remove(desk: Desk, document: Json) -> Saved:
    """Remove a program; its versions stay, and ``rollback`` brings it back."""
    by = (await desk.who()).name
    await keep(desk, [deployments.of(document, at=desk.server_time(), by=None)])
    id, rev = str(document["_id"]), str(document["_rev"])
    try:
        gone = await desk.delete(desk.database, id, rev)
    except Conflict:
        return Saved(id, None, changed=False, problem=await _meanwhile(desk, id, document))
    try:
        await keep(desk, [deployments.removal(document, gone, at=desk.server_time(), by=by)])
    except CouchError as error:
        return Saved(id, gone, changed=True, problem=f"it is removed, but not who did it: {error}")
    return Saved(id, gone, changed=True)


async def keep(desk: Desk, versions: Sequence[Deployment]) -> None:
    """See to it that these versions are in the history; one that is there already stays as it is."""
    if not versions:
        return
    rows = await desk.all_docs(desk.database, keys=[one.id for one in versions], include_docs=False)
    there = {row.get("id") for row in rows if "error" not in row and not row.get("value", {}).get("deleted")}
    missing = [deployments.render(one) for one in versions if one.id not in there]
    for row in await _bulk(desk, missing):
        if row.get("error") not in (None, "conflict"):
            raise error_of(row)


async def _bulk(desk: Desk, documents: Sequence[Json]) -> list[Json]:
    return [row for part in parts(documents) for row in await desk.bulk(desk.database, part)]


def parts(documents: Sequence[Json], limit_bytes: int = BULK_BYTES) -> Iterator[list[Json]]:
    """Give documents in parts that one request can take."""
    part: list[Json] = []
    size_bytes = 0
    for document in documents:
        more_bytes = len(json.dumps(document))
        if part and size_bytes + more_bytes > limit_bytes:
            yield part
            part, size_bytes = [], 0
        part.append(document)
        size_bytes += more_bytes
    if part:
        yield part


def error_of(row: Json) -> CouchError:
    """Give the error that a row of ``_bulk_docs`` is."""
    kinds: dict[object, type[CouchError]] = {"forbidden": Forbidden, "unauthorized": Forbidden, "not_found": NotFound}
    kind = kinds.get(row.get("error"), Unavailable)
    return kind(f"document {row.get('id')!r:.200}", reason=str(row.get("reason") or row.get("error")))
