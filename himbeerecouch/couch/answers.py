"""What CouchDB's answers mean: statuses to errors, bytes to JSON, JSON to values.  Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from himbeerecouch.couch.gate import RETRY_AFTER_MAX_S
from himbeerecouch.errors import (
    AnswerTooDeep,
    BadAnswer,
    BadRequest,
    Conflict,
    CouchError,
    Forbidden,
    LoginLocked,
    LoginRefused,
    NotFound,
    Unavailable,
)
from himbeerecouch.model import Batch, DatabaseInfo, Json, Row

_T = TypeVar("_T")


def read_json(what: str, body: bytes) -> Any:
    """Read an answer's body.

    Raises BadAnswer for what is no JSON (HTML of a proxy, half an answer, UTF-16, NaN), and AnswerTooDeep for what is
    JSON that Python can't take: asking for less at a time finds the document that is to blame.
    """
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except RecursionError:
        raise AnswerTooDeep(what, reason="it is nested too deeply") from None
    except (json.JSONDecodeError, UnicodeDecodeError, _NoJson):
        raise BadAnswer(f"{what}: the answer is no JSON") from None
    except ValueError:  # Python refuses integers of more than 4300 digits; CouchDB stores them
        raise AnswerTooDeep(what, reason="it has a number of thousands of digits") from None


class _NoJson(Exception):
    """JSON has no such number."""


def _no_constant(_text: str) -> NoReturn:
    raise _NoJson


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NoJson
    return number


_BY_STATUS: dict[int, Callable[..., CouchError]] = {
    401: LoginRefused,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    412: Conflict,
    429: Unavailable,
}
_REFUSED_AS_500 = ("no_majority", "forbidden")
"""CouchDB 3.5 answers a member that may not write ``_index`` or ``_security`` in these words, with a 500."""


# json.loads would make one for each answer, which takes as long as a small one does.
_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)


def error_of(what: str, method: str, status: int, body: bytes | None, retry_after_s: float | None) -> CouchError | None:
    """Give the error that an answer is, or None where it is none."""
    if status in {200, 201, 202}:
        return None
    reason = _reason(body)
    kind = _BY_STATUS.get(status)
    if status < 300:
        return BadAnswer(what, status=status, reason="an answer without a body")
    if status < 400:
        return BadAnswer(what, status=status, reason="it redirects; put the server's own URL into the server file")
    if status == 403 and "temporarily locked" in reason:
        kind = LoginLocked
    elif status >= 500:
        refused = status == 500 and method != "GET" and any(word in reason for word in _REFUSED_AS_500)
        kind = Forbidden if refused else Unavailable
    if kind is Unavailable:
        if retry_after_s is not None:
            # A mistake in a proxy's page for maintenance would keep a Pi away for years.
            retry_after_s = min(retry_after_s, RETRY_AFTER_MAX_S)
        return Unavailable(what, status=status, reason=reason, retry_after_s=retry_after_s)
    return (kind or BadRequest)(what, status=status, reason=reason)


def is_couchdb(body: bytes | None) -> bool:
    """Say whether the body of an error is one of CouchDB's: a proxy's own 404 says nothing of the password."""
    found = _object(body)
    return isinstance(found.get("error"), str) and "reason" in found


def _reason(body: bytes | None) -> str:
    """Give CouchDB's reason in one short line."""
    reason = _object(body).get("reason", "")
    return " ".join(reason.split())[:200] if isinstance(reason, str) else ""


def _object(body: bytes | None) -> Json:
    try:
        found = read_json("", body or b"")
    except CouchError:
        return {}
    return found if isinstance(found, dict) else {}


# --- values -----------------------------------------------------------------------------------------------------------


def database_info(what: str, answer: Any) -> DatabaseInfo:
    """Read the answer to ``GET /db``."""
    info = _expect(what, answer, dict)
    return DatabaseInfo(_sequence(what, info.get("update_seq")), str(info.get("instance_start_time", "")))


def batch(what: str, answer: Any) -> Batch:
    """Read the answer of ``_changes``.

    Only a list ``results`` and a ``last_seq`` make it one; a row without an id, or without the document that was asked
    for, is skipped.
    """
    found = _expect(what, answer, dict)
    results = _expect(what, found.get("results"), list)
    last_seq = _sequence(what, found.get("last_seq"))
    return Batch(tuple([row for row in map(_row, results) if row is not None]), last_seq)


def _row(raw: Any) -> Row | None:
    if not isinstance(raw, dict):
        return None
    row_id = raw.get("id")
    if not isinstance(row_id, str):
        return None
    if raw.get("deleted") is True:
        return Row(row_id, None, deleted=True)
    document = raw.get("doc")
    return Row(row_id, document) if isinstance(document, dict) else None


def ids(what: str, answer: Any) -> Batch:
    """Read the answer of ``_changes`` that was asked without documents."""
    found = _expect(what, answer, dict)
    results = _expect(what, found.get("results"), list)
    rows = [
        Row(raw["id"], None, deleted=raw.get("deleted") is True)
        for raw in results
        if isinstance(raw, dict) and isinstance(raw.get("id"), str)
    ]
    return Batch(tuple(rows), _sequence(what, found.get("last_seq")))


def page(what: str, answer: Any) -> tuple[list[Json], str | None]:
    """Read the answer of ``_find``: the documents, and the bookmark of the next page."""
    found = _expect(what, answer, dict)
    documents = _expect(what, found.get("docs"), list)
    bookmark = found.get("bookmark")
    return (
        [document for document in documents if isinstance(document, dict)],
        bookmark if isinstance(bookmark, str) and bookmark not in {"", "nil"} else None,
    )


def revision(what: str, answer: Any) -> str:
    """Read the answer to a PUT."""
    return _expect(what, _expect(what, answer, dict).get("rev"), str)


def revisions(what: str, answer: Any, asked: Sequence[str]) -> list[str | None]:
    """Read the answer of ``_bulk_docs``: the revision of each document whose id was given, None where it is not stored.

    The rows are in the order of the documents, but only those count that say for which one they are.
    """
    found: dict[str, str] = {}
    for row in _expect(what, answer, list):
        if isinstance(row, dict) and row.get("ok") is True and isinstance(row.get("rev"), str):
            found.setdefault(str(row.get("id")), row["rev"])
    return [found.pop(id, None) for id in asked]


def document(what: str, answer: Any) -> Json:
    """Read the answer to a GET of one document."""
    return _expect(what, answer, dict)


def uuid(what: str, answer: Any) -> str:
    """Read the answer to ``GET /``; empty where it says nothing of a uuid."""
    found = _expect(what, answer, dict).get("uuid", "")
    return found if isinstance(found, str) else ""


def _expect(what: str, value: Any, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise BadAnswer(f"{what}: the answer is none of CouchDB's")
    return value


def _sequence(what: str, value: object) -> object:
    """Take any sequence, as it is opaque, but none that is missing or empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | list) or value in ("", []):
        raise BadAnswer(f"{what}: the answer has no sequence")
    return value
