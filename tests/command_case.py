"""A runner of commands over a database in memory, a journal in memory, and a clock that the test moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import documents
from himbeerecouch.commands.journal import Journal
from himbeerecouch.commands.runner import STOP_LIMIT_S, Commands
from himbeerecouch.model import Action, Command
from himbeerecouch.store import StateFolder
from tests.memory_couch import MemoryCouch

MAC_ID = 5
OWNER = "0123456789ab"


class CommandCase(SynchronousTestCase):
    """What is run here are actions, which need no process: a Clock is enough for them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.couch = MemoryCouch(self.clock.seconds)
        self.started: list[Deferred[str]] = []
        self.state = StateFolder(Path(self.mktemp()), lasts=False, in_memory=True)
        self.journal = Journal(self.state, new_owner=lambda: OWNER)
        self.claims = iter(f"claim{number}" for number in range(10000))
        self.commands = self.make()
        self.commands.startService()

    def make(self, **options: Any) -> Commands:
        return Commands(
            self.clock,
            self.couch,
            "db",
            actions={Action.IDENTIFY: self.act, Action.RESTART: self.act},
            journal=self.journal,
            random=lambda: 0.5,
            new_claim=lambda: next(self.claims),
            ours={},
            **options,
        )

    def tearDown(self) -> None:
        for one in self.started:
            if not one.called:
                one.callback("at last")
        self.clock.pump([1000, 1000])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def act(self) -> str:
        self.started.append(Deferred())
        return await self.started[-1]

    def save(self, id: str = "c", **fields: Any) -> Command:
        """Save a command document, and return it as the feed would bring it."""
        self.couch.save({"_id": id, "type": f"{MAC_ID}_cmd", "action": "identify", **fields})
        return self.row(id)

    def row(self, id: str = "c") -> Command:
        reading = documents.read(dict(self.couch.documents[id]), MAC_ID, max_source_bytes=1)
        assert reading.command is not None
        return reading.command

    def answer(self, id: str = "c") -> tuple[str | None, Any]:
        """The state and the ``ret`` of a command document."""
        document = self.couch.documents[id]
        return document.get("execution", {}).get("state"), document.get("ret")

    def submit(self, *rows: Command, **options: bool) -> None:
        for row in rows:
            self.commands.submit(row, **options)

    def release(self) -> None:
        """Let the requests that wait now go on, and others wait."""
        assert self.couch.held is not None
        waiting, self.couch.held[:] = list(self.couch.held), []
        for gate in waiting:
            gate.callback(None)

    def tidy(self) -> None:
        """End all that is in hand."""
        done = self.commands.stopService()
        self.clock.advance(STOP_LIMIT_S)
        self.successResultOf(done)
