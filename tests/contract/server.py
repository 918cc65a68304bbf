"""The server that the contract is tested on, and what is known to differ on it."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import treq
from attrs import define, frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.web.client import Agent, HTTPConnectionPool

from tests.async_case import AsyncCase
from tests.embedded_server import start

URL = "COUCHDB_URL"

EXACT_NUMBERS = "1.0 stays 1.0, and integers above 2^53 keep their digits"
LOCK_OUT = "an account is locked after five wrong passwords"
BIRTH = "instance_start_time differs for a database that was made again"
MISSING_SINCE = "a since of a database that is gone is taken, and replays everything"
REFUSALS_500 = "a refused _security is answered with CouchDB's 500"
OPERATORS = "an operator that there isn't is refused"
OWN_ROLES = "a user can't change its own roles"

LACKING = {"devcouch": {EXACT_NUMBERS, LOCK_OUT, BIRTH, MISSING_SINCE, REFUSALS_500, OPERATORS, OWN_ROLES}}
"""By the beginning of the vendor's name: what a server is known not to do."""


@frozen
class Reply:
    """An answer."""

    status: int
    json: Any
    headers: Any

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None


@define
class Client:
    """Asks the server, with a login."""

    url: str
    login: tuple[str, str] | None
    agent: Agent

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        """Send one request and read the whole answer; ``login``, ``headers`` and ``data`` (raw) are options."""
        headers = {"Accept": "application/json", **options.get("headers", {})}
        data = options.get("data")
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        # A client of its own for each request: treq's would keep the cookies.
        response = await treq.client.HTTPClient(self.agent).request(
            method, self.url + path, auth=options.get("login", self.login), headers=headers, data=data, timeout=30
        )
        content = await response.content()
        is_json = content.strip() and "json" in (response.headers.getRawHeaders("content-type") or [""])[0]
        return Reply(response.code, json.loads(content) if is_json else None, response.headers)


class ContractCase(AsyncCase):
    """A test that runs on whichever server there is; databases and users that it makes are removed."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        """Find or start the server."""
        from twisted.internet import reactor

        given = os.environ.get(URL)
        pool = HTTPConnectionPool(reactor)
        agent = Agent(reactor, pool=pool)
        if given:
            parts = urlsplit(given)
            login = (parts.username or "", parts.password or "")
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            url = f"{parts.scheme}://{host}:{parts.port or 5984}"
        else:
            url, login = await start(self)
        self.addCleanup(pool.closeCachedConnections)
        self.admin = Client(url, login, agent)
        welcome = await self.admin.ask("GET", "/")
        vendor = welcome.json.get("vendor", {}).get("name", "")
        self.lacks = next((lacking for name, lacking in LACKING.items() if vendor.startswith(name)), set())

    def has(self, capability: str) -> bool:
        """Tell whether the server does what CouchDB does here; only a server of the table doesn't."""
        return capability not in self.lacks

    async def database(self, *members: str) -> str:
        """Make a database, and return its path."""
        path = "/" + quote(f"contract/d{uuid4().hex}", safe="")
        made = await self.admin.ask("PUT", path)
        self.assertEqual(made.status, 201)
        self.addCleanup(self._remove, path)
        if members:
            security = {"admins": {"names": [], "roles": ["_admin"]}, "members": {"names": [*members], "roles": []}}
            self.assertEqual((await self.admin.ask("PUT", f"{path}/_security", security)).status, 200)
        return path

    def _remove(self, path: str) -> Deferred[Any]:
        return ensureDeferred(self.admin.ask("DELETE", path))

    async def user(self, password: str = "first") -> Client:
        """Make a user, and return a client that logs in as it."""
        name = f"c{uuid4().int % 10**15}"
        path = f"/_users/org.couchdb.user:{name}"
        document = {"name": name, "password": password, "roles": [], "type": "user"}
        self.assertEqual((await self.admin.ask("PUT", path, document)).status, 201)
        self.addCleanup(self._remove_user, path)
        return Client(self.admin.url, (name, password), self.admin.agent)

    def _remove_user(self, path: str) -> Deferred[Any]:
        async def remove() -> None:
            known = await self.admin.ask("GET", path)
            await self.admin.ask("DELETE", f"{path}?rev={known.json['_rev']}")

        return ensureDeferred(remove())

    def name_of(self, client: Client) -> str:
        """The user whom the client logs in as."""
        assert client.login is not None
        return client.login[0]

    async def put(self, path: str, body: dict[str, Any]) -> str:
        """Store a document, and return its revision."""
        reply = await self.admin.ask("PUT", path, body)
        self.assertEqual(reply.status, 201, reply.json)
        rev: str = reply.json["rev"]
        return rev


def later(seconds: float) -> Deferred[None]:
    """Fire after so many seconds."""
    from twisted.internet import reactor

    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done
