"""Programs, from the operator's side: finds them, and saves them so that no version of one is ever gone.

All of it runs on the reactor's thread, and raises CouchError.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve, field, frozen

from himbeerecouch.couch import answers, query
from himbeerecouch.errors import (
    AmbiguousProgram,
    BadRequest,
    Conflict,
    CouchError,
    Forbidden,
    NotFound,
    Unavailable,
    UnknownProgram,
    UnknownVersion,
)
from himbeerecouch.fleet import deployments
from himbeerecouch.fleet.deployments import Deployment
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.model import Json

FEW = 8
"""So many Pis are asked for one after the other by the index; for more of them the database is read once as a whole."""
PAGE = 500
FIND_S = 120.0
"""An index that is new is built first."""
BULK_BYTES = 8 * 1024 * 1024
"""Of documents in one request; each may be larger by itself."""


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


def new_id(mac_id: int, name: str) -> str:
    """Give the ``_id`` of a program that is new."""
    return f"{mac_id}:{name}"


def label(document: Mapping[str, object]) -> str:
    """Give what people call a program."""
    name = document.get("name")
    return name if isinstance(name, str) and name else str(document.get("_id"))


# --- finding ----------------------------------------------------------------------------------------------------------


async def programs_of(desk: Desk, mac_ids: Sequence[int]) -> dict[int, list[Json]]:
    """Give the ``_id``, ``_rev``, ``type`` and ``name`` of all program documents of these Pis, by the ids."""
    wanted: list[list[object]] = [[kind] for mac_id in mac_ids for kind in (mac_id, str(mac_id))]
    if len(mac_ids) > FEW:
        wanted = [[kind for kinds in wanted for kind in kinds]]
    found: dict[int, list[Json]] = {mac_id: [] for mac_id in mac_ids}
    for kinds in wanted:
        for document in await _of_types(desk, kinds):
            mac_id = deployments.mac_id_of(document)
            if mac_id in found:
                found[mac_id].append(document)
    return {mac_id: sorted(those, key=lambda one: str(one["_id"])) for mac_id, those in found.items()}


async def _of_types(desk: Desk, kinds: Sequence[object]) -> list[Json]:
    asked: Json = {
        # In these words CouchDB takes the partial index; for several types it would not.
        "selector": {"type": {"$eq": kinds[0]} if len(kinds) == 1 else {"$in": list(kinds)}, "ret": {"$exists": False}},
        "fields": ["_id", "_rev", "type", "name"],
        "limit": PAGE,
    }
    if len(kinds) == 1:
        asked["use_index"] = [query.DESIGN_DOCUMENT, query.BY_TYPE]
    found: list[Json] = []
    while True:
        try:
            answer = await desk.ask("POST", desk.database, "_find", body=asked, timeout_s=FIND_S)
        except (BadRequest, NotFound):
            # CouchDB goes on without an index that is not there; others refuse.
            if asked.pop("use_index", None) is None:
                raise
            continue
        page, bookmark = answers.page("_find", answer)
        found += page
        if len(page) < PAGE or bookmark is None or bookmark == asked.get("bookmark"):
            return found
        asked["bookmark"] = bookmark


def choose(those: Sequence[Json], mac_id: int, name: str) -> str | None:
    """Give the ``_id`` of the program that somebody calls ``name``: by its name, else by its id; None where none is.

    Raises AmbiguousProgram.
    """
    named = [str(one["_id"]) for one in those if one.get("name") == name]
    if len(named) == 1:
        return named[0]
    ids = {str(one["_id"]) for one in those}
    by_id = [id for id in (name, new_id(mac_id, name)) if id in ids]
    if named and name not in ids:
        raise AmbiguousProgram(mac_id, name, named)
    return by_id[0] if by_id else None


async def find_all(desk: Desk, mac_ids: Sequence[int], name: str) -> dict[int, Json | None]:
    """Give each Pi's program of this name, or None where it has none.  Raises AmbiguousProgram too."""
    ids = {mac_id: choose(those, mac_id, name) for mac_id, those in (await programs_of(desk, mac_ids)).items()}
    rows = await desk.all_docs(desk.database, keys=[id for id in ids.values() if id is not None])
    documents = {str(row.get("id")): row["doc"] for row in rows if isinstance(row.get("doc"), dict)}
    return {mac_id: documents.get(id or "") for mac_id, id in ids.items()}


async def find(desk: Desk, mac_id: int, name: str) -> Json:
    """Give one program of a Pi.  Raises UnknownProgram and AmbiguousProgram too."""
    those = (await programs_of(desk, [mac_id]))[mac_id]
    id = choose(those, mac_id, name)
    document = None if id is None else await desk.find_one(desk.database, id)
    if document is None:
        raise UnknownProgram(mac_id, name, [label(one) for one in those])
    return document


# --- history ----------------------------------------------------------------------------------------------------------


async def history(desk: Desk, program_id: str) -> list[Deployment]:
    """Give all versions of a program that were kept, newest first."""
    start, end = deployments.id_range(program_id)
    rows = await desk.all_docs(desk.database, start=start, end=end)
    return deployments.history((row["doc"] for row in rows if isinstance(row.get("doc"), dict)), program_id)


async def history_of(desk: Desk, mac_id: int, name: str) -> tuple[Json | None, list[Deployment]]:
    """Give a program, and its versions; None and its versions where it was removed.

    A version is made up for what is there now, where nobody has kept it yet.  Raises UnknownProgram too.
    """
    try:
        document = await find(desk, mac_id, name)
    except UnknownProgram:
        for id in (new_id(mac_id, name), name):
            versions = await history(desk, id)
            if versions and versions[0].mac_id == mac_id and await desk.find_one(desk.database, id) is None:
                return None, versions
        raise
    versions = await history(desk, document["_id"])
    if document["_rev"] not in {one.rev for one in versions}:
        now = evolve(deployments.of(document, at=0.0, by=None), at="")
        versions = deployments.history(map(deployments.render, [now, *versions]), document["_id"])
    return document, versions


def version(versions: Sequence[Deployment], now: Json | None, program_id: str, rev: str | None) -> Deployment:
    """Give the version that ``rev`` means, or the one before; raises UnknownVersion."""
    if rev is None:
        found = deployments.previous(versions, now)
        if found is None:
            raise UnknownVersion(program_id, None)
        return found
    matching = deployments.matching([one for one in versions if one.document is not None], rev)
    if len(matching) != 1:
        raise UnknownVersion(program_id, rev, [one.rev for one in matching])
    return matching[0]


async def saved_by(desk: Desk, program_id: str, rev: str) -> str:
    """Say who has saved a revision, and when, as far as that is known."""
    document = await desk.find_one(desk.database, deployments.document_id(program_id, rev))
    found = None if document is None else deployments.read(document)
    if found is None or found.by is None:
        return "by somebody who left no name"
    return f"by {found.by} at {found.at}"


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


async def edits(
    desk: Desk, mac_ids: Sequence[int], name: str, sources: Json, known: Mapping[int, str] | None = None
) -> dict[int, Edit]:
    """Give what brings these sources to these Pis, as the program ``name``; what else its document says stays.

    ``known`` has the revisions that may be replaced, where not whatever is there.  Raises AmbiguousProgram too.
    """
    found: dict[int, Edit] = {}
    for mac_id, before in (await find_all(desk, mac_ids, name)).items():
        new = {"_id": new_id(mac_id, name), "type": mac_id, "name": name}
        after = deployments.with_sources(new if before is None else before, sources)
        if known and mac_id in known:
            after["_rev"] = known[mac_id]
        found[mac_id] = Edit(before, after)
    return found


# --- saving -----------------------------------------------------------------------------------------------------------


async def save(desk: Desk, edits: Sequence[Edit]) -> list[Saved]:
    """Save programs, and write down who did; give what has become of each, in their order.

    First of all, what is there now is kept, where it is not yet: so nothing that was saved is ever gone.
    """
    by = (await desk.who()).name
    changing = [edit for edit in edits if edit.changes]
    await keep(desk, [deployments.of(one.before, at=desk.server_time(), by=None) for one in changing if one.before])
    rows = await _bulk(desk, [edit.after for edit in changing])
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
        return Saved(id, None, changed=False, problem=await _meanwhile(desk, id))
    if "error" in row:
        return Saved(id, None, changed=False, problem=str(row.get("reason") or row["error"]))
    return Saved(id, str(row["rev"]), changed=True, problem=unkept)


async def _meanwhile(desk: Desk, id: str) -> str:
    """Say who has been faster."""
    there = await desk.find_one(desk.database, id)
    if there is None:
        return f"{id} was removed meanwhile. Nothing was saved"
    who = await saved_by(desk, id, there["_rev"])
    return (
        f"revision {there['_rev']} was saved meanwhile, {who}. Nothing was saved: look at it with pull or diff, "
        "and deploy again to replace it"
    )


async def remove(desk: Desk, document: Json) -> Saved:
    """Remove a program; its versions stay, and ``rollback`` brings it back.  Raises Conflict too."""
    by = (await desk.who()).name
    await keep(desk, [deployments.of(document, at=desk.server_time(), by=None)])
    id, rev = str(document["_id"]), str(document["_rev"])
    try:
        gone = await desk.delete(desk.database, id, rev)
    except Conflict:
        return Saved(id, None, changed=False, problem=await _meanwhile(desk, id))
    try:
        await keep(desk, [deployments.removal(document, gone, at=desk.server_time(), by=by)])
    except CouchError as error:
        return Saved(id, gone, changed=True, problem=f"it is removed, but not who did it: {error}")
    return Saved(id, gone, changed=True)


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
