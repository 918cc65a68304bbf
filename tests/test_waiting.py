"""Waiting for what becomes of programs, on an embedded server."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from himbeerecouch import rfc3339
from himbeerecouch.errors import Unreachable
from himbeerecouch.fleet import waiting
from himbeerecouch.fleet.outcomes import Outcome, Verdict
from himbeerecouch.fleet.waiting import Awaited, await_outcomes
from himbeerecouch.model import Batch
from tests.cli_case import DATABASE
from tests.program_case import MAC_ID, STATUS, ProgramCase


class WaitingTests(ProgramCase):
    def begin(self, *awaited: Awaited, wait_s: float = 60.0) -> Deferred[list[Verdict]]:
        """Begin to wait; what comes is in ``self.told``."""
        self.told: list[tuple[int, Outcome]] = []

        def told(one: Awaited, verdict: Verdict) -> None:
            self.told.append((one.mac_id, verdict.outcome))

        return Deferred.fromCoroutine(await_outcomes(self.desk, awaited, wait_s, told=told))

    async def awaited(self, id: str = "p") -> Awaited:
        """A program that was just saved."""
        return Awaited(MAC_ID, id, await self.program(id))

    async def outcome(self, *awaited: Awaited, wait_s: float = 60.0) -> list[tuple[Outcome, str]]:
        """Wait; give what came."""
        return [(one.outcome, one.text) for one in await self.begin(*awaited, wait_s=wait_s)]

    async def test_known_already(self) -> None:
        """What the Pi has told already is not waited for."""
        one = await self.awaited()
        for state, outcome in (("finished", Outcome.FINISHED), ("running", Outcome.RUNNING)):
            await self.tell("p", state)
            self.assertEqual(await self.outcome(one), [(outcome, "")])
        await self.tell("p", "crashed", error="boom")
        self.assertEqual(await self.outcome(one), [(Outcome.CRASHED, "boom")])

    async def test_as_it_happens(self) -> None:
        """Each outcome comes as its Pi tells it; one that runs has to do so for a second."""
        one, other = await self.awaited(), Awaited(8, "q", await self.program("q", type=8))
        await self.heartbeat()
        await self.heartbeat(mac_id=8)
        done = self.begin(one, other)
        await deferLater(self.reactor, 0.2)
        self.assertEqual(self.told, [])
        await self.tell("q", "crashed", mac_id=8, error="boom")
        while not self.told:
            await deferLater(self.reactor, 0.01)
        self.assertEqual(self.told, [(8, Outcome.CRASHED)])
        began = self.reactor.seconds()
        await self.tell("p", "running", since=rfc3339.render(time.time()))
        self.assertEqual(await done, [Verdict(Outcome.RUNNING), Verdict(Outcome.CRASHED, "boom")])
        self.assertGreater(self.reactor.seconds() - began, 0.9)

    async def test_crash_within_the_second(self) -> None:
        """A program that crashes right after it began to run has crashed."""
        one = await self.awaited()
        await self.tell("p", "running", since=rfc3339.render(time.time()))
        done = self.begin(one)
        await deferLater(self.reactor, 0.3)
        await self.tell("p", "backoff", error="boom")
        self.assertEqual([verdict.outcome for verdict in await done], [Outcome.CRASHED])

    async def test_busy_pi(self) -> None:
        """A Pi that has just told a lot may tell of a crash later: it is waited for that long."""
        one = await self.awaited()
        await self.heartbeat()
        done = self.begin(one)
        for state in ("starting", "stopping", "starting", "running"):
            await deferLater(self.reactor, 0.3)
            await self.tell("p", state, since=rfc3339.render(time.time() - 0.3))
        await deferLater(self.reactor, 1.5)
        await self.tell("p", "backoff", error="boom")
        self.assertEqual([verdict.outcome for verdict in await done], [Outcome.CRASHED])

    async def test_removal(self) -> None:
        """What was removed is waited for until its Pi has it no more."""
        await self.program("p")
        await self.tell("p", "stopping")
        done = self.begin(Awaited(MAC_ID, "p", None))
        await deferLater(self.reactor, 0.2)
        self.assertFalse(done.called)
        await self.heartbeat()
        self.assertEqual([verdict.outcome for verdict in await done], [Outcome.REMOVED])

    async def test_time_is_over(self) -> None:
        """What has not been told in time is unknown, with what was told last."""
        one = await self.awaited()
        await self.heartbeat(programs={"p": {"rev": "0-a", "state": "stopping"}})
        expected = "not within 0.2 s: it is stopping, still with revision 0-a"
        self.assertEqual(await self.outcome(one, wait_s=0.2), [(Outcome.UNKNOWN, expected)])

    async def test_offline(self) -> None:
        """Nobody waits for a Pi that is not there, or whose heartbeat somebody deletes."""
        one = await self.awaited()
        ((outcome, text),) = await self.outcome(one)
        self.assertEqual((outcome, text), (Outcome.OFFLINE, "it has never reported: is it enrolled, and switched on?"))
        await self.heartbeat(age_s=100)
        self.assertEqual([each for each, _ in await self.outcome(one)], [Outcome.OFFLINE])
        await self.heartbeat()
        done = self.begin(one)
        await deferLater(self.reactor, 0.2)
        id = f"{MAC_ID}_heartbeat"
        await self.desk.delete(STATUS, id, (await self.desk.get(STATUS, id))["_rev"])
        self.assertEqual([verdict.outcome for verdict in await done], [Outcome.OFFLINE])

    async def test_where_it_reports(self) -> None:
        """A Pi that may not write to the status database, or has none, reports beside the programs."""
        one = await self.awaited()
        running = {"p": {"rev": one.rev, "state": "finished"}}
        await self.heartbeat(database=DATABASE, programs=running, interval_s=600)
        self.assertEqual(await self.outcome(one), [(Outcome.FINISHED, "")])
        await self.heartbeat(age_s=1000)
        self.assertEqual(await self.outcome(one), [(Outcome.FINISHED, "")])
        await self.heartbeat(database=DATABASE, programs=running, interval_s=600, age_s=3000)
        self.assertEqual([each for each, _ in await self.outcome(one)], [Outcome.OFFLINE])
        await self.desk.ask("DELETE", STATUS)
        await self.heartbeat(database=DATABASE, programs=running, interval_s=600)
        self.assertEqual(await self.outcome(one), [(Outcome.FINISHED, "")])

    async def test_connection_lost(self) -> None:
        """While the server can't be reached nothing is taken for granted, and it is asked again, now and then."""
        one = await self.awaited()
        await self.tell("p", "running", since=rfc3339.render(time.time()))
        asked, lost_now = 0, True
        changes = self.desk.changes

        def lost(*arguments: Any, **options: Any) -> Coroutine[Any, Any, Batch]:
            nonlocal asked
            asked += 1
            if lost_now:
                raise Unreachable("the server")
            return changes(*arguments, **options)

        self.patch(self.desk, "changes", lost)
        self.patch(waiting, "PAUSE_S", 0.3)
        expected = (Outcome.UNKNOWN, "not within 3 s: the connection to the server was lost")
        self.assertEqual(await self.outcome(one, wait_s=3.0), [expected])
        self.assertIn(asked, range(1, 12))
        lost_now = False
        self.assertEqual(await self.outcome(one), [(Outcome.RUNNING, "")])

    async def test_server_that_answers_at_once(self) -> None:
        """A server that answers a long poll at once, with nothing, is not asked all the time."""
        one = await self.awaited()
        await self.heartbeat()
        asked = 0

        async def at_once(*arguments: Any, since: object, **options: Any) -> Batch:
            nonlocal asked
            asked += 1
            return Batch((), since)

        self.patch(self.desk, "changes", at_once)
        self.patch(waiting, "PAUSE_S", 0.2)
        self.assertEqual([each for each, _ in await self.outcome(one, wait_s=0.9)], [Outcome.UNKNOWN])
        self.assertLess(asked, 15)
