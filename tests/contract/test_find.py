"""Snapshots by ``_find`` and partial indexes, on any server."""

from __future__ import annotations

from typing import Any

from tests.contract.server import OPERATORS, ContractCase

OPEN = {"ret": {"$exists": False}}
INDEX = {
    "index": {"fields": ["type"], "partial_filter_selector": OPEN},
    "ddoc": "contract",
    "name": "open",
    "type": "json",
}


class FindContract(ContractCase):
    """What the snapshot expects of ``_find``."""

    async def fill(self, path: str) -> None:
        """Store programs, open and answered commands, and documents for others."""
        docs: list[dict[str, Any]] = [{"_id": f"p{number:02}", "type": 7} for number in range(60)]
        docs += [
            {"_id": f"c{number}", "type": "7_cmd", **({"ret": ["", ""]} if number % 2 else {})} for number in range(6)
        ]
        docs += [{"_id": "other", "type": 8}, {"_id": "deep", "type": 9, "a": {"b": [1, 2]}}]
        reply = await self.admin.ask("POST", path + "/_bulk_docs", {"docs": docs})
        self.assertEqual({row.get("ok") for row in reply.json}, {True})

    async def test_partial_index_is_used(self) -> None:
        """An index is made once, and with use_index it gives the open commands without a warning."""
        path = await self.database()
        await self.fill(path)
        made = await self.admin.ask("POST", path + "/_index", INDEX)
        self.assertEqual((made.status, made.json["result"]), (200, "created"))
        again = await self.admin.ask("POST", path + "/_index", INDEX)
        self.assertEqual(again.json["result"], "exists")
        listed = (await self.admin.ask("GET", path + "/_index")).json["indexes"]
        self.assertIn("open", [index["name"] for index in listed])
        query = {"selector": {"type": "7_cmd", **OPEN}, "use_index": ["contract", "open"], "limit": 100}
        found = await self.admin.ask("POST", path + "/_find", query)
        self.assertEqual(sorted(doc["_id"] for doc in found.json["docs"]), ["c0", "c2", "c4"])
        self.assertNotIn("warning", found.json)
        gone = await self.admin.ask("DELETE", path + "/_index/contract/json/open")
        self.assertEqual(gone.status, 200)

    async def test_pages(self) -> None:
        """Pages of a bookmark bring every document once; 25 at a time unless told otherwise."""
        path = await self.database()
        await self.fill(path)
        await self.admin.ask("POST", path + "/_index", INDEX)
        for use_index in ({}, {"use_index": ["contract", "open"]}):
            query: dict[str, Any] = {"selector": {"type": 7, **OPEN}, **use_index}
            sizes, seen = [], []
            for _ in range(4):
                page = (await self.admin.ask("POST", path + "/_find", query)).json
                sizes.append(len(page["docs"]))
                seen += [doc["_id"] for doc in page["docs"]]
                query["bookmark"] = page["bookmark"]
                if len(page["docs"]) < 25:
                    break
            self.assertEqual(sizes, [25, 25, 10])
            self.assertEqual(sorted(seen), [f"p{number:02}" for number in range(60)])

    async def test_operators(self) -> None:
        """The selectors of this project mean what they mean in CouchDB."""
        path = await self.database()
        await self.fill(path)
        for selector, expected in (
            ({"type": {"$in": [8, "7_cmd"]}, "ret": {"$exists": True}}, ["c1", "c3", "c5"]),
            ({"$or": [{"type": 8}, {"type": 9}]}, ["deep", "other"]),
            ({"a.b": {"$elemMatch": {"$gt": 1}}}, ["deep"]),
            ({"_id": {"$in": ["p01", "none", "other"]}}, ["other", "p01"]),
            ({"type": {"$gt": 7, "$lte": 8}}, ["other"]),
            ({"_id": {"$gte": "p58"}}, ["p58", "p59"]),
        ):
            reply = await self.admin.ask("POST", path + "/_find", {"selector": selector, "limit": 100})
            self.assertEqual(sorted(doc["_id"] for doc in reply.json["docs"]), expected, selector)

    async def test_wrong_operator(self) -> None:
        """An operator that there isn't is 400."""
        path = await self.database()
        reply = await self.admin.ask("POST", path + "/_find", {"selector": {"type": {"$nope": 1}}})
        self.assertEqual(reply.status if self.has(OPERATORS) else 400, 400)
