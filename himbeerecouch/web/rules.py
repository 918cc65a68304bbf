"""What a browser may ask for, and what is passed on of it.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import unquote_to_bytes, urlsplit

COOKIE = "AuthSession"
"""CouchDB's session: the one cookie that passes."""
READING = frozenset({"GET", "HEAD"})
_OF_A_DATABASE = {
    "_all_docs": READING | {"POST"},
    "_changes": READING | {"POST"},
    "_find": frozenset({"POST"}),
    "_security": READING,
}


class Refused(Exception):
    """A request is answered with an error, in CouchDB's form."""

    def __init__(self, status: int, error: str, reason: str) -> None:
        self.status = status
        self.error = error
        self.reason = reason
        super().__init__(f"{status} {error}: {reason}")


def segments(path: bytes) -> tuple[str, ...]:
    """Split a path into its parts, each decoded: a name may hold a slash.  Raises Refused."""
    try:
        parts = tuple(unquote_to_bytes(part).decode("utf-8") for part in path.split(b"/")[1:])
    except UnicodeDecodeError:
        raise Refused(400, "bad_request", "the path is no UTF-8") from None
    if not path.startswith(b"/") or ".." in parts or "." in parts:
        raise Refused(400, "bad_request", "the path is none that this server has")
    return parts


def is_query(query: bytes) -> bool:
    """Say whether it can stand in a URL as it is."""
    return all(0x20 < byte < 0x7F for byte in query)


def methods(path: Sequence[str], databases: Collection[str]) -> frozenset[str]:
    """Give the methods that are passed on to CouchDB at a path; none where nothing is.

    The page needs documents, and no more: the databases' own rights, their design documents and the server's settings
    can't be written through here, whoever is logged in.
    """
    match tuple(path):
        case ("_session",):
            return READING | {"POST", "DELETE"}
        case (database,) if database in databases:
            return READING
        case (database, name) if database in databases and name in _OF_A_DATABASE:
            return _OF_A_DATABASE[name]
        case (database, name) if database in databases and name and not name.startswith("_"):
            return READING | {"PUT", "DELETE"}
    return frozenset()


def same_origin(site: str | None, origin: str | None, host: str | None) -> bool:
    """Say whether a request comes from our own page, by ``Sec-Fetch-Site``, ``Origin`` and ``Host``.

    A browser that says neither is old, and no browser asks without reason: it is refused.  The scheme is not compared,
    as TLS may end at a proxy before us.
    """
    if site is not None:
        return site == "same-origin"
    if not origin or not host:
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def session_of(header: str | None) -> str | None:
    """Find CouchDB's session in a browser's ``Cookie``; None where there is none."""
    for pair in (header or "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE and _is_token(value):
            return value
    return None


def _is_token(value: str) -> bool:
    """Say whether it is what a session looks like; nothing else goes into a header."""
    return 0 < len(value) <= 4096 and value.isascii() and all(c.isalnum() or c in "-_.=+/%~" for c in value)


def set_session(header: str, *, secure: bool) -> str | None:
    """Make the ``Set-Cookie`` for the browser of that of CouchDB; None where it is none of a session.

    Scripts can't read it, no other site's requests carry it, and with ``secure`` it goes over TLS only.
    """
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    if morsel is None or (morsel.value and not _is_token(morsel.value)):
        return None
    age = str(morsel["max-age"])
    if not morsel.value:
        age = "0"
    parts = [f"{COOKIE}={morsel.value}", "Path=/", "HttpOnly", "SameSite=Strict"]
    parts += [f"Max-Age={age}"] if age.isdigit() else []
    parts += ["Secure"] if secure else []
    return "; ".join(parts)
