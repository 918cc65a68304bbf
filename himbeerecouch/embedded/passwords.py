"""Passwords as CouchDB 3.5 keeps them: PBKDF2, never themselves; and user documents as it wants them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from himbeerecouch.embedded.refused import Refused

PREFIX = "org.couchdb.user:"
ITERATIONS = 600_000
"""CouchDB 3.5's own; a login costs this many rounds once."""
MOST_ITERATIONS = 10_000_000
"""A user document that was stored elsewhere can't keep the server busy for ever."""


def derive(password: str, iterations: int, salt: str | None = None) -> dict[str, Any]:
    """Return the fields that stand in a user document in place of the password.  Slow; may be called in a thread."""
    salt = salt or secrets.token_hex(16)
    derived = hashlib.pbkdf2_hmac("sha256", password.encode("utf-8", "surrogatepass"), salt.encode(), iterations)
    return {
        "password_scheme": "pbkdf2",
        "pbkdf2_prf": "sha256",
        "salt": salt,
        "iterations": iterations,
        "derived_key": derived.hex(),
    }


def verify(password: str, fields: Mapping[str, Any]) -> bool:
    """Tell whether the password is the one that ``fields`` was derived from.  Slow; may be called in a thread."""
    scheme, salt, wanted = fields.get("password_scheme"), fields.get("salt"), fields.get("derived_key")
    iterations = fields.get("iterations")
    function = fields.get("pbkdf2_prf", "sha")
    if scheme != "pbkdf2" or not isinstance(salt, str) or not isinstance(wanted, str):
        return False
    if not isinstance(iterations, int) or not 0 < iterations <= MOST_ITERATIONS:
        return False
    digest = {"sha": "sha1", "sha1": "sha1", "sha224": "sha224", "sha256": "sha256", "sha384": "sha384"}
    name = digest.get(str(function), "sha512" if function == "sha512" else "")
    if not name:
        return False
    length = len(wanted) // 2 or None
    derived = hashlib.pbkdf2_hmac(name, password.encode("utf-8", "surrogatepass"), salt.encode(), iterations, length)
    return hmac.compare_digest(derived.hex().encode(), wanted.encode("utf-8", "surrogatepass"))


def check_user(identity: str, document: Mapping[str, Any], before: Mapping[str, Any] | None, is_admin: bool) -> None:
    """Raise ``Refused`` (403) for a document that is no good in ``_users``, or may not be changed so."""
    if document.get("_deleted"):
        return
    problem = None
    name, roles = document.get("name"), document.get("roles")
    if document.get("type") != "user":
        problem = "doc.type must be user"
    elif not isinstance(name, str) or not name:
        problem = "doc.name is required"
    elif not isinstance(roles, list):
        problem = "doc.roles must be an array"
    elif not all(isinstance(role, str) for role in roles):
        problem = "Each role in doc.roles must be a string"
    elif identity != PREFIX + name:
        problem = f"Doc ID must be of the form {PREFIX}name"
    elif any(role.startswith("_") for role in roles):
        problem = "No system roles (starting with underscore) in users db."
    elif not is_admin and before is not None and sorted(roles) != sorted(before.get("roles", ())):
        problem = "Only _admin may edit roles"
    elif ":" in name:
        problem = "Character `:` is not allowed in usernames."
    elif "password" in document and not isinstance(document["password"], str):
        problem = "Password must be a string"
    if problem is not None:
        raise Refused(403, "forbidden", problem)


def with_derived(document: Mapping[str, Any], derived: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user document with the derived fields in place of the password."""
    return {**{name: value for name, value in document.items() if name != "password"}, **derived}
