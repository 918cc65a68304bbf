"""Follows a database from its very first change with the daemon's own client, core, reconciliation and memory settings.

``python -m benchmarks.follow URL USER PASSWORD DATABASE ROWS`` prints one line of JSON when it has seen so many rows;
with 0, when it is ready: from nothing to the end of the first snapshot; with -1, a line for each change, for ever.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Collection, Sequence
from random import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.world import MAC_ID
from himbeerecouch import unix
from himbeerecouch.catalogue import Catalogue
from himbeerecouch.couch.changes import Changes
from himbeerecouch.couch.client import Couch, Login, connect
from himbeerecouch.model import DatabaseInfo, Program, Row, Running
from himbeerecouch.plan import merge, plan


class FromTheStart:
    """A client that says: nothing is there yet, and follow from 0; all else is the real one's."""

    def __init__(self, couch: Couch) -> None:
        self._couch = couch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._couch, name)

    async def info(self, db: str) -> DatabaseInfo:
        """Where to follow from."""
        return DatabaseInfo("0", (await self._couch.info(db)).instance_start_time)

    async def find(self, *_: Any, **__: Any) -> tuple[list[Any], None]:
        """What the snapshot has."""
        return [], None


class Pi:
    """Takes rows as a Pi does: into its catalogue, and compared with what runs."""

    def __init__(self, rows: int) -> None:
        self._catalogue = Catalogue(MAC_ID, 1 << 20)
        self._running: dict[str, Running] = {}
        self._left = rows
        self.seen = 0
        self.ready: Deferred[None] = Deferred()
        self.done: Deferred[None] = Deferred()

    def snapshot(self, rows: Sequence[Row]) -> None:
        """What is there at the start."""
        self._take(rows)
        if not self.ready.called:
            self.ready.callback(None)

    def changed(self, rows: Sequence[Row]) -> None:
        """What has changed since."""
        self._take(rows)
        if 0 < self._left <= self.seen and not self.done.called:
            self.done.callback(None)

    def ids_in_use(self) -> Collection[str]:
        """What runs."""
        return self._catalogue.ids()

    def answering(self, rows: Sequence[Row]) -> None:
        """No command is run here."""

    def _take(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._catalogue.fold(row)
            if self._left < 0:
                print(row.id, flush=True)
        self.seen += sum(1 for row in rows if row.document is not None)
        modules = merge(self._catalogue.exports.values(), {}, lambda source, name: None).modules
        step = plan(self._catalogue.programs, self._running, modules)
        for id in step.stop:
            del self._running[id]
        for program in step.start:
            self._running[program.id] = _running(program)


def _running(program: Program) -> Running:
    return Running(program.digest, {})


async def follow(reactor: Any, url: str, login: Login, database: str, rows: int) -> None:
    """Follow until ``rows`` were seen; with 0, until the Pi is ready."""
    couch = connect(reactor, login=login, ca_file=None, random=random)
    couch.move(url)
    pi = Pi(rows)
    client: Any = FromTheStart(couch) if rows > 0 else couch
    began = time.monotonic()
    changes = Changes(client, database, MAC_ID, pi, clock=reactor, random=random)
    changes.startService()
    await pi.ready
    ready_s = time.monotonic() - began
    if rows:
        await pi.done
    took_s = time.monotonic() - began
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"rows": pi.seen, "took_s": took_s, "ready_s": ready_s, "memory_mb": memory_mb}), flush=True)
    await changes.stopService()
    await couch.close()


def main(url: str, user: str, password: str, database: str, *rows: str) -> None:
    """Follow as the command line says."""
    unix.return_large_blocks()
    unix.settle_memory()
    login = Login(user, (password,), lambda _: None)
    react(lambda reactor: Deferred.fromCoroutine(follow(reactor, url, login, database, int(rows[0]))))


if __name__ == "__main__":
    main(*sys.argv[1:])
