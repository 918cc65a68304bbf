"""The follower without its input and output."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.couch import query
from himbeerecouch.couch.asks import (
    Delivery,
    Document,
    Find,
    GetDocument,
    GetInfo,
    GetServer,
    Outcome,
    Page,
    Poll,
    Server,
    Timing,
    Wait,
)
from himbeerecouch.couch.follower import Follower, Phase
from himbeerecouch.couch.snapshot import Snapshot
from himbeerecouch.errors import (
    AnswerTooLarge,
    BadAnswer,
    BadRequest,
    Conflict,
    CouchError,
    Forbidden,
    LoginLocked,
    LoginRefused,
    NotFound,
    TooSlow,
    Unavailable,
    Unreachable,
    Untrusted,
)
from himbeerecouch.model import Batch, DatabaseInfo, Row

INFO = DatabaseInfo("5-abc", "100")
HERE = Server("uuid-1")
NOTHING = Page((), "b")
TOO_LARGE = AnswerTooLarge("it", limit_bytes=16)
DOC = {"_id": "a", "type": 7}


class FollowerCase(SynchronousTestCase):
    """A follower of MAC 7, at the time ``now``."""

    def setUp(self) -> None:
        self.follower = Follower(7)
        self.now = 1000.0

    def ask(self, *ids: str) -> Any:
        """What the follower asks now."""
        return self.follower.next(self.now, ids)

    def told(self, outcome: Outcome, random: float = 0.5) -> Delivery | None:
        """Ask, and tell the follower this outcome."""
        asked = self.ask()
        self.assertNotIsInstance(asked, Wait)
        return self.follower.received(self.now, outcome, random)

    def synced(self, *documents: Any) -> Delivery:
        """Bring the follower to its first poll."""
        self.told(INFO)
        self.told(HERE)
        self.told(Page(documents, None))
        for _ in range(3):
            self.assertIsNone(self.told(NOTHING))
        delivery = self.told(NOTHING)
        assert delivery is not None
        self.follower.handled()
        return delivery

    def polled(self, *rows: Row, last_seq: object = "6-abc", after_s: float = 20.0) -> Delivery | None:
        """Poll, and answer after a time."""
        self.assertIsInstance(self.ask(), Poll)
        self.now += after_s
        return self.follower.received(self.now, Batch(rows, last_seq), 0.5)


class SnapshotFirstTests(FollowerCase):
    """The sequence first, then the snapshot, then the feed."""

    def test_order(self) -> None:
        """GET /db, GET /, the five queries, each with its index, and then the feed from the sequence of GET /db."""
        self.assertEqual(self.ask(), GetInfo())
        self.told(INFO)
        self.assertEqual(self.ask(), GetServer())
        self.told(HERE)
        types = []
        for _ in range(4):
            asked = self.ask()
            assert isinstance(asked, Find)
            types.append(asked.selector["type"]["$eq"])
            self.assertEqual(asked.use_index, ("himbeerecouch", "by-type"))
            self.assertEqual((asked.limit, asked.bookmark, asked.ids_only), (200, None, False))
            self.told(Page((DOC,), None))
        self.assertEqual(types, [7, "7", "7_cmd", "7_watch"])
        self.assertEqual(self.ask().use_index, ("himbeerecouch", "global-modules"))
        delivery = self.told(NOTHING)
        self.assertEqual(delivery, Delivery((Row("a", DOC),), "start"))
        self.assertIsNone(self.follower.since)
        self.follower.handled()
        self.assertEqual(self.follower.since, "5-abc")
        asked = self.ask("b", "a")
        self.assertEqual(asked, Poll("5-abc", 200, 20.0, query.feed(7, {"a", "b"}), include_docs=True))
        self.assertEqual(asked.selector["$or"][-1], {"_id": {"$in": ["a", "b"]}})

    def test_pages(self) -> None:
        """A full page is followed by the next one, by its bookmark; a document without an id is skipped."""
        self.follower = Follower(7, Timing(limit=2))
        self.told(INFO)
        self.told(HERE)
        self.told(Page((DOC, {"_id": 3}), "next"))
        self.assertEqual(self.ask().bookmark, "next")
        self.told(Page(({"_id": "b"},), "end"))
        self.assertIsNone(self.ask().bookmark)
        for _ in range(3):
            self.told(NOTHING)
        delivery = self.told(NOTHING)
        assert delivery is not None
        self.assertEqual([row.id for row in delivery.rows], ["a", "b"])

    def test_no_bookmark(self) -> None:
        """A full page without a new bookmark is no answer: the snapshot is never taken for whole, nor read for ever."""
        for bookmark in (None, "same"):
            self.follower = Follower(7, Timing(limit=1))
            self.told(INFO)
            self.told(HERE)
            if bookmark:
                self.told(Page((DOC,), bookmark))
            self.told(Page((DOC,), bookmark))
            self.assertIs(self.follower.phase, Phase.INFO)
            self.assertEqual(self.follower.failures, 1)

    def test_index_refused(self) -> None:
        """Where a query that names an index is refused, it is asked again at once without one."""
        for error in (BadRequest("it"), NotFound("it")):
            self.follower = Follower(7)
            self.told(INFO)
            self.told(HERE)
            self.told(error)
            asked = self.ask()
            assert isinstance(asked, Find)
            self.assertIsNone(asked.use_index)
            self.told(error)
            self.assertIsInstance(self.ask(), Wait)

    def test_no_uuid(self) -> None:
        """A proxy that hides the server's front page stops nothing; a server that is gone is a failure."""
        for error in (NotFound("it"), Forbidden("it"), BadRequest("it"), BadAnswer("it"), TOO_LARGE):
            self.follower = Follower(7)
            self.told(INFO)
            self.told(error)
            self.assertIs(self.follower.phase, Phase.SNAPSHOT)
        self.follower = Follower(7)
        self.told(INFO)
        self.told(Unreachable("it"))
        self.assertIs(self.follower.phase, Phase.INFO)

    def test_not_asked(self) -> None:
        """An answer to something that was not asked is refused, and changes nothing."""
        self.ask()
        with self.assertRaises(ValueError):
            self.follower.received(self.now, HERE, 0.5)
        self.assertEqual(self.ask(), GetInfo())

    def test_too_large(self) -> None:
        """A monster in the snapshot is found by halving, left out and reported; all others are delivered."""
        self.follower = Follower(7, Timing(limit=4))
        self.told(INFO)
        self.told(HERE)
        limits = []
        for _ in range(3):
            limits.append(self.ask().limit)
            self.told(TOO_LARGE)
        self.assertEqual(limits, [4, 2, 1])
        asked = self.ask()
        self.assertEqual((asked.limit, asked.ids_only), (1, True))
        self.told(Page(({"_id": "monster"},), "after"))
        self.assertEqual(self.ask(), GetDocument("monster"))
        self.told(TOO_LARGE)
        asked = self.ask()
        self.assertEqual((asked.limit, asked.bookmark, asked.ids_only), (2, "after", False))
        self.told(Page((DOC,), "end"))
        for _ in range(3):
            self.told(NOTHING)
        delivery = self.told(NOTHING)
        assert delivery is not None
        self.assertEqual(delivery.rows, (Row("monster", None, too_large=True), Row("a", DOC)))

    def test_not_too_large_any_more(self) -> None:
        """What is small, or gone, when it is read by itself was another document's fault."""
        for outcome, rows in ((Document(DOC), (Row("a", DOC),)), (NotFound("it"), ())):
            self.follower = Follower(7, Timing(limit=1))
            self.told(INFO)
            self.told(HERE)
            self.told(TOO_LARGE)
            self.told(Page((DOC,), "after"))
            self.told(outcome)
            for _ in range(4):
                self.told(NOTHING)
            delivery = self.told(NOTHING)
            assert delivery is not None
            self.assertEqual(delivery.rows, rows)

    def test_last_is_too_large(self) -> None:
        """A monster at the very end is reported too, and one that is gone when its id is asked for is not."""
        self.follower = Follower(7, Timing(limit=1))
        self.told(INFO)
        self.told(HERE)
        self.told(TOO_LARGE)
        self.told(NOTHING)
        for _ in range(3):
            self.told(NOTHING)
        self.told(TOO_LARGE)
        self.told(Page(({"_id": "m"},), "after"))
        self.told(TOO_LARGE)
        delivery = self.told(NOTHING)
        assert delivery is not None
        self.assertEqual(delivery.rows, (Row("m", None, too_large=True),))

    def test_index_lost_midway(self) -> None:
        """Failures of the document that is read by itself are failures like any other."""
        self.follower = Follower(7, Timing(limit=1))
        self.told(INFO)
        self.told(HERE)
        self.told(TOO_LARGE)
        self.told(Page((DOC,), "after"))
        self.told(Unavailable("it"))
        self.assertIs(self.follower.phase, Phase.INFO)

    def test_too_slow(self) -> None:
        """A page that takes too long is asked for anew later, half as large."""
        self.told(INFO)
        self.told(HERE)
        self.told(TooSlow("it"), random=0.0)
        self.told(INFO)
        self.told(HERE)
        self.assertEqual(self.ask().limit, 100)

    def test_ends_only_when_all_is_there(self) -> None:
        """A snapshot is done after its last query, and holds each document once, as read last."""
        snapshot = Snapshot(7, 10)
        for value in range(5):
            self.assertFalse(snapshot.done)
            snapshot.next()
            snapshot.received(Page(({"_id": "a", "v": value},), None))
        self.assertTrue(snapshot.done)
        self.assertEqual(snapshot.rows, (Row("a", {"_id": "a", "v": 4}),))


class PollTests(FollowerCase):
    """Following the feed."""

    def setUp(self) -> None:
        super().setUp()
        self.synced()

    def test_rows(self) -> None:
        """Rows are delivered, and the sequence moves when they were handled, not before."""
        self.assertEqual(self.polled(Row("a", DOC), after_s=0.1), Delivery((Row("a", DOC),)))
        self.assertEqual(self.ask().since, "5-abc")
        self.follower.handled()
        self.assertEqual(self.ask().since, "6-abc")

    def test_nothing_new(self) -> None:
        """An empty answer at the timeout moves the sequence."""
        self.assertIsNone(self.polled())
        self.assertEqual(self.ask().since, "6-abc")
        self.assertEqual(self.follower.failures, 0)

    def test_opaque(self) -> None:
        """A sequence is handed back as it came, whatever it is."""
        for seq in ("7-x", 8, [9, "x"], 10.5):
            self.polled(last_seq=seq)
            self.assertEqual(self.ask().since, seq)

    def test_empty_at_once(self) -> None:
        """An empty answer that comes at once is a failure: it waits, looks at the database, and waits longer."""
        waits = []
        for _ in range(4):
            self.assertIsNone(self.polled(last_seq="5-abc", after_s=0.01))
            waits.append(round(self.follower.not_before - self.now, 1))
            self.assertIsInstance(self.ask(), Wait)
            self.now = self.follower.not_before
            self.told(INFO)
            self.told(HERE)
        self.assertEqual(waits, [0.5, 1.0, 2.0, 4.0])

    def test_the_same_for_ever(self) -> None:
        """Rows whose sequence does not move are delivered, and count as a failure."""
        self.assertIsNotNone(self.polled(Row("a", DOC), last_seq="5-abc", after_s=0.01))
        self.assertEqual(self.follower.failures, 1)

    def test_reset(self) -> None:
        """Only a good poll makes the next failure's wait short again."""
        for _ in range(3):
            self.told(Unavailable("it"), random=0.0)
        self.told(INFO)
        self.told(HERE)
        self.assertEqual(self.follower.failures, 3)
        self.polled()
        self.assertEqual(self.follower.failures, 0)

    def test_resync_from_time_to_time(self) -> None:
        """Every 15 minutes all is read afresh."""
        self.now += 899
        self.assertIsInstance(self.ask(), Poll)
        self.now += 1
        self.assertEqual(self.synced().resync, "time has passed")

    def test_resync_asked_for(self) -> None:
        """A resync that is asked for begins at once, even during a wait."""
        self.told(Unavailable("it"))
        self.assertIsInstance(self.ask(), Wait)
        self.follower.resync()
        self.assertEqual(self.synced().resync, "it was asked for")

    def test_hurry(self) -> None:
        """A wait can be ended from outside."""
        self.told(Forbidden("it"))
        self.assertIsInstance(self.ask(), Wait)
        self.follower.hurry()
        self.assertEqual(self.ask(), GetInfo())

    def test_other_database(self) -> None:
        """Another instance_start_time, another uuid, an older copy, a missing database, a 400: all is read afresh."""
        cases: list[tuple[CouchError, DatabaseInfo, Server, str | None]] = [
            (Unavailable("it"), INFO, HERE, None),
            (Unavailable("it"), INFO, Server(""), None),
            (Unavailable("it"), DatabaseInfo("5-other", "100"), HERE, None),
            (Unavailable("it"), DatabaseInfo("no number", "100"), HERE, None),
            (Unavailable("it"), DatabaseInfo("4-abc", "100"), HERE, "the database was restored from an older copy"),
            (Unavailable("it"), DatabaseInfo(4, "100"), HERE, "the database was restored from an older copy"),
            (Unavailable("it"), DatabaseInfo([4, "x"], "100"), HERE, "the database was restored from an older copy"),
            (Unavailable("it"), DatabaseInfo("9-abc", "200"), HERE, "the database was created again"),
            (Unavailable("it"), INFO, Server("uuid-2"), "it is another server"),
            (NotFound("it"), INFO, HERE, "the database was missing"),
            (BadRequest("it"), INFO, HERE, "the server did not understand"),
        ]
        for error, info, server, reason in cases:
            self.setUp()
            self.told(error)
            self.now = self.follower.not_before
            self.told(info)
            self.told(server)
            if reason is None:
                self.assertEqual(self.ask().since, "5-abc")
                continue
            for _ in range(4):
                self.told(NOTHING)
            self.assertEqual(self.told(NOTHING), Delivery((), reason))
            self.follower.handled()
            self.assertEqual(self.ask().since, info.update_seq)

    def test_halving(self) -> None:
        """An answer that is too large is asked for with half the limit, at once, and grows again after that."""
        self.told(TOO_LARGE)
        self.told(TOO_LARGE)
        self.assertEqual(self.ask().limit, 50)
        self.polled()
        self.assertEqual(self.ask().limit, 100)
        self.assertEqual(self.follower.failures, 0)

    def test_catching_up(self) -> None:
        """While full answers come in quickly more is asked for, and the usual again once one is too large."""
        self.follower = Follower(7, Timing(limit=2, most_rows=4))
        self.synced()
        rows = tuple(Row(id, DOC) for id in "abcd")
        self.polled(*rows[:2], last_seq="7-abc", after_s=0.1)
        self.assertEqual(self.ask().limit, 4)
        self.follower.handled()
        self.polled(*rows, last_seq="11-abc", after_s=0.1)
        self.assertEqual(self.ask().limit, 4)
        self.told(TOO_LARGE)
        self.assertEqual(self.ask().limit, 2)

    def test_too_slow(self) -> None:
        """A poll that takes too long is a failure, and asks for less the next time."""
        self.told(TooSlow("it"), random=0.0)
        self.told(INFO)
        self.told(HERE)
        self.assertEqual(self.ask().limit, 100)

    def monster(self) -> None:
        """Come to where one row alone is too large."""
        for _ in range(8):
            self.told(TOO_LARGE)
        asked = self.ask()
        self.assertEqual((asked.limit, asked.timeout_s, asked.include_docs), (1, None, False))

    def test_monster(self) -> None:
        """A row that is too large by itself is reported without its document, and the feed goes on behind it."""
        for outcome, row in (
            (TOO_LARGE, Row("m", None, too_large=True)),
            (Document(DOC), Row("m", DOC)),
            (NotFound("it"), Row("m", None, deleted=True)),
        ):
            self.setUp()
            self.monster()
            self.told(Batch((Row("m", None),), "6-m"))
            self.assertEqual(self.ask(), GetDocument("m"))
            self.assertEqual(self.told(outcome), Delivery((row,)))
            self.assertEqual(self.follower.since, "5-abc")
            self.follower.handled()
            asked = self.ask()
            self.assertEqual((asked.since, asked.limit, asked.include_docs), ("6-m", 2, True))

    def test_monster_gone(self) -> None:
        """A row that is gone or deleted when its id is asked for needs no more questions."""
        self.monster()
        self.assertIsNone(self.told(Batch((), "6-m")))
        self.assertEqual(self.ask().since, "6-m")
        self.setUp()
        self.monster()
        gone = Row("m", None, deleted=True)
        self.assertEqual(self.told(Batch((gone,), "6-m")), Delivery((gone,)))

    def test_monster_unanswered(self) -> None:
        """A failure on the way to it is a failure like any other, and nothing is skipped."""
        self.monster()
        self.told(Batch((Row("m", None),), "6-m"))
        self.told(Unavailable("it"))
        self.assertEqual(self.follower.since, "5-abc")
        self.assertIs(self.follower.phase, Phase.INFO)


class WaitTests(FollowerCase):
    """How long the follower waits after a failure."""

    def test_table(self) -> None:
        """Each failure has its wait, for the random numbers 0 and (almost) 1."""
        cases: list[tuple[CouchError, float, float]] = [
            (Unavailable("it"), 0, 1),
            (Unreachable("it"), 0, 1),
            (Untrusted("it"), 0, 1),
            (BadAnswer("it"), 0, 1),
            (BadRequest("it"), 0, 1),
            (Conflict("it"), 0, 1),
            (TOO_LARGE, 0, 1),
            (Unavailable("it", retry_after_s=20), 20, 20),
            (NotFound("it"), 30, 60),
            (Forbidden("it"), 30, 60),
            (LoginRefused("it"), 75, 90),
            (LoginRefused("it", retry_after_s=40), 40, 40),
            (LoginLocked("it", retry_after_s=310), 310, 310),
        ]
        for error, least, most in cases:
            for random, wait_s in ((0.0, least), (1.0, most)):
                self.follower = Follower(7)
                self.told(error, random)
                self.assertEqual(self.follower.not_before, self.now + wait_s, error)

    def test_backoff(self) -> None:
        """The wait doubles up to a minute, and a request that hung has waited already."""
        waits = []
        for _ in range(8):
            self.told(Unavailable("it"), 1.0)
            waits.append(self.follower.not_before - self.now)
            self.now = self.follower.not_before
        self.assertEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60])
        self.ask()
        self.now += 50
        self.follower.received(self.now, TooSlow("it"), 1.0)
        self.assertEqual(self.follower.not_before, self.now + 10)
        self.now += 10
        self.ask()
        self.now += 70
        self.follower.received(self.now, TooSlow("it"), 1.0)
        self.assertEqual(self.ask(), GetInfo())


class QueryTests(SynchronousTestCase):
    """The selectors and indexes."""

    def test_indexes(self) -> None:
        """Each query names an index that is defined, whose field it asks for, and whose partial filter it contains."""
        for wanted in query.snapshot(7):
            index = query.INDEXES[wanted.use_index[1]]
            self.assertEqual(wanted.use_index[0], index["ddoc"])
            self.assertIn(index["index"]["fields"][0], wanted.selector)
            for name, condition in index["index"]["partial_filter_selector"].items():
                self.assertEqual(wanted.selector[name], condition)
