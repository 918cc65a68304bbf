"""Makes the users of Pis, and takes them away: who is enrolled may log in, and nobody else.

Only a server admin may touch users.  All of it raises CouchError.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from attrs import evolve

from himbeerecouch.errors import AlreadyEnrolled, Conflict, NotAnAdmin, NotEnrolled, NotFound, NotSetUp
from himbeerecouch.fleet import names, rights
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.rights import Security, User
from himbeerecouch.model import Json

USERS = "_users"
ATTEMPTS = 3
"""A Pi that was revoked writes once more at the most."""


def user_id(mac_id: int) -> str:
    """Give the id of the document of a Pi's user."""
    return f"{rights.USER_PREFIX}{mac_id}"


def guessable(password: str) -> bool:
    """Say whether a Pi's password is that of the old formula, a hash of what is no secret."""
    return re.fullmatch("[0-9a-f]{40}", password) is not None


async def enrol(desk: Desk, mac_id: int, password: str, *, replace: bool = False) -> bool:
    """Make the user of the Pi ``mac_id``, which lets it in; True where there was none.

    A user that is there gets the password, and the role that it may lack, with ``replace`` only: AlreadyEnrolled
    otherwise.  NotSetUp, before anything is done, where the databases would not let the Pi in.
    """
    if mac_id <= 0 or not password:
        raise ValueError("a Pi is enrolled by its MacID, a number above 0, and its password")
    there = await desk.find_one(USERS, user_id(mac_id))
    known = None if there is None else rights.user(there)
    if known is not None and not replace:
        raise AlreadyEnrolled(mac_id)
    made = known or User(str(mac_id), (), {"_id": user_id(mac_id), "name": str(mac_id), "type": "user"})
    document = made.document if rights.PI in made.roles else rights.with_role(made, rights.PI)
    await _see_that_it_gets_in(desk, evolve(made, roles=tuple(document["roles"])))
    await desk.put(USERS, {**document, "password": password})
    return known is None


async def revoke(desk: Desk, mac_id: int) -> None:
    """Take the user of the Pi ``mac_id`` away: it can't log in any more.  NotEnrolled where there is none.

    NotAnAdmin for all but admins.
    """
    there = await desk.find_one(USERS, user_id(mac_id))
    if there is None:
        # CouchDB shows others' users to nobody but admins: to all else they are not there.
        who = await desk.who()
        raise NotEnrolled(mac_id) if who.is_admin else NotAnAdmin(who.name)
    await desk.delete(USERS, user_id(mac_id), there["_rev"])


async def forget(desk: Desk, mac_id: int) -> None:
    """Take away what says that there is a Pi ``mac_id``: its names, and the status and the log that it wrote."""
    await names.take(desk, mac_id)
    for database in (desk.status_database, desk.database):
        for id in (f"{mac_id}_heartbeat", f"{mac_id}_log"):
            await _take_away(desk, database, id)


async def _take_away(desk: Desk, database: str, id: str) -> None:
    for attempt in range(ATTEMPTS):
        try:
            there = await desk.find_one(database, id)
            if there is not None:
                await desk.delete(database, id, there["_rev"])
            return
        except NotFound:  # there is no such database, or somebody else was faster
            return
        except Conflict:  # the Pi has written it just now
            if attempt == ATTEMPTS - 1:
                raise


async def mark(desk: Desk) -> object:
    """Give a place in the status database: heartbeats that are written from now on come after it."""
    return (await desk.info(desk.status_database)).update_seq


async def heartbeats(desk: Desk, mac_ids: Collection[int], since: object, *, timeout_s: float) -> dict[int, Json]:
    """Wait for a heartbeat of each of these Pis after ``since``, and no longer than ``timeout_s``; give those heard."""
    wanted = {f"{mac_id}_heartbeat": mac_id for mac_id in mac_ids}
    heard: dict[int, Json] = {}
    if not wanted:
        return heard
    selector = {"_id": {"$in": sorted(wanted)}}
    async for row in desk.follow(desk.status_database, selector, since, timeout_s=timeout_s):
        if row.document is not None and row.id in wanted:
            heard[wanted[row.id]] = row.document
        if len(heard) == len(wanted):
            break
    return heard


async def _see_that_it_gets_in(desk: Desk, user: User) -> None:
    for database in (desk.database, desk.status_database):
        try:
            security = Security(await desk.ask("GET", database, "_security"))
        except NotFound as error:
            raise NotSetUp(database, "it is not there") from error
        if not security.is_member(user):
            raise NotSetUp(database, f"its _security does not let the role {rights.PI} in")
