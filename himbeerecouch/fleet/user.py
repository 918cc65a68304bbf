"""Who somebody is to CouchDB: what is sent to the server, and whom it takes that for.  Pure."""

from __future__ import annotations

from base64 import b64encode

from attrs import field, frozen

from himbeerecouch.errors import BadAnswer
from himbeerecouch.model import Json


@frozen
class Basic:
    """A user's name and password."""

    user: str
    password: str = field(repr=False)


@frozen
class Cookie:
    """A session that somebody has opened: the value of CouchDB's cookie ``AuthSession``."""

    value: str = field(repr=False)


@frozen
class Who:
    """Whom the server takes us for."""

    name: str | None
    """None for nobody in particular."""
    roles: tuple[str, ...]

    @property
    def is_admin(self) -> bool:
        """A server admin, who may do anything."""
        return "_admin" in self.roles


def name_of(credentials: Basic | Cookie | None) -> str | None:
    """Give the name of the user, where it can be told without asking the server."""
    return credentials.user if isinstance(credentials, Basic) else None


def headers(credentials: Basic | Cookie | None) -> tuple[bytes | None, bytes | None]:
    """Give the values of the headers ``Authorization`` and ``Cookie``; None for the one that is not sent."""
    if isinstance(credentials, Basic):
        return b"Basic " + b64encode(f"{credentials.user}:{credentials.password}".encode()), None
    if isinstance(credentials, Cookie):
        return None, f"AuthSession={credentials.value}".encode()
    return None, None


def read_who(answer: Json) -> Who:
    """Read the answer to ``GET /_session``.  Raises BadAnswer."""
    context = answer.get("userCtx")
    if not isinstance(context, dict):
        raise BadAnswer("_session: the answer is none of CouchDB's")
    name, roles = context.get("name"), context.get("roles")
    known = [role for role in roles if isinstance(role, str)] if isinstance(roles, list) else []
    return Who(name if isinstance(name, str) else None, tuple(known))
