"""Makes a server ready for a fleet: its databases, indexes and roles, and the guard; and looks at what is there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from attrs import evolve, frozen

from himbeerecouch import documents
from himbeerecouch.couch import query
from himbeerecouch.errors import AnswerTooLarge, Conflict, DocumentError, HimbeerecouchError, NotAnAdmin, NotFound
from himbeerecouch.fleet import guard, rights, syntax
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.findings import Database, Facts, GuardState
from himbeerecouch.fleet.guard import Place
from himbeerecouch.fleet.rights import NEW, OPERATOR, PI, Security, User
from himbeerecouch.model import Json

USERS = "_users"
MAX_SOURCE_BYTES = 1024 * 1024
"""As the daemon has it where nobody says otherwise."""
CHUNK = 50
"""Documents with sources that are read and compiled at a time."""
_WITH_SOURCES: Json = {"$or": [{name: {"$exists": True}} for name in ("code", "modules", "global_modules")]}

Say = Callable[[str], None]


# --- looking ----------------------------------------------------------------------------------------------------------


async def look(desk: Desk) -> Facts:
    """Read what there is, but for the programs.  Changes nothing.  Raises NotAnAdmin and CouchError."""
    who = await desk.who()
    if not who.is_admin:
        raise NotAnAdmin(who.name)
    return Facts(
        url=desk.url,
        programs=await _database(desk, desk.database, Place.PROGRAMS),
        status=await _database(desk, desk.status_database, Place.STATUS),
        users=await _users(desk),
    )


async def _database(desk: Desk, name: str, place: Place) -> Database:
    try:
        await desk.info(name)
    except NotFound:
        return Database(name)
    security = Security(await desk.ask("GET", name, "_security"))
    missing = await _missing_indexes(desk, name) if place is Place.PROGRAMS else ()
    return Database(name, security, _state(await desk.find_one(name, guard.DESIGN_DOCUMENT), place), missing)


def _state(found: Json | None, place: Place) -> GuardState:
    """What kind of guard a design document is."""
    if found is None:
        return GuardState.NONE
    version = found.get("version")
    if isinstance(version, int) and version > guard.VERSION:
        return GuardState.NEWER
    same = found.get("validate_doc_update") == guard.source(place)
    return GuardState.OURS if same else GuardState.OTHER


async def _missing_indexes(desk: Desk, name: str) -> tuple[str, ...]:
    answer = await desk.ask("GET", name, "_index")
    there = {(index.get("ddoc"), index.get("name")) for index in answer.get("indexes", [])}
    return tuple(index for index in query.INDEXES if (f"_design/{query.DESIGN_DOCUMENT}", index) not in there)


async def _users(desk: Desk) -> tuple[User, ...] | None:
    try:
        rows = await desk.all_docs(USERS, start=rights.USER_PREFIX, end=rights.USER_PREFIX + "\ufff0")
    except NotFound:
        return None
    found = (rights.user(row["doc"]) for row in rows if isinstance(row.get("doc"), dict))
    return tuple(user for user in found if user is not None)


# --- the programs -----------------------------------------------------------------------------------------------------


@frozen
class _Source:
    """One module of one document."""

    where: str
    text: str


async def with_complaints(desk: Desk, reactor: Any, facts: Facts) -> Facts:
    """Compile every program of the database, and add what a Pi, or its Python, would not take.  Raises CouchError."""
    if facts.programs.security is None:
        return facts
    ids = sorted(str(row["_id"]) for row in await desk.find(desk.database, _WITH_SOURCES, fields=["_id"]))
    found: list[str] = []
    while ids:
        part, ids = ids[:CHUNK], ids[CHUNK:]
        found += await _of_part(desk, reactor, part)
    return evolve(facts, complaints=tuple(found))


async def _of_part(desk: Desk, reactor: Any, ids: list[str]) -> list[str]:
    try:
        rows = await desk.all_docs(desk.database, keys=ids)
    except AnswerTooLarge as error:
        if len(ids) == 1:
            return [f"document {documents.printable(ids[0])!r}: {error.reason}"]
        half = len(ids) // 2
        return [*await _of_part(desk, reactor, ids[:half]), *await _of_part(desk, reactor, ids[half:])]
    found: list[str] = []
    sources: list[_Source] = []
    for row in rows:
        try:
            sources += _sources(row["doc"]) if isinstance(row.get("doc"), dict) else ()
        except DocumentError as error:
            found.append(str(error))
    answers = await syntax.check(reactor, [source.text for source in sources])
    return found + [
        f"{source.where}: {answer}" for source, answer in zip(sources, answers, strict=True) if answer is not None
    ]


def _sources(document: Json) -> Iterator[_Source]:
    """The modules of a document for any Pi; nothing where it is for none.  Raises DocumentError."""
    kind = document.get("type")
    number = int(kind) if isinstance(kind, str) and rights.is_pi(kind) else kind
    mac_id = number if isinstance(number, int) and not isinstance(number, bool) else 0
    reading = documents.read(document, mac_id, max_source_bytes=MAX_SOURCE_BYTES)
    name = f"document {documents.printable(document['_id'])!r}" + (f" for the Pi {mac_id}" if reading.program else "")
    for part, word in ((reading.program, "module"), (reading.exports, "global module")):
        for module, text in part.modules.items() if part is not None else ():
            yield _Source(f"{name}, {word} {module}", text)


# --- making -----------------------------------------------------------------------------------------------------------


def check_operators(facts: Facts, operators: Collection[str]) -> None:
    """Raise HimbeerecouchError where one of them can't be given the role of an operator."""
    people = {user.name for user in facts.people}
    for name in operators:
        if rights.is_pi(name):
            raise HimbeerecouchError(f"{name} can't be an operator: a user whose name is a number is a Raspberry Pi")
        if name not in people:
            raise HimbeerecouchError(f"{name} can't be an operator: the server has no user of that name")


async def prepare(desk: Desk, facts: Facts, operators: Collection[str], say: Callable[[str], None]) -> None:
    """Make all that ``facts`` lack, and say each thing once it is done; nothing is said where nothing was to be done.

    ``operators`` are given the role, before the guard holds up whoever lacks it.  A public database stays public.
    Raises HimbeerecouchError before anything is changed where an operator is no user, and CouchError.
    """
    check_operators(facts, operators)
    if facts.users is None:
        await desk.ask("PUT", USERS)
        say(f"created the database {USERS}, without which nobody can log in")
    programs = await _open(desk, facts.programs, NEW, say)
    # Whoever gets at the programs is to get at the status as well: above all, Pis that were let in by name.
    status = await _open(desk, facts.status, programs.opened_to((OPERATOR, PI)), say)
    for index, body in query.INDEXES.items():
        answer = await desk.ask("POST", desk.database, "_index", body=body, timeout_s=300.0)
        if answer.get("result") == "created":
            say(f"{desk.database}: made the index {index}")
    named = {user.name: user for user in facts.users or ()}
    for name in sorted(operators):
        await _give(desk, named[name], OPERATOR, say)
    opened = evolve(
        facts, programs=evolve(facts.programs, security=programs), status=evolve(facts.status, security=status)
    )
    for pi in opened.half_members:
        await _give(desk, pi, PI, say)
    for database, place in ((facts.programs, Place.PROGRAMS), (facts.status, Place.STATUS)):
        await _guard(desk, database.name, place, say)


async def _open(desk: Desk, database: Database, new: Security, say: Say) -> Security:
    """Create a database, or let the roles into it; give its rights."""
    name, security = database.name, database.security
    if security is None:
        try:
            await desk.ask("PUT", name)
        except Conflict:
            security = Security(await desk.ask("GET", name, "_security"))
        else:
            await desk.ask("PUT", name, "_security", body=new.document)
            say(f"created the database {name}")
            return new
    opened = security.opened_to((OPERATOR, PI))
    if opened is not security:
        await desk.ask("PUT", name, "_security", body=opened.document)
        say(f"{name}: let in {' and '.join(security.lacks((OPERATOR, PI)))}; whoever got in before still does")
    return opened


async def _give(desk: Desk, user: User, role: str, say: Say) -> None:
    if role in user.roles:
        return
    try:
        await desk.put(USERS, rights.with_role(user, role))
    except Conflict:
        # A Pi may have given itself another password just now.
        fresh = rights.user(await desk.get(USERS, f"{rights.USER_PREFIX}{user.name}"))
        if fresh is None:
            raise
        if role in fresh.roles:
            return
        await desk.put(USERS, rights.with_role(fresh, role))
    say(f"gave {user.name} the role {role}")


async def _guard(desk: Desk, name: str, place: Place, say: Say) -> None:
    found = await desk.find_one(name, guard.DESIGN_DOCUMENT)
    state = _state(found, place)
    if state in (GuardState.OURS, GuardState.NEWER):
        return
    rev = {} if found is None else {"_rev": found["_rev"]}
    await desk.put(name, {**guard.design_document(place), **rev})
    say(f"{name}: {'put up' if found is None else 'renewed'} the guard")
