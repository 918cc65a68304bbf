"""One database in one sqlite file: what was acknowledged is on the disk.

Everything happens on the reactor's thread.  Writes that come in together share one commit: a write is acknowledged by
the Deferred of ``durable()``, and whoever reads first makes the commit happen, so nobody sees what may still be lost.
"""

from __future__ import annotations

import base64
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from himbeerecouch.embedded import jsontext
from himbeerecouch.embedded.indexes import Index, after, read_design
from himbeerecouch.embedded.refused import Refused, bad_request
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


def _leaf(generation: int, path: str, deleted: int, body: str) -> Leaf:
    return Leaf(generation, tuple(path.split(",")), bool(deleted), body)


class Database:
    """One open database."""

    def __init__(
        self, path: Path | None, name: str, *, now_s: float, call_soon: Callable[[Callable[[], None]], object]
    ):
        """Open it, or create it at ``path`` (None: in memory).

        ``now_s`` is Unix time, for a new database's birth; ``call_soon`` runs a function on the next turn of the reactor.
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
        self._tail = base64.urlsafe_b64encode(uuid.UUID(self.uuid).bytes).decode().rstrip("=")
        self._recall()
        self.indexes: tuple[Index, ...] = ()
        self._load_indexes()
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
        with self._sql:
            self._sql.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?)", facts.items())

    def _recall(self) -> None:
        """Take the counters and the security from the disk: at the start, and after a commit that failed."""
        facts = dict(self._sql.execute("SELECT name, value FROM facts"))
        self._seq = int(facts["seq"])
        self._living = int(facts["living"])
        self._deleted = int(facts["deleted"])
        self.security: dict[str, Any] = jsontext.read(facts["security"])

    def _load_indexes(self) -> None:
        designs = self._sql.execute(
            "SELECT id, body FROM documents WHERE id >= '_design/' AND id < '_design0' AND NOT deleted ORDER BY id"
        )
        self.indexes = tuple(index for name, body in designs for index in read_design(name, jsontext.read(body)))

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
        except sqlite3.Error as error:
            self.abandon(error, waiting)
            return
        for done in waiting:
            done.callback(None)
        if changes:
            changes.sort(key=lambda change: change.stored.seq)
            for tell in [*self.changed]:
                tell(changes)

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
        self._load_indexes()
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

    # --- sequence numbers ---------------------------------------------------------------------------------------------

    @property
    def seq(self) -> int:
        """The number of the last change that is on the disk."""
        self.commit()
        return self._seq

    def seq_text(self, number: int) -> str:
        """A sequence number as clients see it: opaque, and of this very database."""
        return f"{number}-g1{self._tail}"

    def since(self, text: str) -> int:
        """Read what a client gives as ``since``; that of another database means from the start, as in CouchDB."""
        text = text.strip('"')
        if text in ("", "0"):
            return 0
        if text == "now":
            return self.seq
        number, _, tail = text.partition("-g1")
        if not (number.isascii() and number.isdigit() and len(number) < 19 and len(tail) == len(self._tail)):
            raise bad_request("Malformed sequence supplied in 'since' parameter.")
        return int(number) if tail == self._tail else 0

    # --- reading ------------------------------------------------------------------------------------------------------

    def counts(self) -> tuple[int, int]:
        """How many documents live, and how many are deleted."""
        self.commit()
        return self._living, self._deleted

    def get(self, identity: str) -> Stored | None:
        """Read the winner of a document, deleted or not, on the disk or about to be."""
        row = self._sql.execute(
            "SELECT seq, generation, path, deleted, body, conflicts FROM documents WHERE id = ?", (identity,)
        ).fetchone()
        return None if row is None else Stored(identity, row[0], _leaf(*row[1:5]), row[5])

    def leaves(self, identity: str) -> list[Leaf]:
        """All leaves of a document, the winner first."""
        stored = self.get(identity)
        if stored is None:
            return []
        if not stored.conflicts:
            return [stored.leaf]
        rows = self._sql.execute("SELECT generation, path, deleted, body FROM losers WHERE id = ?", (identity,))
        return [stored.leaf, *(_leaf(*row) for row in rows)]

    def after_seq(self, since: int, until: int, with_body: bool) -> Iterator[Stored]:
        """Changes behind ``since`` up to ``until``, in order; don't write while it is open."""
        body = "body" if with_body else "'{}'"
        rows = self._sql.execute(
            f"SELECT id, seq, generation, path, deleted, {body}, conflicts FROM documents "  # noqa: S608 one of two texts
            "WHERE seq > ? AND seq <= ? ORDER BY seq",
            (since, until),
        )
        for row in rows:
            yield Stored(row[0], row[1], _leaf(*row[2:6]), row[6])

    def behind(self, since: int) -> int:
        """How many changes there are behind ``since``."""
        count: int = self._sql.execute("SELECT COUNT(*) FROM documents WHERE seq > ?", (since,)).fetchone()[0]
        return count

    def by_id(
        self, low: str, high: str | None, *, after_low: bool, descending: bool, with_body: bool
    ) -> Iterator[Stored]:
        """Living documents from id ``low`` (or behind it) to ``high``, both included; don't write while it is open."""
        body = "body" if with_body else "'{}'"
        first = (">" if after_low else ">=") if not descending else ("<" if after_low else "<=")
        last = "<=" if not descending else ">="
        rows = self._sql.execute(
            f"SELECT id, seq, generation, path, deleted, {body}, conflicts FROM documents "  # noqa: S608 fixed texts
            f"WHERE id {first} ? AND (? OR id {last} ?) AND NOT deleted ORDER BY id {'DESC' if descending else ''}",
            (low, high is None, high),
        )
        for row in rows:
            yield Stored(row[0], row[1], _leaf(*row[2:6]), row[6])

    def by_key(
        self, index: Index, low: bytes, high: bytes, start: tuple[bytes, str] | None, descending: bool
    ) -> Iterator[tuple[bytes, str]]:
        """Keys and ids of an index from ``low`` to all that starts with ``high``, or the other way, behind ``start``."""
        end = after(high)
        if descending:
            key, identity = start if start is not None and start[0] < end else (end, "")
            text = "key >= ? AND (key, id) < (?, ?) ORDER BY key DESC, id DESC"
            bounds = (low, key, identity)
        else:
            key, identity = start if start is not None and start[0] >= low else (low, "")
            text = "(key, id) > (?, ?) AND key < ? ORDER BY key, id"
            bounds = (key, identity, end)
        select = f"SELECT key, id FROM entries WHERE ix = ? AND {text}"  # noqa: S608 one of two texts of this function
        yield from self._sql.execute(select, (_index_name(index), *bounds))

    # --- writing ------------------------------------------------------------------------------------------------------

    def put(self, identity: str, leaves: Sequence[Leaf], document: Mapping[str, Any]) -> None:
        """Store the leaves of a document, the winner first; ``document`` is the winner's body, parsed."""
        self._begin()
        before = self.get(identity)
        winner = leaves[0]
        self._seq += 1
        if before is not None:
            self._living -= not before.leaf.deleted
            self._deleted -= before.leaf.deleted
        self._living += not winner.deleted
        self._deleted += winner.deleted
        row = (self._seq, winner.generation, ",".join(winner.path), winner.deleted, winner.body, len(leaves) - 1)
        if before is None:
            self._sql.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)", (identity, *row))
        else:
            self._sql.execute(
                "UPDATE documents SET seq=?, generation=?, path=?, deleted=?, body=?, conflicts=? WHERE id=?",
                (*row, identity),
            )
        if len(leaves) > 1 or (before is not None and before.conflicts):
            self._sql.execute("DELETE FROM losers WHERE id = ?", (identity,))
            self._sql.executemany(
                "INSERT INTO losers VALUES (?, ?, ?, ?, ?)",
                [(identity, leaf.generation, ",".join(leaf.path), leaf.deleted, leaf.body) for leaf in leaves[1:]],
            )
        whole = {"_id": identity, "_rev": winner.rev, **({"_deleted": True} if winner.deleted else {}), **document}
        if identity.startswith("_design/"):
            self._rebuild(identity)
        elif self.indexes:
            self._enter(identity, whole, winner.deleted, before is not None)
        self._pending[identity] = Change(Stored(identity, self._seq, winner, len(leaves) - 1), whole)

    def _enter(self, identity: str, document: Mapping[str, Any], deleted: bool, known: bool) -> None:
        """Bring the indexes up to date with one document."""
        wanted = set()
        if not deleted:
            keys = [(_index_name(index), index.key_of(document)) for index in self.indexes]
            wanted = {(name, key) for name, key in keys if key is not None}
        there = set(self._sql.execute("SELECT ix, key FROM entries WHERE id = ?", (identity,))) if known else set()
        self._sql.executemany(
            "DELETE FROM entries WHERE ix = ? AND key = ? AND id = ?", [(*gone, identity) for gone in there - wanted]
        )
        self._sql.executemany("INSERT INTO entries VALUES (?, ?, ?)", [(*new, identity) for new in wanted - there])

    def _rebuild(self, design: str) -> None:
        """Make the indexes of a design document anew, after it has changed."""
        before = {index: index for index in self.indexes if index.ddoc == design}
        self._load_indexes()
        now = [index for index in self.indexes if index.ddoc == design]
        stale = [
            index for index in before if index not in now or before[index].definition != _same(index, now).definition
        ]
        fresh = [index for index in now if index not in before or index in stale]
        for index in stale:
            self._sql.execute("DELETE FROM entries WHERE ix = ?", (_index_name(index),))
        if not fresh:
            return
        for stored in self.by_id("", None, after_low=False, descending=False, with_body=True):
            if stored.id.startswith("_design/"):
                continue
            document = {"_id": stored.id, "_rev": stored.leaf.rev, **jsontext.read(stored.leaf.body)}
            keys = [(_index_name(index), index.key_of(document), stored.id) for index in fresh]
            self._sql.executemany("INSERT INTO entries VALUES (?, ?, ?)", [row for row in keys if row[1] is not None])

    def put_security(self, security: dict[str, Any]) -> None:
        """Store who may come in."""
        self._begin()
        self._sql.execute("UPDATE facts SET value = ? WHERE name = 'security'", (jsontext.write(security),))
        self.security = security

    # --- local documents ----------------------------------------------------------------------------------------------

    def get_local(self, identity: str) -> tuple[int, str] | None:
        """Read a document that is not replicated and not in the feed: generation and body."""
        row: tuple[int, str] | None = self._sql.execute(
            "SELECT generation, body FROM locals WHERE id = ?", (identity,)
        ).fetchone()
        return row

    def put_local(self, identity: str, generation: int, body: str | None) -> None:
        """Store a local document, or remove it where ``body`` is None."""
        self._begin()
        self._sql.execute("DELETE FROM locals WHERE id = ?", (identity,))
        if body is not None:
            self._sql.execute("INSERT INTO locals VALUES (?, ?, ?)", (identity, generation, body))


def _same(index: Index, among: Sequence[Index]) -> Index:
    return next(other for other in among if other == index)


def _index_name(index: Index) -> str:
    return f"{index.ddoc}/{index.name}"
