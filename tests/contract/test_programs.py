"""An operator's programs, their history and their outcomes, on any server."""

from __future__ import annotations

from urllib.parse import unquote

from twisted.internet.defer import Deferred

from himbeerecouch import rfc3339
from himbeerecouch.fleet import deployments, programs, saving, waiting
from himbeerecouch.fleet.desk import Basic, Desk
from himbeerecouch.fleet.outcomes import Outcome
from himbeerecouch.fleet.saving import Edit
from tests.contract.server import ContractCase

MAC_ID = 202481591484002


class ProgramContract(ContractCase):
    """What ``deploy`` and its like expect of a server."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        """Make the database of the programs, without a status database and without indexes."""
        from twisted.internet import reactor

        await super().setUp()
        assert self.admin.login is not None
        self.database_name = unquote((await self.database())[1:])
        login = Basic(*self.admin.login)
        self.desk = Desk(reactor, url=self.admin.url, credentials=login, database=self.database_name)
        self.addCleanup(self.desk.close)

    async def test_life(self) -> None:
        """Saved for many Pis, changed, removed and brought back: each version is there, with who did it."""
        macs = [MAC_ID + number for number in range(12)]
        for code in ("a", "b"):
            edits = await programs.edits(self.desk, macs, "blink", {"code": code})
            saved = await saving.save(self.desk, list(edits.values()))
            self.assertEqual([(one.changed, one.problem) for one in saved], [(True, "")] * 12)
        now = await programs.find(self.desk, MAC_ID, "blink")
        self.assertEqual((now["_id"], now["code"]), (f"{MAC_ID}:blink", "b"))
        late = Edit(now, {**now, "code": "late"})
        await saving.remove(self.desk, now)
        (told,) = await saving.save(self.desk, [late])
        self.assertIn("was removed meanwhile", told.problem)
        gone, versions = await programs.history_of(self.desk, MAC_ID, "blink")
        self.assertEqual((gone, [one.document and one.document["code"] for one in versions]), (None, [None, "b", "a"]))
        to = programs.version(versions, None, now["_id"], "1")
        again = {"_id": now["_id"], **deployments.rolled_back(None, to.document or {})}
        (saved_again,) = await saving.save(self.desk, [Edit(None, again)])
        self.assertEqual((saved_again.problem, deployments.generation(saved_again.rev or "")), ("", 4))
        self.assertEqual((await programs.find(self.desk, MAC_ID, "blink"))["code"], "a")
        kept = await programs.history(self.desk, now["_id"])
        self.assertEqual([one.by for one in kept], [self.admin.login and self.admin.login[0]] * 4)

    async def test_outcome(self) -> None:
        """What a Pi reports is heard of by a long poll, also beside the programs."""
        edits = await programs.edits(self.desk, [MAC_ID], "blink", {"code": "a"})
        (saved,) = await saving.save(self.desk, list(edits.values()))
        heartbeat = {
            "_id": f"{MAC_ID}_heartbeat",
            "type": "heartbeat",
            "state": "running",
            "interval_s": 30,
            "timestamp": rfc3339.render(self.desk.server_time()),
        }
        rev = await self.desk.put(self.database_name, heartbeat)
        awaited = waiting.Awaited(MAC_ID, saved.program, saved.rev)
        programs_told = {saved.program: {"rev": saved.rev, "state": "crashed", "error": "boom"}}
        waiting_for = Deferred.fromCoroutine(waiting.await_outcomes(self.desk, [awaited], 30.0))
        await self.desk.put(self.database_name, {**heartbeat, "_rev": rev, "programs": programs_told})
        (verdict,) = await waiting_for
        self.assertEqual((verdict.outcome, verdict.text), (Outcome.CRASHED, "boom"))
