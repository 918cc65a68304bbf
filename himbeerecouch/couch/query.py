"""Which documents a Pi asks CouchDB for: the selectors, and the indexes that make them quick.  Pure.

What bears a ``ret`` is left out everywhere: an answered command is never read again, so years of them cost nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import field, frozen

from himbeerecouch.model import Json

DESIGN_DOCUMENT = "himbeerecouch"
BY_TYPE = "by-type"
GLOBAL_MODULES = "global-modules"

_UNANSWERED: Json = {"ret": {"$exists": False}}

INDEXES: Mapping[str, Json] = {
    name: {
        "ddoc": DESIGN_DOCUMENT,
        "name": name,
        "type": "json",
        "index": {"fields": [indexed], "partial_filter_selector": _UNANSWERED},
    }
    for name, indexed in ((BY_TYPE, "type"), (GLOBAL_MODULES, "global_modules"))
}
"""Index name -> the body of ``POST /db/_index`` that makes it."""


@frozen
class Query:
    """One ``_find`` of the snapshot."""

    selector: Json = field(hash=False)
    use_index: tuple[str, str]
    """Design document and index name: CouchDB never picks a partial index by itself."""


def snapshot(mac_id: int) -> tuple[Query, ...]:
    """Give the queries that find all documents for this Pi, and all that have global modules.

    One query for each value of ``type``: CouchDB answers ``$or`` and ``$in`` by reading the whole database.
    """
    by_type = tuple(
        Query({"type": {"$eq": value}, **_UNANSWERED}, (DESIGN_DOCUMENT, BY_TYPE)) for value in _types(mac_id)
    )
    return (*by_type, Query({"global_modules": {"$exists": True}, **_UNANSWERED}, (DESIGN_DOCUMENT, GLOBAL_MODULES)))


def feed(mac_id: int, ids_in_use: Collection[str]) -> Json:
    """Give the selector that the feed is filtered by.

    Without the ids in use, a document that is handed to another Pi or is deleted would never be reported.
    """
    return {
        "$or": [
            {"type": {"$in": _types(mac_id)}, **_UNANSWERED},
            {"global_modules": {"$exists": True}, **_UNANSWERED},
            {"_id": {"$in": sorted(ids_in_use)}},
        ]
    }


def _types(mac_id: int) -> list[int | str]:
    """Every ``type`` that is addressed to the Pi: programs, commands, and who looks at its log."""
    return [mac_id, str(mac_id), f"{mac_id}_cmd", f"{mac_id}_watch"]
