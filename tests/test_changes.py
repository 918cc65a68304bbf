"""The service that follows, on a Clock, with a client that answers from a script."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import errors
from himbeerecouch.couch import changes
from himbeerecouch.couch.changes import HOLD_S, Changes
from himbeerecouch.model import Batch, DatabaseInfo, Json, Row

INFO = DatabaseInfo("5-a", "100")


class ScriptedCouch:
    """A client whose answers the test gives."""

    url = "http://server:5984"

    def __init__(self) -> None:
        self.on_news: list[Any] = []
        self.calls: list[tuple[str, Any]] = []
        self.under_way: Deferred[Any] | None = None
        self.documents: list[Json] = []
        self.failing: errors.CouchError | None = None

    def _ask(self, name: str, detail: Any = None) -> Deferred[Any]:
        self.calls.append((name, detail))
        self.under_way = Deferred()
        return self.under_way

    async def info(self, db: str) -> Any:
        """Answers at once."""
        self.calls.append(("info", db))
        if self.failing is not None:
            raise self.failing
        return INFO

    async def server_uuid(self) -> str:
        """Answers at once."""
        return "uuid"

    async def find(self, db: str, selector: Json, **_: Any) -> Any:
        """Answers at once: each document in the first query."""
        self.calls.append(("find", selector))
        return (self.documents if selector.get("type") == {"$eq": 7} else []), None

    async def get(self, db: str, document_id: str) -> Json:
        """Answers at once."""
        self.calls.append(("get", document_id))
        return {"_id": document_id}

    async def changes(self, db: str, **what: Any) -> Any:
        """Waits for the test."""
        return await self._ask("changes", what)


class Notes:
    """A listener."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Sequence[Row]]] = []
        self.in_use: Collection[str] = ()
        self.answered: Deferred[None] | None = None
        self.raises = False

    def _take(self, what: str, rows: Sequence[Row]) -> None:
        self.heard.append((what, rows))
        if self.raises:
            raise RuntimeError("the listener is broken")

    def snapshot(self, rows: Sequence[Row]) -> None:
        """Keep it."""
        self._take("snapshot", rows)

    def changed(self, rows: Sequence[Row]) -> None:
        """Keep it."""
        self._take("changed", rows)

    def ids_in_use(self) -> Collection[str]:
        """What the test says."""
        if self.raises:
            raise RuntimeError("the listener is broken")
        return self.in_use

    def answering(self, rows: Sequence[Row]) -> Deferred[None] | None:
        """What the test says."""
        return self.answered


class ChangesTests(SynchronousTestCase):
    """Changes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.couch = ScriptedCouch()
        self.notes = Notes()
        couch: Any = self.couch
        self.failed_at: list[float] = []
        self.changes = Changes(
            couch,
            "db",
            7,
            self.notes,
            clock=self.clock,
            random=lambda: 0.5,
            failing=lambda: self.failed_at.append(self.clock.seconds()),
        )
        self.addCleanup(self.see_nothing_left)

    def see_nothing_left(self) -> None:
        """Every test ends with the service stopped, and nothing left of it."""
        if self.changes.running:
            self.successResultOf(self.changes.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.couch.on_news, [])

    def answer(self, outcome: Any) -> None:
        """Answer the request that is under way."""
        d, self.couch.under_way = self.couch.under_way, None
        assert d is not None
        if isinstance(outcome, Exception):
            d.errback(outcome)
        else:
            d.callback(outcome)

    def polls(self) -> list[Any]:
        """What was polled for."""
        return [detail for name, detail in self.couch.calls if name == "changes"]

    def test_follows(self) -> None:
        """The snapshot is delivered, and then what changes; the next poll goes out behind what that sets off."""
        self.couch.documents = [{"_id": "a"}]
        self.changes.startService()
        self.assertEqual(self.notes.heard, [("snapshot", (Row("a", {"_id": "a"}),))])
        self.notes.in_use = {"a", "b"}
        self.answer(Batch((Row("b", {}),), "6-a"))
        self.assertEqual(self.notes.heard[1:], [("changed", (Row("b", {}),))])
        self.assertEqual(len(self.polls()), 1)
        self.clock.advance(0)
        self.assertEqual([poll["since"] for poll in self.polls()], ["5-a", "6-a"])
        self.assertEqual(self.polls()[1]["selector"]["$or"][-1], {"_id": {"$in": ["a", "b"]}})

    def brings_a_command(self) -> Deferred[None]:
        """A row with a command has come, which is now in hand."""
        self.changes.startService()
        self.notes.answered, self.notes.in_use = Deferred(), {"c"}
        self.answer(Batch((Row("c", {}),), "6-a"))
        self.clock.pump([0.0] * 4)
        self.assertEqual(len(self.polls()), 1)
        return self.notes.answered

    def test_answers_first(self) -> None:
        """The poll after a command goes out behind its answer, and so brings back neither that nor the claim."""
        answered = self.brings_a_command()
        self.notes.in_use = set()
        answered.callback(None)
        self.clock.advance(0)
        self.assertEqual(self.polls()[1]["since"], "6-a")
        self.assertEqual(self.polls()[1]["selector"]["$or"][-1], {"_id": {"$in": []}})

    def test_answers_take_long(self) -> None:
        """A command that takes longer than a moment holds nothing up: it may have to be cancelled, and others wait."""
        self.brings_a_command()
        self.clock.advance(HOLD_S - 0.001)
        self.assertEqual(len(self.polls()), 1)
        self.clock.pump([0.001, 0.0, 0.0])
        self.assertEqual(self.polls()[1]["selector"]["$or"][-1], {"_id": {"$in": ["c"]}})

    def test_read_afresh_before_answers(self) -> None:
        """Nobody waits for an answer when all is to be read afresh."""
        self.brings_a_command()
        self.changes.resync()
        self.assertEqual([name for name, _ in self.couch.calls].count("info"), 2)

    def test_stopped_before_answers(self) -> None:
        """Nor does the end."""
        self.brings_a_command()
        self.successResultOf(self.changes.stopService())

    def test_stopped_right_after_rows(self) -> None:
        """Stopped before the next poll is out, it sends none, and leaves nothing."""
        self.changes.startService()
        self.answer(Batch((Row("b", {}),), "6-a"))
        self.successResultOf(self.changes.stopService())
        self.assertEqual((len(self.polls()), self.clock.getDelayedCalls()), (1, []))

    def test_listener_raises(self) -> None:
        """A listener that raises is logged, and the feed goes on behind what it was given."""
        self.notes.raises = True
        self.changes.startService()
        self.answer(Batch((Row("b", {}),), "6-a"))
        self.assertEqual([poll["since"] for poll in self.polls()], ["5-a", "6-a"])
        self.assertGreaterEqual(len(self.flushLoggedErrors(RuntimeError)), 3)

    def test_failure_waits(self) -> None:
        """After a failure it waits, and looks at the database before it polls again."""
        self.changes.startService()
        self.answer(errors.Unavailable("it"))
        self.couch.calls.clear()
        self.clock.advance(0.49)
        self.assertEqual(self.couch.calls, [])
        self.clock.advance(0.02)
        self.assertEqual([name for name, _ in self.couch.calls], ["info", "changes"])

    def test_failing(self) -> None:
        """Each failure that is waited after is told, and none that somebody has ended."""
        self.changes.startService()
        self.answer(Batch((Row("b", {}),), "6-a"))
        self.changes.resync()
        self.assertEqual(self.failed_at, [])
        for _ in range(2):
            self.answer(errors.Unavailable("it"))
            self.clock.advance(30)
        self.assertEqual(self.failed_at, [0.0, 30.0])

    def test_unforeseen(self) -> None:
        """A failure that nobody foresaw is logged, and is no end: it is tried again after a wait."""
        self.changes.startService()
        self.answer(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.polls()), 2)

    def test_no_database(self) -> None:
        """A database that is missing, then there: read afresh, without a restart."""
        self.couch.failing = errors.NotFound("database db")
        self.changes.startService()
        self.clock.advance(45)
        self.couch.failing = None
        self.assertEqual(self.notes.heard, [])
        self.clock.advance(45)
        self.assertEqual(self.notes.heard, [("snapshot", ())])

    def test_monster(self) -> None:
        """Where one row is too large it is asked for by its id."""
        self.changes.startService()
        for _ in range(8):
            self.answer(errors.AnswerTooLarge("it", limit_bytes=1))
        self.answer(Batch((Row("m", None),), "6-m"))
        self.assertEqual(self.notes.heard[-1], ("changed", (Row("m", {"_id": "m"}),)))

    def test_resync(self) -> None:
        """A resync ends the poll that is under way, and a wait."""
        self.changes.startService()
        self.changes.resync()
        self.assertEqual(len(self.notes.heard), 2)
        self.answer(errors.Unavailable("it"))
        self.changes.resync()
        self.assertEqual(len(self.notes.heard), 3)

    def test_routine(self) -> None:
        """To read all afresh every 15 minutes is routine, and not logged: an idle daemon writes nothing to a card."""
        logged: list[Any] = []
        self.patch(changes, "log", Logger(observer=cast(Any, logged.append)))
        self.changes.startService()
        self.assertEqual([event["reason"] for event in logged], ["start"])
        for _ in range(46):
            self.clock.advance(20)
            self.answer(Batch((), "6-a"))
        self.assertEqual((len(self.notes.heard), len(logged)), (2, 1))

    def test_news(self) -> None:
        """What may work now is tried at once; a poll that is well goes on, unless it is another server's."""
        self.changes.startService()
        poll = self.couch.under_way
        (news,) = self.couch.on_news
        news(False)
        self.assertIs(self.couch.under_way, poll)
        news(True)
        self.assertIsNot(self.couch.under_way, poll)
        self.couch.failing = errors.LoginRefused("it", retry_after_s=75)
        self.answer(errors.LoginRefused("it", retry_after_s=75))
        polls = len(self.polls())
        self.couch.failing = None
        news(False)
        self.assertEqual(len(self.polls()), polls + 1)

    def test_stop_during_poll(self) -> None:
        """When it is stopped during a poll, the poll is cancelled and nothing is heard any more."""
        self.changes.startService()
        poll = self.couch.under_way
        assert poll is not None
        self.successResultOf(self.changes.stopService())
        self.assertTrue(poll.called)
        self.assertEqual(len(self.notes.heard), 1)

    def test_stop_during_wait(self) -> None:
        """When it is stopped during a wait, no delayed call is left; it can be started again."""
        self.changes.startService()
        self.answer(errors.Forbidden("it"))
        self.successResultOf(self.changes.stopService())
        self.changes.startService()
        self.assertEqual(len(self.notes.heard), 2)

    def test_slow_failures(self) -> None:
        """A failure that took longer than the pause after it is one as well: it is logged, and passed on."""
        from twisted.logger import globalLogPublisher

        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.changes.startService()
        self.clock.advance(30)
        self.answer(errors.Unreachable("db", reason="no name server"))
        warned = [e for e in events if e.get("log_format", "").startswith("{server}: {error}")]
        self.assertEqual([(e["error"], e["wait_s"]) for e in warned], [("db: no name server", 0)])
        self.assertEqual(self.failed_at, [30.0])

    def test_says_so_once(self) -> None:
        """The same failure is logged once in ten minutes, with what to do, and the end of it too."""
        from twisted.logger import globalLogPublisher

        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.couch.failing = errors.Forbidden("database db", status=403, reason="no")
        self.changes.startService()
        for _ in range(20):
            self.clock.advance(45)
        warned = [e for e in events if e.get("log_format", "").startswith("{server}: {error}")]
        self.assertEqual(len(warned), 2)
        self.assertIn("_security", warned[0]["advice"])
        self.couch.failing = None
        self.clock.advance(45)
        self.clock.advance(20)
        self.answer(Batch((), "6-a"))
        self.assertEqual(len([e for e in events if "all is well" in e.get("log_format", "")]), 1)
