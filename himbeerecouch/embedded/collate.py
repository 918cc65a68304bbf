"""CouchDB's order of JSON values: null, false, true, numbers, strings, lists, objects.

Strings are compared by code point, not by language as CouchDB does.
"""

from __future__ import annotations

import struct
from typing import Any

NULL, FALSE, TRUE, NUMBER, STRING, LIST, OBJECT = range(1, 8)

MOST_LEVELS = 100
"""What is nested deeper does not count: Python can't follow a document to any depth, and nobody compares by that."""

_HIGH_BIT = 1 << 63
_ALL_BITS = (1 << 64) - 1


def key(value: Any, levels: int = MOST_LEVELS) -> tuple[Any, ...]:  # noqa: PLR0911 one return for each kind of value
    """Turn a JSON value into a tuple that compares, and is equal, as CouchDB has it; hashable."""
    if value is None:
        return (NULL,)
    if value is True:
        return (TRUE,)
    if value is False:
        return (FALSE,)
    if isinstance(value, int | float):
        return (NUMBER, value)
    if isinstance(value, str):
        return (STRING, value)
    if not levels:
        return (LIST if isinstance(value, list) else OBJECT, ())
    if isinstance(value, list):
        return (LIST, tuple(key(item, levels - 1) for item in value))
    return (OBJECT, tuple((name, key(item, levels - 1)) for name, item in sorted(value.items())))


def _number(value: float) -> bytes:
    """Eight bytes that sort as the number does; integers that are neighbours above 2^53 may share them."""
    try:
        double = float(value)
    except OverflowError:
        double = float("inf") if value > 0 else float("-inf")
    bits: int = struct.unpack(">Q", struct.pack(">d", double + 0.0))[0]
    bits = bits ^ _ALL_BITS if bits & _HIGH_BIT else bits | _HIGH_BIT
    return struct.pack(">Q", bits)


def _string(value: str) -> bytes:
    """The UTF-8 bytes with an end mark that sorts below everything."""
    return value.encode("utf-8", "surrogatepass").replace(b"\0", b"\0\xff") + b"\0"


def sort_bytes(value: Any, levels: int = MOST_LEVELS) -> bytes:
    """Turn a JSON value into bytes in the same order as ``key``: what an index is sorted by."""
    kind = key(value)[0] if not isinstance(value, list | dict) else (LIST if isinstance(value, list) else OBJECT)
    mark = bytes([kind])
    if kind == NUMBER:
        return mark + _number(value)
    if kind == STRING:
        return mark + _string(value)
    if kind in (LIST, OBJECT) and not levels:
        return mark + b"\0"
    if kind == LIST:
        return mark + b"".join(sort_bytes(item, levels - 1) for item in value) + b"\0"
    if kind == OBJECT:
        members = sorted(value.items())
        return mark + b"".join(b"\1" + _string(name) + sort_bytes(item, levels - 1) for name, item in members) + b"\0"
    return mark
