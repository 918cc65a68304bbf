"""The sqlite file under a database: what was acknowledged is on the disk.

Everything happens on the reactor's thread.  Writes that come in together share one commit: a write is acknowledged by
the Deferred of ``durable()``, and whoever reads first makes the commit happen, so nobody sees what may still be lost.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from himbeerecouch.embedded import jsontext
from himbeerecouch.embedded.refused import Refused
from himbeerecouch.embedded.revisions import Leaf

log = Logger()

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS documents (
    id TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL UNIQUE, generation INTEGER NOT NULL, path TEXT NOT NULL,
    deleted INTEGER NOT NULL, body TEXT NOT NULL, conflicts INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS losers (
    id TEXT NOT NULL, generation INTEGER NOT NULL, path TEXT NOT NULL, deleted INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS losers_by_id ON losers (id);
CREATE TABLE IF NOT EXISTS entries (
    ix TEXT NOT NULL, key BLOB NOT NULL, id TEXT NOT NULL, PRIMARY KEY (ix, key, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_by_id ON entries (id);
CREATE TABLE IF NOT EXISTS locals (id TEXT PRIMARY KEY, generation INTEGER NOT NULL, body TEXT NOT NULL);
"""

DEFAULT_SECURITY = '{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}'
"""As in CouchDB 3: server admins only."""


@frozen
class Stored:
    """The winner of one document, as it is stored."""

    id: str
    seq: int
    leaf: Leaf
    conflicts: int
    """How many other leaves there are."""

    def text(self) -> str:
        """The document as JSON text."""
        return document_text(self.id, self.leaf)

    def document(self) -> dict[str, Any]:
        """The document, parsed."""
        known = {"_id": self.id, "_rev": self.leaf.rev, **({"_deleted": True} if self.leaf.deleted else {})}
        return {**known, **jsontext.read(self.leaf.body)}


@frozen
class Change:
    """A document that a commit has changed."""

    stored: Stored
    document: Mapping[str, Any] = field(repr=False)
    """Parsed, with ``_id``, ``_rev`` and ``_deleted``."""


def document_text(identity: str, leaf: Leaf, extra: str = "") -> str:
    """Put a stored body and the underscore fields together; ``extra`` is JSON text that starts with a comma."""
    head = f'{{"_id":{jsontext.write(identity)},"_rev":"{leaf.rev}"'
    if leaf.deleted:
        head += ',"_deleted":true'
    head += extra
    return head + "}" if leaf.body == "{}" else f"{head},{leaf.body[1:]}"


class Ledger:
    """One open sqlite file: its facts, and its commits."""

    def __init__(
        self, path: Path | None, name: str, *, now_s: float, call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        """Open it, or create it at ``path`` (None: in memory).

        ``now_s`` is Unix time, for a new database's birth; ``call_soon`` runs a function on the reactor's next turn.
        """
        self.name = name
        self._path = path
        self._call_soon = call_soon
        self._sql = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
        self._sql.execute("PRAGMA journal_mode=WAL")
        # A commit returns once the write-ahead log is on the disk; without it a power cut may take the last writes.
        self._sql.execute("PRAGMA synchronous=FULL")
        self._sql.executescript(_SCHEMA)
        self._born(now_s)
        facts = dict(self._sql.execute("SELECT name, value FROM facts"))
        self.uuid: str = facts["uuid"]
        self.instance_start_time: str = facts["instance_start_time"]
        self._recall()
        self._open = False
        self._waiting: list[Deferred[None]] = []
        self._pending: dict[str, Change] = {}
        self.changed: list[Callable[[Sequence[Change]], None]] = []
        """Called after each commit with what it changed."""
        self.closed: list[Callable[[], None]] = []
        """Called once when the database is deleted or the server ends."""
        self.is_closed = False

    def _born(self, now_s: float) -> None:
        facts = {
            "uuid": uuid.uuid4().hex,
            "instance_start_time": str(int(now_s)),
            "security": DEFAULT_SECURITY,
            "seq": "0",
            "living": "0",
            "deleted": "0",
        }
        self._sql.execute("BEGIN IMMEDIATE")
        self._sql.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?)", facts.items())
        self._sql.execute("COMMIT")

    def _recall(self) -> None:
        """Take the counters and the security from the disk: at the start, and after a commit that failed."""
        facts = dict(self._sql.execute("SELECT name, value FROM facts"))
        self._seq = int(facts["seq"])
        self._living = int(facts["living"])
        self._deleted = int(facts["deleted"])
        self.security: dict[str, Any] = jsontext.read(facts["security"])

    def put_security(self, security: dict[str, Any]) -> None:
        """Store who may come in."""
        self._begin()
        self._sql.execute("UPDATE facts SET value = ? WHERE name = 'security'", (jsontext.write(security),))
        self.security = security

    # --- commits ------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self._open:
            self._sql.execute("BEGIN IMMEDIATE")
            self._open = True
            self._call_soon(self.commit)

    def durable(self) -> Deferred[None]:
        """Fire once all that was written so far is on the disk; fails with ``Refused`` (500) where that went wrong."""
        if not self._open:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def commit(self) -> None:
        """End the open transaction, acknowledge its writes, and tell the feeds."""
        if not self._open:
            return
        self._open = False
        waiting, self._waiting = self._waiting, []
        changes, self._pending = list(self._pending.values()), {}
        try:
            counters = {"seq": self._seq, "living": self._living, "deleted": self._deleted}
            self._sql.executemany(
                "UPDATE facts SET value = ? WHERE name = ?", [(str(value), name) for name, value in counters.items()]
            )
            self._sql.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is: the writers have to be told
            self.abandon(error, waiting)
            return
        try:
            changes.sort(key=lambda change: change.stored.seq)
            for tell in [*self.changed] if changes else ():
                tell(changes)
        finally:
            # Last: who is told that a password is changed may log in with it at once.
            for done in waiting:
                done.callback(None)

    def abandon(self, error: Exception, waiting: Sequence[Deferred[None]] = ()) -> None:
        """Undo the open transaction, and fail all its writes."""
        log.error(
            "database {name}: could not be written ({error}); free the disk or mend it", name=self.name, error=error
        )
        if self._sql.in_transaction:
            self._sql.execute("ROLLBACK")
        self._open = False
        failed, self._waiting = [*waiting, *self._waiting], []
        self._pending = {}
        self._recall()
        for done in failed:
            done.errback(Refused(500, "internal_server_error", f"could not be written: {error}"))

    def close(self) -> None:
        """Commit, tell the feeds that it is over, and close the file."""
        if self.is_closed:
            return
        self.commit()
        self.is_closed = True
        for tell in [*self.closed]:
            tell()
        self._sql.close()

    def delete(self) -> None:
        """Close it and remove its files."""
        self.close()
        if self._path is not None:
            for ending in ("", "-wal", "-shm"):
                Path(f"{self._path}{ending}").unlink(missing_ok=True)
