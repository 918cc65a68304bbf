"""The guard: the design document by which CouchDB itself refuses what somebody may not write."""

from __future__ import annotations

import enum
from importlib.resources import files

from himbeerecouch.model import Json

DESIGN_DOCUMENT = "_design/himbeerecouch_guard"
VERSION = 1
"""Counts up with each change of the rules: nobody puts an older guard in the place of a newer one."""


class Place(enum.Enum):
    """Which rules hold for a Pi."""

    PROGRAMS = "programs"
    """It answers commands."""
    STATUS = "status"
    """It writes its heartbeat and its log."""


def source(place: Place) -> str:
    """The JavaScript as it is stored in that database."""
    text = (files("himbeerecouch.fleet") / "guard.js").read_text(encoding="utf-8")
    return text.replace('var place = "programs";', f'var place = "{place.value}";').strip()


def design_document(place: Place) -> Json:
    """The design document, without a revision."""
    return {
        "_id": DESIGN_DOCUMENT,
        "language": "javascript",
        "version": VERSION,
        "validate_doc_update": source(place),
    }
