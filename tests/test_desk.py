"""The operator's client, on an embedded server."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from himbeerecouch.couch import transport
from himbeerecouch.errors import (
    AnswerTooLarge,
    BadAnswer,
    BadRequest,
    CaFileError,
    Conflict,
    LoginRefused,
    NotFound,
    Unreachable,
)
from himbeerecouch.fleet import desk as desk_module
from himbeerecouch.fleet.desk import Basic, Cookie, Desk, Who
from himbeerecouch.model import Row
from tests.cli_case import DATABASE, CliCase


class DeskTests(CliCase):
    async def save(self, *ids: str, **members: Any) -> None:
        """Save documents."""
        for each in await self.desk.bulk(DATABASE, [{"_id": id, **members} for id in ids]):
            self.assertNotIn("error", each)

    async def test_documents(self) -> None:
        """A document is stored, read, replaced and deleted by its revision, and another's revision is a conflict."""
        first = await self.desk.put(DATABASE, {"_id": "a/b c", "n": 1})
        await self.failing(Conflict, self.desk.put(DATABASE, {"_id": "a/b c", "n": 2}))
        second = await self.desk.put(DATABASE, {"_id": "a/b c", "_rev": first, "n": 2})
        self.assertEqual(await self.desk.get(DATABASE, "a/b c"), {"_id": "a/b c", "_rev": second, "n": 2})
        self.assertTrue((await self.desk.delete(DATABASE, "a/b c", second)).startswith("3-"))
        self.assertIsNone(await self.desk.find_one(DATABASE, "a/b c"))
        self.assertIsNone(await self.desk.find_one(DATABASE, "never"))
        await self.failing(NotFound, self.desk.get(DATABASE, "never"))
        await self.desk.put(DATABASE, {"_id": "_design/x", "language": "none"})
        self.assertEqual((await self.desk.get(DATABASE, "_design/x"))["language"], "none")

    async def test_no_database(self) -> None:
        """That the whole database is missing is not taken for a document that is not there."""
        error = await self.failing(NotFound, self.desk.find_one("elsewhere", "a"))
        self.assertNotIn(error.reason, ("missing", "deleted"))

    async def test_no_json(self) -> None:
        """What can't be sent is refused before it is sent."""
        await self.failing(BadRequest, self.desk.put(DATABASE, {"_id": "a", "n": float("nan")}))
        await self.failing(BadRequest, self.desk.get(DATABASE, "\ud800"))

    async def test_bulk(self) -> None:
        """Each of many documents is stored or refused by itself; none at all is no request."""
        await self.save("a")
        told = await self.desk.bulk(DATABASE, [{"_id": "a"}, {"_id": "b"}])
        self.assertEqual([(each["id"], "error" in each) for each in told], [("a", True), ("b", False)])
        self.assertEqual(await self.desk.bulk(DATABASE, []), [])

    async def test_all_docs(self) -> None:
        """All rows of a range or of keys are given, in order, however many pages they take."""
        self.patch(desk_module, "PAGE", 3)
        ids = [f"d{number:02}" for number in range(10)]
        await self.save("a", *ids, "e", "\U0001f353")
        rows = await self.desk.all_docs(DATABASE, start="d", end="d\ufff0")
        self.assertEqual([row["id"] for row in rows], ids)
        self.assertEqual(rows[0]["doc"]["_rev"], rows[0]["value"]["rev"])
        rows = await self.desk.all_docs(DATABASE, include_docs=False)
        self.assertEqual([row["id"] for row in rows], ["a", *ids, "e", "\U0001f353"])
        self.assertNotIn("doc", rows[0])
        rows = await self.desk.all_docs(DATABASE, keys=["e", "gone", "a", "d01"])
        self.assertEqual([row.get("id") for row in rows], ["e", None, "a", "d01"])
        self.assertEqual(rows[1]["error"], "not_found")

    async def test_large_documents(self) -> None:
        """Where a page is too large for one answer fewer are asked for; one that is too large by itself is an error."""
        self.patch(desk_module, "PAGE", 8)
        self.patch(desk_module, "ANSWER_BYTES", 3000)
        await self.save(*"abcdefghi", text="x" * 900)
        for keys in (None, "abcdefghi"):
            self.assertEqual("".join(row["id"] for row in await self.desk.all_docs(DATABASE, keys=keys)), "abcdefghi")
        self.patch(desk_module, "ANSWER_BYTES", 500)
        await self.failing(AnswerTooLarge, self.desk.all_docs(DATABASE))
        await self.failing(AnswerTooLarge, self.desk.all_docs(DATABASE, keys="ab"))
        self.assertEqual(await self.desk.all_docs(DATABASE, keys=[]), [])

    async def test_find(self) -> None:
        """All documents that match are given, however many pages they take."""
        self.patch(desk_module, "PAGE", 4)
        await self.save(*"abcdefgh", kind="x")
        await self.save(*"ijk", kind="y")
        found = await self.desk.find(DATABASE, {"kind": "x"})
        self.assertEqual(sorted(each["_id"] for each in found), [*"abcdefgh"])
        found = await self.desk.find(DATABASE, {"kind": "y"}, ["_id"])
        self.assertEqual(sorted(found, key=str), [{"_id": "i"}, {"_id": "j"}, {"_id": "k"}])

    async def test_changes(self) -> None:
        """A poll gives what changed since, or nothing when its time is over."""
        since = (await self.desk.info(DATABASE)).update_seq
        quiet = await self.desk.changes(DATABASE, since=since, selector={"kind": "x"}, timeout_s=0.05)
        self.assertEqual(quiet.rows, ())
        await self.save("a", kind="x")
        batch = await self.desk.changes(DATABASE, since=quiet.last_seq, selector={"kind": "x"})
        self.assertEqual([row.id for row in batch.rows], ["a"])

    async def test_follow(self) -> None:
        """Each change is given as it happens, and a quiet database is not asked all the time."""
        since = (await self.desk.info(DATABASE)).update_seq
        self.patch(desk_module, "POLL_S", 0.01)
        self.patch(desk_module, "PAUSE_S", 0.2)
        heard: list[Row] = []
        asked = []
        changes = self.desk.changes

        def counted(*arguments: Any, **options: Any) -> Any:
            asked.append(options["since"])
            return changes(*arguments, **options)

        self.patch(self.desk, "changes", counted)

        async def listen() -> None:
            async for row in self.desk.follow(DATABASE, {"kind": "x"}, since):
                heard.append(row)
                if len(heard) == 2:
                    return

        done = Deferred.fromCoroutine(listen())
        await self.save("a", kind="x")
        await deferLater(self.reactor, 0.5)
        await self.save("b", kind="x")
        await done
        self.assertEqual([row.id for row in heard], ["a", "b"])
        self.assertLess(len(asked), 20)

    async def test_patience(self) -> None:
        """A server that can't be reached is an error at once, or is tried again for as long as one likes."""
        self.patch(desk_module, "PAUSE_S", 0.01)
        since = (await self.desk.info(DATABASE)).update_seq
        await self.save("a")
        changes = self.desk.changes
        faults = [Unreachable("down")] * 4

        async def faulty(*arguments: Any, **options: Any) -> Any:
            if faults:
                raise faults.pop()
            return await changes(*arguments, **options)

        self.patch(self.desk, "changes", faulty)
        await self.failing(Unreachable, anext(self.desk.follow(DATABASE, {}, since)))
        self.assertEqual(len(faults), 3)
        row = await anext(self.desk.follow(DATABASE, {}, since, patience_s=60))
        self.assertEqual((row.id, faults), ("a", []))

    async def test_cancelled(self) -> None:
        """Who is cancelled while he waits for the server learns just that, and the connection is closed."""
        since = (await self.desk.info(DATABASE)).update_seq
        poll = Deferred.fromCoroutine(self.desk.changes(DATABASE, since=since, selector={"kind": "x"}))
        await deferLater(self.reactor, 0.05)
        poll.cancel()
        await self.failing(CancelledError, poll)

    async def test_who(self) -> None:
        """The server says whom it takes us for: by name and password, by a session's cookie, or nobody."""
        self.assertEqual(await self.desk.who(), Who(self.admin, ("_admin",)))
        self.assertTrue((await self.desk.who()).is_admin)
        stranger = self.desk_of("nobody", "wrong")
        await self.failing(LoginRefused, stranger.who())
        anybody = Desk(self.reactor, url=self.url, credentials=None)
        self.addCleanup(anybody.close)
        self.assertEqual(await anybody.who(), Who(None, ()))

    async def test_cookie(self) -> None:
        """A session that a browser has opened is one's own here."""
        cookies: list[str] = []
        connections = transport.Connections(self.reactor, ca_file=None)
        self.addCleanup(connections.close)
        from treq.client import HTTPClient
        from twisted.web.http_headers import Headers

        client = HTTPClient(connections.agent)
        response = await client.post(
            f"{self.url}/_session",
            data=b'{"name": "admin", "password": "secret"}',
            headers=Headers({"content-type": ["application/json"]}),
        )
        await response.content()
        cookies += [text.split(";")[0] for text in response.headers.getRawHeaders("set-cookie")]
        name, _, value = cookies[0].partition("=")
        self.assertEqual(name, "AuthSession")
        session = Desk(self.reactor, url=self.url, credentials=Cookie(value))
        self.addCleanup(session.close)
        self.assertEqual((await session.who()).name, "admin")

    async def test_server_time(self) -> None:
        """The time is the server's, and this machine's before the first answer."""
        self.patch(time, "time", lambda: 1.0)
        fresh = self.desk_of(self.admin, self.password)
        self.assertEqual(fresh.server_time(), 1.0)
        await fresh.who()
        self.assertGreater(fresh.server_time(), 1e9)

    async def test_odd_answers(self) -> None:
        """What is no answer of CouchDB's is not taken for one."""

        async def odd(*_arguments: Any, **_options: Any) -> Any:
            return {"rows": [1], "userCtx": None}

        self.patch(self.desk, "ask", odd)
        await self.failing(BadAnswer, self.desk.all_docs(DATABASE))
        await self.failing(BadAnswer, self.desk.bulk(DATABASE, [{}]))
        await self.failing(BadAnswer, self.desk.who())

    def test_made_wrong(self) -> None:
        """A URL or a CA file that can't be used is refused at once."""
        with self.assertRaises(ValueError):
            Desk(self.reactor, url="ftp://x", credentials=None)
        with self.assertRaises(CaFileError):
            Desk(self.reactor, url=self.url, credentials=None, ca_file="/nonexistent")

    def test_secrets_are_not_shown(self) -> None:
        """Neither a password nor a cookie is in what is printed of them."""
        self.assertNotIn("secret", repr((Basic("a", "secret"), Cookie("secret"))))
