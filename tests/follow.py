"""A Pi that follows a real server through a proxy of faults, for integration tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import urlsplit

import treq
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from himbeerecouch.couch.asks import Timing
from himbeerecouch.couch.changes import Changes
from himbeerecouch.couch.client import Couch, Login, connect
from himbeerecouch.model import Json, Row
from tests.embedded_server import start
from tests.fault_proxy import FaultProxy

MAC = 202481591484002
DATABASE = "nedm/raspberries"
SHORT = Timing(
    poll_timeout_s=0.6, grace_s=0.4, poll_total_s=3.0, request_s=1.5, backoff_s=0.3, missing_s=0.1, resync_s=900.0
)


class Recorder:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.documents: dict[str, Json | None] = {}
        self.rows: list[Row] = []
        self.snapshots = 0
        self.on_snapshot: Callable[[], None] = lambda: None

    def snapshot(self, rows: Sequence[Row]) -> None:
        """Forget all that is not there."""
        self.snapshots += 1
        self.rows += rows
        self.documents = {row.id: row.document for row in rows}
        self.on_snapshot()

    def changed(self, rows: Sequence[Row]) -> None:
        """Take what changed."""
        self.rows += rows
        for row in rows:
            self.documents[row.id] = row.document

    def ids_in_use(self) -> Collection[str]:
        """All that were heard of."""
        return self.documents

    def answering(self, rows: Sequence[Row]) -> None:
        """No command is run here."""


class FollowCase(TestCase):
    """An embedded server, a proxy before it, an operator at the server, and a Pi behind the proxy."""

    timeout = 20

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.server_url, self.admin = await start(self)
        await self.http("PUT", f"/{DATABASE.replace('/', '%2F')}")
        self.proxy = FaultProxy(reactor, int(urlsplit(self.server_url).port or 0))
        self.port = await self.proxy.start()
        self.addCleanup(self.proxy.close)
        self.operator = self.client(self.server_url)
        self.couch = self.client(f"http://127.0.0.1:{self.port}")
        self.heard = Recorder()

    def client(self, url: str, timing: Timing = SHORT, login: tuple[str, str] | None = None) -> Couch:
        """A client that is closed after the test; an administrator's, unless it is told otherwise."""
        name, password = login or self.admin
        couch = connect(
            self.reactor,
            login=Login(name, [password], lambda _: None),
            ca_file=None,
            random=random.random,
            timing=timing,
        )
        couch.move(url)
        self.addCleanup(couch.close)
        return couch

    def follow(self, timing: Timing = SHORT) -> Changes:
        """Begin to follow; it is stopped after the test."""
        changes = Changes(
            self.couch, DATABASE, MAC, self.heard, clock=self.reactor, random=random.random, timing=timing
        )
        changes.startService()
        self.addCleanup(changes.stopService)
        return changes

    async def http(self, method: str, path: str, json: Any = None) -> None:
        """Make a request of an administrator."""
        body: dict[str, Any] = {} if json is None else {"json": json}
        response = await treq.request(
            method, self.server_url + path, auth=self.admin, persistent=False, reactor=self.reactor, **body
        )
        await treq.content(response)
        self.assertLess(response.code, 300)

    async def put(self, document_id: str, **fields: Any) -> str:
        """Store a document for this Pi, as an operator, past the proxy."""
        return await self.operator.put(DATABASE, {"_id": document_id, "type": MAC, **fields})

    def sleep(self, seconds: float) -> Deferred[None]:
        """Let some time pass."""
        d: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, d.callback, None)
        return d

    async def until(self, condition: Callable[[], bool], within_s: float = 5.0) -> float:
        """Wait for something to hold; give how long it took."""
        begun = self.reactor.seconds()
        while not condition():
            self.assertLess(self.reactor.seconds() - begun, within_s, "it did not come to be in time")
            await self.sleep(0.005)
        return float(self.reactor.seconds() - begun)
