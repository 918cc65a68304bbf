"""What is asked of one database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from himbeerecouch.embedded import design_routes, document_routes, edits, security
from himbeerecouch.embedded.api import Api
from himbeerecouch.embedded.call import Answer, Call, location
from himbeerecouch.embedded.changes import changes
from himbeerecouch.embedded.databases import USERS, Room
from himbeerecouch.embedded.find import find
from himbeerecouch.embedded.listing import all_docs, bulk_get
from himbeerecouch.embedded.passwords import PREFIX
from himbeerecouch.embedded.refused import Refused, bad_request, missing, not_implemented

_LEFT_OUT = frozenset(
    (
        *("_attachments", "_auto_purge", "_compact", "_design_docs", "_explain", "_local_docs", "_missing_revs"),
        *("_partition", "_purge", "_purged_infos", "_purged_infos_limit", "_revs_limit", "_shards", "_sync_shards"),
        *("_temp_view", "_view_cleanup"),
    )
)
"""What CouchDB serves under a database, and this server does not."""


async def serve(api: Api, call: Call) -> Answer | None:
    """Answer a request whose path begins with a database; raises ``Refused``."""
    name, rest = call.segments[0], call.segments[1:]
    if not rest and call.method in ("PUT", "DELETE"):
        return _make_or_delete(api, call, name)
    room = api.databases.get(name)
    if name == USERS:
        _check_users_access(call, rest)
    else:
        security.need_member(call.user, room.database.security)
    if not rest:
        return await _database(api, call, room)
    if rest[0] == "_index":
        return await design_routes.indexes(call, room, rest[1:])
    part = _PARTS.get(rest[0]) if len(rest) == 1 else None
    if part is not None:
        methods, answer = part
        need_method(call, *methods)
        return await answer(api, call, room)
    if rest[0] in _LEFT_OUT:
        raise not_implemented(f"/db/{rest[0]}")
    return await document_routes.serve(api, call, room, rest)


def need_method(call: Call, *methods: str) -> None:
    """Raise ``Refused`` (405) for another method."""
    if call.method not in methods:
        raise Refused(405, "method_not_allowed", f"Only {','.join(methods)} allowed")


def _check_users_access(call: Call, rest: list[str]) -> None:
    """Only admins see ``_users``; everybody else only the own document, and nobody else's."""
    user = call.user
    if user.is_admin:
        return
    if user.name is None:
        raise Refused(401, "unauthorized", "You are not authorized to access this db.")
    if len(rest) == 1 and rest[0] == PREFIX + user.name:
        return
    if len(rest) == 1 and call.is_reading and not rest[0].startswith("_"):
        raise missing()
    raise Refused(403, "forbidden", "You are not allowed to access this db.")


def _make_or_delete(api: Api, call: Call, name: str) -> Answer:
    security.need_server_admin(call.user)
    if call.method == "PUT":
        api.databases.create(name)
        return Answer(201, {"ok": True}, headers={"location": location(call, name)})
    if name == USERS:
        raise Refused(403, "forbidden", "The users' database can't be deleted.")
    api.databases.delete(name)
    return Answer(200, {"ok": True})


async def _database(api: Api, call: Call, room: Room) -> Answer:
    if call.is_reading:
        return Answer(200, _info(room))
    if call.method != "POST":
        raise Refused(405, "method_not_allowed", "Only DELETE,GET,HEAD,POST allowed")
    document: Any = call.posted()
    if document.get("_id") is None:
        document["_id"] = uuid4().hex
    leaf, identity = await document_routes.store(api, call, room, document)
    return Answer(
        201,
        {"ok": True, "id": identity, "rev": leaf.rev},
        headers={"location": location(call, room.database.name, identity)},
    )


def _info(room: Room) -> dict[str, Any]:
    database = room.database
    living, deleted = database.counts()
    return {
        "instance_start_time": database.instance_start_time,
        "db_name": database.name,
        "purge_seq": database.seq_text(0),
        "update_seq": database.seq_text(database.seq),
        "sizes": {"file": 0, "external": 0, "active": 0},
        "props": {},
        "doc_del_count": deleted,
        "doc_count": living,
        "disk_format_version": 8,
        "compact_running": False,
        "cluster": {"q": 1, "n": 1, "w": 1, "r": 1},
    }


async def _security(_api: Api, call: Call, room: Room) -> Answer:
    if call.is_reading:
        return Answer(200, room.database.security)
    value = security.check_security(call.json())
    if not security.is_database_admin(call.user, room.database.security):
        # CouchDB answers so, not with 403: its nodes refuse, and it counts them.
        raise Refused(500, "error", "no_majority")
    room.database.put_security(value)
    await room.database.durable()
    return Answer(200, {"ok": True})


async def _bulk_docs(api: Api, call: Call, room: Room) -> Answer:
    body = call.posted()
    documents = body.get("docs")
    if not isinstance(documents, list):
        raise bad_request("POST body must include `docs` parameter.")
    new_edits = body.get("new_edits", True) is not False
    for document in documents:
        if not isinstance(document, dict):
            raise bad_request("Document must be a JSON object")
        if new_edits and document.get("_id") is None:
            document["_id"] = uuid4().hex
    prepared = [await api.derived(document) if room.database.name == USERS else document for document in documents]
    drafts = [edits.read_draft(document) for document in prepared]
    rows: list[dict[str, Any]] = []
    for draft in drafts:
        try:
            leaf = edits.write(room, call.user, draft, new_edits=new_edits)
        except Refused as refused:
            if refused.status == 500:
                raise
            rows.append({"id": draft.id, "error": refused.error, "reason": refused.reason})
            continue
        if new_edits and leaf is not None:
            rows.append({"ok": True, "id": draft.id, "rev": leaf.rev})
    await room.database.durable()
    return Answer(201, rows)


async def _revs_diff(_api: Api, call: Call, room: Room) -> Answer:
    found = {}
    for identity, revs in call.posted().items():
        if not isinstance(revs, list):
            raise bad_request("request body must be a JSON object of lists")
        known = {rev for leaf in room.database.leaves(identity) for rev in leaf.revs}
        lacking = [rev for rev in revs if not isinstance(rev, str) or rev not in known]
        if lacking:
            found[identity] = {"missing": lacking}
    return Answer(200, found)


async def _changes(api: Api, call: Call, room: Room) -> None:
    await changes(call, room, api.clock)


async def _find(api: Api, call: Call, room: Room) -> None:
    await find(call, room, api.clock)


async def _all_docs(api: Api, call: Call, room: Room) -> None:
    await all_docs(call, room, api.clock)


async def _bulk_get(_api: Api, call: Call, room: Room) -> None:
    await bulk_get(call, room)


async def _full_commit(_api: Api, _call: Call, room: Room) -> Answer:
    return Answer(201, {"ok": True, "instance_start_time": room.database.instance_start_time})


_Part = Callable[[Api, Call, Room], Awaitable[Answer | None]]

_PARTS: dict[str, tuple[tuple[str, ...], _Part]] = {
    "_all_docs": (("GET", "HEAD", "POST"), _all_docs),
    "_bulk_docs": (("POST",), _bulk_docs),
    "_bulk_get": (("POST",), _bulk_get),
    "_changes": (("GET", "POST"), _changes),
    "_ensure_full_commit": (("POST",), _full_commit),
    "_find": (("POST",), _find),
    "_revs_diff": (("POST",), _revs_diff),
    "_security": (("GET", "HEAD", "PUT"), _security),
}
