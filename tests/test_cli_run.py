"""``himbeerecouch run``, with real daemons' services that run real processes."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from himbeerecouch.cli import run
from himbeerecouch.fleet import commands, orders
from himbeerecouch.fleet.commands import Order, Outcome
from tests.cli_case import DATABASE
from tests.fleet_case import FleetCase

ABSENT = 4711


class OneTests(FleetCase):
    async def test_streams(self) -> None:
        """The output, the errors and the exit status of the command become those of run, and nothing is added."""
        [pi] = await self.start_pis(1, ["lab"])
        ran = await self.himbeerecouch("run", "lab", "--", "sh", "-c", "printf 'a\\nb'; echo oops >&2; exit 7")
        self.assertEqual((ran.exit_code, ran.stdout, ran.stderr), (7, "a\nb", "oops\n"))
        ran = await self.himbeerecouch("run", "--timeout", "20", str(pi), "--", "echo", "--json", "-x")
        self.assertEqual((ran.exit_code, ran.stdout, ran.stderr), (0, "--json -x\n", ""))
        ran = await self.himbeerecouch("run", "lab", "--json", "--", "sh", "-c", "kill -9 $$")
        self.assertEqual((ran.exit_code, json.loads(ran.stdout)["signal"]), (137, 9))

    async def test_who_and_when(self) -> None:
        """Who gave a command, and when, stays in its document."""
        [pi] = await self.start_pis(1)
        await self.himbeerecouch("run", str(pi), "--expires", "60", "--", "true")
        [row] = await self.desk.all_docs(DATABASE, start=f"{pi}_cmd:", end=f"{pi}_cmd:\ufff0")
        document = row["doc"]
        self.assertEqual((document["by"], document["cmd"], document["ret"]), (self.admin, ["true"], ["", ""]))
        self.assertLess(document["at"], document["expires"])

    async def test_not_run(self) -> None:
        """What took too long or could not be run has a status of its own, and the reason on stderr."""
        [pi] = await self.start_pis(1)
        ran = await self.himbeerecouch("run", str(pi), "--timeout", "0.3", "--", "sh", "-c", "echo half; sleep 60")
        self.assertEqual((ran.exit_code, ran.stdout), (124, "half\n"))
        self.assertIn("timeout", ran.stderr)
        ran = await self.himbeerecouch("run", str(pi), "--", "/nonexistent")
        self.assertEqual((ran.exit_code, ran.stdout), (255, ""))
        self.assertIn("does not exist", ran.stderr)
        ran = await self.himbeerecouch("run", str(pi), "--expires", "2001-01-01T00:00:00Z", "--", "true")
        self.assertEqual(ran.exit_code, 255)
        self.assertIn("expired", ran.stderr)

    async def test_expired_and_nobody_there(self) -> None:
        """A Pi that is away is not waited for beyond the time until which it may begin."""
        self.patch(run, "EXPIRED_WAIT_S", 0.1)
        ran = await self.himbeerecouch("run", str(ABSENT), "--expires", "0.5", "--", "true")
        self.assertEqual((ran.exit_code, ran.stdout), (255, ""))
        self.assertIn("it has expired, and the Pi has not begun it", ran.stderr)

    async def test_begun_before_it_expired(self) -> None:
        """What a Pi has begun in time is waited for, also when its time to begin is over."""
        self.patch(run, "EXPIRED_WAIT_S", 0.0)
        [pi] = await self.start_pis(1)
        given = await orders.give(self.desk, [pi, ABSENT], Order(("sh", "-c", "sleep 1; echo done")))
        while len(await orders.unclaimed(self.desk, given.waiting)) > 1:
            await deferLater(self.reactor, 0.01)
        told = await run._Run(self.desk, given, {pi: "lab", ABSENT: "attic"}, expires=0.0).wait()
        self.assertEqual((told[pi].stdout, told[ABSENT].state), ("done\n", "expired"))

    async def test_odd_output(self) -> None:
        """Half a character and bytes that are no text are shown as well as they can be."""
        [pi] = await self.start_pis(1)
        ran = await self.himbeerecouch("run", str(pi), "--", "printf", "ä\\377\\n")
        self.assertEqual(ran.stdout_bytes, "ä\N{REPLACEMENT CHARACTER}\n".encode())
        order = Deferred.fromCoroutine(self.answer(["\ud800", ""]))
        ran = await self.himbeerecouch("run", str(ABSENT), "--", "x")
        await order
        self.assertEqual((ran.exit_code, ran.stdout_bytes), (0, b"?"))
        self.assertIn("has never reported", ran.stderr)
        self.assertIn("starts for the first time runs nothing of what was there before", ran.stderr)

    async def answer(self, ret: list[Any], **execution: Any) -> None:
        """Answer the first command for the Pi that is not there, as its daemon would."""
        prefix = f"{ABSENT}_cmd:"
        while not (rows := await self.desk.all_docs(DATABASE, start=prefix, end=f"{prefix}\ufff0")):
            await self.pause()
        await self.desk.put(DATABASE, {**rows[0]["doc"], "ret": ret, "execution": execution or {"state": "done"}})

    async def test_deleted(self) -> None:
        """A command whose document somebody deletes is not waited for any more."""
        waiting = Deferred.fromCoroutine(self.himbeerecouch("run", str(ABSENT), "--", "x"))
        prefix = f"{ABSENT}_cmd:"
        while not (rows := await self.desk.all_docs(DATABASE, start=prefix, end=f"{prefix}\ufff0")):
            await self.pause()
        await self.desk.delete(DATABASE, rows[0]["id"], rows[0]["value"]["rev"])
        ran = await waiting
        self.assertEqual(ran.exit_code, 255)
        self.assertIn("deleted", ran.stderr)

    async def test_usage(self) -> None:
        """What can't be meant is said before anything is written."""
        for arguments in (["run"], ["run", "lab"], ["run", "--to", "a", "--all", "--", "x"], ["run", "--all"]):
            self.assertEqual((await self.himbeerecouch(*arguments)).exit_code, 2, arguments)
        for expires in ("soon", "-5"):
            ran = await self.himbeerecouch("run", "7", "--expires", expires, "--", "x")
            self.assertEqual(ran.exit_code, 2)
            self.assertIn("--expires", ran.stderr)
        ran = await self.himbeerecouch("run", "nobody", "--", "x")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("no Pi is called 'nobody'", ran.stderr)
        self.assertEqual((await self.desk.all_docs(DATABASE, include_docs=False)), [])


class ManyTests(FleetCase):
    async def test_table(self) -> None:
        """Of many Pis there is a table of the outcomes, and one failure is the failure of all."""
        first, second = await self.start_pis(2, ["one"])
        await self.tell(ABSENT, timestamp="2001-01-01T00:00:00Z")
        ran = await self.himbeerecouch("run", "--all", "--", "sh", "-c", "echo a; echo b")
        self.assertEqual(ran.exit_code, 0, ran.stderr)
        lines = ran.stdout.splitlines()
        self.assertEqual([line.split()[:2] for line in lines[1:]], [["one", "done"], [str(second), "done"]])
        self.assertTrue(lines[1].endswith("b (and 1 lines more)"), lines[1])
        self.assertIn(f"{ABSENT} is not online", ran.stderr)
        self.assertIn("left out", ran.stderr)
        ran = await self.himbeerecouch("run", "--to", f"one,{second}", "--to", str(first), "--json", "--", "false")
        self.assertEqual(ran.exit_code, 1)
        found = {each["mac_id"]: each["exit_status"] for each in json.loads(ran.stdout)}
        self.assertEqual(found, {first: 1, second: 1})

    async def test_nobody(self) -> None:
        """Where no Pi is online, there is nobody to run it."""
        ran = await self.himbeerecouch("run", "--all", "--", "true")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("none is online", ran.stderr)

    async def test_twenty(self) -> None:
        """Twenty Pis are asked at once, and all of them answer."""
        await self.start_pis(20)
        ran = await self.himbeerecouch("run", "--all", "--json", "--", "echo", "hello")
        self.assertEqual(ran.exit_code, 0, ran.stderr)
        self.assertEqual([each["stdout"] for each in json.loads(ran.stdout)], ["hello\n"] * 20)


class CancelTests(FleetCase):
    async def give(self, *mac_ids: int, argv: tuple[str, ...] = ("sleep", "60")) -> orders.Given:
        return await orders.give(self.desk, mac_ids, Order(argv))

    async def outcomes(self, given: orders.Given) -> dict[int, Outcome]:
        found: dict[int, Outcome] = {}
        await orders.outcomes(self.desk, given, found.__setitem__)
        return found

    async def test_while_it_runs(self) -> None:
        """A command that is cancelled is ended on its Pi, whoever writes its document at the same time."""
        [pi] = await self.start_pis(1)
        given = await self.give(pi)
        [id] = given.waiting
        while "execution" not in await self.desk.get(DATABASE, id):
            await self.pause()
        await orders.cancel(self.desk, given.waiting)
        outcome = (await self.outcomes(given))[pi]
        self.assertEqual((outcome.state, outcome.exit_status), ("cancelled", 130))

    async def test_at_once(self) -> None:
        """Claim and cancellation may cross."""
        [pi] = await self.start_pis(1)
        for _ in range(5):
            given = await self.give(pi)
            await orders.cancel(self.desk, given.waiting)
            self.assertEqual((await self.outcomes(given))[pi].state, "cancelled")

    async def test_what_is_over(self) -> None:
        """What has an answer, or is deleted, is left alone."""
        [pi] = await self.start_pis(1)
        given = await self.give(pi, argv=("true",))
        self.assertEqual((await self.outcomes(given))[pi].state, "done")
        [id] = given.waiting
        before = await self.desk.get(DATABASE, id)
        await orders.cancel(self.desk, [id, "never"])
        self.assertEqual(await self.desk.get(DATABASE, id), before)

    async def test_forbidden(self) -> None:
        """Where some commands may not be written, the others are given."""
        given = await self.give(ABSENT)
        [id] = given.waiting
        crossed = await orders.give(self.desk, [ABSENT, 7], Order(("x",)), unique=lambda: id.partition(":")[2])
        self.assertEqual(list(crossed.waiting.values()), [7])
        self.assertEqual(crossed.refused[ABSENT].state, "refused")
        self.assertEqual(crossed.refused[ABSENT].exit_status, commands.UNABLE)
