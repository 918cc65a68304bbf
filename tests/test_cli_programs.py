"""The commands about programs, in this process, on an embedded server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
from click.testing import Result
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from himbeerecouch.cli import local, rollout
from himbeerecouch.fleet import guard, programs, saving
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.saving import Edit
from tests.cli_case import DATABASE
from tests.program_case import CODE, MAC_ID, PI, ProgramCase

ID = f"{PI}:blink"
OTHER = "def main():\n    print('other')\n"


class CommandCase(ProgramCase):
    def go(self, name: str) -> None:
        """Go into a folder until the end of the test."""
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.here / name)

    def text(self, name: str) -> str:
        """What a file says."""
        return (self.here / name).read_bytes().decode()

    async def failed(self, *arguments: str, status: int = 1, **options: Any) -> str:
        """Run what has to fail; give what it says, without line ends."""
        ran = await self.himbeerecouch(*arguments, **options)
        self.assertEqual(ran.exit_code, status, ran.output)
        return " ".join(ran.stderr.split())

    async def done(self, *arguments: str, **options: Any) -> Result:
        """Run what has to succeed."""
        ran = await self.himbeerecouch(*arguments, **options)
        self.assertEqual(ran.exit_code, 0, ran.output)
        return ran

    async def saved(self, *arguments: str) -> Any:
        """Run it without waiting; give the JSON that it prints."""
        return json.loads((await self.done(*arguments, "--wait", "0", "--json")).stdout)


class DeployTests(CommandCase):
    async def test_file(self) -> None:
        """A file is the code of a new program, which is called as the file; that of a known one is replaced."""
        path = self.write("blink.py")
        (told,) = await self.saved("deploy", path, "--to", PI)
        document = await self.desk.get(DATABASE, ID)
        self.assertEqual(
            told,
            {"mac_id": MAC_ID, "program": ID, "rev": document["_rev"], "changed": True, "outcome": None, "error": None},
        )
        self.assertEqual({key: document[key] for key in ("type", "name", "code")}, {
            "type": MAC_ID, "name": "blink", "code": CODE,
        })  # fmt: skip
        await self.program(ID, name="blink", restart="never", type=PI, modules={"old": ""})
        await self.saved("deploy", path, "--to", PI)
        document = await self.desk.get(DATABASE, ID)
        self.assertEqual((document["restart"], document["type"], "modules" in document), ("never", PI, False))

    async def test_folder(self) -> None:
        """A folder is a program with modules, called as the folder; --name calls it something else."""
        self.write("heat.er/main.py")
        self.write("heat.er/pins/left.py", "X = 1\n")
        self.write("heat.er/global/units.py", "")
        self.write("heat.er/.venv/lib/thing.py", "not mine")
        self.go("heat.er")
        (told,) = await self.saved("deploy", ".", "--to", PI)
        document = await self.desk.get(DATABASE, f"{PI}:heat.er")
        self.assertEqual(
            (told["program"], document["modules"], document["global_modules"]),
            (f"{PI}:heat.er", {"pins.left": "X = 1\n"}, {"units": ""}),
        )
        (told,) = await self.saved("deploy", ".", "--to", PI, "--name", "x")
        self.assertEqual(told["program"], f"{PI}:x")

    async def test_offline(self) -> None:
        """For a Pi that is not there it is saved, said so at once, and the exit status is 1."""
        text = await self.failed("deploy", self.write("blink.py"), "--to", PI)
        self.assertIn(f"blink for {PI}: saved, revision 1-", text)
        self.assertIn(f"blink on {PI}: offline it has never reported", text)
        self.assertIn("the Pi acts on it when it is back", text)

    async def test_unchanged(self) -> None:
        """What is there already is not saved again, and its outcome told all the same."""
        path = self.write("blink.py")
        await self.saved("deploy", path, "--to", PI)
        await self.tell(ID, "running")
        ran = await self.done("deploy", path, "--to", PI)
        self.assertEqual(ran.stdout, f"blink on {PI}: running\n")
        self.assertIn(": unchanged, revision 1-", ran.stderr)
        self.assertEqual(len(await programs.history(self.desk, ID)), 1)

    async def test_crash(self) -> None:
        """A crash is told with its traceback, without what could steer a terminal, and what it replaced."""
        path = self.write("blink.py")
        await self.program(ID, name="blink")
        self.write("blink.py", OTHER)
        await self.saved("deploy", path, "--to", PI)
        rev = (await self.desk.get(DATABASE, ID))["_rev"]
        error = (
            f'Traceback\n  File "x%3Ay@{rev}/main.py", line 2\n  File "z@{rev}9/a.py"\n  \x1b[2Jboom\nValueError: no'
        )
        await self.tell(ID, "backoff", error=error)
        ran = await self.himbeerecouch("deploy", path, "--to", PI)
        self.assertEqual((ran.exit_code, ran.stdout), (1, ""))
        self.assertIn("boom\nValueError: no\n", ran.stderr)
        self.assertIn(f'  File "{path}", line 2\n  File "z@{rev}9/a.py"\n', ran.stderr)
        self.assertNotIn("\x1b", ran.stderr)
        self.assertIn("himbeerecouch rollback", ran.stderr)

    async def test_no_main(self) -> None:
        """There is nothing to wait for where only global modules are deployed."""
        self.write("lib/global/units.py", "X = 1\n")
        ran = await self.done("deploy", str(self.here / "lib"), "--to", PI)
        self.assertIn("nothing to run (it has no module main", ran.stdout)

    async def test_nothing_to_run(self) -> None:
        """A folder without main.py does not take the place of a program that runs, unless that is forced."""
        await self.program(ID, name="lib")
        self.write("lib/Main.py", "def main(): pass\n")
        self.assertIn("no main.py in it", await self.failed("deploy", str(self.here / "lib"), "--to", PI))
        self.assertIn("code", await self.desk.get(DATABASE, ID))
        await self.done("deploy", str(self.here / "lib"), "--to", PI, "--force")
        self.assertNotIn("code", await self.desk.get(DATABASE, ID))

    async def test_dry_run(self) -> None:
        """--dry-run shows what would change, and changes nothing."""
        path = self.write("blink.py")
        ran = await self.done("deploy", path, "--to", PI, "--dry-run")
        self.assertIn("+++ after/main.py\n@@ -0,0 +1,2 @@\n+def main():\n", ran.stdout)
        self.assertIn("it would be new there", ran.stderr)
        self.assertIsNone(await self.desk.find_one(DATABASE, ID))
        await self.saved("deploy", path, "--to", PI)
        self.assertEqual((await self.done("deploy", path, "--to", PI, "--dry-run")).stdout, "")
        self.write("blink.py", OTHER)
        (told,) = json.loads((await self.done("deploy", path, "--to", PI, "--dry-run", "--json")).stdout)
        self.assertIn("+    print('other')", told["difference"])
        ran = await self.done("deploy", path, "--to", PI, "--dry-run")
        self.assertIn("it would replace revision 1-", ran.stderr)
        self.assertEqual((await self.desk.get(DATABASE, ID))["code"], CODE)

    async def test_does_not_compile(self) -> None:
        """What does not compile is not saved, and told with file and line; --force saves it; a warning does no harm."""
        path = self.write("blink.py", "def main():\n    print 'x'\n")
        text = await self.failed("deploy", path, "--to", PI)
        self.assertIn(f"{path}, line 2: Missing parentheses", text)
        self.assertIsNone(await self.desk.find_one(DATABASE, ID))
        await self.saved("deploy", path, "--to", PI, "--force")
        self.write("two/main.py")
        self.write("two/pkg/a.py", "X = 1 is 1\n")
        ran = await self.done("deploy", str(self.here / "two"), "--to", PI, "--wait", "0")
        self.assertIn(f"{self.here / 'two/pkg/a.py'}, line 1: ", ran.stderr)

    async def test_no_sources(self) -> None:
        """What no Pi would take is refused before it is saved."""
        folder = self.here / "empty"
        folder.mkdir()
        binary = self.here / "binary.py"
        binary.write_bytes(b"\xff\xfe")
        large = self.write("large.py", "#" * (local.MAX_SOURCE_BYTES + 1))
        self.write("odd/some-thing.py")
        dangling = self.here / "dangling"
        dangling.mkdir()
        (dangling / "main.py").symlink_to("nowhere")
        for path, words in (
            (folder, "there is no main.py in it"),
            (binary, "is no UTF-8"),
            (dangling, "main.py: No such file or directory"),
            (large, "at most 1048576 are taken"),
            (self.here / "odd", '"some-thing" in "modules" can\'t be the name of a module'),
        ):
            self.assertIn(words, await self.failed("deploy", str(path), "--to", PI))

    async def test_which_pi(self) -> None:
        """The Pis are those that are named, or all that have reported."""
        path = self.write("blink.py")
        for arguments in ((), ("--to", PI, "--all"), ("--to", " , ")):
            self.assertIn("which Pi?", await self.failed("deploy", path, *arguments, status=2))
        self.assertIn("no Pi has reported yet", await self.failed("deploy", path, "--all"))
        await self.desk.put(DATABASE, {"_id": "name:lab", "type": "name", "mac_id": MAC_ID})
        for mac_id in (MAC_ID, 8):
            await self.heartbeat(mac_id=mac_id)
        told = await self.saved("deploy", path, "--to", "lab,00:00:00:00:00:09")
        self.assertEqual([one["mac_id"] for one in told], [MAC_ID, 9])
        told = await self.saved("deploy", path, "--all")
        self.assertEqual([(one["mac_id"], one["changed"]) for one in told], [(8, True), (MAC_ID, False)])
        await self.tell(ID, "running")
        await self.tell("8:blink", "crashed", mac_id=8, error="Traceback\nValueError: no\n")
        ran = await self.himbeerecouch("deploy", path, "--all")
        self.assertEqual(ran.exit_code, 1)
        lines = [line.split() for line in ran.stdout.splitlines()]
        self.assertEqual([line[0] for line in lines], ["Pi", "8", "lab"])
        self.assertEqual((lines[1][3:], lines[2][3:]), (["crashed", "ValueError:", "no"], ["running"]))
        self.assertIn("1 of 2 failed", ran.stderr)

    async def test_without_a_status_database(self) -> None:
        """Where the Pis report beside the programs, they are found there."""
        await self.desk.ask("DELETE", f"{DATABASE}_status")
        await self.heartbeat(mac_id=8, database=DATABASE)
        (told,) = await self.saved("deploy", self.write("blink.py"), "--all")
        self.assertEqual(told["mac_id"], 8)

    async def test_forbidden(self) -> None:
        """Somebody who may not write is told what he lacks, for one Pi and for several."""
        await guard_both(self)
        await self.desk.put("_users", USER)
        reader = {"HIMBEERECOUCH_USER": "rita", "HIMBEERECOUCH_PASSWORD": "secret"}
        path = self.write("blink.py")
        text = await self.failed("deploy", path, "--to", PI, environment=reader)
        self.assertIn("himbeerecouch_operator", text)
        ran = await self.himbeerecouch("deploy", path, "--to", f"{PI},8", environment=reader)
        self.assertEqual(ran.exit_code, 1)
        self.assertEqual(ran.stdout.count("not saved"), 2)
        self.assertIn("2 of 2 failed", ran.stderr)

    async def test_status_that_may_not_be_read(self) -> None:
        """Where nobody can tell how it is doing, what was saved is told all the same."""
        await guard_both(self)
        await self.desk.put("_users", USER | {"roles": ["himbeerecouch_operator"]})
        await self.desk.ask("PUT", f"{DATABASE}_status", "_security", body={"members": {"names": ["somebody"]}})
        operator = {"HIMBEERECOUCH_USER": "rita", "HIMBEERECOUCH_PASSWORD": "secret"}
        path = self.write("blink.py")
        text = await self.failed("deploy", path, "--to", PI, environment=operator)
        self.assertIn("saved, revision 1-", text)
        self.assertIn("the status can't be read: ", text)
        ran = await self.himbeerecouch("deploy", path, "--to", f"{PI},8", environment=operator)
        self.assertEqual((ran.exit_code, ran.stdout.count("the status can't be read")), (1, 2))

    async def test_watch(self) -> None:
        """--watch ends when somebody else has saved the program meanwhile, and does not replace that."""
        path = self.write("blink.py")
        checked: list[bool] = []
        check = local.check

        async def noted(*arguments: Any, **options: Any) -> None:
            try:
                await check(*arguments, **options)
            finally:
                checked.append(True)

        self.patch(local, "check", noted)

        async def somebody() -> None:
            while (there := await self.desk.find_one(DATABASE, ID)) is None:
                await deferLater(self.reactor, 0.01)
            await saving.save(self.desk, [Edit(there, {**there, "code": "theirs"})])
            self.write("blink.py", "def main(:")
            while len(checked) < 2:
                await deferLater(self.reactor, 0.01)
            self.write("blink.py", OTHER)

        self.reactor.callLater(0, lambda: self.later(somebody()))
        text = await self.failed("deploy", path, "--to", PI, "--watch")
        self.assertIn("watching", text)
        self.assertIn("nothing was saved. If it is only for another version", text)
        self.assertIn("was saved meanwhile, by admin at 20", text)
        self.assertEqual((await self.desk.get(DATABASE, ID))["code"], "theirs")

    async def test_watch_that_can_not_tell(self) -> None:
        """--watch ends where it can't say any more what becomes of what it has saved."""

        async def finish(*_: Any, **__: Any) -> int:
            raise click.ClickException("the output can't be written")

        self.patch(rollout, "finish", finish)
        text = await self.failed("deploy", self.write("blink.py"), "--to", PI, "--watch")
        self.assertIn("the output can't be written", text)

    def later(self, work: Any) -> None:
        from twisted.internet.defer import Deferred

        Deferred.fromCoroutine(work).addErrback(lambda failure: failure.printTraceback())


USER = {"_id": "org.couchdb.user:rita", "name": "rita", "password": "secret", "roles": [], "type": "user"}


async def guard_both(case: ProgramCase) -> None:
    """Put the guard up."""
    await case.desk.put(DATABASE, guard.design_document(guard.Place.PROGRAMS))
    await case.desk.ask("PUT", DATABASE, "_security", body={"members": {"names": ["rita"], "roles": []}})


class InterruptedTests(CommandCase):
    """Ctrl-C while a program is brought to three Pis, of which one has a name."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.path = self.write("blink.py")
        await self.desk.put(DATABASE, {"_id": "name:lab", "type": "name", "mac_id": 8})
        self.sent = 0
        bulk = Desk.bulk

        async def counted(desk: Desk, db: str, documents: Any) -> Any:
            rows = await bulk(desk, db, documents)
            if any("code" in one for one in documents):
                self.sent += 1
                await self.saved_some()
            return rows

        async def interrupt() -> None:
            self.running.cancel()
            await deferLater(self.reactor, 0)

        self.saved_some = interrupt
        self.patch(Desk, "bulk", counted)

    async def deploy(self, *options: str, status: int = 1) -> str:
        """Deploy it; give what it says."""
        return await self.failed("deploy", self.path, "--to", f"{PI},lab,9", *options, status=status)

    async def test_between_requests(self) -> None:
        """What is under way is saved, with who did it; the rest is not, and both are said."""
        self.patch(saving, "parts", lambda documents: [[one] for one in documents])
        said = await self.deploy()
        self.assertIn(f"blink is saved for 1 of 3 Pis: {PI}; himbeerecouch status tells what becomes of it", said)
        self.assertTrue(said.endswith("Aborted!"))
        self.assertEqual([one.by for one in await programs.history(self.desk, ID)], [self.admin])
        self.assertIsNone(await self.desk.find_one(DATABASE, "8:blink"))

    async def test_in_the_only_request(self) -> None:
        """Where all was sent at once, all is saved; also by --watch, which ends then."""
        said = await self.deploy()
        self.assertIn("blink is saved for all 3 Pis;", said)
        self.write("blink.py", OTHER)
        said = await self.deploy("--watch", status=0)
        self.assertIn("blink is saved for all 3 Pis;", said)
        self.assertEqual((await self.desk.get(DATABASE, "8:blink"))["code"], OTHER)

    async def test_while_waiting(self) -> None:
        """Who does not want to wait for the Pis is told what was saved."""

        async def go_on() -> None:
            pass

        async def waiting(*_: Any, **__: Any) -> Any:
            self.reactor.callLater(0, self.running.cancel)
            await Deferred()

        self.saved_some = go_on
        self.patch(rollout, "await_outcomes", waiting)
        said = await self.deploy()
        self.assertIn("blink is saved for all 3 Pis;", said)
        self.assertEqual(self.sent, 1)


class VersionTests(CommandCase):
    async def test_pull(self) -> None:
        """A program is written to a file or a folder, under its own name or another; nothing else is overwritten."""
        self.go(".")
        await self.program("p", name="blink")
        self.assertEqual((await self.done("pull", PI, "blink")).stdout, "blink.py\n")
        self.assertEqual(self.text("blink.py"), CODE)
        await self.done("pull", PI, "blink")
        self.write("blink.py", "mine")
        self.assertIn("To replace it: --force", await self.failed("pull", PI, "blink"))
        self.assertEqual(self.text("blink.py"), "mine")
        await self.done("pull", PI, "blink", "--force")
        await self.program("p", name="blink", modules={"pins.left": "X = 1\n"}, global_modules={"g": ""})
        ran = await self.done("pull", PI, "blink")
        self.assertEqual(sorted(ran.stdout.split()), ["blink/global/g.py", "blink/main.py", "blink/pins/left.py"])
        self.assertEqual(self.text("blink/pins/left.py"), "X = 1\n")
        (told,) = await self.saved("deploy", "blink", "--to", PI)
        self.assertEqual(told["changed"], False)
        self.assertIn("more than one module", await self.failed("pull", PI, "blink", "x.py"))
        await self.done("pull", PI, "blink", "there", "--rev", "2")
        self.assertEqual(self.text("there/pins/left.py"), "X = 1\n")

    async def test_pull_what_is_no_file(self) -> None:
        """Neither a program's name nor a module's leads out of the folder."""
        await self.program("p", name="../evil")
        self.assertIn("is no name for a file", await self.failed("pull", PI, "../evil", status=2))
        await self.program("q", modules={"../evil": ""})
        self.assertIn("can't be written to files", await self.failed("pull", PI, "q", str(self.here)))
        await self.program("s", code="")
        self.assertIn("/dev/null can't be written", await self.failed("pull", PI, "s", "/dev/null/s.py"))
        self.assertIn("has no program 'r'", await self.failed("pull", PI, "r"))

    async def test_diff(self) -> None:
        """A program is compared with files, or with what it was; the exit status tells whether they differ."""
        self.go(".")
        await self.program("p", name="blink")
        self.assertIn("there is no blink.py here", await self.failed("diff", PI, "blink", status=2))
        self.write("blink.py")
        self.assertEqual((await self.done("diff", PI, "blink")).stdout, "")
        self.write("x.py", OTHER)
        ran = await self.himbeerecouch("diff", PI, "blink", "x.py")
        self.assertEqual((ran.exit_code, ran.stdout.splitlines()[:2]), (1, [f"--- {PI}/main.py", "+++ x.py/main.py"]))
        await self.saved("deploy", "x.py", "--to", PI, "--name", "blink")
        ran = await self.himbeerecouch("diff", PI, "blink", "--rev", "1")
        self.assertEqual((ran.exit_code, "+    print('other')" in ran.stdout), (1, True))
        self.assertEqual((await self.done("diff", PI, "blink", "--rev", "2")).stdout, "")
        self.assertIn("not both", await self.failed("diff", PI, "blink", "x.py", "--rev", "1", status=2))

    async def test_history(self) -> None:
        """All versions are listed with who and when; also of a program that was removed."""
        await self.program(ID, name="blink")
        path = self.write("blink.py", OTHER)
        await self.saved("deploy", path, "--to", PI)
        await self.saved("stop", PI, "blink")
        rows = [line.split() for line in (await self.done("history", PI, "blink")).stdout.splitlines()]
        self.assertEqual([row[3:] for row in rows[1:]], [
            ["admin", "stopped,", "+1", "-0", "lines", "now"],
            ["admin", "+1", "-1", "lines"],
            ["?", "+3", "-0", "lines"],
        ])  # fmt: skip
        await self.done("remove", PI, "blink", "--yes", "--wait", "0")
        ran = await self.done("history", PI, "blink", "--json")
        removed, *versions = json.loads(ran.stdout)
        self.assertEqual((removed["removed"], removed["by"], len(versions)), (True, "admin", 3))
        self.assertIn("removed", (await self.done("history", PI, "blink")).stdout)
        self.assertIn("has no program 'x'", await self.failed("history", PI, "x"))

    async def test_rollback(self) -> None:
        """The version before comes back, or one that is named; of what never was another there is none."""
        path = self.write("blink.py")
        await self.saved("deploy", path, "--to", PI)
        self.assertIn("has no earlier version", await self.failed("rollback", PI, "blink"))
        self.write("blink.py", OTHER)
        await self.saved("deploy", path, "--to", PI)
        ran = await self.done("rollback", PI, "blink", "--wait", "0")
        self.assertIn("back to revision 1-", ran.stderr)
        self.assertEqual((await self.desk.get(DATABASE, ID))["code"], CODE)
        await self.saved("rollback", PI, "blink", "2")
        self.assertEqual((await self.desk.get(DATABASE, ID))["code"], OTHER)
        self.assertIn("has no version '9'", await self.failed("rollback", PI, "blink", "9"))

    async def test_rollback_of_what_was_removed(self) -> None:
        """A program that was removed is there again, for the Pi that it was for, and runs."""
        await self.program(ID, name="blink", type=PI, stopped=True)
        await self.saved("remove", PI, "blink", "--yes")
        await self.saved("rollback", PI, "blink")
        document = await self.desk.get(DATABASE, ID)
        self.assertEqual((document["type"], document["name"], "stopped" in document), (MAC_ID, "blink", False))

    async def test_rollback_of_what_had_an_id_of_its_own(self) -> None:
        """A program whose document was made by hand is found by its name also when it was removed."""
        await self.program("by/hand", name="blink", type=MAC_ID)
        await self.saved("remove", PI, "blink", "--yes")
        self.assertIn("has no program", await self.failed("rollback", PI, "blank"))
        await self.saved("rollback", PI, "blink")
        self.assertEqual((await self.desk.get(DATABASE, "by/hand"))["name"], "blink")


class ControlTests(CommandCase):
    async def test_stop_and_start(self) -> None:
        """A program is stopped and started once; the exit status tells whether the Pi did it."""
        await self.program(ID, name="blink")
        (told,) = await self.saved("stop", PI, "blink")
        self.assertTrue((await self.desk.get(DATABASE, ID))["stopped"])
        await self.tell(ID, "stopped")
        ran = await self.done("stop", PI, "blink")
        self.assertEqual((ran.stdout, told["changed"]), (f"blink on {PI}: stopped\n", True))
        self.assertIn("unchanged", ran.stderr)
        (told,) = await self.saved("start", PI, "blink")
        self.assertNotIn("stopped", await self.desk.get(DATABASE, ID))
        await self.tell(ID, "running")
        self.assertEqual((await self.done("start", PI, "blink")).stdout, f"blink on {PI}: running\n")

    async def test_remove(self) -> None:
        """Programs are removed when somebody says yes, and those that are not there are said so before."""
        for id in ("a", "b"):
            await self.program(id)
        await self.heartbeat()
        self.assertIn("has no program 'c'", await self.failed("remove", PI, "a", "c", "--yes"))
        self.assertIn("nothing was removed", await self.failed("remove", PI, "a", input="n\n"))
        self.assertIn("--yes", await self.failed("remove", PI, "a", status=2))
        self.assertIsNotNone(await self.desk.find_one(DATABASE, "a"))
        ran = await self.done("remove", PI, "a", "b", input="y\n")
        self.assertEqual(ran.stdout.count("removed"), 2)
        self.assertIsNone(await self.desk.find_one(DATABASE, "a"))
