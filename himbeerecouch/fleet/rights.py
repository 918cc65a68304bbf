"""Who gets into a database, and who may write there: CouchDB's ``_security``, its users, and the guard.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import field, frozen

from himbeerecouch.model import Json

ADMIN = "_admin"
OPERATOR = "himbeerecouch_operator"
"""The role of people who may write."""
PI = "himbeerecouch_pi"
"""The role that lets a Pi into the databases."""

USER_PREFIX = "org.couchdb.user:"


@frozen
class User:
    """A user of the server."""

    name: str
    roles: tuple[str, ...] = ()
    document: Json = field(factory=dict, eq=False, repr=False)

    @property
    def is_pi(self) -> bool:
        """Whether the guard takes it for a Raspberry Pi."""
        return is_pi(self.name)


def is_pi(name: str) -> bool:
    """Whether a user of this name is a Raspberry Pi: it is named by a number."""
    return name.isascii() and name.isdigit()


def user(document: Json) -> User | None:
    """Read a document of ``_users``; None for anything else in there, such as a design document."""
    name, roles = document.get("name"), document.get("roles")
    if document.get("_id") != f"{USER_PREFIX}{name}" or not isinstance(name, str):
        return None
    return User(name, _strings(roles), document)


def with_role(user: User, role: str) -> Json:
    """Give the user's document with one role more."""
    return {**user.document, "roles": [*user.roles, role]}


@frozen
class Security:
    """The ``_security`` of a database."""

    document: Json

    @property
    def is_public(self) -> bool:
        """Whether everybody gets in: it has no members at all."""
        return not self._listed("members", "names") and not self._listed("members", "roles")

    def is_admin(self, user: User) -> bool:
        """Whether this user may change even the guard."""
        return ADMIN in user.roles or self._has("admins", user)

    def is_member(self, user: User) -> bool:
        """Whether this user gets in."""
        return self.is_public or self.is_admin(user) or self._has("members", user)

    def lacks(self, roles: Iterable[str]) -> list[str]:
        """Which of these roles don't get in."""
        there = (*self._listed("members", "roles"), *self._listed("admins", "roles"))
        return [] if self.is_public else [role for role in roles if role not in there]

    def opened_to(self, roles: Iterable[str]) -> Security:
        """With these roles let in as well, and everybody who was.

        A public database stays as it is: the first member that it had would lock all others out.
        """
        missing = self.lacks(roles)
        if not missing:
            return self
        members = {**_object(self.document.get("members")), "roles": [*self._listed("members", "roles"), *missing]}
        return Security({**self.document, "members": members})

    def _has(self, group: str, user: User) -> bool:
        return user.name in self._listed(group, "names") or any(
            role in self._listed(group, "roles") for role in user.roles
        )

    def _listed(self, group: str, part: str) -> tuple[str, ...]:
        return _strings(_object(self.document.get(group)).get(part))


NEW = Security({"admins": {"names": [], "roles": [ADMIN]}, "members": {"names": [], "roles": [ADMIN, OPERATOR, PI]}})
"""Of a database that nobody has used yet."""


def may_write(user: User, security: Security) -> bool:
    """Whether the guard lets this person write anything."""
    return security.is_admin(user) or (not user.is_pi and OPERATOR in user.roles)


def locked_out(users: Sequence[User], security: Security) -> list[User]:
    """Give the people who get in, and may only read where there is a guard."""
    return [user for user in users if not user.is_pi and security.is_member(user) and not may_write(user, security)]


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
