"""Reads from the status database how the Pis are, and what their programs print.

All of it runs on the reactor's thread, and raises CouchError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from himbeerecouch.errors import NotFound
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.names import all_names
from himbeerecouch.fleet.roster import PiStatus, Presence, roster, unseen
from himbeerecouch.model import Json

_ENDING = "_heartbeat"
HEARTBEATS: Json = {"type": "heartbeat"}
"""The selector of the feed of the status database."""


def document_id(mac_id: int) -> str:
    """The ``_id`` of a Pi's heartbeat."""
    return f"{mac_id}{_ENDING}"


async def all_heartbeats(desk: Desk) -> list[Json]:
    """Give every heartbeat that there is; of some Pis two, where they have moved from one database to the other."""
    try:
        rows = await desk.all_docs(desk.status_database, include_docs=False)
    except NotFound:
        # Without a status database the heartbeats are in the one of the programs.
        return await desk.find(desk.database, HEARTBEATS)
    ids = [str(row.get("id")) for row in rows if str(row.get("id")).endswith(_ENDING)]
    return await _documents(desk, desk.status_database, ids)


async def fleet(desk: Desk) -> list[PiStatus]:
    """Give how all Pis are, what needs attention first, by the server's clock."""
    names = await all_names(desk)
    heartbeats = await all_heartbeats(desk)
    return await complete(desk, heartbeats, names)


async def complete(desk: Desk, heartbeats: Sequence[Json], names: Mapping[str, int]) -> list[PiStatus]:
    """Give how all Pis are by these heartbeats, and look elsewhere for those that seem to be gone."""
    found = roster(heartbeats, names, desk.server_time())
    gone = [document_id(pi.mac_id) for pi in found if pi.presence in (Presence.OFFLINE, Presence.UNSEEN)]
    # One that may not write to the status database writes here.
    elsewhere = await _documents(desk, desk.database, gone)
    return roster([*heartbeats, *elsewhere], names, desk.server_time()) if elsewhere else found


async def one(desk: Desk, mac_id: int) -> PiStatus:
    """Give how one Pi is, without its names; its presence is UNSEEN where it has never told."""
    try:
        own = await desk.find_one(desk.status_database, document_id(mac_id))
    except NotFound:
        own = None  # without a status database it is in the one of the programs
    heartbeats = [own, await desk.find_one(desk.database, document_id(mac_id))]
    found = roster([each for each in heartbeats if each is not None], {}, desk.server_time())
    return found[0] if found else unseen(mac_id, ())


async def one_with_names(desk: Desk, mac_id: int) -> PiStatus:
    """The same, with its names."""
    names = await all_names(desk)
    return evolve(await one(desk, mac_id), names=tuple(name for name, bearer in names.items() if bearer == mac_id))


async def _documents(desk: Desk, database: str, ids: Sequence[str]) -> list[Json]:
    rows = await desk.all_docs(database, keys=ids) if ids else []
    return [row["doc"] for row in rows if isinstance(row.get("doc"), dict)]
