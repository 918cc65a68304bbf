"""The datagrams of discovery: bytes to values and back.

A request is ``{"server": "http://..."}``, an answer ``{"MacID": int, "password": str}``, or
``{"MacID": int, "enrolled": true}`` from a Pi that has logged in to its server once and keeps its password to itself
since.  Whatever arrives was sent by anybody: all that is not exactly a request or an answer is a ``DatagramError``.

A request may have a public key as well, ``"key"``.  Then the answer is ``{"MacID": int, "sealed": str}``, where the Pi
can seal: only who has the secret key reads the password in it.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NoReturn

from attrs import frozen

from himbeerecouch.errors import DatagramError
from himbeerecouch.model import Answer

PORT = 53000
"""The UDP port on which Pis are asked."""

LIMIT_BYTES = 2048
"""A datagram longer than this is none of ours."""

_LARGEST_MAC_ID = 2**64 - 1
_KEY = re.compile("[A-Za-z0-9_-]{43}")
_SEALED = re.compile("[A-Za-z0-9_-]+")

PADDED_BYTES = 256
"""What is sealed is a multiple of this long: its length would tell what kind of password is in it."""


@frozen
class Request:
    """Somebody asks which Pis are there."""

    server: str
    """The URL that the asker means.  Anybody may have sent it: shown to people, never adopted by itself."""
    key: bytes | None = None
    """The X25519 public key (RFC 7748) that the password is to be sealed to, 32 bytes; anybody's as well."""


@frozen
class Asked:
    """What was asked, as the one who asked has to know it to read the sealed answers."""

    datagram: bytes
    unseal: Callable[[bytes], bytes]
    """Opens what was sealed to the key in the request, or raises ``DatagramError``."""


def parse_request(data: bytes) -> Request:
    """Read a request, or raise ``DatagramError`` saying what is wrong with it."""
    fields = _read_object(data)
    if "server" not in fields or not fields.keys() <= {"server", "key"}:
        raise DatagramError("it does not hold the field 'server', and 'key' at most beside it")
    server = fields["server"]
    if not isinstance(server, str) or not _is_url(server):
        raise DatagramError("its server is no http:// or https:// URL")
    if "key" not in fields:
        return Request(server)
    key = fields["key"]
    # Never taken for a request without one: whoever sends a key wants no password in the open.
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise DatagramError("its key is no base64url of 32 bytes")
    return Request(server, _from_base64(key))


def render_request(request: Request) -> bytes:
    """Write a request.  A server that no Pi would take is a ``ValueError``: it is the asker's own mistake."""
    fields = {"server": request.server}
    if request.key is not None:
        fields["key"] = _to_base64(request.key)
    data = json.dumps(fields).encode("ascii")
    if not _is_url(request.server):
        raise ValueError(f"{request.server!r} is no URL of a server: give it as http://server.name:5984")
    if "@" in request.server.split("/")[2]:
        raise ValueError("the URL of the server has a password in it, which the whole network would read: leave it out")
    if len(data) > LIMIT_BYTES:
        raise ValueError(f"the URL of the server is too long: a request has at most {LIMIT_BYTES} bytes")
    return data


def parse_answer(data: bytes, address: str, asked: Asked | None = None) -> Answer:
    """Read the answer that came from ``address``, or raise ``DatagramError``.

    ``asked`` is given where the request had a key.  Fields that are not known are passed over, so that a newer Pi may
    say more.
    """
    fields = _read_object(data)
    mac_id = fields.get("MacID")
    # A bool is an int to Python, but none in JSON.
    if not isinstance(mac_id, int) or isinstance(mac_id, bool) or not 0 <= mac_id <= _LARGEST_MAC_ID:
        raise DatagramError("its MacID is no whole number")
    sealed = "sealed" in fields
    if sealed:
        fields = _unsealed(mac_id, fields["sealed"], asked)
    if "password" not in fields:
        if fields.get("enrolled") is not True:
            raise DatagramError("it holds neither a password nor 'enrolled'")
        return Answer(mac_id, None, address)
    password = fields["password"]
    if not isinstance(password, str) or not password or not password.isprintable():
        raise DatagramError("its password is no text")
    return Answer(mac_id, password, address, sealed=sealed)


def render_answer(answer: Answer) -> bytes:
    """Write an answer; the address is not part of it."""
    return json.dumps(_fields(answer)).encode("ascii")


def render_sealed_answer(answer: Answer, asked: bytes, seal: Callable[[bytes], bytes]) -> bytes:
    """Write an answer to the request ``asked`` that only the one who sent it can read; ``seal`` seals to its key.

    Sealed along with the password is to what it is the answer, and whose: put under another MacID, or given to another
    request, it is none.
    """
    inner = json.dumps({**_fields(answer), "request": _digest(asked)}).encode("ascii")
    sealed = seal(inner + b" " * (-len(inner) % PADDED_BYTES))
    return json.dumps({"MacID": answer.mac_id, "sealed": _to_base64(sealed)}).encode("ascii")


def _fields(answer: Answer) -> dict[str, Any]:
    if answer.password is None:
        return {"MacID": answer.mac_id, "enrolled": True}
    return {"MacID": answer.mac_id, "password": answer.password}


def _unsealed(mac_id: int, sealed: object, asked: Asked | None) -> dict[str, Any]:
    """What is sealed in the answer of a Pi."""
    if asked is None:
        raise DatagramError("it is sealed, and no key was sent that could open it")
    if not isinstance(sealed, str) or not _SEALED.fullmatch(sealed):
        raise DatagramError("what is sealed in it is no base64url")
    fields = _read_object(asked.unseal(_from_base64(sealed)))
    if fields.get("request") != _digest(asked.datagram):
        raise DatagramError("it is the answer to another request")
    if fields.get("MacID") != mac_id:
        raise DatagramError("it was sealed by another Pi")
    return fields


def _digest(asked: bytes) -> str:
    return _to_base64(sha256(asked).digest())


def _to_base64(data: bytes) -> str:
    """Base64url without padding (RFC 4648, 5)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _from_base64(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise DatagramError(f"it is no base64url: {error}") from None


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
