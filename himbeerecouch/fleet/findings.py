"""What is open, missing or broken in a server's databases, in words for its admin.  Pure."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from attrs import frozen

from himbeerecouch.fleet import rights
from himbeerecouch.fleet.rights import OPERATOR, PI, Security, User

SHOWN = 20
"""Names in one line."""


class Kind(enum.Enum):
    """What a finding is to an admin."""

    OPEN = "open"
    """Somebody could do what he should not."""
    MISSING = "missing"
    """Something is not there that should be."""
    BROKEN = "broken"
    """A program that does not compile, or a document that makes no sense."""
    NOTE = "note"
    """Worth knowing, and right as it is."""


@frozen
class Finding:
    """One of them."""

    kind: Kind
    text: str


class GuardState(enum.Enum):
    """Which guard a database has."""

    NONE = "none"
    OURS = "ours"
    OTHER = "other"
    """An older one, or one that somebody has edited."""
    NEWER = "newer"


@frozen
class Database:
    """What there is of one database."""

    name: str
    security: Security | None = None
    """None: the database is not there."""
    guard: GuardState = GuardState.NONE
    missing_indexes: tuple[str, ...] = ()


@frozen
class Facts:
    """All that is looked at."""

    url: str
    programs: Database
    status: Database
    users: tuple[User, ...] | None = ()
    """None: the server has no database of its users."""
    complaints: tuple[str, ...] = ()
    """About programs and documents."""

    @property
    def people(self) -> list[User]:
        """The users that are no Pis."""
        return [user for user in self.users or () if not user.is_pi]

    @property
    def pis(self) -> list[User]:
        """The users that are Pis."""
        return [user for user in self.users or () if user.is_pi]

    @property
    def writers_to_be_locked_out(self) -> list[str]:
        """The people who can write anything now, and could only read once both databases had their guard."""
        found: set[str] = set()
        for database in (self.programs, self.status):
            if database.security is not None and database.guard is GuardState.NONE:
                found |= {user.name for user in rights.locked_out(self.people, database.security)}
        return sorted(found)

    @property
    def open_to_strangers(self) -> bool:
        """Whether who is not even logged in can write."""
        return any(
            database.security is not None and database.security.is_public and database.guard is GuardState.NONE
            for database in (self.programs, self.status)
        )

    @property
    def half_members(self) -> list[User]:
        """The Pis that get into the database of the programs, and not into that of the status."""
        programs, status = self.programs.security, self.status.security
        if programs is None or status is None:
            return []
        return [pi for pi in self.pis if programs.is_member(pi) and not status.is_member(pi)]


def findings(facts: Facts) -> list[Finding]:
    """Give all of them, what is worst first."""
    found = [*_server(facts), *_database(facts.programs), *_database(facts.status), *_pis(facts), *_people(facts)]
    found += [Finding(Kind.BROKEN, text) for text in facts.complaints]
    order = list(Kind)
    return sorted(found, key=lambda finding: order.index(finding.kind))


def _server(facts: Facts) -> Iterator[Finding]:
    parts = urlsplit(facts.url)
    if parts.scheme == "http" and not _is_here(parts.hostname or ""):
        yield Finding(
            Kind.OPEN, f"{facts.url}: with http, passwords and programs can be read and changed on their way; use https"
        )
    if facts.users is None:
        yield Finding(Kind.MISSING, "the server has no database _users: nobody but its admins can log in")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _database(database: Database) -> Iterator[Finding]:
    name, security = database.name, database.security
    if security is None:
        yield Finding(Kind.MISSING, f"there is no database {name}")
        return
    if database.guard is GuardState.NONE:
        yield Finding(Kind.OPEN, f"{name} has no guard: whoever gets in may write anything there, each Pi included")
    elif database.guard is GuardState.OTHER:
        yield Finding(Kind.OPEN, f"{name} has another guard than this himbeerecouch would give it")
    elif database.guard is GuardState.NEWER:
        yield Finding(Kind.NOTE, f"{name} has the guard of a newer himbeerecouch")
    if security.is_public:
        yield Finding(Kind.OPEN, f"{name} is public: everybody who reaches the server may read it")
    lacking = security.lacks((OPERATOR, PI))
    if lacking:
        yield Finding(Kind.MISSING, f"{name}: its _security does not let in {names(lacking)}")
    if database.missing_indexes:
        text = (
            f"{name} lacks the index {names(database.missing_indexes)}: among many documents a Pi finds its own slowly"
        )
        yield Finding(Kind.MISSING, text)


def _pis(facts: Facts) -> Iterator[Finding]:
    there = [database for database in (facts.programs, facts.status) if database.security is not None]
    for database in there:
        security = database.security or Security({})
        admins = [pi.name for pi in facts.pis if security.is_admin(pi)]
        if admins:
            yield Finding(Kind.OPEN, f"{database.name}: its admin, whom no guard holds up, is the Pi {names(admins)}")
        outside = [pi.name for pi in facts.pis if not security.is_member(pi)]
        if outside:
            text = f"{database.name} does not let in the Pi {names(outside)}: its user needs the role {PI}"
            yield Finding(Kind.MISSING, text)
    promoted = [pi.name for pi in facts.pis if OPERATOR in pi.roles]
    if promoted:
        yield Finding(Kind.NOTE, f"the role {OPERATOR} does nothing for the Pi {names(promoted)}")


def _people(facts: Facts) -> Iterator[Finding]:
    security = facts.programs.security
    if security is None:
        return
    members = [user for user in facts.people if security.is_member(user)]
    writers = [user.name for user in members if rights.may_write(user, security)]
    readers = [user.name for user in rights.locked_out(facts.people, security)]
    if writers:
        yield Finding(Kind.NOTE, f"programs may be written by the server's admins, and by {names(writers)}")
    else:
        yield Finding(Kind.NOTE, f"programs may be written by the server's admins: nobody has the role {OPERATOR}")
    if readers and facts.programs.guard is GuardState.NONE:
        yield Finding(Kind.OPEN, f"programs may be written, without that role, by {names(readers)}")
    elif readers and not security.is_public:
        yield Finding(Kind.NOTE, f"programs may be read, but not written, by {names(readers)}")


def names(of: Sequence[str] | Iterable[str]) -> str:
    """Give a few names in a row, and how many more there are."""
    every = list(of)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more
