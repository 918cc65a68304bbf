"""What the database has for this Pi, folded from the feed row by row.  Pure."""

from __future__ import annotations

from attrs import define, field, frozen

from himbeerecouch import documents
from himbeerecouch.errors import DocumentError
from himbeerecouch.model import Command, Exports, Json, Program, Row


@frozen
class Refusal:
    """A command document that can't be run, and is to be told so."""

    document: Json = field(hash=False, repr=False)
    reason: str


@frozen
class Gone:
    """The document is deleted, or asks no command of this Pi: it may have become a program."""

    id: str


@define
class Catalogue:
    """All that is in use or has been refused, by document id."""

    mac_id: int
    max_source_bytes: int
    programs: dict[str, Program] = field(factory=dict)
    exports: dict[str, Exports] = field(factory=dict)
    rejected: dict[str, str] = field(factory=dict)
    """Document id -> reason."""
    refused_programs: dict[str, str] = field(factory=dict)
    """Of the rejected ones those that are programs for this Pi: document id -> revision."""
    watches: dict[str, float] = field(factory=dict)
    """Document id -> until when somebody looks at the log, as Unix time by the server's clock."""
    changes: int = 0
    """How many rows were about programs and global modules: those of commands are most, and change none of them."""

    @property
    def watched_until(self) -> float | None:
        """Until when somebody looks at the log; None where nobody said so."""
        return max(self.watches.values(), default=None)

    def ids(self) -> set[str]:
        """Every document whose change has to be heard of, whatever it changes to."""
        return {*self.programs, *self.exports, *self.rejected, *self.watches}

    def fold(self, row: Row) -> Command | Refusal | Gone:
        """Take one row in; return what it means to the commands: to them, what is about programs is gone."""
        if row.too_large:
            self._reject(row.id, "it is too large to be read")
            return Gone(row.id)
        if row.deleted or row.document is None:
            self.forget(row.id)
            return Gone(row.id)
        try:
            reading = documents.read(row.document, self.mac_id, max_source_bytes=self.max_source_bytes)
        except DocumentError as error:
            if documents.is_command(row.document, self.mac_id):
                self.forget(row.id)
                return Refusal(row.document, error.reason)
            self._reject(row.id, error.reason)
            if documents.is_program(row.document, self.mac_id):
                self.refused_programs[row.id] = row.document.get("_rev", "")
            return Gone(row.id)
        self.forget(row.id)
        self.changes += reading.program is not None or reading.exports is not None
        if reading.program is not None:
            self.programs[row.id] = reading.program
        if reading.exports is not None:
            self.exports[row.id] = reading.exports
        if reading.watched_until is not None:
            self.watches[row.id] = reading.watched_until
        return reading.command or Gone(row.id)

    def forget(self, id: str) -> None:
        """The document ``id`` is nothing to this Pi any more."""
        self.watches.pop(id, None)
        if id in self.programs or id in self.exports or id in self.rejected:  # most rows are about none of these
            self.changes += 1
            for known in (self.programs, self.exports, self.rejected, self.refused_programs):
                known.pop(id, None)

    def _reject(self, id: str, reason: str) -> None:
        # What it exported before stays, as with a global module that does not compile: the programs that use it did
        # nothing wrong.
        self.changes += 1
        for known in (self.programs, self.refused_programs, self.watches):
            known.pop(id, None)
        self.rejected[id] = reason
