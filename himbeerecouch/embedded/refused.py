"""How the embedded server says no: the status, and the two words that CouchDB would answer with."""

from __future__ import annotations

from himbeerecouch.errors import HimbeerecouchError


class Refused(HimbeerecouchError):
    """The embedded database does not do what it was asked for; the client is told why."""

    def __init__(self, status: int, error: str, reason: str) -> None:
        self.status = status
        self.error = error
        self.reason = reason
        super().__init__(f"{status} {error}: {reason}")


def bad_request(reason: str) -> Refused:
    """The request can't be understood."""
    return Refused(400, "bad_request", reason)


def missing(reason: str = "missing") -> Refused:
    """There is no such document or database."""
    return Refused(404, "not_found", reason)


def conflict() -> Refused:
    """Somebody else has changed the document."""
    return Refused(409, "conflict", "Document update conflict.")


def not_implemented(what: str) -> Refused:
    """CouchDB does this, the embedded server does not; ``docs/embedded.rst`` lists all such things."""
    return Refused(501, "not_implemented", f"{what} is not a part of the embedded database; use CouchDB for it.")
