"""The datagrams of discovery: bytes to values and back.

A request is ``{"server": "http://..."}``, an answer ``{"MacID": int, "password": str}``, or
``{"MacID": int, "enrolled": true}`` from a Pi that has logged in to its server once and keeps its password to itself
since.  Whatever arrives was sent by anybody: all that is not exactly a request or an answer is a ``DatagramError``.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from attrs import frozen

from himbeerecouch.errors import DatagramError
from himbeerecouch.model import Answer

PORT = 53000
"""The UDP port on which Pis are asked."""

LIMIT_BYTES = 2048
"""A datagram longer than this is none of ours."""

_LARGEST_MAC_ID = 2**64 - 1


@frozen
class Request:
    """Somebody asks which Pis are there."""

    server: str
    """The URL that the asker means.  Anybody may have sent it: shown to people, never adopted by itself."""


def parse_request(data: bytes) -> Request:
    """Read a request, or raise ``DatagramError`` saying what is wrong with it."""
    fields = _read_object(data)
    if fields.keys() != {"server"}:
        raise DatagramError("it does not hold the one field 'server'")
    server = fields["server"]
    if not isinstance(server, str) or not _is_url(server):
        raise DatagramError("its server is no http:// or https:// URL")
    return Request(server)


def render_request(request: Request) -> bytes:
    """Write a request.  A server that no Pi would take is a ``ValueError``: it is the asker's own mistake."""
    data = json.dumps({"server": request.server}).encode("ascii")
    if not _is_url(request.server):
        raise ValueError(f"{request.server!r} is no URL of a server: give it as http://server.name:5984")
    if "@" in request.server.split("/")[2]:
        raise ValueError("the URL of the server has a password in it, which the whole network would read: leave it out")
    if len(data) > LIMIT_BYTES:
        raise ValueError(f"the URL of the server is too long: a request has at most {LIMIT_BYTES} bytes")
    return data


def parse_answer(data: bytes, address: str) -> Answer:
    """Read the answer that came from ``address``, or raise ``DatagramError``.

    Fields that are not known are passed over, so that a newer Pi may say more.
    """
    fields = _read_object(data)
    mac_id = fields.get("MacID")
    # A bool is an int to Python, but none in JSON.
    if not isinstance(mac_id, int) or isinstance(mac_id, bool) or not 0 <= mac_id <= _LARGEST_MAC_ID:
        raise DatagramError("its MacID is no whole number")
    if "password" not in fields:
        if fields.get("enrolled") is not True:
            raise DatagramError("it holds neither a password nor 'enrolled'")
        return Answer(mac_id, None, address)
    password = fields["password"]
    if not isinstance(password, str) or not password or not password.isprintable():
        raise DatagramError("its password is no text")
    return Answer(mac_id, password, address)


def render_answer(answer: Answer) -> bytes:
    """Write an answer; the address is not part of it."""
    if answer.password is None:
        return json.dumps({"MacID": answer.mac_id, "enrolled": True}).encode("ascii")
    return json.dumps({"MacID": answer.mac_id, "password": answer.password}).encode("ascii")


def _is_url(server: str) -> bool:
    """Whether it may be shown in a terminal and written into a server file as it is."""
    return (
        server.startswith(("http://", "https://"))
        and not server.endswith("://")
        and server.isprintable()
        and " " not in server
    )


def _read_object(data: bytes) -> dict[str, Any]:
    """The JSON object that a datagram holds, by RFC 8259 and no looser, as Python's own parser would be."""
    if len(data) > LIMIT_BYTES:
        raise DatagramError(f"it has more than {LIMIT_BYTES} bytes")
    try:
        # From text: from bytes, the parser would take UTF-16 and UTF-32 as well.
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except RecursionError:
        raise DatagramError("it is nested too deep") from None
    except ValueError as error:
        raise DatagramError(f"it is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise DatagramError("it is no JSON object")
    return found


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
