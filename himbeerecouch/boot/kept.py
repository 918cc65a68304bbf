"""What ran last, as files: one for each document, with its program and the global modules of it that counted.  Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable

from attrs import evolve, frozen

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
    good: Program | None = None
    """Where the program may be rolled back: the last revision known to have run for long, perhaps the same."""


def file_name(id: str) -> str:
    """The name of the file for the document ``id``, whatever characters that has."""
    return f"{PREFIX}{hashlib.sha256(id.encode(errors='surrogatepass')).hexdigest()[:32]}{SUFFIX}"


def is_file_name(name: str) -> bool:
    """Whether a file of this name is one of ours: not one that was set aside, nor one that was never finished."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


def entries(
    programs: Iterable[Program], global_modules: Iterable[GlobalModule], good: Callable[[str], Program | None]
) -> dict[str, Entry]:
    """All that is to be kept, by file name; ``good`` tells of an id the last revision known to have run for long.

    Not what has to wait for the server anyway.
    """
    exported: dict[str, list[GlobalModule]] = {}
    for module in global_modules:
        exported.setdefault(module.document_id, []).append(module)
    kept = {program.id: program for program in programs if program.offline}
    return {
        file_name(id): with_good(Entry(kept.get(id), _exports(id, exported.get(id))), good(id))
        for id in kept.keys() | exported.keys()
    }


def with_good(entry: Entry, good: Program | None) -> Entry:
    """Return ``entry`` with the revision to go back to, where that is of use."""
    return evolve(entry, good=good if entry.program is not None and entry.program.rollback else None)


def _exports(id: str, modules: list[GlobalModule] | None) -> Exports | None:
    if modules is None:
        return None
    return Exports(id, modules[0].rev, {module.name: module.source for module in modules})


# --- bytes ------------------------------------------------------------------------------------------------------------


def render(entry: Entry) -> bytes:
    """The content of the file: the digest of the rest on a line of its own, then JSON."""
    exports = entry.exports and {"_id": entry.exports.id, "rev": entry.exports.rev, "modules": entry.exports.modules}
    good = entry.good and (entry.good == entry.program or entry.good.body)
    program = entry.program and entry.program.body
    content = json.dumps({"program": program, "exports": exports, "good": good}).encode("ascii")
    return hashlib.sha256(content).hexdigest().encode("ascii") + b"\n" + content


def parse(data: bytes, mac_id: int, *, max_source_bytes: int) -> Entry | None:
    """What ``render`` made; None for anything else, such as a file that a dying card has changed.

    What this Pi would not take over as it is set up now is left out of it.
    """
    digest, _, content = data.partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode("ascii") != digest:
        return None
    try:
        values = json.loads(content)
        document, exports, good = values["program"], values["exports"], values["good"]
        program = _program(document, mac_id, max_source_bytes)
        return Entry(
            program,
            None if exports is None else Exports(exports["_id"], exports["rev"], dict(exports["modules"])),
            program if good is True else _program(good, mac_id, max_source_bytes),
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):  # by another version of this program
        return None


def _program(document: Json | None, mac_id: int, max_source_bytes: int) -> Program | None:
    if document is None:
        return None
    try:
        return documents.read(document, mac_id, max_source_bytes=max_source_bytes).program
    except DocumentError:
        return None
