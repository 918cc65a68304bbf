"""The operator's client and enrolment, on any server."""

from __future__ import annotations

from urllib.parse import unquote
from uuid import uuid4

from himbeerecouch.errors import AlreadyEnrolled, Conflict, LoginRefused, NameTaken, NotEnrolled, NotFound
from himbeerecouch.fleet import desk as desk_module
from himbeerecouch.fleet import enrol, names, rights
from himbeerecouch.fleet.desk import Basic, Desk
from tests.contract.server import ContractCase, later


class OperatorContract(ContractCase):
    """What the command himbeerecouch and the page's server ask for."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        """Make a database, and a desk at it."""
        await super().setUp()
        self.database_name = unquote((await self.database())[1:])
        assert self.admin.login is not None
        self.desk = self.desk_of(*self.admin.login)

    def desk_of(self, user: str, password: str) -> Desk:
        """A client of another user."""
        from twisted.internet import reactor

        desk = Desk(reactor, url=self.admin.url, credentials=Basic(user, password), database=self.database_name)
        self.addCleanup(desk.close)
        return desk

    async def test_documents(self) -> None:
        """Documents are stored, read and deleted; what is missing or in conflict is told apart."""
        desk, db = self.desk, self.database_name
        rev = await desk.put(db, {"_id": "7:a b", "n": 1})
        self.assertEqual((await desk.get(db, "7:a b"))["n"], 1)
        await self.failing(Conflict, desk.put(db, {"_id": "7:a b"}))
        await desk.delete(db, "7:a b", rev)
        self.assertIsNone(await desk.find_one(db, "7:a b"))
        self.assertIsNone(await desk.find_one(db, "never"))
        error = await self.failing(NotFound, desk.find_one(f"contract/d{uuid4().hex}", "a"))
        self.assertNotIn(error.reason, ("missing", "deleted"))

    async def test_many(self) -> None:
        """Many are stored at once, each by itself, and read by ranges, by keys and by what is in them, in pages."""
        self.patch(desk_module, "PAGE", 3)
        desk, db = self.desk, self.database_name
        ids = [f"d:{number}" for number in range(8)]
        await desk.put(db, {"_id": ids[0]})
        told = await desk.bulk(db, [{"_id": id, "kind": "x"} for id in (*ids, "e")])
        self.assertEqual([each["id"] for each in told if "error" in each], [ids[0]])
        rows = await desk.all_docs(db, start="d:", end="d:\ufff0")
        self.assertEqual([row["doc"]["_id"] for row in rows], ids)
        rows = await desk.all_docs(db, keys=["e", "gone", ids[1]], include_docs=False)
        self.assertEqual(
            [("error" in row, row["key"]) for row in rows], [(False, "e"), (True, "gone"), (False, ids[1])]
        )
        found = await desk.find(db, {"kind": "x"}, ["_id"])
        self.assertEqual(sorted(each["_id"] for each in found), [*ids[1:], "e"])

    async def test_followed(self) -> None:
        """What changes after a place is told, and what is quiet is not."""
        desk, db = self.desk, self.database_name
        since = (await desk.info(db)).update_seq
        await desk.put(db, {"_id": "a", "kind": "x"})
        row = await anext(desk.follow(db, {"kind": "x"}, since, timeout_s=20))
        self.assertEqual(row.id, "a")
        quiet = await desk.changes(db, since=(await desk.info(db)).update_seq, selector={"kind": "x"}, timeout_s=0.5)
        self.assertEqual(quiet.rows, ())

    async def test_names(self) -> None:
        """A Pi is found by the name that it was given, and two Pis can't bear the same."""
        await names.give(self.desk, 7, "lab")
        await names.give(self.desk, 7, "oven")
        self.assertEqual(await names.all_names(self.desk), {"oven": 7})
        self.assertEqual(await names.resolve(self.desk, "oven"), 7)
        await self.failing(NameTaken, names.give(self.desk, 8, "oven"))
        await names.take(self.desk, 7)
        await names.give(self.desk, 8, "oven")
        self.assertEqual(await names.all_names(self.desk), {"oven": 8})

    async def test_enrolled(self) -> None:
        """A Pi that is enrolled logs in with its role, also with a new password; one that is revoked does not."""
        await self.desk.ask("PUT", self.desk.status_database)
        self.addCleanup(self._remove, f"/{self.admin_path(self.desk.status_database)}")
        for database in (self.database_name, self.desk.status_database):
            await self.desk.ask("PUT", database, "_security", body=rights.NEW.document)
        mac_id = uuid4().int % 10**14 + 1
        self.assertTrue(await enrol.enrol(self.desk, mac_id, "first"))
        await self.logs_in(mac_id, "first")
        await self.failing(AlreadyEnrolled, enrol.enrol(self.desk, mac_id, "second"))
        self.assertFalse(await enrol.enrol(self.desk, mac_id, "second", replace=True))
        await self.logs_in(mac_id, "second")
        since = await enrol.mark(self.desk)
        await self.desk_of(str(mac_id), "second").put(self.desk.status_database, {"_id": f"{mac_id}_heartbeat"})
        self.assertIn(mac_id, await enrol.heartbeats(self.desk, [mac_id], since, timeout_s=20))
        await enrol.revoke(self.desk, mac_id)
        await self.failing(NotEnrolled, enrol.revoke(self.desk, mac_id))

    def admin_path(self, database: str) -> str:
        """The path of a database."""
        return database.replace("/", "%2F")

    async def logs_in(self, mac_id: int, password: str) -> None:
        """See that the Pi gets in with its role; a server may remember an old password for a moment."""
        pi = self.desk_of(str(mac_id), password)
        for _ in range(20):
            try:
                who = await pi.who()
            except LoginRefused:
                await later(0.25)
            else:
                break
        self.assertEqual((who.name, who.roles), (str(mac_id), (rights.PI,)))
        self.assertIn("update_seq", await pi.ask("GET", self.database_name))
