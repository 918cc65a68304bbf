"""The documents of one database: in the order of their ids, of their changes, and of the indexes."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from himbeerecouch.embedded import jsontext
from himbeerecouch.embedded.indexes import Index, after, read_design
from himbeerecouch.embedded.ledger import Change, Ledger, Stored
from himbeerecouch.embedded.refused import bad_request
from himbeerecouch.embedded.revisions import Leaf

BEHIND_TEXT = b"\xff"
"""sqlite sorts every blob behind every text."""


def _leaf(generation: int, path: str, deleted: int, body: str) -> Leaf:
    return Leaf(generation, tuple(path.split(",")), bool(deleted), body)


class Database(Ledger):
    """One open database."""

    indexes: tuple[Index, ...] = ()
    guards: Mapping[str, tuple[str, str]] = MappingProxyType({})
    """Revision and source of every ``validate_doc_update``, by design document."""

    def __init__(
        self, path: Path | None, name: str, *, now_s: float, call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        """Open it, or create it; the arguments are the ledger's."""
        super().__init__(path, name, now_s=now_s, call_soon=call_soon)
        self._tail = base64.urlsafe_b64encode(uuid.UUID(self.uuid).bytes).decode().rstrip("=")

    def _recall(self) -> None:
        """Take the design documents, too, from the disk."""
        super()._recall()
        self._load_designs()

    def _load_designs(self) -> None:
        rows = self._sql.execute(
            "SELECT id, generation, path, deleted, body FROM documents "
            "WHERE id >= '_design/' AND id < '_design0' AND NOT deleted ORDER BY id"
        )
        designs = [(row[0], _leaf(*row[1:])) for row in rows]
        parsed = [(name, leaf.rev, jsontext.read(leaf.body)) for name, leaf in designs]
        self.indexes = tuple(index for name, _, design in parsed for index in read_design(name, design))
        self.guards = {
            name: (rev, design["validate_doc_update"])
            for name, rev, design in parsed
            if "validate_doc_update" in design
        }

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
        try:
            row = self._sql.execute(
                "SELECT seq, generation, path, deleted, body, conflicts FROM documents WHERE id = ?", (identity,)
            ).fetchone()
        except UnicodeEncodeError:
            return None  # no document has half a character in its id
        return None if row is None else Stored(identity, row[0], _leaf(*row[1:5]), row[5])

    def existing(self, identity: str) -> Stored:
        """The same for a document that an index names, and which therefore exists."""
        stored = self.get(identity)
        if stored is None:
            raise KeyError(identity)
        return stored

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

    def latest(self, most: int, most_bytes: int) -> tuple[int, list[Change]]:
        """Read the last changes, in order: at most so many, and of so many bytes; behind the number given, that is all.

        Called when all is on the disk.
        """
        found: list[Change] = []
        rows = self._sql.execute(
            "SELECT id, seq, generation, path, deleted, body, conflicts FROM documents ORDER BY seq DESC LIMIT ?",
            (most + 1,),
        )
        for row in rows:
            most_bytes -= len(row[5])
            if len(found) == most or most_bytes < 0:
                rows.close()
                return row[1], found[::-1]
            stored = Stored(row[0], row[1], _leaf(*row[2:6]), row[6])
            found.append(Change(stored, stored.document()))
        return 0, found[::-1]

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
            f"WHERE id {first} ? AND id {last} ? AND NOT deleted ORDER BY id {'DESC' if descending else ''}",
            (low, ("" if descending else BEHIND_TEXT) if high is None else high),
        )
        for row in rows:
            yield Stored(row[0], row[1], _leaf(*row[2:6]), row[6])

    def by_key(
        self, index: Index, low: bytes, high: bytes, start: tuple[bytes, str] | None, descending: bool
    ) -> Iterator[tuple[bytes, str]]:
        """Keys and ids of an index from ``low`` to all that starts with ``high``, or back; behind ``start``."""
        end = after(high)
        if descending:
            key, identity = start if start is not None and start[0] < end else (end, "")
            text = "key >= ? AND (key, id) < (?, ?) ORDER BY key DESC, id DESC"
            bounds: tuple[bytes | str, ...] = (low, key, identity)
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
        self._load_designs()
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
    # sqlite takes no half of a character, which JSON may have.
    return f"{index.ddoc}/{index.name}".encode("utf-8", "backslashreplace").decode("utf-8")
