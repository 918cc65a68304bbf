"""Pis are let in, and kept out."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from himbeerecouch.discovery import ask
from himbeerecouch.errors import (
    AlreadyEnrolled,
    Conflict,
    LoginRefused,
    NotAnAdmin,
    NotEnrolled,
    NotSetUp,
    SeveralPasswords,
)
from himbeerecouch.fleet import desk as desk_module
from himbeerecouch.fleet import enrol, network, rights
from himbeerecouch.model import Answer
from tests.cli_case import DATABASE, CliCase

MAC_ID = 202481591484002
STATUS = f"{DATABASE}_status"


class EnrolTests(CliCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        for database in (DATABASE, STATUS):
            await self.desk.ask("PUT", database, "_security", body=rights.NEW.document)

    async def test_enrolled(self) -> None:
        """A Pi that is enrolled gets in by its role, and one that is revoked does not any more."""
        pi = self.desk_of(str(MAC_ID), "p")
        self.assertTrue(await enrol.enrol(self.desk, MAC_ID, "p"))
        self.assertEqual((await pi.who()).roles, (rights.PI,))
        await pi.put(STATUS, {"_id": f"{MAC_ID}_heartbeat"})
        await enrol.revoke(self.desk, MAC_ID)
        await self.failing(LoginRefused, pi.who())
        await self.failing(NotEnrolled, enrol.revoke(self.desk, MAC_ID))

    async def test_revoke_takes_an_admin(self) -> None:
        """Who is no admin, to whom CouchDB shows no other users, is not told that the Pi has none."""
        await enrol.enrol(self.desk, MAC_ID, "p")
        error = await self.failing(NotAnAdmin, enrol.revoke(self.desk_of(str(MAC_ID), "p"), MAC_ID + 1))
        self.assertEqual(error.name, str(MAC_ID))

    async def test_forgotten_while_it_writes(self) -> None:
        """A heartbeat that the Pi has written just now is taken away too, and one that never ends is an error."""
        id = f"{MAC_ID}_heartbeat"
        heartbeat = {"_id": id, "type": "heartbeat", "mac_id": MAC_ID}
        await self.desk.put(STATUS, heartbeat)
        delete, writes = self.desk.delete, [1]

        async def slow(db: str, document_id: str, rev: str) -> str:
            if writes:
                writes.pop()
                await self.desk.put(STATUS, {**heartbeat, "_rev": rev})
            return await delete(db, document_id, rev)

        self.patch(self.desk, "delete", slow)
        await enrol.forget(self.desk, MAC_ID)
        self.assertIsNone(await self.desk.find_one(STATUS, id))
        await self.desk.put(STATUS, heartbeat)
        writes += [1] * 9
        await self.failing(Conflict, enrol.forget(self.desk, MAC_ID))
        await self.desk.ask("DELETE", STATUS)
        await enrol.forget(self.desk, MAC_ID)

    async def test_enrolled_already(self) -> None:
        """A user that is there keeps its password, unless that is to be replaced; it keeps what else it has."""
        hand_made = {"_id": enrol.user_id(MAC_ID), "name": str(MAC_ID), "type": "user", "roles": ["mine"], "note": 1}
        await self.desk.put("_users", {**hand_made, "password": "old"})
        await self.failing(AlreadyEnrolled, enrol.enrol(self.desk, MAC_ID, "new"))
        self.assertEqual((await self.desk_of(str(MAC_ID), "old").who()).roles, ("mine",))
        self.assertFalse(await enrol.enrol(self.desk, MAC_ID, "new", replace=True))
        self.assertEqual((await self.desk_of(str(MAC_ID), "new").who()).roles, ("mine", rights.PI))
        self.assertEqual((await self.desk.get("_users", enrol.user_id(MAC_ID)))["note"], 1)
        self.assertFalse(await enrol.enrol(self.desk, MAC_ID, "newer", replace=True))
        self.assertEqual((await self.desk_of(str(MAC_ID), "newer").who()).roles, ("mine", rights.PI))

    async def test_databases_that_let_no_pi_in(self) -> None:
        """Where the Pi would not get in afterwards nothing is done; into a public database it gets."""
        await self.desk.ask("PUT", STATUS, "_security", body={"members": {"names": ["a"], "roles": []}})
        error = await self.failing(NotSetUp, enrol.enrol(self.desk, MAC_ID, "p"))
        self.assertEqual(error.database, STATUS)
        self.assertIn("himbeerecouch setup", str(error))
        await self.desk.ask("DELETE", STATUS)
        await self.failing(NotSetUp, enrol.enrol(self.desk, MAC_ID, "p"))
        self.assertIsNone(await self.desk.find_one("_users", enrol.user_id(MAC_ID)))
        await self.desk.ask("PUT", STATUS)
        await self.desk.ask("PUT", STATUS, "_security", body={})
        self.assertTrue(await enrol.enrol(self.desk, MAC_ID, "p"))

    async def test_no_pi(self) -> None:
        """Nobody is enrolled without a MacID or a password."""
        await self.failing(ValueError, enrol.enrol(self.desk, 0, "p"))
        await self.failing(ValueError, enrol.enrol(self.desk, 1, ""))

    async def test_heartbeats(self) -> None:
        """Only heartbeats that are new count, and what is not heard in time is left out."""
        await self.desk.put(STATUS, {"_id": "1_heartbeat"})
        since = await enrol.mark(self.desk)
        self.patch(desk_module, "PAUSE_S", 0.01)
        self.assertEqual(await enrol.heartbeats(self.desk, [1], since, timeout_s=0.05), {})
        self.assertEqual(await enrol.heartbeats(self.desk, [], since, timeout_s=60), {})
        waiting = Deferred.fromCoroutine(enrol.heartbeats(self.desk, [2, 3], since, timeout_s=60))
        for document_id in ("3_heartbeat", "4_heartbeat", "2_heartbeat"):
            await self.desk.put(STATUS, {"_id": document_id, "ip": document_id})
        heard = await waiting
        self.assertEqual({mac_id: found["ip"] for mac_id, found in heard.items()}, {2: "2_heartbeat", 3: "3_heartbeat"})


class NetworkTests(CliCase):
    async def test_asked_in_a_thread(self) -> None:
        """The network is asked beside the reactor; two that say they are the same Pi are an error."""
        found: list[Answer] = []
        self.patch(ask, "find", lambda url, mac_id, timeout_s, port: list(found))
        self.patch(ask, "probe", lambda url, timeout_s, port: list(found))
        self.assertIsNone(await network.find(self.reactor, self.url, 1))
        found.append(Answer(1, "p", "10.0.0.1"))
        self.assertEqual(await network.find(self.reactor, self.url, 1), found[0])
        self.assertEqual(await network.probe(self.reactor, self.url), found)
        found.append(Answer(1, "q", "10.0.0.2"))
        try:
            await network.find(self.reactor, self.url, 1)
        except SeveralPasswords as error:
            self.assertIn("10.0.0.1, 10.0.0.2", str(error))
        else:
            self.fail("no error")
