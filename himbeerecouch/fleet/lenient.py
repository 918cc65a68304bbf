"""Reads members of documents that anybody may have written: what is not as it should be is as if it were not there.

Pure.  What the Pi itself takes in is judged in ``documents``, strictly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from himbeerecouch import rfc3339
from himbeerecouch.documents import printable


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> Sequence[Any]:
    """A list, else an empty one."""
    return value if isinstance(value, list) else ()


def text(value: Any, limit_characters: int = 200) -> str:
    """A string on one line that is safe for a terminal, else an empty one."""
    return printable(value, limit_characters) if isinstance(value, str) else ""


def lines(value: Any, limit_characters: int = 4000) -> str | None:
    """A string of several lines, each of them safe for a terminal; else None."""
    if not isinstance(value, str):
        return None
    return "\n".join(printable(line.expandtabs(), limit_characters) for line in value.split("\n"))


def number(value: Any) -> float | None:
    """A number of ordinary size, else None."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18
    return value if fits and math.isfinite(value) else None


def integer(value: Any) -> int | None:
    """The whole part of a number of ordinary size, else None."""
    found = number(value)
    return None if found is None else int(found)


def time(value: Any) -> float | None:
    """The Unix time of a string of RFC 3339, else None."""
    try:
        return rfc3339.parse(value)
    except (TypeError, ValueError):
        return None
