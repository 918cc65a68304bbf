"""``himbeerecouch status`` and ``logs``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred

from himbeerecouch import rfc3339
from himbeerecouch.cli import status as status_module
from himbeerecouch.cli.logs import _Printer
from himbeerecouch.errors import Forbidden, Unavailable
from himbeerecouch.fleet import heartbeats, logs
from himbeerecouch.fleet.loglines import News
from himbeerecouch.fleet.roster import Presence
from tests.cli_case import DATABASE
from tests.fleet_case import STATUS, FleetCase

# They call log(), as the streams of this process are the command's while it runs.
CRASH = "def main():\n    log('about to')\n    1 / 0\n"
CLOCK = """
import time
def main():
    n = 0
    while not should_quit():
        log(n)
        n += 1
        time.sleep(0.02)
"""


class StatusTests(FleetCase):
    async def test_nobody(self) -> None:
        """Without any Pi, what to do next is said."""
        ran = await self.himbeerecouch("status")
        self.assertEqual((ran.exit_code, ran.stdout), (0, ""))
        self.assertIn("himbeerecouch enroll", ran.stderr)
        self.assertEqual((await self.himbeerecouch("status", "--json")).stdout, "[]\n")

    async def test_fleet(self) -> None:
        """Who is online, what runs, what failed and why: what needs attention first, with names in place of numbers."""
        good, bad = await self.start_pis(2, ["good", "bad"])
        await self.program(good, "clock", CLOCK)
        await self.program(bad, "heater", CRASH)
        await self.heartbeat(bad, lambda heartbeat: heartbeat["programs"][f"{bad}:heater"]["error"])
        await self.heartbeat(good, lambda heartbeat: heartbeat["programs"][f"{good}:clock"]["state"] == "running")
        old = rfc3339.render(self.desk.server_time() - 7200)
        await self.tell(4711, timestamp=old, programs={"x": {"name": "x\x1b[2J", "state": "running"}})
        await self.desk.put(DATABASE, {"_id": "name:shelf", "type": "name", "mac_id": 4712})
        ran = await self.himbeerecouch("status")
        self.assertEqual(ran.exit_code, 0)
        rows = [line.split() for line in ran.stdout.splitlines()]
        self.assertEqual([row[0] for row in rows], ["Pi", "bad", "4711", "shelf", "good"])
        self.assertIn("ZeroDivisionError: division by zero", ran.stdout)
        self.assertIn("was running", ran.stdout)
        self.assertNotIn("\x1b", ran.stdout)
        self.assertIn("2 online, 1 offline, 1 never seen, 1 program failing", ran.stderr)
        found = json.loads((await self.himbeerecouch("status", "--json")).stdout)
        self.assertEqual([pi["presence"] for pi in found], ["online", "offline", "never seen", "online"])
        self.assertIn("1 / 0", found[0]["programs"][0]["error"])

    async def test_one(self) -> None:
        """Of one Pi all is shown: whole tracebacks, rejected documents, versions."""
        [pi] = await self.start_pis(1, ["lab"])
        await self.program(pi, "heater", CRASH)
        await self.desk.put(DATABASE, {"_id": "odd", "type": pi, "code": 5})
        await self.heartbeat(
            pi, lambda beat: beat["rejected"] and beat["programs"].get(f"{pi}:heater", {}).get("error")
        )
        ran = await self.himbeerecouch("status", "lab")
        self.assertEqual(ran.exit_code, 0)
        for text in (f"lab ({pi})", "1 / 0", "ZeroDivisionError", 'odd: "code" must be a string', "version of python:"):
            self.assertIn(text, ran.stdout)
        found = json.loads((await self.himbeerecouch("status", str(pi), "--json")).stdout)
        self.assertEqual((found["mac_id"], found["names"], found["rejected"][0]["id"]), (pi, ["lab"], "odd"))

    async def test_everything_wrong(self) -> None:
        """What else there is to say of a Pi is said."""
        programs = {"x": {"name": "x", "state": "running", "rev": "1-a", "saved_rev": "2-b", "restarts": 2}}
        now = rfc3339.render(self.desk.server_time())
        health = {"cpu_temperature_c": 85.0, "under_voltage": True}
        members: dict[str, Any] = {"timestamp": now, "health": health, "clock_offset_s": 30, "rejected_left_out": 2}
        await self.tell(7, **members, programs=programs, rejected=[{"id": "a", "reason": "b"}])
        one, all = await self.himbeerecouch("status", "7"), await self.himbeerecouch("status")
        for text in ("under-voltage, hot, 3 documents rejected", "-30 s beside", "restarts: 2", "2-b", "and 2 more"):
            self.assertIn(text, one.stdout)
        for text in ("85", "under-voltage, hot", "revision 2-b is saved, 1-a runs; 2 restarts"):
            self.assertIn(text, all.stdout)

    async def test_unknown(self) -> None:
        """A Pi that has never reported is no Pi to show."""
        ran = await self.himbeerecouch("status", "4711")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("never reported", ran.stderr)
        found = json.loads((await self.himbeerecouch("status", "4711", "--json")).stdout)
        self.assertEqual(found["presence"], "never seen")
        ran = await self.himbeerecouch("status", "--watch")
        self.assertEqual(ran.exit_code, 2)

    async def test_no_database(self) -> None:
        """Where there is no database, that is said, and not that a Pi has never reported or printed nothing."""
        for command in ("status", "logs"):
            ran = await self.himbeerecouch("--database", "nope", command, "4711")
            self.assertEqual((ran.exit_code, ran.stdout), (1, ""))
            self.assertIn("has no database nope", ran.stderr)

    async def test_elsewhere(self) -> None:
        """A Pi that may not write to the status database is found in the other one, and without one all are."""
        now = self.desk.server_time()
        await self.tell(7, timestamp=rfc3339.render(now - 1000))
        document = {"_id": "7_heartbeat", "type": "heartbeat", "timestamp": rfc3339.render(now), "interval_s": 600}
        await self.desk.put(DATABASE, document)
        self.assertIs((await heartbeats.fleet(self.desk))[0].presence, Presence.ONLINE)
        self.assertIs((await heartbeats.one(self.desk, 7)).presence, Presence.ONLINE)
        await self.desk.ask("DELETE", STATUS)
        self.assertIs((await heartbeats.fleet(self.desk))[0].presence, Presence.ONLINE)
        self.assertIs((await heartbeats.one(self.desk, 7)).presence, Presence.ONLINE)


class LogsTests(FleetCase):
    async def test_last_lines(self) -> None:
        """The last lines of all programs are shown with their names, those of one program as they are."""
        [pi] = await self.start_pis(1, ["lab"])
        ran = await self.himbeerecouch("logs", "lab")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("not written a log yet", ran.stderr)
        await self.program(pi, "heater", CRASH)
        while not await logs.read(self.desk, pi):
            await self.pause()
        ran = await self.himbeerecouch("logs", "lab")
        self.assertEqual((ran.exit_code, ran.stdout.splitlines()[0]), (0, "heater: about to"))
        self.assertIn("-f shows", ran.stderr)
        for program in ("heater", f"{pi}:heater"):
            ran = await self.himbeerecouch("logs", "lab", program)
            self.assertEqual(ran.stdout.splitlines()[0], "about to")
        found = json.loads((await self.himbeerecouch("logs", "lab", "--json")).stdout)
        self.assertEqual(found["programs"][f"{pi}:heater"]["lines"][0], "about to")
        ran = await self.himbeerecouch("logs", "lab", "heatr")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("these have: heater", ran.stderr)
        self.assertEqual((await self.himbeerecouch("logs", "lab", "-f", "--json")).exit_code, 2)

    async def test_follow(self) -> None:
        """While somebody looks on, new lines come soon, the Pi is told to go on, and to stop at the end."""
        [pi] = await self.start_pis(1)
        await self.program(pi, "clock", CLOCK)
        watch = logs.Watch(self.desk, pi)
        documents: list[dict[str, Any]] = []
        following = Deferred.fromCoroutine(self.take(logs.follow(self.desk, pi, watch), documents))
        while len(documents) < 4:
            await self.pause()
        there = await self.desk.get(DATABASE, f"{pi}_watch")
        self.assertEqual(there["type"], f"{pi}_watch")
        first, last = (document["programs"][f"{pi}:clock"] for document in (documents[0], documents[-1]))
        self.assertLess(first["first_line"] + len(first["lines"]), last["first_line"] + len(last["lines"]))
        following.cancel()
        await following
        await watch.end()
        self.assertIsNone(await self.desk.find_one(DATABASE, f"{pi}_watch"))
        await watch.end()

    async def take(self, documents: AsyncIterator[dict[str, Any]], found: list[dict[str, Any]]) -> None:
        try:
            async for document in documents:
                found.append(document)
        except CancelledError:
            return

    async def test_two_watch(self) -> None:
        """Who looks on while somebody else does leaves his watch alone, and goes on when that ends."""
        first, second = logs.Watch(self.desk, 7), logs.Watch(self.desk, 7)
        await first.extend()
        there = await self.desk.get(DATABASE, "7_watch")
        await first.extend()
        await second.extend()
        await second.end()
        self.assertEqual(await self.desk.get(DATABASE, "7_watch"), there)
        # One that is nearly over, or for ever, or nonsense, is replaced.
        for until in (rfc3339.render(self.desk.server_time() + 5), "9999-01-01T00:00:00Z", 5):
            there = await self.desk.get(DATABASE, "7_watch")
            rev = await self.desk.put(DATABASE, {**there, "until": until})
            third = logs.Watch(self.desk, 7)
            await third.extend()
            self.assertNotEqual((await self.desk.get(DATABASE, "7_watch"))["_rev"], rev)
        await first.end()
        self.assertIsNotNone(await self.desk.find_one(DATABASE, "7_watch"))
        await third.end()
        self.assertIsNone(await self.desk.find_one(DATABASE, "7_watch"))

    async def test_reader(self) -> None:
        """Who may read and not write looks on as well, and nothing is asked of the Pi."""

        async def forbidden(*arguments: Any) -> str:
            raise Forbidden("the document", status=403, reason="you need a role")

        self.patch(self.desk, "put", forbidden)
        watch = logs.Watch(self.desk, 7)
        await watch.extend()
        assert watch.refused is not None
        self.assertEqual(watch.refused.reason, "you need a role")
        await watch.extend()
        await watch.end()
        self.assertEqual(await self.desk.all_docs(DATABASE), [])

    async def test_server_away(self) -> None:
        """A server that fails is waited for, and that is said; nothing of what was written meanwhile is lost."""
        await self.desk.put(STATUS, {"_id": "7_log", "type": "log", "programs": {}})
        troubles: list[Unavailable | None] = []
        self.patch(logs, "PAUSE_S", 0.01)
        documents: list[dict[str, Any]] = []
        changes, failing = self.desk.changes, [True]

        async def broken(*arguments: Any, **options: Any) -> Any:
            if failing:
                failing.pop()
                await self.desk.put(STATUS, {**documents[-1], "new": True})
                raise Unavailable("it is away")
            return await changes(*arguments, **options)

        self.patch(self.desk, "changes", broken)
        watch = logs.Watch(self.desk, 7)
        following = Deferred.fromCoroutine(self.take(logs.follow(self.desk, 7, watch, troubles.append), documents))
        while len(documents) < 2:
            await self.pause()
        following.cancel()
        await following
        self.assertEqual([str(trouble) for trouble in troubles], ["it is away", "None"])
        self.assertTrue(documents[1]["new"])

    async def test_marks(self) -> None:
        """Where lines are missing, and where the daemon was restarted, is marked."""
        said: list[str] = []
        self.patch(_Printer.show.__globals__["show"], "say", lambda text, **style: said.append(text))
        _Printer("a").show([News("a", "a", (), 3), News("a", "a", (), None), News("a", "a", (), restarted=True)])
        expected = ["a: 3 lines are missing here", "a: some lines are missing here", "a: the daemon was restarted"]
        self.assertEqual(said, expected)


class ScreenTests(FleetCase):
    """``--watch``, in the terminal that it needs."""

    async def test_terminal(self) -> None:
        """The screen follows the Pis, judges anew who is offline, and shows nobody while the server is away."""
        self.patch(status_module, "POLL_S", 0.2)
        self.patch(status_module, "GATHER_S", 0.01)
        shown: list[str] = []
        for name in ("echo", "secho"):
            self.patch(click, name, lambda text="", **style: shown.append(str(text)))
        self.patch(click, "clear", shown.clear)
        now = self.desk.server_time()
        await self.tell(7, timestamp=rfc3339.render(now - 88), programs={})
        for screen, text in ((self.screen(None), "7   "), (self.screen(7), "presence:")):
            watching = Deferred.fromCoroutine(screen.go_on())
            await self.until(lambda text=text: any(line.startswith(text) for line in shown), shown)
            await self.until(lambda: any("offline" in line for line in shown), shown)
            watching.cancel()
            await watching
        changes = self.desk.changes

        async def away(*arguments: Any, **options: Any) -> Any:
            raise Unavailable("it is away")

        watching = Deferred.fromCoroutine(self.screen(None).go_on())
        await self.until(lambda: any("offline" in line for line in shown), shown)
        self.patch(self.desk, "changes", away)
        await self.until(lambda: shown == ["it is away: how the Pis are is not known now"], shown)
        self.patch(self.desk, "changes", changes)
        await self.until(lambda: any("offline" in line for line in shown), shown)
        watching.cancel()
        await watching

    def screen(self, mac_id: int | None) -> Any:
        return status_module._Screen(self.desk, mac_id, as_json=False)

    async def until(self, there: Any, shown: list[str]) -> None:
        while not there():
            await self.pause()
