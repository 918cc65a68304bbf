"""What is in a message beside what it means: its body as JSON, and the times in its headers."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from twisted.web.http import stringToDatetime
from twisted.web.http_headers import Headers

from himbeerecouch.errors import BadRequest

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def encode(what: str, value: Any) -> bytes:
    """Write the body of a request; ``what`` names that in errors.  Raises BadRequest for what is no JSON."""
    try:
        return _ENCODER.encode(value).encode("ascii")
    except (ValueError, TypeError, RecursionError) as e:
        raise BadRequest(what, reason=f"it can't be written as JSON: {e}") from None


def date_of(headers: Headers, name: bytes) -> float | None:
    """Give the Unix time in a header such as ``Date``; None where there is none."""
    given = headers.getRawHeaders(name)
    return None if not given else _date(given[0])


@lru_cache(maxsize=4)  # a server says the same for a whole second
def _date(text: bytes) -> float | None:
    try:
        return float(stringToDatetime(text))
    except (ValueError, KeyError, IndexError, OverflowError):
        return None
