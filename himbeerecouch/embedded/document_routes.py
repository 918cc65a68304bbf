"""What is asked of one document."""

from __future__ import annotations

from typing import Any

from himbeerecouch.embedded import edits, jsontext, revisions
from himbeerecouch.embedded.api import Api
from himbeerecouch.embedded.call import Answer, Call, location
from himbeerecouch.embedded.databases import USERS, Room
from himbeerecouch.embedded.ledger import document_text
from himbeerecouch.embedded.refused import Refused, bad_request, conflict, missing, not_implemented
from himbeerecouch.embedded.revisions import Leaf

_LEFT_OUT_ARGUMENTS = ("attachments", "att_encoding_info", "atts_since", "local_seq", "deleted_conflicts", "meta")


async def serve(api: Api, call: Call, room: Room, path: list[str]) -> Answer:
    """Answer a request for a document; raises ``Refused``."""
    if path[0] in ("_design", "_local") and len(path) > 1:
        path = [f"{path[0]}/{path[1]}", *path[2:]]
    identity = path[0]
    if len(path) > 1:
        raise not_implemented("/".join(["/db", *path[:2]]) if identity.startswith("_") else "an attachment")
    if identity.startswith("_local/"):
        return await _local(call, room, identity)
    edits.check_id(identity)
    if call.is_reading:
        return _read(call, room, identity)
    if call.method == "PUT":
        return await _put(api, call, room, identity)
    if call.method == "DELETE":
        return await _delete(api, call, room, identity)
    if call.method == "POST":
        raise bad_request("Referer header required.")
    if call.method == "COPY":
        raise not_implemented("COPY")
    raise Refused(405, "method_not_allowed", "Only DELETE,GET,HEAD,POST,PUT,COPY allowed")


# --- writing ----------------------------------------------------------------------------------------------------------


async def store(
    api: Api, call: Call, room: Room, document: Any, identity: str | None = None, *, new_edits: bool = True
) -> tuple[Leaf, str]:
    """Write a document, wait until it is on the disk, and return its revision and id."""
    if room.database.name == USERS:
        document = await api.derived(document)
    draft = edits.read_draft(document, identity)
    leaf = edits.write(room, call.user, draft, new_edits=new_edits)
    await room.database.durable()
    if leaf is None:
        # A replicated revision that is known already: it is there, and that is what was wanted.
        generation, name = revisions.parse(draft.rev)
        leaf = Leaf(generation, (name,), draft.deleted, draft.text)
    return leaf, draft.id


def _with_rev(call: Call, document: Any) -> Any:
    """A revision may stand in the body, in the query string, or in ``If-Match``."""
    rev = call.arguments.get("rev") or (call.header("if-match") or "").strip('"') or None
    if rev is None or not isinstance(document, dict):
        return document
    if document.get("_rev") not in (None, rev):
        raise bad_request("Document rev from request body and query string have different values")
    return {**document, "_rev": rev}


async def _put(api: Api, call: Call, room: Room, identity: str) -> Answer:
    document = _with_rev(call, call.json())
    if isinstance(document, dict) and document.get("_id", identity) != identity:
        raise bad_request("Document ID must match the one in the URL")
    leaf, _ = await store(api, call, room, document, identity, new_edits=call.flag("new_edits", True))
    headers = {"etag": f'"{leaf.rev}"', "location": location(call, room.database.name, identity)}
    return Answer(201, {"ok": True, "id": identity, "rev": leaf.rev}, headers=headers)


async def _delete(api: Api, call: Call, room: Room, identity: str) -> Answer:
    document = _with_rev(call, {"_deleted": True})
    stored = room.database.get(identity)
    if stored is None:
        raise missing()
    if "_rev" not in document:
        if stored.leaf.deleted:
            raise missing("deleted")
        raise conflict()
    leaf, _ = await store(api, call, room, document, identity)
    return Answer(200, {"ok": True, "id": identity, "rev": leaf.rev}, headers={"etag": f'"{leaf.rev}"'})


# --- reading ----------------------------------------------------------------------------------------------------------


def _read(call: Call, room: Room, identity: str) -> Answer:
    for name in _LEFT_OUT_ARGUMENTS:
        if call.flag(name):
            raise not_implemented(f"GET /db/doc?{name}=true")
    database = room.database
    database.commit()
    leaves = database.leaves(identity)
    if not leaves:
        raise missing()
    if "open_revs" in call.arguments:
        return _open_revs(call, identity, leaves)
    rev = call.arguments.get("rev")
    leaf = leaves[0]
    if rev is not None:
        revisions.parse(rev)
        # The bodies of revisions that have been followed by others are not kept, as in CouchDB after compaction.
        found = next((leaf for leaf in leaves if leaf.rev == rev), None)
        if found is None:
            raise missing()
        leaf = found
    elif leaf.deleted:
        raise missing("deleted")
    shown = _extra(call, leaf, leaves)
    etag = f'"{leaf.rev}"'
    if not shown and call.header("if-none-match") == etag:
        return Answer(304, text="", headers={"etag": etag})
    return Answer(200, text=document_text(identity, leaf, shown) + "\n", headers={"etag": etag})


def _extra(call: Call, leaf: Leaf, leaves: list[Leaf]) -> str:
    """JSON text of the underscore fields that were asked for, with a comma before each."""
    shown: dict[str, Any] = {}
    if call.flag("revs"):
        shown["_revisions"] = {"start": leaf.generation, "ids": list(leaf.path)}
    if call.flag("revs_info"):
        states = ["deleted" if leaf.deleted else "available", *["missing"] * (len(leaf.path) - 1)]
        shown["_revs_info"] = [{"rev": rev, "status": state} for rev, state in zip(leaf.revs, states, strict=True)]
    if call.flag("conflicts"):
        others = [other.rev for other in leaves if other is not leaf and not other.deleted]
        if others:
            shown["_conflicts"] = others
    return "," + jsontext.write(shown)[1:-1] if shown else ""


def _open_revs(call: Call, identity: str, leaves: list[Leaf]) -> Answer:
    asked = call.arguments["open_revs"]
    if "application/json" not in (call.header("accept") or ""):
        raise not_implemented("open_revs as multipart/mixed; ask with Accept: application/json; that")
    if asked == "all":
        rows = [f'{{"ok":{document_text(identity, leaf, _extra(call, leaf, leaves))}}}' for leaf in leaves]
        return Answer(200, text="[" + ",".join(rows) + "]\n")
    revs = jsontext.read(asked)
    if not isinstance(revs, list):
        raise bad_request("open_revs must be a list or all")
    rows = []
    for rev in revs:
        leaf = next((leaf for leaf in leaves if leaf.rev == rev), None)
        if leaf is None:
            rows.append(jsontext.write({"missing": rev}))
        else:
            rows.append(f'{{"ok":{document_text(identity, leaf, _extra(call, leaf, leaves))}}}')
    return Answer(200, text="[" + ",".join(rows) + "]\n")


# --- local documents --------------------------------------------------------------------------------------------------


async def _local(call: Call, room: Room, identity: str) -> Answer:
    """Documents that are not replicated: ``_rev`` counts ``0-1``, ``0-2`` ..."""
    database = room.database
    database.commit()
    before = database.get_local(identity)
    rev = None if before is None else f"0-{before[0]}"
    if call.is_reading:
        if before is None:
            raise missing()
        return Answer(200, text=f'{{"_id":{jsontext.write(identity)},"_rev":"{rev}"' + _rest(before[1]) + "\n")
    if call.method == "DELETE":
        if before is None:
            raise missing()
        database.put_local(identity, 0, None)
        await database.durable()
        return Answer(200, {"ok": True, "id": identity, "rev": "0-0"})
    if call.method != "PUT":
        raise Refused(405, "method_not_allowed", "Only DELETE,GET,HEAD,PUT allowed")
    document = _with_rev(call, call.json())
    if not isinstance(document, dict):
        raise bad_request("Document must be a JSON object")
    if document.get("_rev") != rev:
        raise conflict()
    fields = {name: value for name, value in document.items() if not name.startswith("_")}
    text = jsontext.write(fields)
    jsontext.check_size(fields, text, edits.MAX_DOCUMENT_BYTES)
    generation = 1 if before is None else before[0] + 1
    database.put_local(identity, generation, text)
    await database.durable()
    return Answer(201, {"ok": True, "id": identity, "rev": f"0-{generation}"})


def _rest(body: str) -> str:
    return "}" if body == "{}" else "," + body[1:]
