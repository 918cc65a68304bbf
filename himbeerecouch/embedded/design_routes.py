"""``_index``: making, listing and removing indexes, which live in design documents as in CouchDB."""

from __future__ import annotations

import hashlib
from typing import Any

from himbeerecouch.embedded import edits, jsontext
from himbeerecouch.embedded.call import Answer, Call
from himbeerecouch.embedded.databases import Room
from himbeerecouch.embedded.indexes import field_names
from himbeerecouch.embedded.refused import Refused, bad_request, missing, not_implemented
from himbeerecouch.embedded.security import is_database_admin
from himbeerecouch.embedded.selector import compile_selector


async def indexes(call: Call, room: Room, rest: list[str]) -> Answer:
    """Answer a request under ``/db/_index``; raises ``Refused``."""
    if not rest and call.is_reading:
        return _list(room)
    if not rest and call.method == "POST":
        return await _create(call, room)
    if rest and rest[0] == "_design":
        rest = [f"_design/{rest[1]}", *rest[2:]] if len(rest) > 1 else rest
    if len(rest) == 3 and rest[1] == "json" and call.method == "DELETE":
        return await _remove(call, room, rest[0] if rest[0].startswith("_design/") else f"_design/{rest[0]}", rest[2])
    if rest == ["_bulk_delete"]:
        raise not_implemented("/db/_index/_bulk_delete")
    raise Refused(405, "method_not_allowed", "Only GET,POST,DELETE allowed")


def _list(room: Room) -> Answer:
    rows: list[dict[str, Any]] = [
        {"ddoc": None, "name": "_all_docs", "type": "special", "def": {"fields": [{"_id": "asc"}]}}
    ]
    for index in room.database.indexes:
        row = {"ddoc": index.ddoc, "name": index.name, "type": "json", "partitioned": False, "def": index.definition}
        rows.append(row)
    return Answer(200, {"total_rows": len(rows), "indexes": rows})


def _view(fields: tuple[str, ...], partial: Any) -> dict[str, Any]:
    """An index as CouchDB keeps it in a design document."""
    definition: dict[str, Any] = {"fields": list(fields)}
    if partial:
        definition["partial_filter_selector"] = partial
    return {
        "map": {"fields": dict.fromkeys(fields, "asc"), "partial_filter_selector": partial or {}},
        "reduce": "_count",
        "options": {"def": definition},
    }


async def _create(call: Call, room: Room) -> Answer:
    body = call.posted()
    declared = body.get("index")
    if not isinstance(declared, dict):
        raise bad_request("Missing required key: index")
    if body.get("type", "json") != "json":
        raise not_implemented(f"an index of the type {body['type']}")
    fields = field_names(declared.get("fields"))
    partial = declared.get("partial_filter_selector")
    if partial is not None:
        compile_selector(partial)
    view = _view(fields, partial)
    stem = hashlib.sha1(jsontext.write(view).encode("utf-8"), usedforsecurity=False).hexdigest()
    name, ddoc = body.get("name", stem), body.get("ddoc", stem)
    if not isinstance(name, str) or not isinstance(ddoc, str) or not name or not ddoc:
        raise bad_request("ddoc and name must be strings")
    identity = ddoc if ddoc.startswith("_design/") else f"_design/{ddoc}"
    stored = room.database.get(identity)
    design: dict[str, Any] = {"language": "query", "views": {}}
    if stored is not None and not stored.leaf.deleted:
        design = {"_rev": stored.leaf.rev, **jsontext.read(stored.leaf.body)}
        if design.get("language") != "query":
            raise Refused(
                400, "invalid_design_doc_language", f"Invalid design document language: {design.get('language')}"
            )
    if design.get("views", {}).get(name) == view:
        return Answer(200, {"result": "exists", "id": identity, "name": name})
    design["views"] = {**design.get("views", {}), name: view}
    await _save(call, room, identity, design, "saving")
    return Answer(200, {"result": "created", "id": identity, "name": name})


async def _remove(call: Call, room: Room, identity: str, name: str) -> Answer:
    stored = room.database.get(identity)
    design = {} if stored is None or stored.leaf.deleted else jsontext.read(stored.leaf.body)
    views = design.get("views", {})
    if name not in views or stored is None:
        raise missing("missing")
    design = {**design, "_rev": stored.leaf.rev, "views": {key: view for key, view in views.items() if key != name}}
    if not design["views"]:
        design = {"_rev": stored.leaf.rev, "_deleted": True}
    await _save(call, room, identity, design, "saving")
    return Answer(200, {"ok": True})


async def _save(call: Call, room: Room, identity: str, design: dict[str, Any], doing: str) -> None:
    if not is_database_admin(call.user, room.database.security):
        # CouchDB answers so, not with 403.
        reason = f"Unknown error while {doing} the design document: forbidden"
        raise Refused(500, "error_saving_ddoc", reason)
    edits.write(room, call.user, edits.read_draft(design, identity))
    await room.database.durable()
