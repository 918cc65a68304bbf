"""How people call a Pi: by its MacID, by its MAC address, or by a name that somebody gave it.

A name is a document ``name:<name>``: two Pis can't bear the same, by CouchDB's own rule.
"""

from __future__ import annotations

import difflib
import re

from himbeerecouch.errors import Conflict, NameTaken, UnknownPi
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.model import Json

_PREFIX = "name:"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(?:\1[0-9a-fA-F]{2}){4}")
_NUMBER = re.compile(r"[0-9]{1,20}")


def mac_id(text: str) -> int | None:
    """Read a MacID as it is written: in decimal, or as a MAC address with colons or dashes; None for anything else."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return int(text) or None
    if _MAC.fullmatch(text):
        return int(re.sub("[:-]", "", text), 16) or None
    return None


def is_name(text: str) -> bool:
    """Whether a Pi may bear this name; ``clean`` it first."""
    return bool(_NAME.fullmatch(text)) and not text.isdigit() and not _MAC.fullmatch(text)


def clean(text: str) -> str:
    """Give a name as it is stored: case and blanks around it don't count."""
    return text.strip().lower()


def document_id(name: str) -> str:
    """Give the id of the document that says whose name this is."""
    return _PREFIX + name


def document(name: str, mac_id: int) -> Json:
    """Give the document by which the Pi ``mac_id`` is called ``name``."""
    return {"_id": document_id(name), "type": "name", "mac_id": mac_id}


async def all_names(desk: Desk) -> dict[str, int]:
    """Give every name that is in use, in order, and the MacID of the Pi that bears it.  Raises CouchError."""
    rows = await desk.all_docs(desk.database, start=_PREFIX, end=_PREFIX + "\ufff0")
    documents = [row["doc"] for row in rows if isinstance(row.get("doc"), dict)]
    return {
        str(found["_id"]).removeprefix(_PREFIX): found["mac_id"] for found in documents if _mac_id_in(found) is not None
    }


async def resolve(desk: Desk, text: str) -> int:
    """Give the MacID of the Pi that is called ``text``; only a name is looked up.

    Raises UnknownPi, with names that are near, and CouchError.
    """
    number = mac_id(text)
    if number is not None:
        return number
    name = clean(text)
    if is_name(name):
        found = _mac_id_in(await desk.find_one(desk.database, document_id(name)) or {})
        if found is not None:
            return found
    raise UnknownPi(text, difflib.get_close_matches(name, await all_names(desk), n=3))


async def give(desk: Desk, mac_id: int, name: str) -> None:
    """Call the Pi ``mac_id`` by this name, and by no other.  NameTaken where another Pi has it; CouchError."""
    try:
        await desk.put(desk.database, document(name, mac_id))
    except Conflict:
        there = await desk.get(desk.database, document_id(name))
        if _mac_id_in(there) != mac_id:
            if _mac_id_in(there) is not None:
                raise NameTaken(name, there["mac_id"]) from None
            await desk.put(desk.database, {**document(name, mac_id), "_rev": there["_rev"]})
    await take(desk, mac_id, but=name)


async def take(desk: Desk, mac_id: int, *, but: str | None = None) -> list[str]:
    """Take all names but one away from the Pi ``mac_id``, and give those.  Raises CouchError."""
    taken = [name for name, owner in (await all_names(desk)).items() if owner == mac_id and name != but]
    for name in taken:
        found = await desk.find_one(desk.database, document_id(name))
        if found is not None and _mac_id_in(found) == mac_id:
            await desk.delete(desk.database, document_id(name), found["_rev"])
    return taken


def _mac_id_in(found: Json) -> int | None:
    number = found.get("mac_id")
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None
