"""Following a real server."""

from __future__ import annotations

import attrs

from himbeerecouch.couch import client as couch
from himbeerecouch.model import Row
from tests.follow import DATABASE, MAC, SHORT, FollowCase

LONG = attrs.evolve(SHORT, poll_timeout_s=60.0, poll_total_s=60.0)
"""A poll that nothing ends lasts longer than a test may take."""


class ChangesTests(FollowCase):
    """Changes on real sockets."""

    async def test_delivers(self) -> None:
        """What is there, what is added, edited, handed to another Pi and deleted is heard of, in the open poll."""
        rev = await self.put("here", v=1)
        await self.operator.put(DATABASE, {"_id": "elsewhere", "type": 5})
        await self.operator.put(DATABASE, {"_id": "global", "type": 5, "global_modules": {"m": "x = 1"}})
        await self.operator.put(DATABASE, {"_id": "answered", "type": f"{MAC}_cmd", "ret": ["", ""]})
        await self.operator.put(DATABASE, {"_id": "asked", "type": f"{MAC}_cmd", "cmd": ["true"]})
        await self.operator.put(DATABASE, {"_id": "string", "type": str(MAC)})
        self.follow(LONG)
        await self.until(lambda: self.heard.snapshots == 1)
        self.assertEqual(sorted(self.heard.documents), ["asked", "global", "here", "string"])
        await self.put("new", v=1)
        await self.until(lambda: "new" in self.heard.documents)
        rev = await self.put("here", v=2, _rev=rev)
        await self.until(lambda: (self.heard.documents["here"] or {}).get("v") == 2)
        rev = await self.operator.put(DATABASE, {"_id": "here", "type": 5, "_rev": rev})
        await self.until(lambda: (self.heard.documents["here"] or {}).get("type") == 5)
        await self.http("DELETE", f"/{DATABASE.replace('/', '%2F')}/here?rev={rev}")
        await self.until(lambda: self.heard.documents["here"] is None)
        self.assertEqual(self.heard.rows[-1], Row("here", None, deleted=True))

    async def test_between_snapshot_and_poll(self) -> None:
        """Fault 7: an edit between the snapshot and the first poll is heard of, each time."""
        writes = []

        def write() -> None:
            writes.append(self.put(f"late-{self.heard.snapshots}"))

        changes = self.follow()
        await self.until(lambda: self.heard.snapshots == 1)
        for _ in range(30):
            self.heard.on_snapshot = write
            before = self.heard.snapshots
            changes.resync()
            await self.until(lambda before=before: self.heard.snapshots > before)  # type: ignore[misc]
            self.heard.on_snapshot = lambda: None
            await writes.pop()
            await self.until(lambda: f"late-{self.heard.snapshots}" in self.heard.documents, 1.0)

    async def test_created_again(self) -> None:
        """Fault 9: a database that is deleted and created again is read afresh."""
        await self.put("old")
        self.follow()
        await self.until(lambda: "old" in self.heard.documents)
        await self.sleep(1.1)  # the time of its creation has whole seconds
        path = f"/{DATABASE.replace('/', '%2F')}"
        await self.http("DELETE", path)
        await self.sleep(0.2)
        await self.http("PUT", path)
        await self.put("new")
        await self.until(lambda: list(self.heard.documents) == ["new"])
        self.assertGreaterEqual(self.heard.snapshots, 2)

    async def test_enrolled_while_it_waits(self) -> None:
        """A Pi without a user waits, and is in at once when a probe comes in after the user was made."""
        self.couch = self.client(f"http://127.0.0.1:{self.port}", login=("7", "secret"))
        self.follow()
        await self.sleep(0.3)
        self.assertEqual(self.heard.snapshots, 0)
        user = {"name": "7", "password": "secret", "roles": [], "type": "user"}
        await self.http("PUT", "/_users/org.couchdb.user:7", user)
        members = {"admins": {"names": [], "roles": []}, "members": {"names": ["7"], "roles": []}}
        await self.http("PUT", f"/{DATABASE.replace('/', '%2F')}/_security", members)
        await self.sleep(0.3)
        self.assertFalse(self.couch.login.proven)
        self.couch.hurry()
        await self.until(lambda: self.heard.snapshots == 1, 2.0)
        self.assertTrue(self.couch.login.proven)

    async def test_stalled_at_start(self) -> None:
        """A network that stalls when the daemon starts costs no logins: it is in as soon as answers come."""
        self.proxy.stalled = True
        self.follow()
        await self.sleep(6.0)
        self.proxy.stalled = False
        await self.until(lambda: self.heard.snapshots == 1, 3.0)

    async def test_server_moves(self) -> None:
        """Another server file: what the new server has is read, and the old one is left."""
        await self.put("here")
        self.follow()
        await self.until(lambda: self.heard.snapshots == 1)
        self.couch.move(None)
        await self.put("later")
        await self.proxy.empty()
        await self.sleep(0.3)
        self.assertNotIn("later", self.heard.documents)
        self.couch.move(self.server_url)
        await self.until(lambda: "later" in self.heard.documents, 1.0)

    async def test_many(self) -> None:
        """Hundreds of documents come in pages, in the snapshot and in the feed, each of them once or more."""
        timing = attrs.evolve(SHORT, limit=100)
        for first in range(0, 500, 50):
            for number in range(first, first + 50):
                await self.put(f"a{number}")
        self.follow(timing)
        await self.until(lambda: len(self.heard.documents) == 500)
        self.assertEqual(self.heard.snapshots, 1)

    async def test_monster(self) -> None:
        """A document that is too large stops nobody: it is reported, in the snapshot and in the feed."""
        self.patch(couch, "ANSWER_BYTES", 20_000)
        await self.put("a")
        rev = await self.put("monster", code="x" * 30_000)
        await self.put("z")
        self.follow()
        await self.until(lambda: self.heard.snapshots == 1)
        self.assertEqual(sorted(self.heard.documents), ["a", "monster", "z"])
        self.assertIn(Row("monster", None, too_large=True), self.heard.rows)
        self.heard.rows.clear()
        rev = await self.put("monster", code="y" * 30_000, _rev=rev)
        await self.put("after")
        await self.until(lambda: "after" in self.heard.documents)
        self.assertIn(Row("monster", None, too_large=True), self.heard.rows)
        await self.put("monster", code="small", _rev=rev)
        await self.until(lambda: self.heard.documents["monster"] is not None)
        self.assertEqual(self.heard.snapshots, 1)

    async def test_stops(self) -> None:
        """When it is stopped during a poll, nothing is left, long before the poll would have ended."""
        changes = self.follow(LONG)
        await self.until(lambda: self.heard.snapshots == 1)
        await self.sleep(0.05)
        await changes.stopService()
        await self.couch.close()
        await self.proxy.empty()
