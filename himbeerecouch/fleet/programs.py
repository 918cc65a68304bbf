"""Finds the programs of Pis and their versions, and what is to be saved to change them.

All of it runs on the reactor's thread, and raises CouchError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from himbeerecouch.couch import answers, query
from himbeerecouch.documents import printable
from himbeerecouch.errors import AmbiguousProgram, BadRequest, NotFound, UnknownProgram, UnknownVersion
from himbeerecouch.fleet import deployments
from himbeerecouch.fleet.deployments import Deployment
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.saving import Edit
from himbeerecouch.model import Json

FEW = 8
"""So many Pis are asked for one after the other by the index; for more of them the database is read once as a whole."""
PAGE = 500
FIND_S = 120.0
"""An index that is new is built first."""


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
        raise AmbiguousProgram(mac_id, name, [printable(id) for id in named])
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
        raise UnknownProgram(mac_id, name, [printable(label(one)) for one in those])
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
        for id in (new_id(mac_id, name), name, *await _once_called(desk, mac_id, name)):
            versions = await history(desk, id)
            if versions and versions[0].mac_id == mac_id and await desk.find_one(desk.database, id) is None:
                return None, versions
        raise
    versions = await history(desk, document["_id"])
    if document["_rev"] not in {one.rev for one in versions}:
        now = evolve(deployments.of(document, at=0.0, by=None), at="")
        versions = deployments.history(map(deployments.render, [now, *versions]), document["_id"])
    return document, versions


async def _once_called(desk: Desk, mac_id: int, name: str) -> list[str]:
    """Give the ids, made by hand, of what was deployed to a Pi under this name."""
    # Not every server looks for a name where a removal has null; what is removed is left out before it looks.
    selector = {"type": "deployment", "mac_id": mac_id, "removed": {"$exists": False}, "document.name": name}
    return sorted({str(one["program"]) for one in await desk.find(desk.database, selector, ["program"])})


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
