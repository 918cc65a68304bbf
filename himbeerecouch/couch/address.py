"""The address of a CouchDB server, taken from what somebody wrote into a file.  Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from attrs import field, frozen

PORTS = {"http": 80, "https": 443}


@frozen
class Address:
    """Where a server is."""

    base: str
    """Its URL without user, password and trailing slash.  A path is kept: CouchDB may be behind a proxy's."""
    origin: tuple[str, str, int]
    """Scheme, host and port: credentials are for this one only."""
    with_credentials: bool = field(default=False, eq=False)
    """Whether a user or a password was written into the URL; they are not kept."""

    def url(self, *path: str) -> str:
        """Give the URL of a path whose parts are quoted, slashes in them included.

        Raises UnicodeEncodeError for what can't be in a URL: a lone surrogate.
        """
        return "/".join((self.base, *(quote(part, safe="") for part in path)))


def parse(url: str) -> Address:
    """Read the URL of a server; user and password in it are dropped, and never shown.

    Raises ValueError, with a text for people, where it is no http or https URL with a host.
    """
    url = url.strip()
    # urlsplit drops some of these without a word.
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("it holds no URL that can be understood")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
        scheme = parts.scheme
    except ValueError:
        raise ValueError("it holds no URL that can be understood") from None
    if scheme not in PORTS:
        raise ValueError("its URL does not begin with http:// or https://")
    if not host:
        raise ValueError("its URL names no host")
    if parts.query or parts.fragment:
        raise ValueError("its URL must end with the server, or a path: no ? and no #")
    if port is None:
        port = PORTS[scheme]
    try:
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("its URL names no host") from None
    shown = f"[{host}]" if ":" in host else host
    path = quote(parts.path.rstrip("/"), safe="/%~!$&'()*+,;=:@")
    return Address(f"{scheme}://{shown}:{port}{path}", (scheme, host, port), with_credentials="@" in parts.netloc)


def document_path(document_id: str) -> tuple[str, ...]:
    """Give the parts of the path of a document: the first slash in the id of a design or local one is not quoted."""
    if document_id.startswith(("_design/", "_local/")):
        return tuple(document_id.split("/", 1))
    return (document_id,)


def query(values: Mapping[str, Any]) -> str:
    """Give a query string: strings as they are, everything else as JSON, as CouchDB has it."""
    return urlencode({name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()})
