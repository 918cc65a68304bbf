"""What ran last, as files: one for each document, with its program and the global modules of it that counted.  Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from attrs import frozen

from himbeerecouch import documents
from himbeerecouch.errors import DocumentError
from himbeerecouch.model import Exports, GlobalModule, Json, Program

PREFIX = "kept-"
SUFFIX = ".json"


@frozen
class Entry:
    """What one file holds; a part is None where the document has nothing of it."""

    program: Program | None = None
    exports: Exports | None = None
    """The global modules as they counted, which are not those of the document where these do not compile."""


def file_name(id: str) -> str:
    """The name of the file for the document ``id``, whatever characters that has."""
    return f"{PREFIX}{hashlib.sha256(id.encode(errors='surrogatepass')).hexdigest()[:32]}{SUFFIX}"


def is_file_name(name: str) -> bool:
    """Whether a file of this name is one of ours: not one that was set aside, nor one that was never finished."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


def entries(programs: Iterable[Program], global_modules: Iterable[GlobalModule]) -> dict[str, Entry]:
    """All that is to be kept, by file name.  Not what has to wait for the server anyway."""
    exported: dict[str, list[GlobalModule]] = {}
    for module in global_modules:
        exported.setdefault(module.document_id, []).append(module)
    kept = {program.id: program for program in programs if program.offline}
    return {file_name(id): Entry(kept.get(id), _exports(id, exported.get(id))) for id in kept.keys() | exported.keys()}


def _exports(id: str, modules: list[GlobalModule] | None) -> Exports | None:
    if modules is None:
        return None
    return Exports(id, modules[0].rev, {module.name: module.source for module in modules})


# --- bytes ------------------------------------------------------------------------------------------------------------


def render(entry: Entry) -> bytes:
    """The content of the file: the digest of the rest on a line of its own, then JSON."""
    exports = entry.exports and {"_id": entry.exports.id, "rev": entry.exports.rev, "modules": entry.exports.modules}
    content = json.dumps({"program": entry.program and entry.program.body, "exports": exports}).encode("ascii")
    return hashlib.sha256(content).hexdigest().encode("ascii") + b"\n" + content


def parse(data: bytes, mac_id: int, *, max_source_bytes: int) -> Entry | None:
    """What ``render`` made; None for anything else, such as a file that a dying card has changed.

    What this Pi would not take over as it is set up now is left out of it.
    """
    digest, _, content = data.partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode("ascii") != digest:
        return None
    try:
        values: Mapping[str, Json | None] = json.loads(content)
        document, exports = values["program"], values["exports"]
        return Entry(
            None if document is None else _program(document, mac_id, max_source_bytes),
            None if exports is None else Exports(exports["_id"], exports["rev"], dict(exports["modules"])),
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):  # by another version of this program
        return None


def _program(document: Json, mac_id: int, max_source_bytes: int) -> Program | None:
    try:
        return documents.read(document, mac_id, max_source_bytes=max_source_bytes).program
    except DocumentError:
        return None
