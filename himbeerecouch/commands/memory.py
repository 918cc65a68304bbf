"""What is remembered of commands that are done with, so that an old row of the feed never starts one again.  Pure."""

from __future__ import annotations

from collections import OrderedDict

from attrs import frozen

from himbeerecouch.commands.execution import claim_of
from himbeerecouch.model import Command

ECHO_S = 60.0
"""How long after its end the feed may still bring a command as it was while it ran."""
REMEMBERED = 2000


@frozen
class _Settled:
    claim: str
    rev: str
    """Before it was claimed."""
    at_s: float


class CommandMemory:
    """The last commands that were answered here, or that somebody else has claimed.  Times are seconds of any clock."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._settled: OrderedDict[str, _Settled] = OrderedDict()
        self._foreign: OrderedDict[str, None] = OrderedDict()

    def settle(self, id: str, rev: str, claim: str, now_s: float) -> None:
        """The command has been answered here; ``rev`` is that of its document before it was claimed."""
        self._settled[id] = _Settled(claim, rev, now_s)
        self._settled.move_to_end(id)
        while len(self._settled) > self._remembered:
            self._settled.popitem(last=False)

    def is_echo(self, command: Command, now_s: float) -> bool:
        """Whether this is how the document was a moment ago, before it was answered here."""
        settled = self._settled.get(command.id)
        if settled is None or now_s - settled.at_s > ECHO_S:
            return False
        return command.rev == settled.rev or claim_of(command.body) == settled.claim

    def was_run(self, command: Command) -> bool:
        """Whether this very revision was in hand here before: the database is an older copy of itself then."""
        settled = self._settled.get(command.id)
        return settled is not None and (settled.rev == command.rev or claim_of(command.body) == settled.claim)

    def leave(self, id: str) -> None:
        """Somebody else has claimed it."""
        self._foreign[id] = None
        self._foreign.move_to_end(id)
        while len(self._foreign) > self._remembered:
            self._foreign.popitem(last=False)

    def is_foreign(self, command: Command) -> bool:
        """Whether it is somebody else who has claimed it."""
        return command.claimed and command.id in self._foreign

    def forget(self, id: str) -> None:
        """The document is gone: whoever had claimed it has no claim on a new one."""
        self._foreign.pop(id, None)


def newer(rev: str, than: str) -> bool:
    """Whether ``rev`` is the later revision, by the number that revisions begin with."""
    return _generation(rev) > _generation(than)


def _generation(rev: str) -> int:
    number = rev.partition("-")[0]
    return int(number) if number.isdecimal() else 0
