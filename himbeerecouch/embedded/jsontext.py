"""JSON as it is stored and sent: numbers keep what they were, and nothing that isn't JSON gets in."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from himbeerecouch.embedded.refused import Refused, bad_request

NOT_JSON = "invalid UTF-8 JSON"
"""The reason that CouchDB gives for a body that it can't parse."""


def _refuse_constant(_name: str) -> NoReturn:
    """NaN and Infinity are no JSON, whatever Python thinks."""
    raise ValueError(_name)


# json.loads and json.dumps would make one of these for each call, which takes as long as a small document does.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def read(data: bytes | str) -> Any:
    """Parse UTF-8 JSON, or raise ``Refused`` with status 400."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise bad_request(NOT_JSON) from None


def write(value: object) -> str:
    """Render compact JSON that can be encoded as UTF-8; ``Refused`` where there is no JSON for the value."""
    try:
        text = _ENCODER.encode(value)
    except (ValueError, RecursionError):
        raise bad_request(NOT_JSON) from None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8 form, but it has an escape.
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text


def size_bytes(value: object) -> int:
    """How large CouchDB takes the value to be: escapes count as the one character that they stand for."""
    total = 0
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            total += len(item.encode("utf-8", "surrogatepass")) + 2
        elif isinstance(item, dict):
            total += 1 + 2 * max(len(item), 1)
            rest.extend(item.keys())
            rest.extend(item.values())
        elif isinstance(item, list):
            total += 1 + max(len(item), 1)
            rest.extend(item)
        else:
            total += len(json.dumps(item))
    return total


def check_size(value: object, text: str, limit_bytes: int) -> None:
    """Raise ``Refused`` (413) where a document is larger than the server takes."""
    if len(text) * 4 > limit_bytes and size_bytes(value) > limit_bytes:
        raise Refused(413, "document_too_large", str(value.get("_id", "")) if isinstance(value, dict) else "")
