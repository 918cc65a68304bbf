"""Who may do what with a database: the rules of CouchDB's ``_security``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from himbeerecouch.embedded.refused import Refused

ADMIN_ROLE = "_admin"


@frozen
class User:
    """Who makes a request."""

    name: str | None = None
    """None: nobody logged in."""
    roles: tuple[str, ...] = ()
    authenticated: str | None = None
    """``default`` for Basic, ``cookie`` for a session."""

    @property
    def is_admin(self) -> bool:
        """An admin of the whole server."""
        return ADMIN_ROLE in self.roles

    def context(self, database: str | None = None) -> dict[str, Any]:
        """The ``userCtx`` of sessions and of ``validate_doc_update``."""
        inside = {} if database is None else {"db": database}
        return {**inside, "name": self.name, "roles": [*self.roles]}


def check_security(value: Any) -> dict[str, Any]:
    """Return a security object that may be stored; ``Refused`` (400) where it is none."""
    if not isinstance(value, dict):
        raise Refused(400, "bad_request", "Security must be a JSON object")
    for kind in ("admins", "members"):
        group = value.get(kind, {})
        if not isinstance(group, dict):
            raise Refused(400, "bad_request", f"{kind} must be a JSON object")
        for part in ("names", "roles"):
            names = group.get(part, [])
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise Refused(400, "bad_request", f"{part} must be a JSON list of strings")
    return value


def _listed(user: User, group: Mapping[str, Any]) -> bool:
    return (user.name is not None and user.name in group.get("names", ())) or any(
        role in user.roles for role in group.get("roles", ())
    )


def is_database_admin(user: User, security: Mapping[str, Any]) -> bool:
    """An admin of this database, or of the server."""
    return user.is_admin or _listed(user, security.get("admins", {}))


def is_member(user: User, security: Mapping[str, Any]) -> bool:
    """May read and write documents; a database without members is open to everybody."""
    members = security.get("members", {})
    public = not members.get("names") and not members.get("roles")
    return public or is_database_admin(user, security) or _listed(user, members)


def need_member(user: User, security: Mapping[str, Any]) -> None:
    """Raise ``Refused`` (401 for nobody, 403 for somebody) for who may not come in."""
    if is_member(user, security):
        return
    if user.name is None:
        raise Refused(401, "unauthorized", "You are not authorized to access this db.")
    raise Refused(403, "forbidden", "You are not allowed to access this db.")


def need_server_admin(user: User) -> None:
    """Raise ``Refused`` (401, as CouchDB has it) for who is no admin of the server."""
    if not user.is_admin:
        raise Refused(401, "unauthorized", "You are not a server admin.")


def need_database_admin(user: User, security: Mapping[str, Any]) -> None:
    """Raise ``Refused`` (403) for who is no admin of the database."""
    if not is_database_admin(user, security):
        raise Refused(403, "forbidden", "You are not a db or server admin.")
