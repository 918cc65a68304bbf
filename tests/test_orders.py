"""Commands that are given, waited for and cancelled, where the server does not do as it is asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from himbeerecouch.errors import AnswerTooLarge, CouchError, Forbidden, Unavailable, Unreachable
from himbeerecouch.fleet import orders
from himbeerecouch.fleet.commands import Order, Outcome
from himbeerecouch.model import Json
from tests.cli_case import DATABASE, CliCase

ORDER = Order(("true",))


class OrdersTests(CliCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.patch(random, "uniform", lambda low, high: 0.01)
        self.found: dict[int, Outcome] = {}
        self.troubles: list[str] = []

    def once(self, name: str, instead: Callable[..., Any]) -> None:
        """Have one method of the desk do something else, the next time that it is called."""
        real = getattr(self.desk, name)

        async def method(*arguments: Any, **options: Any) -> Any:
            setattr(self.desk, name, real)
            return await instead(real, *arguments, **options)

        self.patch(self.desk, name, method)

    async def wait(self, given: orders.Given) -> None:
        await orders.outcomes(self.desk, given, self.found.__setitem__, lambda error: self.troubles.append(str(error)))

    async def answer(self, given: orders.Given, stdout: str = "") -> None:
        """Answer all of them, as the Pis would."""
        for row in await self.desk.all_docs(DATABASE, keys=list(given.waiting)):
            execution = {"state": "done", "exit_code": 0}
            await self.desk.put(DATABASE, {**row["doc"], "ret": [stdout, ""], "execution": execution})

    async def test_server_away(self) -> None:
        """While the server is away the answers are waited for, and what came meanwhile is found."""
        given = await orders.give(self.desk, [1, 2], ORDER)

        async def away(real: Any, *arguments: Any, **options: Any) -> Any:
            await self.answer(given)
            raise Unavailable("it is away")

        self.once("changes", away)
        await self.wait(given)
        self.assertEqual(sorted(self.found), [1, 2])
        self.assertEqual(self.troubles, ["it is away", "None"])

    async def test_server_back(self) -> None:
        """When it is back, what has no answer is waited for again, also from the copy of a database."""
        given = await orders.give(self.desk, [1, 2], ORDER)

        async def away(real: Any, *arguments: Any, **options: Any) -> Any:
            document = await self.desk.get(DATABASE, next(iter(given.waiting)))
            await self.desk.put(DATABASE, {**document, "ret": ["", ""]})
            self.once("changes", back)
            raise Unavailable("it is away")

        async def back(real: Any, *arguments: Any, **options: Any) -> Any:
            self.assertEqual(list(self.found), [1])
            await self.answer(given.__class__(None, {id: mac for id, mac in given.waiting.items() if mac == 2}))
            return await real(*arguments, **options)

        self.once("changes", away)
        await self.wait(given)
        self.assertEqual(sorted(self.found), [1, 2])

    async def test_large_answers(self) -> None:
        """Answers that are too large together are fetched by fewer at a time, down to one."""
        given = await orders.give(self.desk, [1, 2, 3], ORDER)
        await self.answer(given)
        limits: list[int] = []
        real = self.desk.changes

        async def changes(*arguments: Any, limit: int, **options: Any) -> Any:
            limits.append(limit)
            if limit > 2:
                raise AnswerTooLarge("changes", limit_bytes=5)
            return await real(*arguments, limit=limit, **options)

        self.patch(orders, "ROWS", 8)
        self.patch(self.desk, "changes", changes)
        await self.wait(given)
        self.assertEqual((sorted(self.found), limits), ([1, 2, 3], [8, 4, 2, 2]))

        async def too_large(*arguments: Any, **options: Any) -> Any:
            raise AnswerTooLarge("changes", limit_bytes=5)

        self.patch(self.desk, "changes", too_large)
        await self.failing(AnswerTooLarge, self.wait(given))

    async def test_lost_on_the_way(self) -> None:
        """Where the connection is lost while commands are given, it is looked up whether they were."""

        async def stored(real: Any, *arguments: Any) -> Any:
            await real(*arguments)
            raise Unavailable("the connection was lost")

        async def lost(real: Any, *arguments: Any) -> Any:
            raise Unavailable("the connection was lost")

        async def unreachable(real: Any, *arguments: Any) -> Any:
            raise Unreachable("there is none")

        self.once("bulk", stored)
        given = await orders.give(self.desk, [1, 2], ORDER)
        self.assertEqual((sorted(given.waiting.values()), given.refused), ([1, 2], {}))
        for instead, kind in ((lost, Unavailable), (unreachable, Unreachable)):
            self.once("bulk", instead)
            await self.failing(kind, orders.give(self.desk, [3], ORDER))
        self.assertEqual(len(await self.desk.all_docs(DATABASE)), 2)

    async def test_given_up_on_the_way(self) -> None:
        """Who gives up while commands are being given has those cancelled that were."""

        async def slow(real: Any, *arguments: Any) -> Any:
            await real(*arguments)
            self.reactor.callLater(0, giving.cancel)
            await Deferred()

        self.once("bulk", slow)
        giving = Deferred.fromCoroutine(orders.give(self.desk, [1], ORDER))
        await self.failing(CancelledError, giving)
        [row] = await self.desk.all_docs(DATABASE)
        self.assertIs(row["doc"]["cancel"], True)

    async def test_forbidden(self) -> None:
        """Who may not write commands at all is told so, as by any other request."""

        async def forbidden(real: Any, db: str, documents: list[Json]) -> Any:
            return [{"id": each["_id"], "error": "forbidden", "reason": "ask an admin"} for each in documents]

        self.once("bulk", forbidden)
        error = await self.failing(Forbidden, orders.give(self.desk, [1, 2], ORDER))
        assert isinstance(error, CouchError)
        self.assertEqual(error.reason, "ask an admin")

    async def test_never_ending_conflict(self) -> None:
        """A document that somebody else writes all the time is not fought for without end."""
        given = await orders.give(self.desk, [1], ORDER)

        async def conflict(db: str, documents: list[Json]) -> Any:
            self.troubles.append("conflict")
            return [{"id": each["_id"], "error": "conflict"} for each in documents]

        self.patch(self.desk, "bulk", conflict)
        await orders.cancel(self.desk, given.waiting)
        self.assertEqual(len(self.troubles), orders.CANCEL_ATTEMPTS)
