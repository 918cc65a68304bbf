"""Each command runs at most once, and each one is answered, whatever the server and the people do meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import formatEvent

from himbeerecouch import documents
from himbeerecouch.commands.executor import ANSWER_NOTED_S
from himbeerecouch.commands.runner import LIMIT, STOP_LIMIT_S
from himbeerecouch.errors import (
    BadRequest,
    CouchError,
    DocumentError,
    Forbidden,
    HimbeerecouchError,
    NotFound,
    StateError,
    Unavailable,
)
from himbeerecouch.model import Command, Result
from tests.command_case import MAC_ID, OWNER, CommandCase
from tests.logged import logged, warnings


class CommandsTests(CommandCase):
    # --- the way of one command ---------------------------------------------------------------------------------------

    def test_done(self) -> None:
        """A command is claimed, run, and answered; then nothing is left of it."""
        self.submit(self.save(note="mine"))
        self.assertEqual(self.answer(), ("running", None))
        self.assertEqual(self.commands.in_use(), {"c"})
        self.clock.advance(2)
        self.started[0].callback("blinking")
        self.assertEqual(self.answer(), ("done", ["blinking", ""]))
        document = self.couch.documents["c"]
        self.assertEqual(document["note"], "mine")
        self.assertEqual(
            document["execution"],
            {
                "state": "done",
                "exit_code": None,
                "signal": None,
                "started": "1970-01-01T00:00:00.000Z",
                "finished": "1970-01-01T00:00:02.000Z",
                "dropped_bytes": 0,
            },
        )
        self.assertEqual(self.couch.requests, [("PUT", "c")] * 2)
        self.assertEqual([record.claim for record in self.journal.settled()], [f"{OWNER}-claim0"])
        self.assertEqual(self.commands.in_use(), set())

    def test_answering(self) -> None:
        """Whoever waits for commands to be answered is told once the last of them is out of hand."""
        self.submit(self.save("a"), self.save("b"), self.save("c"))
        self.assertIsNone(self.commands.answering(["x"]))
        both, given_up = self.commands.answering(["a", "x", "b"]), self.commands.answering(["a"])
        assert both is not None and given_up is not None
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.started[0].callback("blinking")
        self.assertNoResult(both)
        self.started[1].callback("blinking")
        self.assertIsNone(self.successResultOf(both))
        self.assertIsNone(self.commands.answering(["a", "b"]))

    def test_answering_takes_long(self) -> None:
        """What still runs when the feed tells of its claim is not waited for, nor is what waits for the feed itself."""
        self.submit(self.save("a"))
        self.submit(self.row("a"))
        self.assertIsNone(self.commands.answering(["a"]))
        edited = self.save("b")
        self.couch.edit("b", timeout=7)
        self.couch.held = []
        self.submit(edited)
        waiting = self.commands.answering(["b"])
        assert waiting is not None
        self.release()
        self.release()
        self.assertIsNone(self.successResultOf(waiting))
        self.assertIsNone(self.commands.answering(["b"]))

    def test_answering_at_the_end(self) -> None:
        """Nobody goes on waiting when all is given up."""
        self.submit(self.save("a"))
        waiting = self.commands.answering(["a"])
        assert waiting is not None
        self.couch.held = []
        self.tidy()
        self.assertIsNone(self.successResultOf(waiting))

    def test_told_in_the_log(self) -> None:
        """How a command has ended is logged, once, also where the server takes the answer at once."""
        gates: tuple[list[Deferred[None]] | None, ...] = (None, [])
        for held in gates:
            self.couch.held = held
            self.submit(self.save())
            self.release() if held is not None else None
            with logged("himbeerecouch.commands.executor") as told:
                self.started[-1].callback("blinking")
                self.clock.advance(ANSWER_NOTED_S)
                self.release() if held is not None else None
            self.assertEqual([formatEvent(event) for event in told], ["command c: done"])
            self.assertEqual(self.answer(), ("done", ["blinking", ""]))
            self.couch.delete("c")

    def test_failed(self) -> None:
        """An action that raises is answered with its reason, known or not."""
        self.submit(self.save("a"), self.save("b"), self.save("c"))
        self.started[0].errback(HimbeerecouchError("no LED"))
        self.started[1].errback(ZeroDivisionError("oh"))
        self.started[2].cancel()
        self.assertEqual(self.answer("c"), ("failed", [None, "it was given up"]))
        self.assertEqual(self.answer("a"), ("failed", [None, "no LED"]))
        self.assertEqual(self.answer("b"), ("failed", [None, "ZeroDivisionError: oh"]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_journal_refuses(self) -> None:
        """A command that can't be noted down is not run, and its answer says why."""
        self.patch(self.state, "append", self.fail_to_write)
        self.submit(self.save())
        self.assertEqual(self.started, [])
        state, ret = self.answer()
        self.assertEqual(state, "failed")
        self.assertIn("no space left", ret[1])

    def fail_to_write(self, *_arguments: Any, **_options: Any) -> None:
        raise StateError("/state", "no space left")

    def test_kept_before_it_waits(self) -> None:
        """That an answer has to wait is said once it is on the disk: from then on a kill can't take it."""
        self.submit(self.save())
        self.couch.faults = [Unavailable("PUT")]
        ended = self.journal.ended
        said_before: list[int] = []

        def note(claim: str, result: Result) -> None:
            said_before.append(len(told))
            ended(claim, result)

        self.patch(self.journal, "ended", note)
        with warnings("himbeerecouch.commands.answering") as told:
            self.started[0].callback("blinking")
        self.assertEqual((said_before, len(told)), ([0], 1))
        self.assertIsNotNone(self.journal.left()[0].result)

    def test_noted_while_the_answer_is_on_its_way(self) -> None:
        """What the answer says is on the disk where the server takes its time, and not written where it does not."""
        self.submit(self.save())
        self.couch.held = []
        self.started[0].callback("blinking")
        self.assertEqual(self.couch.requests, [("PUT", "c")] * 2)
        self.clock.advance(ANSWER_NOTED_S - 0.001)
        self.assertIsNone(self.journal.left()[0].result)
        self.clock.advance(0.001)
        self.assertEqual(self.journal.left()[0].result.stdout, "blinking")  # type: ignore[union-attr]
        self.release()
        self.assertEqual(self.answer(), ("done", ["blinking", ""]))
        self.assertEqual((self.journal.left(), len(self.journal.settled())), ([], 1))

    def test_timeout(self) -> None:
        """A command is ended after its timeout, however long that is."""
        self.submit(self.save("a", timeout=10), self.save("b", timeout=200_000))
        self.clock.advance(9.9)
        self.assertEqual(self.answer("a"), ("running", None))
        self.clock.advance(0.1)
        self.assertEqual(self.answer("a"), ("timeout", [None, "it took longer than its timeout"]))
        self.clock.pump([50_000] * 3 + [49_989])
        self.assertEqual(self.answer("b"), ("running", None))
        self.clock.advance(1)
        self.assertEqual(self.answer("b")[0], "timeout")

    def test_cancel(self) -> None:
        """ "cancel" ends a command that runs, and keeps one from being run that does not yet."""
        self.commands = self.make(limit=1)
        self.commands.startService()
        self.submit(self.save("a"), self.save("b"), self.save("c"))
        for id in ("b", "a"):
            self.couch.edit(id, cancel=True)
            self.submit(self.row(id))
        self.assertEqual(self.answer("a"), ("cancelled", [None, "cancelled"]))
        self.assertEqual(self.answer("b"), ("cancelled", [None, "cancelled before it was started"]))
        self.assertIs(self.couch.documents["a"]["cancel"], True)
        self.assertEqual(self.answer("c"), ("running", None))
        self.submit(self.save("d", cancel=True))
        self.assertEqual(self.answer("d")[0], "cancelled")
        self.assertEqual(len(self.started), 2)

    def test_cancel_while_claiming(self) -> None:
        """What is cancelled before its claim has come back is not run."""
        self.couch.held = []
        self.submit(self.save())
        cancelled = self.row()
        self.submit(Command(**{**fields_of(cancelled), "rev": "9-x", "cancel": True}))
        self.release()
        self.release()
        self.assertEqual(self.answer(), ("cancelled", [None, "cancelled before it was started"]))
        self.assertEqual(self.started, [])

    def test_order_and_limit(self) -> None:
        """Commands start in the order of the feed, at most eight at once, and only once the service runs."""
        self.commands = self.make()
        for number in range(12):
            self.submit(self.save(f"{number:02}"))
        self.assertEqual(self.couch.requests, [])
        self.commands.startService()
        self.assertEqual([id for _, id in self.couch.requests], [f"{number:02}" for number in range(8)])
        self.assertEqual(len(self.commands.in_use()), 12)
        for expected in range(9, 13):
            self.started[expected - 9].callback("done")
            self.assertEqual(len(self.started), expected)
        for rest in self.started[4:]:
            rest.callback("done")
        self.assertEqual({self.answer(id)[0] for id in self.couch.documents}, {"done"})

    def test_order_of_the_start(self) -> None:
        """Whichever claim comes back first, commands are started in the order of the feed."""
        self.couch.held = []
        self.submit(self.save("a"), self.save("b", action="restart"), self.save("c"))
        claims = list(self.couch.held)
        for number, started in ((2, 0), (1, 0), (0, 3)):
            claims[number].callback(None)
            self.assertEqual(len(self.started), started)

    def test_order_without_the_first(self) -> None:
        """One that can't be claimed holds up nobody behind it."""
        self.couch.held = []
        self.submit(self.save("a"), self.save("b"))
        self.couch.faults = [None, Forbidden("PUT")]
        for claim in reversed(list(self.couch.held)):
            self.assertEqual(len(self.started), 0)
            claim.callback(None)
        self.assertEqual(len(self.started), 1)
        self.assertEqual(self.answer("b")[0], "running")

    def test_end_before_its_turn(self) -> None:
        """One that waits for its turn when the end comes is given up with the rest."""
        self.couch.held = []
        self.submit(self.save("a"), self.save("b"))
        self.couch.held[1].callback(None)
        self.tidy()
        self.assertEqual(self.started, [])

    def test_storing_needs_no_place(self) -> None:
        """A command whose answer waits for the server keeps no other one from running."""
        self.commands = self.make(limit=1)
        self.commands.startService()
        self.submit(self.save("a"), self.save("b"))
        self.couch.faults = [None, Unavailable("PUT")]
        self.started[0].callback("done")
        self.assertEqual((self.answer("a")[1], self.answer("b")), (None, ("running", None)))
        self.clock.advance(1)
        self.assertEqual(self.answer("a")[0], "done")

    # --- what is not run ----------------------------------------------------------------------------------------------

    def test_expires(self) -> None:
        """After "expires", by the server's clock, a command is not started; before it, it is."""
        self.clock.advance(1000)
        self.submit(
            self.save("past", expires="1970-01-01T00:16:39Z"), self.save("ahead", expires="1970-01-01T00:16:41Z")
        )
        self.assertEqual(self.answer("past"), ("expired", [None, "expired before it was started"]))
        self.assertEqual(self.answer("ahead"), ("running", None))

    def test_expires_while_claiming(self) -> None:
        """It is judged again at the very start."""
        self.couch.held = []
        self.submit(self.save(expires="1970-01-01T00:00:10Z"))
        self.clock.advance(11)
        self.release()
        self.release()
        self.assertEqual(self.answer()[0], "expired")
        self.assertEqual(self.started, [])

    def test_stale(self) -> None:
        """What was there before the first start is not run, unless it says until when it may be."""
        self.clock.advance(1000)
        self.submit(
            self.save("old"),
            self.save("past", expires="1970-01-01T00:00:01Z"),
            self.save("ahead", expires="1970-01-01T01:00:00Z"),
            stale=True,
        )
        self.assertEqual(
            {id: self.answer(id)[0] for id in ("old", "past", "ahead")},
            {"old": "expired", "past": "expired", "ahead": "running"},
        )
        self.assertIsNone(self.answer("old")[1][0])

    def test_years_of_stale_commands(self) -> None:
        """However many there are, only a few requests are made at once."""
        self.couch.held = []
        self.submit(*(self.save(f"{number}") for number in range(100)), stale=True)
        most = 0
        while self.couch.held:
            most = max(most, len(self.couch.held))
            self.release()
        self.assertEqual(most, 4)
        self.assertEqual({self.answer(id)[0] for id in self.couch.documents}, {"expired"})

    def test_claimed_by_a_former_daemon(self) -> None:
        """A claim without an answer, of which nobody here knows, is interrupted, and not run again."""
        for id, execution in (("a", {"state": "running", "claim": "x"}), ("b", {"state": "running"}), ("c", None)):
            self.submit(self.save(id, execution=execution), stale=True)
            state, ret = self.answer(id)
            self.assertEqual((state, ret[0]), ("interrupted", None))
        self.assertEqual(self.started, [])

    def test_refuse(self) -> None:
        """A document that can't be understood is answered once, with the reason."""
        self.couch.save({"_id": "c", "type": f"{MAC_ID}_cmd"})
        document = dict(self.couch.documents["c"])
        reason = str(self.assertRaises(DocumentError, documents.read, document, MAC_ID, max_source_bytes=1).reason)
        self.commands.refuse(document, reason)
        self.assertEqual(self.answer(), ("rejected", [None, reason]))
        self.commands.refuse(document, reason)
        self.assertEqual(self.couch.requests, [("PUT", "c")])

    def test_refuse_one_in_hand(self) -> None:
        """One that was edited into nonsense is refused while it waits, and goes on while it runs."""
        self.commands = self.make(limit=1)
        self.commands.startService()
        self.submit(self.save("a"), self.save("b"))
        for id in ("a", "b"):
            self.commands.refuse(self.couch.edit(id, action="nonsense"), "why")
        self.assertEqual(self.answer("b"), ("rejected", [None, "why"]))
        self.started[0].callback("done")
        self.assertEqual(self.answer("a"), ("done", ["done", ""]))

    # --- the feed says it again ---------------------------------------------------------------------------------------

    def test_rows_come_again(self) -> None:
        """However often and however late a row comes, the command runs once."""
        first = self.save()
        self.submit(first, first)
        second = self.row()
        self.submit(first, second)
        self.started[0].callback("done")
        self.submit(first, second)
        self.assertEqual(len(self.started), 1)
        self.assertEqual(self.answer(), ("done", ["done", ""]))
        self.assertEqual(len(self.couch.requests), 2)
        self.clock.advance(61)
        self.submit(first, second)
        self.assertEqual(len(self.started), 1)
        self.assertEqual(self.answer(), ("done", ["done", ""]))

    def test_restored_database(self) -> None:
        """In a database that was put back to before the command ran, it is not run again."""
        first = self.save()
        old = dict(self.couch.documents["c"])
        self.submit(first)
        self.started[0].callback("done")
        self.clock.advance(100)
        self.couch.documents["c"] = old
        self.submit(self.row())
        self.assertIn("it was run before", self.answer()[1][1])
        self.assertEqual(len(self.started), 1)

    def test_asked_again(self) -> None:
        """Who takes "ret" and "execution" out of the document has the command run again."""
        self.submit(self.save())
        self.started[0].callback("done")
        document = {k: v for k, v in self.couch.documents["c"].items() if k not in ("ret", "execution")}
        self.couch.save(document)
        self.submit(self.row())
        self.assertEqual(len(self.started), 2)

    def test_edited_in_the_queue(self) -> None:
        """What waits is run as it was last edited."""
        self.commands = self.make(limit=1)
        self.commands.startService()
        self.submit(self.save("a"), self.save("b", timeout=5))
        old = self.row("b")
        self.couch.edit("b", timeout=7)
        self.submit(self.row("b"), old)
        self.started[0].callback("done")
        self.clock.advance(6)
        self.assertEqual(self.answer("b"), ("running", None))
        self.assertEqual([method for method, _ in self.couch.requests], ["PUT"] * 3)
        self.clock.advance(1)
        self.assertEqual(self.answer("b")[0], "timeout")

    # --- conflicts ----------------------------------------------------------------------------------------------------

    def test_edited_before_the_claim(self) -> None:
        """An edit that comes before the claim is waited for, whichever way round the feed brings it; it is run once."""
        for early in (True, False):
            with self.subTest(early=early):
                id = f"c{early}"
                row = self.save(id)
                self.couch.edit(id, timeout=7)
                self.couch.held = []
                self.submit(row)
                if early:
                    self.submit(self.row(id))
                self.release()
                self.release()
                self.release()
                self.couch.held = None
                if not early:
                    self.assertEqual(self.commands.in_use(), {id})
                    self.submit(row)
                    self.assertEqual(self.answer(id), (None, None))
                    self.submit(self.row(id))
                self.assertEqual(self.answer(id), ("running", None))
                self.started[-1].callback("done")
        self.assertEqual(len(self.started), 2)

    def test_waiting_for_an_edit_that_goes_away(self) -> None:
        """What waits for an edit is dropped with the document, cancelled or refused as the edit says."""
        rows = {id: self.save(id) for id in ("gone", "cancelled", "refused")}
        for id, row in rows.items():
            self.couch.edit(id, note=1)
            self.submit(row)
        self.assertEqual(self.commands.in_use(), set(rows))
        self.couch.delete("gone")
        self.commands.gone("gone")
        self.commands.gone("unknown")
        self.couch.edit("cancelled", cancel=True)
        self.submit(self.row("cancelled"))
        self.commands.refuse(self.couch.edit("refused", action=1), "why")
        self.assertEqual(self.commands.in_use(), set())
        self.assertEqual((self.answer("cancelled")[0], self.answer("refused")[0]), ("cancelled", "rejected"))
        self.assertEqual(self.started, [])

    def test_claimed_by_another_while_it_waits(self) -> None:
        """A command that another daemon claims while it waits for its turn here is left to that one."""
        for number in range(LIMIT):
            self.submit(self.save(f"before{number}"))
        self.submit(self.save("queued"))
        self.couch.edit("queued", execution={"state": "running", "claim": "theirs"})
        self.submit(self.row("queued"))
        self.assertNotIn("queued", self.commands.in_use())
        self.started[0].callback("done")
        self.submit(self.row("queued"))
        self.assertEqual(len(self.started), LIMIT)
        self.assertEqual(self.couch.documents["queued"]["execution"]["claim"], "theirs")

    def test_becomes_a_program(self) -> None:
        """A document that is no command any more gets no answer, which would keep what it has become from running."""
        self.submit(self.save())
        self.couch.edit("c", type=MAC_ID, code="def main(): pass")
        self.started[-1].callback("done")
        self.assertEqual(self.answer(), ("running", None))
        self.assertEqual(self.commands.in_use(), set())

    def test_not_to_be_claimed(self) -> None:
        """What is answered, gone, another Pi's or somebody else's by the time of the claim is left alone."""
        rows = {id: self.save(id) for id in ("answered", "gone", "moved", "foreign")}
        self.couch.edit("answered", ret=["x", ""])
        self.couch.delete("gone")
        self.couch.edit("moved", type="6_cmd")
        self.couch.edit("foreign", execution={"state": "running", "claim": "theirs"})
        self.submit(*rows.values())
        self.assertEqual(self.commands.in_use(), set())
        self.submit(self.row("foreign"))
        self.assertEqual(self.answer("answered"), (None, ["x", ""]))
        self.assertEqual(self.answer("foreign"), ("running", None))
        self.assertEqual(self.started, [])
        self.commands.gone("foreign")
        self.submit(self.row("foreign"))
        self.assertEqual(self.answer("foreign")[0], "interrupted")

    def test_answer_of_the_claim_is_lost(self) -> None:
        """A claim that the server took, though its answer got lost, is ours: the command runs, once."""
        self.couch.late_faults = [Unavailable("PUT")]
        self.submit(self.save())
        self.assertEqual(self.started, [])
        self.clock.advance(1)
        self.assertEqual(len(self.started), 1)
        self.started[0].callback("done")
        self.assertEqual(self.answer(), ("done", ["done", ""]))

    def test_answer_of_the_answer_is_lost(self) -> None:
        """An answer that the server took is not written twice."""
        self.submit(self.save())
        self.couch.late_faults = [Unavailable("PUT")]
        self.started[0].callback("done")
        rev = self.couch.documents["c"]["_rev"]
        self.clock.advance(1)
        self.assertEqual(self.couch.documents["c"]["_rev"], rev)
        self.assertEqual(self.commands.in_use(), set())

    def test_answer_is_merged(self) -> None:
        """What others write meanwhile is kept; an answer that is there wins; a document that is gone drops it."""
        for id in ("edited", "often", "answered", "gone", "unclaimed"):
            self.submit(self.save(id))
        self.couch.edit("edited", note="new")
        self.couch.edit("answered", ret=["theirs", ""])
        self.couch.delete("gone")
        document = {k: v for k, v in self.couch.documents["unclaimed"].items() if k != "execution"}
        self.couch.save(document)
        for one in self.started:
            one.callback("done")
        self.assertEqual(self.answer("edited"), ("done", ["done", ""]))
        self.assertEqual(self.couch.documents["edited"]["note"], "new")
        self.assertEqual(self.answer("answered")[1], ["theirs", ""])
        self.assertNotIn("gone", self.couch.documents)
        self.assertEqual(self.answer("unclaimed"), ("done", ["done", ""]))
        self.assertEqual(self.commands.in_use(), set())

    def test_another_command_in_its_place(self) -> None:
        """Where the document has become another command, the old answer is not put into it, and the new one is run."""
        self.submit(self.save())
        self.couch.delete("c")
        self.commands.gone("c")
        self.submit(self.save(action="restart"))
        self.started[0].callback("old")
        self.assertEqual(self.answer(), ("running", None))
        self.started[1].callback("new")
        self.assertEqual(self.answer(), ("done", ["new", ""]))

    def test_somebody_else_claimed_it_since(self) -> None:
        """An answer is not put into a document that somebody else runs by now."""
        self.submit(self.save())
        self.couch.edit("c", execution={"state": "running", "claim": "theirs"})
        self.started[0].callback("old")
        self.assertEqual(self.answer(), ("running", None))

    def test_edited_while_it_expires(self) -> None:
        """An edit that overtakes a refusal to run counts as the new command that it is."""
        row = self.save()
        self.couch.edit("c", note=1)
        self.couch.held = []
        self.submit(row, stale=True)
        self.submit(self.row())
        self.release()
        self.release()
        self.couch.held = None
        self.assertEqual(len(self.started), 0)
        self.assertEqual(self.commands.in_use(), {"c"})
        self.tidy()

    # --- the server is away -------------------------------------------------------------------------------------------

    def test_server_lost(self) -> None:
        """Claim and answer are tried until the server is back, ever less often, and never two at once."""
        self.couch.faults = [Unavailable("PUT")] * 12
        self.submit(self.save())
        times = self.waits(lambda: bool(self.started))
        self.assertEqual(times, [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30])
        self.couch.faults = [
            NotFound("PUT", reason="Database does not exist."),
            Unavailable("PUT", retry_after_s=100),
            Forbidden("PUT"),
        ]
        self.started[0].callback("done")
        self.clock.advance(0)
        self.assertEqual(self.waits(lambda: self.answer()[0] == "done"), [45, 100, 45])

    def test_hurry(self) -> None:
        """As soon as the server is known to be back, what waits for it is tried, but not what it asked to wait with."""
        self.couch.faults = [Unavailable("PUT")] * 5 + [Unavailable("PUT", retry_after_s=9), Forbidden("PUT")]
        self.submit(self.save())
        for _ in range(5):
            self.commands.hurry()
        self.assertEqual(len(self.couch.requests), 6)
        self.commands.hurry()
        self.assertEqual(len(self.couch.requests), 6)
        self.clock.advance(16)
        self.commands.hurry()
        self.assertEqual(len(self.couch.requests), 7)
        self.assertEqual(self.commands.in_use(), set())

    def waits(self, over: Callable[[], bool]) -> list[float]:
        """How long each pause lasts, until it is over."""
        times = []
        while not over():
            pauses = self.clock.getDelayedCalls()
            self.assertEqual(len(pauses), 1)
            times.append(round(pauses[0].getTime() - self.clock.seconds(), 6))
            self.clock.advance(times[-1])
        return times

    def test_database_is_gone(self) -> None:
        """A missing database is no missing document: the answer waits."""
        self.submit(self.save())
        self.couch.edit("c", note=1)
        self.couch.faults = [None, NotFound("GET", reason="Database does not exist.")]
        self.started[0].callback("done")
        self.assertEqual(self.answer(), ("running", None))
        self.clock.advance(60)
        self.assertEqual(self.answer(), ("done", ["done", ""]))

    def test_may_not_be_claimed(self) -> None:
        """What can't be claimed is not run, and not asked for again and again."""
        for error in (Forbidden("PUT"), BadRequest("PUT"), CouchError("PUT")):
            self.couch.faults = [error]
            self.submit(self.save(type(error).__name__))
        self.assertEqual(self.started, [])
        self.assertEqual(self.commands.in_use(), set())

    def test_may_not_be_answered(self) -> None:
        """What was not run, and may not be answered, is left; it comes again with the next look at all documents."""
        self.couch.faults = [Forbidden("PUT")]
        self.submit(self.save(), stale=True)
        self.assertEqual(self.commands.in_use(), set())

    def test_answer_is_too_large(self) -> None:
        """An answer that the server finds too large is shortened step by step; one that it never takes is given up."""
        large = BadRequest("PUT", status=413)
        for refusals, left in ((1, 65536), (2, 1024), (3, 0)):
            with self.subTest(refusals=refusals):
                id = f"c{refusals}"
                self.submit(self.save(id))
                self.couch.faults = [large] * refusals
                self.started[-1].callback("x" * 1_000_000)
                state, ret = self.answer(id)
                self.assertEqual((state, ret[0].count("x")), ("done", left))
                self.assertEqual(self.couch.documents[id]["execution"]["dropped_bytes"], 1_000_000 - left)
        self.submit(self.save())
        self.couch.faults = [large] * 4
        self.started[-1].callback("x" * 1_000_000)
        self.assertEqual(self.answer(), ("running", None))
        self.assertEqual(self.commands.in_use(), set())

    # --- the end ------------------------------------------------------------------------------------------------------

    def test_stop(self) -> None:
        """At the end what runs is interrupted, and what waits stays for the next start."""
        self.commands = self.make(limit=1)
        self.commands.startService()
        self.submit(self.save("a"), self.save("b"))
        self.successResultOf(self.commands.stopService())
        self.assertEqual(self.answer("a"), ("interrupted", [None, "interrupted: the daemon ended"]))
        self.assertEqual(self.answer("b"), (None, None))
        self.assertEqual(self.commands.in_use(), set())
        self.submit(self.row("b"))
        self.assertEqual(self.answer("b"), (None, None))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_while_claiming(self) -> None:
        """What has been claimed when the end comes is not started, and says so."""
        self.couch.held = []
        self.submit(self.save())
        done = self.commands.stopService()
        self.release()
        self.release()
        self.successResultOf(done)
        self.assertEqual(self.answer(), ("interrupted", [None, "interrupted: the daemon ended before it was started"]))
        self.assertEqual(self.started, [])

    def test_stop_without_server(self) -> None:
        """With the server away, the end does not wait for it, and leaves nothing behind."""
        self.submit(self.save("a"), self.save("b"))
        self.couch.faults = [Unavailable("PUT")] * 20
        self.started[0].callback("done")
        self.submit(self.save("c"))
        self.successResultOf(self.commands.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_with_a_silent_server(self) -> None:
        """With a server that takes the request and says nothing, the end comes all the same."""
        self.submit(self.save("a"))
        self.couch.held = []
        self.started[0].callback("done")
        self.submit(self.save("b"))
        done = self.commands.stopService()
        self.assertNoResult(done)
        self.clock.advance(STOP_LIMIT_S)
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.commands.in_use(), set())

    def test_stop_an_action_that_does_not_end(self) -> None:
        """An action that takes no cancelling does not hold up the end."""
        self.patch(Deferred, "cancel", lambda _self: None)
        self.submit(self.save())
        done = self.commands.stopService()
        self.clock.advance(STOP_LIMIT_S)
        self.successResultOf(done)

    def test_drain(self) -> None:
        """Draining starts nothing more, and waits for what runs and for its answer."""
        self.commands = self.make(limit=1)
        self.commands.startService()
        self.submit(self.save("a"), self.save("b"))
        drained = Deferred.fromCoroutine(self.commands.drain(20))
        self.submit(self.save("c"))
        self.clock.advance(10)
        self.assertNoResult(drained)
        self.started[0].callback("done")
        self.successResultOf(drained)
        self.assertEqual([self.answer(id) for id in "abc"], [("done", ["done", ""]), (None, None), (None, None)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_drain_takes_too_long(self) -> None:
        """What has not ended when the time is over is interrupted."""
        self.submit(self.save())
        drained = Deferred.fromCoroutine(self.commands.drain(20))
        self.clock.advance(20)
        self.successResultOf(drained)
        self.assertEqual(self.answer()[0], "interrupted")

    def test_breakdown(self) -> None:
        """A bug is logged, and leaves the others alone."""
        self.submit(self.save("a"), self.save("b"))
        self.couch.faults = [RuntimeError("bug")]
        self.started[0].callback("done")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.started[1].callback("done")
        self.assertEqual(self.answer("b")[0], "done")


def fields_of(command: Command) -> dict[str, Any]:
    """The fields of a command, to make another one of."""
    names = ("id", "rev", "argv", "action", "timeout_s", "expires", "cancel", "claimed", "body")
    return {name: getattr(command, name) for name in names}
