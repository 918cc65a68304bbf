"""How large things are as JSON, and how to make them smaller.  Pure.

A status is written again and again, and CouchDB keeps old revisions until it compacts: nothing in it may grow.
"""

from __future__ import annotations

import json
from collections.abc import Callable

CUT = "\n[... cut ...]\n"


def size_bytes(value: object) -> int:
    """The bytes of ``value`` as JSON; a request, which has no blanks in it, takes no more than that."""
    return len(json.dumps(value))


def text(value: str) -> str:
    """``value`` as CouchDB takes it: half a character, which is no text to it, is written out as an escape."""
    return value.encode("utf-8", "backslashreplace").decode()


def cut(value: str, limit_bytes: int) -> str:
    """``value`` as CouchDB takes it, in at most so many bytes: its beginning, a marker, and its end."""
    whole = text(value)
    if size_bytes(whole) <= limit_bytes:
        return whole
    half_bytes = (limit_bytes - size_bytes(CUT)) // 2
    head = _longest(lambda count: whole[:count], len(whole), half_bytes)
    tail = _longest(lambda count: whole[len(whole) - count :], len(whole), half_bytes)
    return head + CUT + tail


def _longest(part: Callable[[int], str], most: int, limit_bytes: int) -> str:
    """The longest ``part(count)`` within the limit; an empty text is always taken."""
    low, high = 0, max(0, min(most, limit_bytes))
    while low < high:
        middle = (low + high + 1) // 2
        if size_bytes(part(middle)) <= limit_bytes:
            low = middle
        else:
            high = middle - 1
    return part(low)
