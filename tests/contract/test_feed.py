"""Following the feed, on any server."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, ensureDeferred

from tests.contract.server import BIRTH, MISSING_SINCE, OPERATORS, ContractCase, Reply, later

MAC = 202481600350967


def selector(*ids: str) -> dict[str, Any]:
    """The selector that a daemon follows with."""
    return {
        "$or": [
            {"type": {"$in": [MAC, str(MAC)]}},
            {"type": f"{MAC}_cmd", "ret": {"$exists": False}},
            {"global_modules": {"$exists": True}},
            {"_id": {"$in": [*ids]}},
        ]
    }


class FeedContract(ContractCase):
    """What the follower expects of ``_changes``."""

    async def seq(self, path: str) -> str:
        """The database's update_seq, as a daemon starts with."""
        seq: str = (await self.admin.ask("GET", path)).json["update_seq"]
        return seq

    def poll(self, path: str, since: str, *ids: str, timeout_ms: int = 10_000, limit: int = 200) -> Deferred[Reply]:
        """Start a long poll."""
        query = f"feed=longpoll&timeout={timeout_ms}&limit={limit}&since={quote(since, safe='')}"
        query += "&filter=_selector&include_docs=true"
        return ensureDeferred(self.admin.ask("POST", f"{path}/_changes?{query}", {"selector": selector(*ids)}))

    async def wakes(self, path: str, write: Any, *ids: str) -> list[dict[str, Any]]:
        """Return the rows that a write during a poll brings."""
        poll = self.poll(path, await self.seq(path), *ids)
        await later(0.1)
        await write
        reply = await poll
        self.assertEqual(reply.status, 200)
        self.assertTrue(reply.json["last_seq"])
        rows: list[dict[str, Any]] = reply.json["results"]
        return rows

    async def test_new_program_wakes(self) -> None:
        """A document for this Pi ends the poll, with itself in it."""
        path = await self.database()
        for number, kind in enumerate((MAC, str(MAC), float(MAC))):
            rows = await self.wakes(path, self.put(f"{path}/p{number}", {"type": kind, "code": "pass"}))
            self.assertEqual([row["doc"]["code"] for row in rows], ["pass"])
        rows = await self.wakes(path, self.put(path + "/g", {"global_modules": {"m": "x = 1"}}))
        self.assertEqual([row["id"] for row in rows], ["g"])

    async def test_deletion_of_a_known_document(self) -> None:
        """A document in use that is deleted is told of because its id is in the selector."""
        path = await self.database()
        rev = await self.put(path + "/p", {"type": MAC})
        rows = await self.wakes(path, self.admin.ask("DELETE", f"{path}/p?rev={rev}"), "p")
        self.assertEqual([(row["id"], row.get("deleted")) for row in rows], [("p", True)])

    async def test_document_handed_to_another_pi(self) -> None:
        """A document in use whose type changes is told of because its id is in the selector."""
        path = await self.database()
        rev = await self.put(path + "/p", {"type": MAC})
        rows = await self.wakes(path, self.put(path + "/p", {"_rev": rev, "type": 5}), "p")
        self.assertEqual([row["doc"]["type"] for row in rows], [5])

    async def test_others_do_not_wake(self) -> None:
        """Writes for others, answered commands and other databases leave the poll alone; at its end S has moved."""
        path, status = await self.database(), await self.database()
        since = await self.seq(path)
        poll = self.poll(path, since, timeout_ms=1500)
        await later(0.1)
        await self.put(path + "/other", {"type": 5})
        await self.put(path + "/answered", {"type": f"{MAC}_cmd", "cmd": ["true"], "ret": ["", ""]})
        await self.put(status + "/beat", {"type": MAC})
        reply = await poll
        self.assertEqual((reply.status, reply.json["results"]), (200, []))
        self.assertNotEqual(reply.json["last_seq"], since)
        after = await self.poll(path, reply.json["last_seq"], timeout_ms=200)
        self.assertEqual(after.json["results"], [])

    async def test_nothing_between_snapshot_and_poll_is_lost(self) -> None:
        """What is written after S was read comes with the first poll from S."""
        path = await self.database()
        since = await self.seq(path)
        await self.put(path + "/p", {"type": MAC})
        reply = await self.poll(path, since)
        self.assertEqual([row["id"] for row in reply.json["results"]], ["p"])

    async def test_limited_batches_bring_everything_once(self) -> None:
        """Going on from last_seq with a small limit brings every matching document, each once."""
        path = await self.database()
        docs = [{"_id": f"d{number}", "type": MAC if number % 2 else 5} for number in range(20)]
        await self.admin.ask("POST", path + "/_bulk_docs", {"docs": docs})
        since, seen = "0", []
        for _ in range(20):
            reply = await self.admin.ask(
                "POST",
                f"{path}/_changes?limit=3&since={quote(since, safe='')}&filter=_selector&include_docs=true",
                {"selector": selector()},
            )
            self.assertLessEqual(len(reply.json["results"]), 3)
            if not reply.json["results"]:
                break
            seen += [row["id"] for row in reply.json["results"]]
            since = reply.json["last_seq"]
        self.assertEqual(sorted(seen), sorted(f"d{number}" for number in range(1, 20, 2)))

    async def test_given_ids(self) -> None:
        """``_doc_ids`` brings those documents, and deletions among them."""
        path = await self.database()
        rev = await self.put(path + "/a", {})
        await self.put(path + "/b", {})
        await self.put(path + "/c", {})
        await self.admin.ask("DELETE", f"{path}/a?rev={rev}")
        reply = await self.admin.ask("POST", path + "/_changes?filter=_doc_ids", {"doc_ids": ["a", "c"]})
        found = {row["id"]: row.get("deleted", False) for row in reply.json["results"]}
        self.assertEqual(found, {"a": True, "c": False})

    async def test_bad_questions(self) -> None:
        """A since that is none, and a selector that is none, are 400."""
        path = await self.database()
        garbage = await self.admin.ask("POST", path + "/_changes?filter=_selector&since=garbage", {"selector": {}})
        self.assertEqual(garbage.status, 400)
        wrong = await self.admin.ask("POST", path + "/_changes?filter=_selector", {"selector": {"$nope": 1}})
        self.assertEqual(wrong.status if self.has(OPERATORS) else 400, 400)

    async def test_database_deleted_under_the_poll(self) -> None:
        """The poll ends with nothing, then the database is missing; made again it is another one, and replays."""
        path = await self.database()
        await self.put(path + "/p", {"type": MAC})
        before = (await self.admin.ask("GET", path)).json
        poll = self.poll(path, before["update_seq"])
        await later(1.1)
        await self.admin.ask("DELETE", path)
        reply = await poll
        self.assertEqual((reply.status, reply.json["results"]), (200, []))
        self.assertEqual((await self.poll(path, before["update_seq"])).status, 404)
        await self.admin.ask("PUT", path)
        await self.put(path + "/q", {"type": MAC})
        if self.has(BIRTH):
            after = (await self.admin.ask("GET", path)).json
            self.assertNotEqual(after["instance_start_time"], before["instance_start_time"])
        if self.has(MISSING_SINCE):
            rows = (await self.poll(path, before["update_seq"])).json["results"]
            self.assertEqual([row["id"] for row in rows], ["q"])
