"""The history of programs: each deployment is a document of its own, so that no code is ever gone.  Pure.

Its ``document`` is nested, and ``type`` is no MacID: the feed of no Pi matches it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from himbeerecouch import rfc3339
from himbeerecouch.model import Json

KIND = "deployment"
SOURCES = ("code", "modules", "global_modules")
"""The fields of a program document that hold its sources."""


@frozen
class Deployment:
    """One version of a program, as it was saved."""

    program: str
    """The ``_id`` of the program document."""
    rev: str
    """That document's revision."""
    mac_id: int | None
    at: str
    """When it was saved, or first seen where ``by`` is not known: RFC 3339, by the server's clock."""
    by: str | None
    """The user's name; None where nobody knows."""
    document: Json | None = field(hash=False)
    """The program document without ``_id`` and ``_rev``; None where the program was removed."""

    @property
    def id(self) -> str:
        """The ``_id`` of the document that this is kept in."""
        return document_id(self.program, self.rev)


def document_id(program_id: str, rev: str) -> str:
    """Give the ``_id`` of the document that keeps a revision of a program."""
    return f"{KIND}:{program_id}:{rev}"


def id_range(program_id: str) -> tuple[str, str]:
    """Give the first and the last ``_id`` between which all deployments of a program are."""
    return f"{KIND}:{program_id}:", f"{KIND}:{program_id}:\ufff0"


def of(document: Json, *, at: float, by: str | None) -> Deployment:
    """Give the deployment of a program document that has its ``_id`` and ``_rev``; ``at`` is Unix time."""
    return Deployment(
        document["_id"], document["_rev"], mac_id_of(document), rfc3339.render(at), by, contents(document)
    )


def removal(document: Json, rev: str, *, at: float, by: str | None) -> Deployment:
    """Give what says that a program was removed, which made the revision ``rev``."""
    return Deployment(document["_id"], rev, mac_id_of(document), rfc3339.render(at), by, None)


def render(deployment: Deployment) -> Json:
    """Give the document that keeps it."""
    document = {
        "_id": deployment.id,
        "type": KIND,
        "program": deployment.program,
        "rev": deployment.rev,
        "mac_id": deployment.mac_id,
        "at": deployment.at,
        "by": deployment.by,
        "document": deployment.document,
    }
    return document if deployment.document is not None else {**document, "removed": True}


def read(document: Json) -> Deployment | None:
    """Give the deployment that a document keeps; None where it keeps none."""
    program, rev, at, by = (document.get(key) for key in ("program", "rev", "at", "by"))
    mac_id, inner = document.get("mac_id"), document.get("document")
    if document.get("type") != KIND or not (isinstance(program, str) and isinstance(rev, str)):
        return None
    return Deployment(
        program,
        rev,
        mac_id if isinstance(mac_id, int) and not isinstance(mac_id, bool) else None,
        at if isinstance(at, str) else "",
        by if isinstance(by, str) else None,
        inner if isinstance(inner, dict) else None,
    )


def history(documents: Iterable[Json], program_id: str) -> list[Deployment]:
    """Give the deployments of a program, newest first, out of what lies in ``id_range``."""
    found = [deployment for deployment in map(read, documents) if deployment and deployment.program == program_id]
    return sorted(found, key=lambda one: (generation(one.rev), one.at, one.rev), reverse=True)


def generation(rev: str) -> int:
    """Give the number before the dash of a revision; 0 where there is none."""
    number = rev.partition("-")[0]
    return int(number) if number.isdecimal() and len(number) < 16 else 0


# --- documents --------------------------------------------------------------------------------------------------------


def contents(document: Mapping[str, object]) -> Json:
    """Give what a document says, without what CouchDB says of it."""
    return {key: value for key, value in document.items() if not key.startswith("_")}


def mac_id_of(document: Mapping[str, object]) -> int | None:
    """Give the Pi that a program document is for; None where it is for none."""
    kind = document.get("type")
    if isinstance(kind, str) and kind.isascii() and kind.isdecimal() and len(kind) <= 20:
        return int(kind)
    return kind if isinstance(kind, int) and not isinstance(kind, bool) else None


def with_sources(document: Json, sources: Json) -> Json:
    """Give ``document`` with the sources of another one in place of its own; all else of it stays."""
    kept = {key: value for key, value in document.items() if key not in SOURCES}
    return kept | {key: sources[key] for key in SOURCES if key in sources}


def rolled_back(now: Json | None, to: Json) -> Json:
    """Give the document that brings ``to`` back, in place of ``now``; None: it was removed.

    Whom it is for, and whether it is stopped, stays as it is.
    """
    staying = {"type", "stopped"} if now is not None else {"stopped"}
    kept = {} if now is None else {key: value for key, value in now.items() if key in staying or key.startswith("_")}
    return {key: value for key, value in to.items() if key not in staying} | kept


def previous(newest_first: Sequence[Deployment], now: Json | None) -> Deployment | None:
    """Give the newest version that says something else than ``now`` does; None where there is none."""
    if now is None:
        return next((one for one in newest_first if one.document is not None), None)
    said = contents(now)
    return next((one for one in newest_first if one.document and rolled_back(said, one.document) != said), None)


def matching(newest_first: Sequence[Deployment], rev: str) -> list[Deployment]:
    """Give the versions that ``rev`` may mean: a revision, the beginning of one, or its number."""
    exact = [one for one in newest_first if rev == one.rev or rev == one.rev.partition("-")[0]]
    return exact or [one for one in newest_first if one.rev.startswith(rev)]


# --- differences ------------------------------------------------------------------------------------------------------


def difference(before: Json, after: Json, labels: tuple[str, str] = ("before", "after")) -> list[str]:
    """Give how two program documents differ, in the lines of a unified diff; none where they say the same."""
    old, new = _parts(before), _parts(after)
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        was, now = (f"{label}/{name}" for label in labels)
        lines += difflib.unified_diff(old.get(name, []), new.get(name, []), was, now, lineterm="")
    return lines


def _parts(document: Json) -> dict[str, list[str]]:
    """The lines of a document by what they would be called as files; its fields are one of them."""
    fields = {key: value for key, value in contents(document).items() if key not in SOURCES}
    parts = {"fields": [f"{key}: {json.dumps(value, sort_keys=True)}" for key, value in sorted(fields.items())]}
    for key, name in (("modules", "{}.py"), ("global_modules", "global/{}.py")):
        sources = document.get(key)
        if isinstance(sources, dict):
            parts |= {name.format(module): _lines(source) for module, source in sources.items()}
    return parts if document.get("code") is None else parts | {"main.py": _lines(document["code"])}


def _lines(source: object) -> list[str]:
    text = source if isinstance(source, str) else json.dumps(source)
    lines = text.split("\n")
    return lines[:-1] if not lines[-1] else [*lines[:-1], f"{lines[-1]} (no newline at the end)"]
