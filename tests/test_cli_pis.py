"""The commands that let Pis in, keep them out, name them, and have them do something."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from himbeerecouch.cli import actions, enroll
from himbeerecouch.fleet import enrol, heartbeats, names, network, rights
from himbeerecouch.model import Answer
from tests.cli_case import DATABASE, CliCase

STATUS = f"{DATABASE}_status"


class PiCase(CliCase):
    """Databases that let Pis in, and a network whose Pis the test names."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        for database in (DATABASE, STATUS):
            await self.desk.ask("PUT", database, "_security", body=rights.NEW.document)
        self.answers: list[Answer] = []
        self.probes = 0
        self.patch(enroll, "WAKE_S", 0.01)

        async def find(reactor: Any, url: str, mac_id: int, *, timeout_s: float, port: int) -> Answer | None:
            return next((answer for answer in self.answers if answer.mac_id == mac_id), None)

        async def probe(reactor: Any, url: str, *, timeout_s: float, port: int) -> list[Answer]:
            self.probes += 1
            return list(self.answers)

        self.patch(network, "find", find)
        self.patch(network, "probe", probe)

    def file(self, text: str) -> str:
        """Write a file, and give its path."""
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)

    def now_and_then(self, function: Callable[[], Any]) -> None:
        """Call it every now and then until the end of the test."""
        loop = LoopingCall(function)
        loop.clock = self.reactor
        ended = loop.start(0.05)

        def end() -> Deferred[Any]:
            if loop.running:
                loop.stop()
            return ended  # what is under way comes to its end first

        self.addCleanup(end)

    def live(self, mac_id: int, password: str) -> None:
        """Have a Pi try to log in all the time, and write its heartbeat once it is let in."""
        pi = self.desk_of(str(mac_id), password)
        written: list[str] = []

        async def beat() -> None:
            if not written and await self.desk.find_one("_users", enrol.user_id(mac_id)):
                written.append(await pi.put(STATUS, {"_id": f"{mac_id}_heartbeat"}))

        self.now_and_then(beat)

    def answering(self, ret: list[Any], state: str) -> None:
        """Have every command answered."""

        async def answer() -> None:
            for command in await self.desk.find(DATABASE, {"type": "7_cmd", "ret": {"$exists": False}}):
                self.command = command
                await self.desk.put(DATABASE, {**command, "ret": ret, "execution": {"state": state}})

        self.now_and_then(answer)


class EnrollTests(PiCase):
    async def test_the_only_one(self) -> None:
        """The one Pi that waits is enrolled, and waited for."""
        self.answers = [Answer(7, "p", "10.0.0.7"), Answer(8, None, "10.0.0.8")]
        self.live(7, "p")
        ran = await self.himbeerecouch("enroll")
        self.assertEqual((ran.exit_code, ran.stdout), (0, "7: enrolled, and it is online\n"))
        self.assertEqual((await self.desk_of("7", "p").who()).roles, (rights.PI,))

    async def test_nobody(self) -> None:
        """Where none waits, or more than one, or two with one MacID, nobody is enrolled."""
        for answers, said in (
            ([Answer(8, None)], "enrolled already: 8"),
            ([Answer(7, "p"), Answer(8, "q")], "--all"),
            ([Answer(7, "p", "a"), Answer(7, "q", "b")], "several machines"),
        ):
            self.answers = answers
            ran = await self.himbeerecouch("enroll", "--wait", "0")
            self.assertEqual((ran.exit_code, ran.stdout), (1, ""))
            self.assertIn(said, ran.stderr)
        self.assertIsNone(await self.desk.find_one("_users", enrol.user_id(7)))

    async def test_all(self) -> None:
        """All that wait are shown first, and enrolled where that is agreed to."""
        self.answers = [Answer(7, "p", "10.0.0.7"), Answer(9, "q", "10.0.0.9")]
        ran = await self.himbeerecouch("enroll", "--all", "--wait", "0", input="n\n")
        self.assertEqual((ran.exit_code, ran.stdout), (1, ""))
        self.assertIn("10.0.0.9", ran.stderr)
        ran = await self.himbeerecouch("enroll", "--all", "--wait", "0", input="")
        self.assertEqual(ran.exit_code, 2)
        self.assertIn("--yes", ran.stderr)
        ran = await self.himbeerecouch("enroll", "--all", "--wait", "0", input="y\n")
        self.assertEqual((ran.exit_code, ran.stdout), (0, "7: enrolled\n9: enrolled\n"))

    async def test_json(self) -> None:
        """With --json it says of each what became of it; one that is up and not heard is a failure."""
        self.answers = [Answer(7, "p", "10.0.0.7"), Answer(9, "q", "10.0.0.9")]
        self.live(7, "p")
        ran = await self.himbeerecouch("enroll", "--all", "--yes", "--wait", "1", "--json")
        self.assertEqual(
            json.loads(ran.stdout),
            [
                {"mac_id": 7, "new": True, "up": True, "online": True},
                {"mac_id": 9, "new": True, "up": True, "online": False},
            ],
        )
        self.assertEqual(ran.exit_code, 1)

    async def test_not_heard(self) -> None:
        """A Pi that is up and has not logged in is said to be just that, and how long that may take."""
        self.answers = [Answer(7, "p", "10.0.0.7")]
        ran = await self.himbeerecouch("enroll", "7", "--wait", "0.1")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("has not logged in within 0.1 s", ran.stdout)
        self.assertIn("four times in five minutes at most", ran.stderr)

    async def test_password_file(self) -> None:
        """The password comes from a file, or the standard input; the Pi need not be there."""
        file = self.file("from the file\n")
        ran = await self.himbeerecouch("enroll", "00:00:00:00:00:07", "--password-file", file)
        self.assertEqual(ran.exit_code, 0)
        self.assertIn("does not answer on this network", ran.stdout)
        self.assertEqual((await self.desk_of("7", "from the file").who()).name, "7")
        self.assertEqual(self.probes, 2)
        formula = hashlib.sha1(b"10ERROR000000000").hexdigest()
        ran = await self.himbeerecouch("enroll", "10", "--password-file", "-", "--wait", "0", input=formula)
        self.assertIn("can be guessed. Better: himbeerecouch rotate 10\n", ran.stderr)
        ran = await self.himbeerecouch("enroll", "8", "--password-file", "-", "--wait", "0", input="typed\n")
        self.assertNotIn("guessed", ran.stderr)
        self.assertEqual((await self.desk_of("8", "typed").who()).name, "8")
        for given in ("", "a\nb\n"):
            ran = await self.himbeerecouch("enroll", "9", "--password-file", "-", input=given)
            self.assertEqual(ran.exit_code, 1)
            self.assertIn("one line", ran.stderr)
        ran = await self.himbeerecouch("enroll", "9", "--password-file", "/nonexistent")
        self.assertIn("does not exist", ran.stderr)

    async def test_prompt(self) -> None:
        """Where the network does not tell the password, it is asked for, and where to look for it is said."""
        for answers, said in (([], "does not answer"), ([Answer(7, None, "10.0.0.7")], "keeps its password")):
            self.answers = answers
            ran = await self.himbeerecouch("enroll", "7", "--wait", "0", "--replace", input="typed\n")
            self.assertEqual(ran.exit_code, 0, ran.stderr)
            self.assertIn(said, ran.stderr)
            self.assertIn("getpassword", ran.stderr)
            self.assertNotIn("typed", ran.output)
        self.assertEqual((await self.desk_of("7", "typed").who()).name, "7")
        ran = await self.himbeerecouch("enroll", "7", input="")
        self.assertEqual(ran.exit_code, 2)
        self.assertIn("--password-file", ran.stderr)

    async def test_enrolled_already(self) -> None:
        """A user that is there gets the password only where that is agreed to, or said beforehand."""
        await enrol.enrol(self.desk, 7, "old")
        self.answers = [Answer(7, "new", "10.0.0.7")]
        ran = await self.himbeerecouch("enroll", "7", "--wait", "0", input="n\n")
        self.assertEqual((ran.exit_code, ran.stdout), (1, ""))
        self.assertIn("keeps its password", ran.stderr)
        self.assertEqual((await self.desk_of("7", "old").who()).name, "7")
        ran = await self.himbeerecouch("enroll", "7", "--wait", "0", input="y\n")
        self.assertEqual((ran.exit_code, ran.stdout), (0, "7: has the new password\n"))
        self.assertEqual((await self.desk_of("7", "new").who()).name, "7")

    async def test_no_sense(self) -> None:
        """A command line that can't be meant is refused."""
        for line in (("7", "--all"), ("--password-file", "x"), ("--all", "--password-file", "x")):
            self.assertEqual((await self.himbeerecouch("enroll", *line)).exit_code, 2)

    async def test_not_set_up(self) -> None:
        """Without databases it says what to run."""
        self.answers = [Answer(7, "p")]
        await self.desk.ask("DELETE", STATUS)
        ran = await self.himbeerecouch("enroll")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("himbeerecouch setup", ran.stderr)

    async def test_no_admin(self) -> None:
        """Who is no admin is told that."""
        who = {"name": "anna", "roles": [rights.OPERATOR], "type": "user", "password": "a"}
        await self.desk.put("_users", {"_id": "org.couchdb.user:anna", **who})
        self.answers = [Answer(7, "p")]
        anna = {"HIMBEERECOUCH_USER": "anna", "HIMBEERECOUCH_PASSWORD": "a"}
        ran = await self.himbeerecouch("enroll", environment=anna)
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("does not let anna do that", ran.stderr)


class RevokeTests(PiCase):
    async def test_revoked(self) -> None:
        """A Pi is revoked where that is agreed to; one that is not enrolled is an error."""
        await enrol.enrol(self.desk, 7, "p")
        await self.desk.put(DATABASE, names.document("lab", 7))
        self.assertEqual((await self.himbeerecouch("revoke", "lab", input="n\n")).exit_code, 1)
        self.assertIsNotNone(await self.desk.find_one("_users", enrol.user_id(7)))
        self.assertEqual((await self.himbeerecouch("revoke", "lab", "--yes")).exit_code, 0)
        self.assertIsNone(await self.desk.find_one("_users", enrol.user_id(7)))
        ran = await self.himbeerecouch("revoke", "7", "--yes")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("not enrolled", ran.stderr)
        self.assertIn("no Pi is called", (await self.himbeerecouch("revoke", "lob")).stderr)

    async def test_forgotten(self) -> None:
        """A Pi that is gone for good is taken out of the lists, when it is revoked or later; others stay."""
        for name, number in (("lab", 7), ("other", 8)):
            await self.desk.put(DATABASE, names.document(name, number))
            for database, kind in ((STATUS, "heartbeat"), (STATUS, "log"), (DATABASE, "heartbeat")):
                await self.desk.put(database, {"_id": f"{number}_{kind}", "type": kind, "mac_id": number})
        await enrol.enrol(self.desk, 7, "p")
        self.assertEqual((await self.himbeerecouch("revoke", "lab", "--yes")).exit_code, 0)
        self.assertEqual([pi.mac_id for pi in await heartbeats.fleet(self.desk)], [7, 8])
        ran = await self.himbeerecouch("revoke", "lab", "--forget", "--yes")
        self.assertEqual((ran.exit_code, ran.stdout.split(".")[0]), (0, "7: forgotten"))
        self.assertEqual([pi.mac_id for pi in await heartbeats.fleet(self.desk)], [8])
        for database in (DATABASE, STATUS):
            rows = await self.desk.all_docs(database, start="7", end="8")
            self.assertEqual([row["id"] for row in rows], [])
        await enrol.enrol(self.desk, 8, "p")
        ran = await self.himbeerecouch("revoke", "8", "--forget", input="y\n")
        self.assertEqual((ran.exit_code, ran.stdout.count("8: ")), (0, 2))
        self.assertEqual(await heartbeats.fleet(self.desk), [])


class ActionTests(PiCase):
    async def test_done(self) -> None:
        """The Pi is asked, for a few seconds only, and what it says is shown."""
        self.answering(["blinking", ""], "done")
        ran = await self.himbeerecouch("identify", "7")
        self.assertEqual((ran.exit_code, ran.stdout), (0, "7: blinking\n"))
        self.assertEqual((self.command["action"], self.command["by"]), ("identify", "admin"))
        self.assertIn("expires", self.command)
        ran = await self.himbeerecouch("rotate", "7")
        self.assertEqual((ran.exit_code, self.command["action"]), (0, "rotate"))

    async def test_refused(self) -> None:
        """What could not be done is a failure, with the reason."""
        self.answering([None, "no LED"], "rejected")
        ran = await self.himbeerecouch("identify", "7")
        self.assertEqual((ran.exit_code, ran.stdout), (1, ""))
        self.assertIn("no LED", ran.stderr)

    async def test_no_answer(self) -> None:
        """A Pi that does not answer is not waited for without end."""
        self.patch(actions, "WAIT_S", 0.1)
        ran = await self.himbeerecouch("rotate", "7")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("no answer within 0.1 s", ran.stderr)


class NameTests(PiCase):
    async def test_named(self) -> None:
        """A Pi has one name; another one replaces it, and all are listed."""
        self.assertEqual((await self.himbeerecouch("name", "7", "Lab-Thermo")).exit_code, 0)
        self.assertEqual((await self.himbeerecouch("name", "8", "pump")).exit_code, 0)
        self.assertEqual((await self.himbeerecouch("name", "lab-thermo", "oven")).exit_code, 0)
        self.assertEqual((await self.himbeerecouch("name", "oven", "oven")).exit_code, 0)
        ran = await self.himbeerecouch("name")
        self.assertEqual(
            [line.split() for line in ran.stdout.splitlines()], [["name", "MacID"], ["oven", "7"], ["pump", "8"]]
        )
        ran = await self.himbeerecouch("name", "8", "--json")
        self.assertEqual(json.loads(ran.stdout), [{"name": "pump", "mac_id": 8}])

    async def test_taken(self) -> None:
        """The name of another Pi is not taken away by the way; a name that is none is given to whoever wants it."""
        await self.desk.put(DATABASE, names.document("lab", 7))
        ran = await self.himbeerecouch("name", "8", "lab")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("the Pi 7 is called lab", ran.stderr)
        await self.desk.put(DATABASE, {"_id": "name:odd"})
        self.assertEqual((await self.himbeerecouch("name", "8", "odd")).exit_code, 0)
        self.assertEqual(await names.all_names(self.desk), {"lab": 7, "odd": 8})

    async def test_removed(self) -> None:
        """A name can be taken away again."""
        await self.desk.put(DATABASE, names.document("lab", 7))
        self.assertEqual((await self.himbeerecouch("name", "lab", "--remove")).exit_code, 0)
        self.assertEqual(await names.all_names(self.desk), {})
        ran = await self.himbeerecouch("name", "7", "--remove")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("no name", ran.stderr)

    async def test_no_names(self) -> None:
        """What can't be a name is refused, and so is a command line that can't be meant."""
        for line in (("7", "a b"), ("7", "12"), ("7", "b8:27:eb:12:34:f7"), ("--remove",), ("7", "a", "--remove")):
            self.assertEqual((await self.himbeerecouch("name", *line)).exit_code, 2, line)
