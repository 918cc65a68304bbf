"""Writes that go together, against a database that answers when the test says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import errors
from himbeerecouch.couch.writes import AT_ONCE, LARGE_BYTES, MOST_TOGETHER, Writes
from himbeerecouch.model import Json


class WritesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[tuple[list[str], Deferred[Any]]] = []
        self.writes = Writes(self.alone, self.together)

    async def alone(self, db: str, document: Json) -> str:
        """A request for one document."""
        answer: Deferred[str] = Deferred()
        self.asked.append(([document["_id"]], answer))
        return await answer

    async def together(self, db: str, documents: Sequence[Json]) -> list[str | None]:
        """A request for several."""
        answer: Deferred[list[str | None]] = Deferred()
        self.asked.append(([document["_id"] for document in documents], answer))
        return await answer

    def put(self, id: str, db: str = "db", **members: object) -> Deferred[str]:
        """Begin to store a document."""
        return Deferred.fromCoroutine(self.writes.put(db, {"_id": id, **members}))

    def busy(self) -> list[Deferred[str]]:
        """Have as many requests under way as there may be."""
        return [self.put(f"busy{number}") for number in range(AT_ONCE)]

    def ids(self) -> list[list[str]]:
        """What has been asked for."""
        return [ids for ids, _ in self.asked]

    def answer(self, outcome: object) -> None:
        """Answer the oldest request."""
        answer = self.asked.pop(0)[1]
        if isinstance(outcome, Exception):
            answer.errback(outcome)
        else:
            answer.callback(outcome)

    def test_alone(self) -> None:
        """Where nothing is under way a document goes at once and alone; another database has nothing to do with it."""
        first = self.busy()
        other = self.put("other", "db2")
        self.assertEqual(self.ids(), [*([f"busy{number}"] for number in range(AT_ONCE)), ["other"]])
        for d in (*first, other):
            self.answer("1-a")
            self.assertEqual(self.successResultOf(d), "1-a")
        self.put("next")
        self.assertEqual(self.ids(), [["next"]])

    def test_together(self) -> None:
        """What waits goes together when a request has come back, and each is told its own revision."""
        first = self.busy()
        rest = [self.put(id) for id in "abc"]
        self.assertEqual(len(self.asked), AT_ONCE)
        self.answer("1-x")
        self.assertEqual(self.successResultOf(first[0]), "1-x")
        self.assertEqual(self.ids()[-1], ["a", "b", "c"])
        del self.asked[:-1]
        self.answer(["1-a", "1-b", "1-c"])
        self.assertEqual([self.successResultOf(d) for d in rest], ["1-a", "1-b", "1-c"])
        self.assertEqual(self.asked, [])

    def test_sent_first(self) -> None:
        """The next request leaves before those whose documents are stored go on."""
        self.busy()
        seen: list[list[list[str]]] = []
        self.put("a").addCallback(lambda _: seen.append(self.ids()))
        self.answer("1-x")
        self.put("b")
        del self.asked[:-1]
        self.answer(["1-a"])
        self.assertEqual(seen, [[["b"]]])

    def test_many(self) -> None:
        """Only so many go together, in their order, and the others with the next request."""
        self.busy()
        ids = [str(number) for number in range(MOST_TOGETHER + 2)]
        rest = [self.put(id) for id in ids]
        self.answer("1-x")
        self.assertEqual(self.ids()[-1], ids[:MOST_TOGETHER])
        del self.asked[:-1]
        self.answer([f"1-{id}" for id in ids[:MOST_TOGETHER]])
        self.answer([f"1-{id}" for id in ids[MOST_TOGETHER:]])
        self.assertEqual([self.successResultOf(d) for d in rest], [f"1-{id}" for id in ids])

    def test_large(self) -> None:
        """A large document neither waits nor has others wait."""
        self.put("large", ret="x" * LARGE_BYTES)
        self.busy()
        self.put("large too", ret="x" * LARGE_BYTES)
        self.assertEqual(self.ids(), [["large"], *([f"busy{number}"] for number in range(AT_ONCE)), ["large too"]])

    def test_not_stored(self) -> None:
        """A document that is not stored with the others is asked for alone, and fails with its own error."""
        self.busy()
        good, bad = self.put("good"), self.put("bad")
        self.answer("1-x")
        del self.asked[:-1]
        self.answer(["1-a", None])
        self.assertEqual(self.successResultOf(good), "1-a")
        self.assertEqual(self.ids(), [["bad"]])
        self.answer(errors.Conflict("bad", status=409))
        self.failureResultOf(bad, errors.Conflict)

    def test_refused(self) -> None:
        """Where all are refused, as by a proxy that lets no large body in, each is asked for alone."""
        self.busy()
        rest = [self.put(id) for id in "ab"]
        self.answer("1-x")
        del self.asked[:-1]
        self.answer(errors.BadRequest("2 documents", status=413))
        self.assertEqual(self.ids(), [["a"], ["b"]])
        self.answer("1-a")
        self.answer("1-b")
        self.assertEqual([self.successResultOf(d) for d in rest], ["1-a", "1-b"])

    def test_failed(self) -> None:
        """Where nobody knows what the server made of it, all are told, nothing is sent again, and the next one goes."""
        self.busy()
        rest = [self.put(id) for id in "ab"]
        self.answer("1-x")
        last = self.put("c")
        del self.asked[:-1]
        self.answer(errors.TooSlow("2 documents"))
        for d in rest:
            self.failureResultOf(d, errors.TooSlow)
        self.assertEqual(self.ids(), [["c"]])
        self.answer(["1-c"])
        self.assertEqual(self.successResultOf(last), "1-c")

    def test_cancelled(self) -> None:
        """A document that nobody wants stored any more is not sent; one that is on its way may be stored."""
        self.busy()
        first, second = self.put("a"), self.put("b")
        first.cancel()
        self.failureResultOf(first, errors.Unavailable)
        self.answer("1-x")
        self.assertEqual(self.ids()[-1], ["b"])
        second.cancel()
        self.failureResultOf(second, errors.Unavailable)
        del self.asked[:-1]
        self.answer(["1-b"])
        self.put("c")
        self.assertEqual(self.ids(), [["c"]])

    def test_impossible(self) -> None:
        """What is no JSON is refused before it waits, and nobody else hears of it."""
        self.busy()
        self.failureResultOf(self.put("a", what=object()), errors.BadRequest)
        self.assertEqual(len(self.asked), AT_ONCE)
