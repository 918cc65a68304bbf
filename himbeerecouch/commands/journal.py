"""The journal of commands: what has to be known of them after a crash, a power cut or a reboot."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence

from twisted.logger import Logger

from himbeerecouch.commands import record as records
from himbeerecouch.commands.execution import smaller
from himbeerecouch.commands.record import Birth, Record
from himbeerecouch.errors import StateError
from himbeerecouch.model import Command, Result
from himbeerecouch.store import StateFolder

OWNER = "journal"
"""The state file with the name that all claims of this state folder begin with."""
FILE = "commands"
KEPT = 100
"""How many commands are remembered; one is refused where so many wait for their answers to be stored."""
LIMIT_BYTES = 15 * 1024 * 1024
"""Of all commands together whose answers are not stored yet."""
OUTDATED_BYTES = 256 * 1024
"""What the file may hold of former records, beside as much as what it holds of those that count."""
SHORTER_CHARACTERS = (64 * 1024, 1024, 0)
"""What is left of each stream, step by step, where a result takes more than there is."""

log = Logger()


class Journal:
    """Remembers across a crash what has been started, how it ended, and whether its answer is stored.

    One file in ``state``, to which each step of a command adds a line: its record from then on.  The last line of a
    command counts; now and then the file is written anew with these alone.  Nothing is written while nothing is run.
    Used by ``Commands`` on the reactor thread; what must not be lost is on the disk when a method returns.
    """

    def __init__(
        self,
        state: StateFolder,
        *,
        kept: int = KEPT,
        limit_bytes: int = LIMIT_BYTES,
        outdated_bytes: int = OUTDATED_BYTES,
        new_owner: Callable[[], str] = lambda: os.urandom(6).hex(),
    ) -> None:
        self._state = state
        self._kept = kept
        self._limit_bytes = limit_bytes
        self._outdated_bytes = outdated_bytes
        self._records: dict[str, Record] = {}
        """By claim, in the order of their starts."""
        self._sizes: dict[str, int] = {}
        """In bytes, of their last lines."""
        self._file_bytes: float = 0
        """Infinite where the end of the file can't be added to: it is written anew first."""
        self._load()
        self._number = max((record.number for record in self._records.values()), default=0)
        self.owner = self._read_owner() or self._make_owner(new_owner())
        """What all claims that are made here begin with: nobody else's do."""

    def left(self) -> Sequence[Record]:
        """What has not been answered, or of which processes may be left that were to end, in the order of starts."""
        return [record for record in self._records.values() if record.open_ended or not record.settled]

    def settled(self) -> Sequence[Record]:
        """The last commands that were answered, in the order of their starts."""
        return [record for record in self._records.values() if record.settled]

    def knows(self, claim: str) -> bool:
        """Whether the command with this claim is one of those."""
        return claim in self._records

    # --- the way of one command ---------------------------------------------------------------------------------------

    def claimed(self, command: Command, claim: str, started: float) -> None:
        """It is about to be started; ``StateError`` where that can't be kept, and it must not be."""
        record = records.record_of(self._number + 1, command, claim, started)
        line = records.render(record)
        waiting = [size for claim, size in self._sizes.items() if not self._records[claim].settled]
        if sum(waiting) + len(line) > self._limit_bytes or len(waiting) >= self._kept:
            reason = f"{len(waiting)} commands wait for their answers to be stored"
            raise StateError(str(self._state.path / FILE), reason)
        self._add(line, synced=True)
        self._number = record.number
        self._keep(record, len(line))

    def started(self, claim: str, birth: Birth | None) -> None:
        """Its process runs; where that can't be kept, the process is found by its mark."""
        # It matters after a crash of the daemon only, and not after one of the machine: no card need be worn by it.
        self._change(claim, lambda record: records.born(record, birth), synced=False)

    def ended(self, claim: str, result: Result) -> None:
        """It has ended, and its answer is to be stored; where that can't be kept, it counts until the daemon ends."""
        record = self._records.get(claim)
        if record is None or record.result == result:
            return
        others = (size for other, size in self._sizes.items() if other != claim and not self._records[other].settled)
        rest_bytes = self._limit_bytes - sum(others)
        kept, shorter = records.ended(record, result), iter(SHORTER_CHARACTERS)
        while len(line := records.render(kept)) > rest_bytes:
            limit = next(shorter, None)
            if limit is None:
                return
            kept = records.ended(record, smaller(result, limit))
        self._write(record, kept, line, synced=True)

    def answered(self, claim: str, result: Result) -> None:
        """It has ended so, and its answer is stored, or nobody wants one any more."""
        # Where a power cut takes this back, the answer is looked for in the document, and found.
        self._change(claim, lambda record: records.settled(records.ended(record, result)), synced=False)

    # --- the file -----------------------------------------------------------------------------------------------------

    def _change(self, claim: str, change: Callable[[Record], Record], *, synced: bool) -> None:
        former = self._records.get(claim)
        if former is not None:
            record = change(former)
            self._write(former, record, records.render(record), synced=synced)

    def _write(self, former: Record, record: Record, line: bytes, *, synced: bool) -> None:
        if record == former:
            return
        try:
            self._add(line, synced=synced)
        except StateError as error:
            log.warn("{error}: what has become of command {id} is not kept", error=error, id=record.id)
        self._keep(record, len(line))

    def _keep(self, record: Record, size_bytes: int) -> None:
        self._records[record.claim] = record
        self._sizes[record.claim] = size_bytes
        while len(self._records) > self._kept and (settled := self.settled()):
            del self._records[settled[0].claim], self._sizes[settled[0].claim]

    def _add(self, line: bytes, *, synced: bool) -> None:
        if self._file_bytes > 2 * sum(self._sizes.values()) + self._outdated_bytes:
            self._write_anew()
        try:
            self._state.append(FILE, line, synced=synced)
        except StateError:
            self._file_bytes = math.inf
            raise
        self._file_bytes += len(line)

    def _write_anew(self) -> None:
        data = b"".join(map(records.render, self._records.values()))
        self._state.write(FILE, data)
        self._file_bytes = len(data)

    def _load(self) -> None:
        self._file_bytes = math.inf
        try:
            data = self._state.read(FILE) or b""
            *lines, rest = data.split(b"\n")
            torn = bool(rest)
            for line in lines:
                record = records.parse(line)
                if record is None:
                    torn = True
                else:
                    self._keep(record, len(line) + 1)
            if torn:
                # By a power cut, most likely, while it was being added: nothing had been started by it.
                self._state.set_aside(FILE)
                self._write_anew()
            else:
                self._file_bytes = len(data)
        except StateError as error:
            log.warn("{error}: what it says of commands may not be known", error=error)

    def _read_owner(self) -> str | None:
        try:
            data = self._state.read(OWNER)
            if data is None or re.fullmatch(rb"[0-9a-f]{12}\n", data):
                return None if data is None else data.decode("ascii").strip()
            self._state.set_aside(OWNER)
        except StateError as error:
            log.warn("{error}", error=error)
        return None

    def _make_owner(self, owner: str) -> str:
        try:
            self._state.write(OWNER, f"{owner}\n".encode("ascii"))
        except StateError as error:
            log.warn("{error}: commands can't be noted down, and are refused, until that is mended", error=error)
        return owner
