"""What is where: the page, the way to CouchDB, and the few calls of the page's own."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping

from himbeerecouch.version import VERSION
from himbeerecouch.web import rules
from himbeerecouch.web.files import Files
from himbeerecouch.web.http import Exchange
from himbeerecouch.web.rules import Refused
from himbeerecouch.web.upstream import Upstream

Call = Callable[[Exchange], Awaitable[object]]
"""Answers one request with a value, sent as JSON."""

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'{nonce}; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""``data:`` is for the pictures within style sheets; nothing comes from elsewhere."""
_HEADERS = {
    "Content-Security-Policy": _CSP.format(nonce=""),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HSTS = "max-age=86400"
"""A day: it holds for all ports of the host, and CouchDB's own may still be without TLS."""


def headers(exchange: Exchange) -> dict[str, str]:
    """Give the headers of every answer."""
    return {**_HEADERS, "Strict-Transport-Security": _HSTS} if exchange.secure else _HEADERS


class Site:
    """Answers every request."""

    def __init__(self, files: Files, upstream: Upstream, database: str, calls: Mapping[str, Call]) -> None:
        """``calls`` are what ``POST /api/<name>`` does."""
        self._files = files
        self._upstream = upstream
        self._databases = (database, f"{database}_status")
        self._calls = calls

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request, or raise Refused."""
        raw, _, query = exchange.uri.partition(b"?")
        method = exchange.method.decode("ascii", "replace")
        room, *rest = path = rules.segments(raw)
        if room == "couch":
            self._allow(exchange, method, rules.methods(rest, self._databases))
            if not rules.is_query(query):
                raise Refused(400, "bad_request", "the query has bytes that have to be escaped")
            await self._upstream.relay(exchange, tuple(rest), query)
        elif room == "api" and len(rest) == 1 and rest[0] in self._calls:
            self._allow(exchange, method, frozenset({"POST"}))
            exchange.send_json(200, await self._calls[rest[0]](exchange))
        elif path == ("",):
            self._allow(exchange, method, rules.READING)
            self._send_page(exchange)
        elif path == ("config.json",):
            self._allow(exchange, method, rules.READING)
            exchange.send_json(200, self._config())
        else:
            self._allow(exchange, method, rules.READING)
            self._files.send(exchange, "/".join(path))

    def _config(self) -> dict[str, str]:
        database, status_database = self._databases
        return {
            "database": database,
            "status_database": status_database,
            "version": VERSION,
            "server": self._upstream.url,
        }

    def _send_page(self, exchange: Exchange) -> None:
        nonce = secrets.token_urlsafe(16)
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": "no-store",
            "Content-Security-Policy": _CSP.format(nonce=f" 'nonce-{nonce}'"),
        }
        exchange.send(200, self._files.index(nonce), headers)

    def _allow(self, exchange: Exchange, method: str, methods: frozenset[str]) -> None:
        """Let through what may be asked here, and, where it may change something, by our own page.  Raises Refused."""
        if not methods:
            raise Refused(404, "not_found", "there is nothing here")
        if method not in methods:
            raise Refused(405, "method_not_allowed", f"only {', '.join(sorted(methods))}")
        if method in rules.READING:
            return
        if not rules.same_origin(*(exchange.header(name) for name in ("sec-fetch-site", "origin", "host"))):
            raise Refused(403, "forbidden", "the request does not come from the page itself")
        kind = (exchange.header("content-type") or "").partition(";")[0].strip().lower()
        if exchange.received_bytes and kind != "application/json":
            raise Refused(415, "bad_content_type", "Content-Type must be application/json")
