"""The journal of commands: what has to be known of them after a crash, a power cut or a reboot."""

from __future__ import annotations

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
SLOTS = 100
LIMIT_BYTES = 32 * 1024 * 1024
"""Of all commands together whose answers are not stored yet."""
SHORTER_CHARACTERS = (64 * 1024, 1024, 0)
"""What is left of each stream, step by step, where a result takes more than there is."""

log = Logger()


class Journal:
    """Remembers across a crash what has been started, how it ended, and whether its answer is stored.

    One small file for each of the last ``SLOTS`` commands, in ``state``; nothing is written while nothing is run.
    Used by ``Commands`` on the reactor thread; what must not be lost is on the disk when a method returns.
    """

    def __init__(
        self,
        state: StateFolder,
        *,
        slots: int = SLOTS,
        limit_bytes: int = LIMIT_BYTES,
        new_owner: Callable[[], str] = lambda: os.urandom(6).hex(),
    ) -> None:
        self._state = state
        self._limit_bytes = limit_bytes
        self._free = [f"command-{slot:02}" for slot in reversed(range(slots))]
        self._records: dict[str, Record] = {}
        self._sizes: dict[str, int] = {}
        """In bytes, by file, of those that are not settled."""
        for name in list(self._free):
            self._load(name)
        self._number = max((record.number for record in self._records.values()), default=0)
        self.owner = self._read_owner() or self._make_owner(new_owner())
        """What all claims that are made here begin with: nobody else's do."""

    def left(self) -> Sequence[Record]:
        """What has not been answered, or of which processes may be left that were to end, in the order of starts."""
        return [record for record in self._in_order() if record.open_ended or not record.settled]

    def settled(self) -> Sequence[Record]:
        """The last commands that were answered, in the order of their starts."""
        return [record for record in self._in_order() if record.settled]

    def knows(self, claim: str) -> bool:
        """Whether the command with this claim is one of those."""
        return self._find(claim) is not None

    # --- the way of one command ---------------------------------------------------------------------------------------

    def claimed(self, command: Command, claim: str, started: float) -> None:
        """It is about to be started; ``StateError`` where that can't be kept, and it must not be."""
        record = records.record_of(self._number + 1, command, claim, started)
        data = records.render(record)
        oldest = min((r.number for r in self._records.values() if r.settled), default=None)
        if sum(self._sizes.values()) + len(data) > self._limit_bytes or (oldest is None and not self._free):
            raise StateError(str(self._state.path), f"{len(self._sizes)} commands wait for their answers to be stored")
        name = self._free[-1] if self._free else self._name(lambda r: r.number == oldest)
        self._state.write(name, data)
        if self._free:
            self._free.pop()
        self._number = record.number
        self._keep(name, record, len(data))

    def started(self, claim: str, birth: Birth | None) -> None:
        """Its process runs; where that can't be kept, the process is found by its mark."""
        # It matters after a crash of the daemon only, and not after one of the machine: no card need be worn by it.
        self._change(claim, lambda record: records.born(record, birth), synced=False)

    def ended(self, claim: str, result: Result) -> None:
        """It has ended, and its answer is to be stored; where that can't be kept, it counts until the daemon ends."""
        record = self._find(claim)
        if record is None or record.result == result:
            return
        rest_bytes = self._limit_bytes - sum(self._sizes.values())
        shorter = iter(SHORTER_CHARACTERS)
        kept: Result | None = result
        while kept is not None and len(records.render(records.ended(record, kept))) > rest_bytes:
            limit = next(shorter, None)
            kept = None if limit is None else smaller(result, limit)
        if kept is not None:
            self._change(claim, lambda record: records.ended(record, kept), synced=True)

    def answered(self, claim: str) -> None:
        """Its answer is stored, or nobody wants one any more."""
        # Where a power cut takes this back, the answer is looked for in the document, and found.
        self._change(claim, records.settled, synced=False)

    # --- files --------------------------------------------------------------------------------------------------------

    def _change(self, claim: str, change: Callable[[Record], Record], *, synced: bool) -> None:
        name = self._name(lambda record: record.claim == claim)
        if not name:
            return
        record = change(self._records[name])
        data = records.render(record)
        try:
            self._state.write(name, data, synced=synced)
        except StateError as error:
            log.warn("{error}: what has become of command {id} is not kept", error=error, id=record.id)
        self._keep(name, record, len(data))

    def _keep(self, name: str, record: Record, size_bytes: int) -> None:
        self._records[name] = record
        if record.settled:
            self._sizes.pop(name, None)
        else:
            self._sizes[name] = size_bytes

    def _load(self, name: str) -> None:
        try:
            data = self._state.read(name)
            record = None if data is None else records.parse(data)
            if data is not None and record is None:
                self._state.set_aside(name)
        except StateError as error:
            log.warn("{error}: what it says of a command is not known", error=error)
            self._free.remove(name)
            return
        if data is not None and record is not None:
            self._free.remove(name)
            self._keep(name, record, len(data))

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

    def _find(self, claim: str) -> Record | None:
        return self._records.get(self._name(lambda record: record.claim == claim))

    def _name(self, which: Callable[[Record], bool]) -> str:
        return next((name for name, record in self._records.items() if which(record)), "")

    def _in_order(self) -> list[Record]:
        return sorted(self._records.values(), key=lambda record: record.number)
