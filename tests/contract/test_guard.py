"""The guard over HTTP, on any server: the table, and the ways into a database that it has no row for."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import uuid4

from attrs import astuple

from himbeerecouch.fleet import guard
from himbeerecouch.fleet.guard import Place
from himbeerecouch.fleet.rights import OPERATOR
from tests.contract.server import OWN_ROLES, Client, ContractCase, Reply
from tests.guard_table import FORBIDDEN, Actor, actors, rows

PASSWORD = "contract-secret"
STATUS = {None: (200, 201), FORBIDDEN: (403,), "unauthorized": (401,)}


class GuardContract(ContractCase):
    timeout = 180

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        """Make the people and the Pis of the table, and two guarded databases which all of them may enter."""
        await super().setUp()
        stem = uuid4().int % 10**12 * 100
        self.them = actors(stem, suffix=f"-{stem}")
        everybody: list[Actor] = [who for who in astuple(self.them, recurse=False) if who.name not in (None, "admin")]
        self.clients = {who: await self.login(who) for who in everybody}
        self.clients[self.them.admin] = self.admin
        self.clients[self.them.nobody] = Client(self.admin.url, None, self.admin.agent)
        admins = [who.name for who in everybody if who.database_admin]
        self.paths = {}
        for place in Place:
            path = self.paths[place] = await self.database()
            rights: Any = {"admins": {"names": admins, "roles": ["_admin"]}, "members": {"names": [], "roles": []}}
            self.assertEqual((await self.admin.ask("PUT", f"{path}/_security", rights)).status, 200)
            await self.put(f"{path}/{guard.DESIGN_DOCUMENT}", guard.design_document(place))
        self.programs = self.paths[Place.PROGRAMS]
        self.pi = self.clients[self.them.pi]
        self.asked = {"type": f"{self.them.pi.name}_cmd", "cmd": ["true"]}
        self.answered = {**self.asked, "ret": ["", ""], "execution": {"state": "done"}}

    async def login(self, who: Actor) -> Client:
        """Make the user of somebody."""
        path = f"/_users/org.couchdb.user:{who.name}"
        user = {"name": who.name, "password": PASSWORD, "roles": [*who.roles], "type": "user"}
        self.assertEqual((await self.admin.ask("PUT", path, user)).status, 201)
        self.addCleanup(self._remove_user, path)
        return Client(self.admin.url, (str(who.name), PASSWORD), self.admin.agent)

    async def prepare(self, path: str, old: dict[str, Any] | None) -> dict[str, str]:
        """Have the admin make it so that ``old`` is there; return what a writer adds to replace it."""
        there = await self.admin.ask("GET", path)
        known = {"_rev": there.json["_rev"]} if there.status == 200 else {}
        if old is not None:
            return {"_rev": await self.put(path, {**old, **known})}
        if known:
            self.assertEqual((await self.admin.ask("DELETE", f"{path}?rev={known['_rev']}")).status, 200)
        return {}

    async def test_table(self) -> None:
        """Each write of the table is taken or refused, and what was refused has changed nothing."""
        wrong = []
        for number, row in enumerate(rows(self.them)):
            if row.in_json_only:
                continue
            identity = str(row.new.get("_id", f"d{number}"))
            path = f"{self.paths[row.place]}/{quote(identity, safe='')}"
            rev = await self.prepare(path, row.old)
            reply = await self.clients[row.who].ask("PUT", path, {**row.new, "_id": identity, **rev})
            there = (await self.admin.ask("GET", path)).json
            if reply.status not in STATUS[row.refused]:
                wrong.append((row.what, row.refused, reply.status, reply.json))
            elif row.refused:
                self.assertIn("himbeerecouch", reply.json["reason"])
                self.assertEqual(there.get("_rev"), rev.get("_rev"), row.what)
        self.assertEqual(wrong, [])

    def assert_refused(self, reply: Reply) -> None:
        self.assertEqual((reply.status, reply.json["error"]), (403, "forbidden"))

    async def test_other_ways_in(self) -> None:
        """A Pi gets nothing in by DELETE, by POST, in bulk or as a replicator, but its answer may come in bulk."""
        path = f"{self.programs}/one"
        rev = await self.put(path, self.asked)
        self.assert_refused(await self.pi.ask("DELETE", f"{path}?rev={rev}"))
        self.assert_refused(await self.pi.ask("POST", self.programs, {"type": 1, "code": "evil"}))
        evil = [{"_id": "evil", "code": "x"}, {**self.answered, "_id": "one", "_rev": rev}]
        bulk = (await self.pi.ask("POST", f"{self.programs}/_bulk_docs", {"docs": evil})).json
        self.assertEqual([row.get("error") for row in bulk], ["forbidden", None])
        await self.put(f"{self.programs}/two", self.asked)
        for forged in (
            {"_id": "evil", "_rev": "1-abc", "type": 1, "code": "x"},
            {**self.answered, "_id": "evil", "_rev": "1-abc"},
            {"_id": "two", "_rev": "9-abc", "type": 1, "code": "x"},
            {"_id": "two", "_rev": "9-abc", "_deleted": True},
        ):
            body = {"docs": [forged], "new_edits": False}
            await self.pi.ask("POST", f"{self.programs}/_bulk_docs", body)
            # A server may refuse a single one in silence: what counts is what is there.
            self.assertEqual((await self.admin.ask("GET", f"{self.programs}/evil")).status, 404, forged)
            two = await self.admin.ask("GET", f"{self.programs}/two?conflicts=true")
            self.assertEqual((two.json["_rev"][:2], two.json.get("_conflicts")), ("1-", None), forged)

    async def test_designs_and_rights(self) -> None:
        """Neither a Pi nor an operator touches the guard, the rights or the indexes."""
        design = f"{self.programs}/{guard.DESIGN_DOCUMENT}"
        rev = (await self.admin.ask("GET", design)).json["_rev"]
        index = {"index": {"fields": ["x"]}, "type": "json"}
        for who in (self.them.pi, self.them.operator, self.them.reader, self.them.nobody):
            client = self.clients[who]
            for method, path, body in (
                ("DELETE", f"{design}?rev={rev}", None),
                ("PUT", design, {"_rev": rev, "language": "javascript"}),
                ("PUT", f"{self.programs}/_design/other", {"language": "query"}),
                ("PUT", f"{self.programs}/_security", {}),
                ("POST", f"{self.programs}/_index", index),
            ):
                self.assertGreaterEqual((await client.ask(method, path, body)).status, 400, (who.name, method, path))
        self.assertEqual((await self.admin.ask("GET", design)).json["_rev"], rev)
        self.assertEqual((await self.admin.ask("GET", f"{self.programs}/_design/other")).status, 404)
        rights = (await self.admin.ask("GET", f"{self.programs}/_security")).json
        self.assertEqual(rights["admins"]["roles"], ["_admin"])

    async def test_roles(self) -> None:
        """Nobody gives himself a role, or makes a user who has one."""
        for who in (self.them.pi, self.them.reader):
            client, path = self.clients[who], f"/_users/org.couchdb.user:{who.name}"
            own = (await client.ask("GET", path)).json
            if self.has(OWN_ROLES):
                self.assertGreaterEqual((await client.ask("PUT", path, {**own, "roles": [OPERATOR]})).status, 400)
                self.assertEqual((await self.admin.ask("GET", path)).json["roles"], [*who.roles])
            name = f"evil-{uuid4().hex}"
            evil = {"name": name, "password": "x", "roles": [OPERATOR], "type": "user"}
            self.assertGreaterEqual((await client.ask("PUT", f"/_users/org.couchdb.user:{name}", evil)).status, 400)
            self.assertEqual((await self.admin.ask("GET", f"/_users/org.couchdb.user:{name}")).status, 404)

    async def test_attachments(self) -> None:
        """A Pi hangs nothing onto a command."""
        path = f"{self.programs}/held"
        rev = await self.put(path, self.asked)
        reply = await self.pi.ask("PUT", f"{path}/x.py?rev={rev}", data=b"evil", headers={"Content-Type": "text/plain"})
        self.assertIn(reply.status, (403, 501))  # 501: the embedded database has no attachments
        inline = {"x.py": {"content_type": "text/plain", "data": "ZXZpbA=="}}
        reply = await self.pi.ask("PUT", path, {**self.answered, "_rev": rev, "_attachments": inline})
        self.assertIn(reply.status, (403, 501))
        self.assertEqual((await self.admin.ask("GET", path)).json["_rev"], rev)
