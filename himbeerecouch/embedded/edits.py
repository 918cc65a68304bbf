"""Writing documents: what a body may hold, who may write it, and what becomes of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from himbeerecouch.embedded import jsontext, passwords, revisions
from himbeerecouch.embedded.databases import USERS, Room
from himbeerecouch.embedded.indexes import read_design
from himbeerecouch.embedded.refused import Refused, bad_request, not_implemented
from himbeerecouch.embedded.revisions import Leaf
from himbeerecouch.embedded.security import User, need_database_admin
from himbeerecouch.embedded.validate import compile_guard

MAX_DOCUMENT_BYTES = 8_000_000
"""CouchDB's ``max_document_size``."""

_SHOWN_ONLY = {"_revisions", "_revs_info", "_conflicts", "_deleted_conflicts", "_local_seq"}


@frozen
class Draft:
    """A document that somebody wants to write."""

    id: str
    rev: str | None
    deleted: bool
    fields: Mapping[str, Any]
    """Without the underscore fields."""
    text: str
    """The same as JSON."""
    revisions: Any = None


def check_id(identity: Any) -> str:
    """Return a document's id; ``Refused`` (400) where it can't be one."""
    if not isinstance(identity, str):
        raise Refused(400, "illegal_docid", "Document id must be a string")
    if not identity:
        raise Refused(400, "illegal_docid", "Document id must not be empty")
    if identity.startswith("_") and not (identity.startswith("_design/") and len(identity) > len("_design/")):
        raise Refused(400, "illegal_docid", "Only reserved document ids may start with underscore.")
    try:
        identity.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(400, "illegal_docid", "Document id must be valid UTF-8") from None
    return identity


def read_draft(document: Any, identity: str | None = None, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Draft:
    """Take a document apart; ``identity`` is that of the URL and goes before ``_id``."""
    if not isinstance(document, dict):
        raise bad_request("Document must be a JSON object")
    identity = check_id(document.get("_id") if identity is None else identity)
    fields = {}
    for name, value in document.items():
        if not name.startswith("_"):
            fields[name] = value
        elif name == "_attachments":
            if value:
                raise not_implemented("_attachments")
        elif name not in ("_id", "_rev", "_deleted") and name not in _SHOWN_ONLY:
            raise Refused(400, "doc_validation", f"Bad special document member: {name}")
    rev = document.get("_rev")
    if rev is not None:
        revisions.parse(rev)
    text = jsontext.write(fields)
    jsontext.check_size({"_id": identity, **fields}, text, max_bytes)
    return Draft(identity, rev, document.get("_deleted") is True, fields, text, document.get("_revisions"))


def write(room: Room, user: User, draft: Draft, *, new_edits: bool = True) -> Leaf | None:
    """Store a document and return its new revision; None where a replicated one was known already.

    The caller waits for ``room.database.durable()`` before it says so.  Raises ``Refused``.
    """
    database = room.database
    leaves = database.leaves(draft.id)
    parent: Leaf | None
    if new_edits:
        new, after = revisions.edit(leaves, draft.rev, draft.deleted, draft.text)
        parent = next((leaf for leaf in leaves if draft.rev is not None and leaf.rev == draft.rev), None)
    else:
        if draft.rev is None:
            raise bad_request("When `new_edits: false`, the document needs a `_rev`.")
        generation, path = revisions.foreign_path(draft.rev, draft.revisions)
        new = Leaf(generation, path, draft.deleted, draft.text)
        merged = revisions.merge(leaves, new)
        if merged is None:
            return None
        after = merged
        parent = next((leaf for leaf in leaves if leaf.rev in new.revs), None)
    _permit(room, user, draft, new, parent)
    winner = after[0]
    fields = draft.fields if winner is new else jsontext.read(winner.body)
    try:
        database.put(draft.id, after, fields)
    except sqlite3.Error as error:
        database.abandon(error)
        raise Refused(500, "internal_server_error", f"could not be written: {error}") from error
    except Exception as error:
        database.abandon(error)  # half a write must not be committed with the next one
        raise
    return new


def _permit(room: Room, user: User, draft: Draft, new: Leaf, parent: Leaf | None) -> None:
    """Raise ``Refused`` where this user may not write this document here."""
    security = room.database.security
    if draft.id.startswith("_design/"):
        need_database_admin(user, security)
        _check_design(draft)
        return
    whole = _whole(draft.id, new, draft.fields)
    before = None if parent is None else _whole(draft.id, parent, jsontext.read(parent.body))
    if room.database.name == USERS:
        passwords.check_user(draft.id, whole, before, user.is_admin)
    if room.database.guards:
        room.guards.check(room.database.guards, whole, before, user.context(room.database.name), security)


def _whole(identity: str, leaf: Leaf, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"_id": identity, "_rev": leaf.rev, **({"_deleted": True} if leaf.deleted else {}), **fields}


def _check_design(draft: Draft) -> None:
    """Refuse a design document that would be taken and then not work."""
    if draft.deleted:
        return
    if "validate_doc_update" in draft.fields:
        compile_guard(draft.fields["validate_doc_update"])
    list(read_design(draft.id, draft.fields))
