"""What a daemon that was killed has left of its commands is answered by the next one, and never run again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from himbeerecouch.commands import runner
from himbeerecouch.commands.journal import Journal
from himbeerecouch.commands.orphans import ASKED_S
from himbeerecouch.commands.record import Birth, Record
from himbeerecouch.errors import NotFound, Unavailable
from tests.command_case import OWNER, CommandCase

INTERRUPTED = "interrupted"


class RecoveryTests(CommandCase):
    def crash(self, start: bool = True) -> None:
        """End the daemon without warning, and start the next one on the same state folder."""
        # What the killed one holds is never heard of again: neither its timers nor its requests come back.
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.killed = self.commands
        self.started.clear()
        self.couch.held = None
        self.journal = Journal(self.state, new_owner=lambda: "unused")
        self.commands = self.make()
        if start:
            self.start()

    def start(self) -> None:
        self.commands.startService()
        self.clock.advance(0)

    def lose_server(self, faults: int = 40) -> None:
        self.couch.faults = [Unavailable("away")] * faults

    def find_server(self) -> None:
        self.couch.faults = []
        self.commands.hurry()

    # --- what was not answered ----------------------------------------------------------------------------------------

    def test_killed_while_it_runs(self) -> None:
        """What was started is interrupted, and nothing of it is in hand afterwards."""
        row = self.save()
        self.submit(row)
        self.crash()
        state, ret = self.answer()
        self.assertEqual((state, ret[0]), (INTERRUPTED, None))
        self.assertEqual(self.started, [])
        self.assertEqual(self.commands.in_use(), set())
        self.assertEqual(self.journal.left(), [])
        self.submit(row)
        self.assertEqual(self.started, [])

    def test_killed_before_it_is_answered(self) -> None:
        """What had ended is answered with what it wrote, by the daemon after it, or the one after that."""
        self.submit(self.save())
        self.lose_server()
        self.clock.advance(3)
        self.started[0].callback("blinking")
        self.clock.advance(0)
        self.crash()
        self.crash()
        self.assertEqual(self.answer(), ("running", None))
        self.assertEqual(self.commands.in_use(), {"c"})
        self.find_server()
        self.assertEqual(self.answer(), ("done", ["blinking", ""]))
        self.assertEqual(self.couch.documents["c"]["execution"]["finished"], "1970-01-01T00:00:03.000Z")
        self.assertNotIn("claim", self.couch.documents["c"]["execution"])

    def test_stopped_without_server(self) -> None:
        """What can't be stored when the daemon is stopped is stored by the next one."""
        self.submit(self.save("a"), self.save("b"))
        self.lose_server()
        self.started[0].callback("blinking")
        self.tidy()
        self.assertEqual(self.answer("a"), ("running", None))
        self.couch.faults = []
        self.crash()
        self.assertEqual(self.answer("a"), ("done", ["blinking", ""]))
        self.assertEqual(self.answer("b"), (INTERRUPTED, [None, "interrupted: the daemon ended"]))

    def test_stopped_with_a_silent_server(self) -> None:
        """The same where the server takes the answer and says nothing."""
        self.submit(self.save())
        self.couch.held = []
        self.started[0].callback("blinking")
        self.tidy()
        self.crash()
        self.assertEqual(self.answer(), ("done", ["blinking", ""]))

    def test_killed_between_answer_and_note(self) -> None:
        """An answer that is there already is left as it is."""
        self.submit(self.save())
        write = self.state.write
        self.patch(self.state, "write", lambda name, data, **_options: None)
        self.started[0].callback("blinking")
        self.state.write = write  # type: ignore[method-assign]
        document = dict(self.couch.documents["c"])
        self.crash()
        self.assertEqual(self.couch.documents["c"], document)
        self.assertEqual(self.journal.left(), [])

    def test_killed_before_its_end_is_noted(self) -> None:
        """Of what had ended by itself, and only was not noted down, nothing is ended any more, by no later daemon."""
        open_ended: list[list[str]] = []

        async def end(_clock: object, records: Sequence[Record]) -> None:
            open_ended.append([record.id for record in records])

        self.patch(runner, "end_orphans", end)
        for id in ("ended", "cancelled", "runs"):
            self.submit(self.save(id))
            self.journal.started(f"{OWNER}-claim{len(self.started) - 1}", Birth(300, 4000, "boot-1"))
        kept = self.patch(self.journal, "answered", lambda *_: None)
        self.started[0].callback("blinking")
        self.couch.edit("cancelled", cancel=True)
        self.submit(self.row("cancelled"))
        kept.restore()
        documents = {id: dict(self.couch.documents[id]) for id in ("ended", "cancelled")}
        self.crash()
        self.assertEqual(open_ended, [["cancelled", "runs"]])
        for id, document in documents.items():
            self.assertEqual(self.couch.documents[id], document)
        self.assertEqual(self.answer("runs")[0], INTERRUPTED)
        self.crash()
        self.assertEqual(open_ended[1:], [["cancelled", "runs"]])

    def test_killed_with_a_silent_server(self) -> None:
        """A server that does not say what had ended holds nothing up."""
        self.submit(self.save("a"), self.save("b"))
        self.crash(start=False)
        waiting: list[Deferred[None]] = []
        self.couch.held = waiting
        self.start()
        self.assertEqual(len(waiting), 1)
        self.clock.advance(ASKED_S)
        self.couch.held = None
        for gate in waiting[1:]:
            gate.callback(None)
        self.assertEqual([self.answer(id)[0] for id in "ab"], [INTERRUPTED] * 2)

    def test_document_is_merged(self) -> None:
        """What people wrote in between is kept, what is gone is dropped, and the database may come later."""
        for id in ("edited", "gone", "unclaimed", "other", "theirs"):
            self.submit(self.save(id))
        self.couch.edit("edited", note="new")
        self.couch.delete("gone")
        for id, action in (("unclaimed", "identify"), ("other", "restart")):
            document = {k: v for k, v in self.couch.documents[id].items() if k != "execution"}
            self.couch.save({**document, "action": action})
        self.couch.edit("theirs", execution={"state": "running", "claim": "theirs"})
        self.crash(start=False)
        self.couch.faults = [NotFound("GET", reason="Database does not exist.")] * 2
        rows = [self.row(id) for id in ("unclaimed", "other")]
        self.start()
        self.submit(rows[0])
        self.assertEqual(self.answer("edited"), ("running", None))
        self.clock.advance(60)
        self.assertEqual(self.answer("edited")[0], INTERRUPTED)
        self.assertEqual(self.couch.documents["edited"]["note"], "new")
        self.assertNotIn("gone", self.couch.documents)
        self.assertEqual(self.answer("unclaimed")[0], INTERRUPTED)
        self.assertEqual(self.answer("theirs"), ("running", None))
        self.assertEqual(self.answer("other"), (None, None))
        self.assertEqual(self.journal.left(), [])
        self.submit(rows[1])
        self.assertEqual((self.answer("other"), len(self.started)), (("running", None), 1))

    def test_feed_says_it_at_the_same_time(self) -> None:
        """The feed's row of a command that is being answered starts nothing."""
        self.submit(self.save())
        self.crash(start=False)
        self.couch.held = []
        self.start()
        self.submit(self.row())
        while self.couch.held:
            self.release()
        self.assertEqual(self.answer()[0], INTERRUPTED)
        self.assertEqual(self.started, [])

    def test_started_twice(self) -> None:
        """A service that is started again takes up nothing that it has in hand."""
        self.submit(self.save())
        self.start()
        self.assertEqual(self.answer(), ("running", None))
        self.started[0].callback("done")
        self.assertEqual(self.answer()[0], "done")

    # --- what was not started -----------------------------------------------------------------------------------------

    def test_killed_while_claiming(self) -> None:
        """A claim that the server had taken is interrupted; one that it had not is made anew, and the command run."""
        self.couch.late_faults = [Unavailable("PUT")]
        self.submit(self.save("taken"))
        self.couch.faults = [Unavailable("PUT")]
        self.submit(self.save("lost"))
        self.crash()
        self.submit(self.row("taken"), self.row("lost"))
        self.assertEqual(self.answer("taken")[0], INTERRUPTED)
        self.assertEqual(self.answer("lost"), ("running", None))
        self.assertEqual(len(self.started), 1)

    def test_claim_comes_late(self) -> None:
        """A claim that was on its way when the daemon was killed is known as ours, and answered."""
        row = self.save()
        self.couch.held = []
        self.submit(row)
        self.crash()
        self.couch.edit("c", execution={"state": "running", "claim": f"{OWNER}-claim0"})
        self.submit(row)
        self.assertEqual(self.answer()[0], INTERRUPTED)
        self.assertEqual(self.commands.in_use(), set())

    # --- what was answered --------------------------------------------------------------------------------------------

    def test_restored_database(self) -> None:
        """In a database that was put back to before, nothing is run again, not even by the next daemon."""
        rows = [self.save("a")]
        unclaimed = dict(self.couch.documents["a"])
        self.submit(rows[0])
        running = dict(self.couch.documents["a"])
        self.started[0].callback("done")
        for old in (unclaimed, running):
            with self.subTest(old=old):
                self.crash()
                self.couch.documents["a"] = dict(old)
                self.submit(self.row("a"))
                state, ret = self.answer("a")
                self.assertEqual(state, INTERRUPTED)
                self.assertIn("it was run before", ret[1])
        self.assertEqual(self.started, [])

    # --- the clock ----------------------------------------------------------------------------------------------------

    def test_time_is_not_known(self) -> None:
        """A command with "expires" waits for the server's time; others do not wait for it, and order is kept."""
        self.commands = self.make(limit=1)
        self.commands.startService()
        self.couch.server_time_known = False
        expires: dict[str, Any] = {"expires": "1970-01-01T00:16:40Z"}
        self.submit(self.save("past", **expires), self.save("a", **expires), self.save("b", **expires), self.save("c"))
        self.commands.hurry()
        self.assertEqual([self.answer(id)[0] for id in ("past", "a", "b", "c")], [None, None, None, "running"])
        self.assertEqual(self.commands.in_use(), {"past", "a", "b", "c"})
        self.couch.edit("past", expires="1970-01-01T00:00:01Z")
        self.submit(self.row("past"))
        self.clock.advance(10)
        self.couch.server_time_known = True
        self.started[0].callback("done")
        self.assertEqual(self.answer("a"), (None, None))
        self.commands.hurry()
        self.assertEqual([self.answer(id)[0] for id in ("past", "a", "b")], ["expired", "running", None])
        self.started[1].callback("done")
        self.assertEqual(self.answer("b")[0], "running")

    def test_end_while_it_waits_for_the_time(self) -> None:
        """What waits for the time can be cancelled, and stays for the next start when the daemon ends."""
        self.couch.server_time_known = False
        for id in ("a", "b"):
            self.submit(self.save(id, expires="1970-01-01T00:16:40Z"))
        self.couch.edit("a", cancel=True)
        self.submit(self.row("a"))
        self.assertEqual(self.answer("a")[0], "cancelled")
        self.tidy()
        self.couch.server_time_known = True
        self.commands.hurry()
        self.assertEqual(self.answer("b"), (None, None))
        self.assertEqual(self.commands.in_use(), set())
