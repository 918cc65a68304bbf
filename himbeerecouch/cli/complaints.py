"""Failures in words that tell a person what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from himbeerecouch import errors
from himbeerecouch.fleet.user import name_of

if TYPE_CHECKING:
    from himbeerecouch.fleet.desk import Desk

_LOG_IN = "Give --user, or HIMBEERECOUCH_USER and HIMBEERECOUCH_PASSWORD"

_NOBODY = (
    (errors.LoginRefused, "{url} wants to know who you are. " + _LOG_IN),
    (errors.Forbidden, "{url} does not let everybody do that ({reason}). " + _LOG_IN),
)
"""What a user is told whom the server does not know."""

_WORDS = (
    (
        errors.LoginLocked,
        "{url} has locked the account of {user} after several wrong passwords. It opens again by itself within five "
        "minutes",
    ),
    (errors.LoginRefused, "{url} does not know the user {user} with this password. " + _LOG_IN),
    (errors.Forbidden, "{url} does not let {user} do that: {reason} ({what})"),
    (errors.NotFound, "{url} has no database {database}, or not all of it. Run: himbeerecouch setup"),
    (errors.Unreachable, "no connection to {url}: {reason}. Is its address right, is it up, is there a network?"),
    (errors.Untrusted, "{url}: {reason}. Where it is signed by a CA of your own, give --ca-file"),
    (errors.CouchError, "{url}: {error}"),
)
_NO_DOCUMENT = ("missing", "deleted")


def in_words(error: errors.HimbeerecouchError, desk: Desk | None = None) -> str:
    """Say what has failed, and what to do, in one or two sentences."""
    if desk is None or not isinstance(error, errors.CouchError):
        return str(error)
    reason = error.reason.rstrip(".")
    facts = {"url": desk.url, "database": desk.database, "reason": reason, "what": error.what, "error": error}
    if isinstance(error, errors.NotFound) and error.reason in _NO_DOCUMENT:
        return "{url}: {error}".format(**facts)
    user = name_of(desk.credentials)
    if isinstance(error, errors.LoginRefused) and user is not None and error.reason and "password" not in error.reason:
        # CouchDB says 401 also to those whom it knows, and who are no admins.
        error = errors.Forbidden(error.what, status=error.status, reason=error.reason)
    words: str = next(text for kind, text in (*(_NOBODY if user is None else ()), *_WORDS) if isinstance(error, kind))
    return words.format(**facts, user=user)
