"""Documents, revisions and conflicts, on any server."""

from __future__ import annotations

from urllib.parse import quote

from twisted.internet.defer import ensureDeferred, gatherResults

from tests.contract.server import EXACT_NUMBERS, ContractCase


class DocumentContract(ContractCase):
    """What the daemon and its tools expect of documents."""

    async def test_write_read_change_delete(self) -> None:
        """A document is made, read, changed by its revision and deleted; a stale revision is a conflict."""
        path = await self.database() + "/blink"
        rev = await self.put(path, {"type": 5, "code": "pass"})
        read = await self.admin.ask("GET", path)
        self.assertEqual(read.json, {"_id": "blink", "_rev": rev, "type": 5, "code": "pass"})
        second = await self.put(path, {"_rev": rev, "type": 6})
        stale = await self.admin.ask("PUT", path, {"_rev": rev, "type": 7})
        self.assertEqual((stale.status, stale.json["error"]), (409, "conflict"))
        self.assertEqual((await self.admin.ask("DELETE", f"{path}?rev={rev}")).status, 409)
        self.assertEqual((await self.admin.ask("DELETE", f"{path}?rev={second}")).status, 200)
        gone = await self.admin.ask("GET", path)
        self.assertEqual((gone.status, gone.json["error"], gone.json["reason"]), (404, "not_found", "deleted"))
        again = await self.put(path, {"type": 8})
        self.assertTrue(again.startswith("4-"), again)

    async def test_claim_is_won_once(self) -> None:
        """Of many who write upon the same revision at the same time exactly one wins."""
        path = await self.database() + "/command"
        rev = await self.put(path, {"type": "1_cmd", "cmd": ["true"]})
        claims = [self.admin.ask("PUT", path, {"_rev": rev, "execution": {"by": number}}) for number in range(8)]
        replies = await gatherResults([ensureDeferred(claim) for claim in claims], consumeErrors=True)
        self.assertEqual(sorted(reply.status for reply in replies), [201, *[409] * 7])

    async def test_database_of_its_own(self) -> None:
        """A missing database is 404, one that is there can't be made, and its info has what the follower needs."""
        path = await self.database()
        self.assertEqual((await self.admin.ask("PUT", path)).status, 412)
        info = (await self.admin.ask("GET", path)).json
        self.assertTrue(info["update_seq"])
        self.assertIsInstance(info["instance_start_time"], str)
        missing = await self.admin.ask("GET", path + "x")
        self.assertEqual((missing.status, missing.json["error"]), (404, "not_found"))
        self.assertEqual(missing.json["reason"], "Database does not exist.")

    async def test_server_says_who_and_when(self) -> None:
        """The welcome bears a uuid, and every answer the server's time."""
        reply = await self.admin.ask("GET", "/")
        self.assertEqual(reply.json["couchdb"], "Welcome")
        self.assertTrue(reply.json["uuid"])
        self.assertIn("GMT", reply.header("date") or "")

    async def test_text_and_numbers_come_back(self) -> None:
        """Unicode in ids and values, and the numbers of MAC addresses, come back as they were."""
        path = f"{await self.database()}/{quote('über/☃')}".replace("über/", "über%2F").replace("/%E2", "%2F%E2")
        body = {"name": "für ☃ 🍓\n\u0000", "mac": 202481600350967, "deep": {"a": [None, True, 0.5]}}
        rev = await self.put(path, body)
        read = (await self.admin.ask("GET", path)).json
        self.assertEqual(read, {"_id": "über/☃", "_rev": rev, **body})
        if self.has(EXACT_NUMBERS):
            exact = await self.database() + "/exact"
            stored = await self.admin.ask(
                "PUT", exact, data=b'{"n":1.0,"big":90071992547409931}', headers={"Content-Type": "application/json"}
            )
            self.assertEqual(stored.status, 201)
            numbers = (await self.admin.ask("GET", exact)).json
            self.assertEqual((repr(numbers["n"]), numbers["big"]), ("1.0", 90071992547409931))

    async def test_not_modified(self) -> None:
        """The revision is the ETag, and a document that is known is not sent again."""
        path = await self.database() + "/doc"
        rev = await self.put(path, {"a": 1})
        self.assertEqual((await self.admin.ask("GET", path)).header("etag"), f'"{rev}"')
        known = await self.admin.ask("GET", path, headers={"If-None-Match": f'"{rev}"'})
        self.assertEqual(known.status, 304)

    async def test_bulk(self) -> None:
        """Of several documents in one request each has its own outcome, in order."""
        path = await self.database()
        rev = await self.put(path + "/old", {"a": 1})
        docs = [{"_id": "old", "a": 2}, {"_id": "new", "a": 1}, {"_id": "old", "_rev": rev, "a": 3}]
        reply = await self.admin.ask("POST", path + "/_bulk_docs", {"docs": docs})
        self.assertEqual(reply.status, 201)
        self.assertEqual([row.get("error") for row in reply.json][:2], ["conflict", None])
        keys = await self.admin.ask("POST", path + "/_all_docs?include_docs=true", {"keys": ["new", "none"]})
        self.assertEqual(keys.json["rows"][0]["doc"]["a"], 1)
        self.assertEqual(keys.json["rows"][1], {"key": "none", "error": "not_found"})

    async def test_conflicts_have_one_winner(self) -> None:
        """Replicated revisions of one generation stand side by side; the greatest hash wins, everywhere the same."""
        path = await self.database()
        docs = [
            {"_id": "x", "_rev": f"2-{name * 32}", "_revisions": {"start": 2, "ids": [name * 32, "0" * 32]}, "v": name}
            for name in ("a", "c", "b")
        ]
        reply = await self.admin.ask("POST", path + "/_bulk_docs", {"docs": docs, "new_edits": False})
        self.assertEqual((reply.status, reply.json), (201, []))
        read = (await self.admin.ask("GET", path + "/x?conflicts=true")).json
        self.assertEqual((read["v"], sorted(read["_conflicts"])), ("c", [f"2-{'a' * 32}", f"2-{'b' * 32}"]))
        await self.admin.ask("DELETE", f"{path}/x?rev=2-{'c' * 32}")
        self.assertEqual((await self.admin.ask("GET", path + "/x")).json["v"], "b")

    async def test_nonsense_is_refused(self) -> None:
        """Bodies that are no JSON object, and names that can't be, are 400."""
        path = await self.database()
        kind = {"Content-Type": "application/json"}
        for body in (b'{"a":', b"[]"):
            reply = await self.admin.ask("PUT", path + "/doc", data=body, headers=kind)
            self.assertEqual(reply.status, 400, body)
        self.assertEqual((await self.admin.ask("PUT", path + "/doc", {"_x": 1})).status, 400)
        self.assertEqual((await self.admin.ask("PUT", path + "/_x", {"a": 1})).status, 400)
        self.assertEqual((await self.admin.ask("PUT", "/Upper")).status, 400)
