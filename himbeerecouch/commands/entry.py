"""One command in hand, from the feed's row to its stored answer."""

from __future__ import annotations

import enum

from attrs import Factory, define
from twisted.internet.defer import Deferred

from himbeerecouch.commands.process import GRACE_S
from himbeerecouch.commands.task import Task
from himbeerecouch.model import Command, CommandState


class Phase(enum.Enum):
    """How far a command has come."""

    QUEUED = "queued"
    CLAIMING = "claiming"
    WAITING = "waiting"
    """Its document has been edited before it was claimed: the feed will bring the new one."""
    RUNNING = "running"
    STORING = "storing"


@define(eq=False)
class Entry:
    """One command in hand."""

    command: Command
    claim: str
    phase: Phase = Phase.QUEUED
    latest: Command | None = None
    """As the feed has brought it since."""
    ours: bool = False
    """It has been claimed here."""
    cause: CommandState | None = None
    """Why it is to end, or has been ended, before its time."""
    task: Task | None = None
    """What runs."""
    before: Deferred[None] | None = None
    """Fires when the one that was taken from the queue before it has been started, or is not going to be."""
    started: Deferred[None] = Factory(Deferred)

    def is_quick(self) -> bool:
        """Whether its answer may be a matter of milliseconds, as far as is known."""
        return self.phase is not Phase.WAITING and (self.phase is not Phase.RUNNING or self.latest is None)

    def let_on(self) -> None:
        """Let the next one of the queue start, if it waits for this one."""
        if not self.started.called:
            self.started.callback(None)

    def end(self, cause: CommandState, grace_s: float = GRACE_S) -> None:
        """End it because of ``cause``: what runs now, and what does not run yet before it is started."""
        self.cause = self.cause or cause
        if self.task is not None:
            self.task.end(cause, grace_s)
