"""``himbeerecouch setup`` on any server, with databases of its own."""

from __future__ import annotations

from uuid import uuid4

from attrs import evolve

from himbeerecouch.errors import Forbidden
from himbeerecouch.fleet import preparation
from himbeerecouch.fleet.desk import Basic, Desk
from himbeerecouch.fleet.findings import GuardState, Kind, findings
from himbeerecouch.fleet.rights import OPERATOR, PI
from tests.contract.server import ContractCase


class SetupContract(ContractCase):
    timeout = 120

    def desk(self, name: str, password: str, database: str) -> Desk:
        """An operator's client."""
        from twisted.internet import reactor

        desk = Desk(reactor, url=self.admin.url, credentials=Basic(name, password), database=database)
        self.addCleanup(desk.close)
        return desk

    async def test_setup(self) -> None:
        """It makes all that is needed, a second time nothing; operators write then, Pis answer, and nobody else."""
        assert self.admin.login is not None
        database = f"contract/d{uuid4().hex}"
        for name in (database, f"{database}_status"):
            self.addCleanup(self._remove, "/" + name.replace("/", "%2F"))
        admin = self.desk(*self.admin.login, database)
        done: list[str] = []
        await preparation.prepare(admin, await preparation.look(admin), [], done.append)
        self.assertEqual(len([line for line in done if "_users" not in line]), 6, done)
        again: list[str] = []
        await preparation.prepare(admin, await preparation.look(admin), [], again.append)
        self.assertEqual(again, [])

        facts = await preparation.look(admin)
        self.assertEqual((facts.programs.guard, facts.status.guard), (GuardState.OURS, GuardState.OURS))
        # Other users of a server that is really used are not a part of this.
        alone = evolve(facts, url="https://server.name", users=())
        self.assertEqual([each.text for each in findings(alone) if each.kind is not Kind.NOTE], [])

        stem = uuid4().int % 10**12
        for name, role in ((f"olga-{stem}", OPERATOR), (f"1{stem}", PI)):
            path = f"/_users/org.couchdb.user:{name}"
            user = {"name": name, "password": "contract", "roles": [role], "type": "user"}
            self.assertEqual((await self.admin.ask("PUT", path, user)).status, 201)
            self.addCleanup(self._remove_user, path)
        operator, pi = self.desk(f"olga-{stem}", "contract", database), self.desk(f"1{stem}", "contract", database)
        await operator.put(database, {"_id": "blink", "type": int(f"1{stem}"), "code": 'print "x"\n'})
        rev = await operator.put(database, {"_id": "c", "type": f"1{stem}_cmd", "cmd": ["true"]})
        await pi.put(database, {"_id": "c", "_rev": rev, "type": f"1{stem}_cmd", "cmd": ["true"], "ret": ["", ""]})
        with self.assertRaises(Forbidden) as caught:
            await pi.put(database, {"_id": "evil", "type": 1, "code": "x"})
        self.assertIn(OPERATOR, str(caught.exception))
        from twisted.internet import reactor

        broken = (await preparation.with_complaints(admin, reactor, facts)).complaints
        self.assertEqual(len(broken), 1, broken)
        self.assertIn("document 'blink'", broken[0])
