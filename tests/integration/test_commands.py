"""Commands with real processes, over the real client, on the embedded database."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import treq
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from himbeerecouch import documents
from himbeerecouch.commands.journal import Journal
from himbeerecouch.commands.record import Birth
from himbeerecouch.commands.runner import Commands
from himbeerecouch.couch.client import Couch, Login, connect
from himbeerecouch.errors import Conflict, NotFound
from himbeerecouch.model import Command, Json
from himbeerecouch.store import StateFolder
from tests import embedded_server
from tests.memory_couch import MemoryCouch

MAC_ID = 5
DATABASE = "nedm/raspberries"
WITHIN_S = 8.0


class Pi:
    """What both kinds of test do with commands."""

    def __init__(self, couch: Couch | MemoryCouch, folder: Path, ours: Mapping[str, str] | None = None) -> None:
        self.couch = couch
        self.journal = Journal(StateFolder(folder, lasts=True))
        self.commands = Commands(reactor, couch, DATABASE, actions={}, journal=self.journal, ours=ours)
        self.commands.startService()

    async def save(self, id: str, cmd: Any, **fields: Any) -> Command:
        """Save a command, and return it as the feed would bring it."""
        document = {"_id": id, "type": f"{MAC_ID}_cmd", "cmd": cmd, **fields}
        document["_rev"] = await self.couch.put(DATABASE, document)
        return row(document)

    async def run(self, *cmd: str, **fields: Any) -> Json:
        """Save a command, run it, and return its answered document."""
        self.commands.submit(await self.save("c", list(cmd), **fields))
        return await self.answer("c")

    async def answer(self, id: str) -> Json:
        """The document, once it has been answered."""
        found: Json = {}

        async def answered() -> bool:
            found.update(await self.couch.get(DATABASE, id))
            return "ret" in found

        await until(answered)
        return found

    async def running(self, id: str) -> Json:
        """The document, once it has been claimed."""
        found: Json = {}

        async def claimed() -> bool:
            found.update(await self.couch.get(DATABASE, id))
            return "execution" in found

        await until(claimed)
        return found


class CommandsTests(TestCase):
    timeout = 30

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for coroutines
        url, admin = await embedded_server.start(self)
        response = await treq.put(f"{url}/{quote(DATABASE, safe='')}", auth=admin, persistent=False)
        await treq.content(response)
        login = Login(admin[0], [admin[1]], lambda _password: None)
        couch = connect(reactor, login=login, ca_file=None, random=random.random)
        couch.move(url)
        self.folder = new_folder(self.mktemp())
        self.pi = Pi(couch, self.folder)

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.pi.commands.stopService()
        self.assertIsInstance(self.pi.couch, Couch)
        await self.pi.couch.close()  # type: ignore[union-attr]

    async def test_ret(self) -> None:
        """The documented answer: both streams as strings, and how it ended."""
        document = await self.pi.run("sh", "-c", "echo out; echo err >&2; exit 3", note="mine")
        self.assertEqual(document["ret"], ["out\n", "err\n"])
        self.assertEqual(document["note"], "mine")
        execution = document["execution"]
        self.assertEqual((execution["state"], execution["exit_code"], execution["signal"]), ("failed", 3, None))
        self.assertLessEqual(execution["started"], execution["finished"])
        self.assertEqual(self.pi.commands.in_use(), set())

    async def test_no_shell(self) -> None:
        """Arguments are arguments: no shell looks at them."""
        document = await self.pi.run("echo", "$HOME", "*", "; touch x", "ü\n")
        self.assertEqual(document["ret"], ["$HOME * ; touch x ü\n\n", ""])
        self.assertEqual(document["execution"]["state"], "done")

    async def test_environment(self) -> None:
        """A command sees the daemon's environment, without what is the daemon's alone."""
        await self.pi.commands.stopService()
        self.pi = Pi(
            self.pi.couch, self.folder, {"HOME": "/root", "NOTIFY_SOCKET": "/run/x", "HIMBEERECOUCH_HANDOVER": "x"}
        )
        document = await self.pi.run("env")
        self.assertEqual(
            sorted(line.partition("=")[0] for line in document["ret"][0].split()),
            ["HIMBEERECOUCH_COMMAND", "HOME", "PATH"],
        )

    async def test_can_not_be_run(self) -> None:
        """What can't be started is answered with null and the reason."""
        for number, (cmd, words) in enumerate(
            (
                (["no-such-program"], "not found"),
                (["/"], "may not be executed"),
                (["true", *["x" * 100_000] * 30], "long"),
            )
        ):
            self.pi.commands.submit(await self.pi.save(f"c{number}", cmd))
            document = await self.pi.answer(f"c{number}")
            nothing, reason = document["ret"]
            self.assertIsNone(nothing)
            self.assertIn(words, reason)
            self.assertEqual(document["execution"]["state"], "failed")

    async def test_timeout(self) -> None:
        """At its timeout a command is ended with all its children, and what it wrote is kept."""
        pid_file = self.folder / "pid"
        document = await self.pi.run("sh", "-c", f"echo out; sleep 60 & echo $! > {pid_file}; wait", timeout=0.3)
        self.assertEqual(document["ret"], ["out\n", ""])
        self.assertEqual((document["execution"]["state"], document["execution"]["signal"]), ("timeout", 15))
        await until(lambda: ended(pid_file))

    async def test_cancel(self) -> None:
        """ "cancel" written into the document ends the command."""
        self.pi.commands.submit(await self.pi.save("c", ["sh", "-c", "echo out; exec sleep 60"]))
        document = await self.pi.running("c")
        await deferLater(reactor, 0.2, lambda: None)
        document["_rev"] = await self.pi.couch.put(DATABASE, document | {"cancel": True})
        self.pi.commands.submit(row(document | {"cancel": True}))
        document = await self.pi.answer("c")
        self.assertEqual(document["execution"]["state"], "cancelled")
        self.assertEqual(document["ret"], ["out\n", ""])
        self.assertIs(document["cancel"], True)

    async def test_many(self) -> None:
        """Forty commands at once run eight at a time, and each one once."""
        log = self.folder / "log"
        rows = [
            await self.pi.save(
                f"{number:02}", ["sh", "-c", f"echo start {number} >> {log}; sleep 0.05; echo end >> {log}"]
            )
            for number in range(40)
        ]
        for one in rows:
            self.pi.commands.submit(one)
        for one in rows:
            self.assertEqual((await self.pi.answer(one.id))["execution"]["state"], "done")
        lines = read(log).split("\n")[:-1]
        self.assertEqual(
            sorted(line for line in lines if line != "end"), sorted(f"start {number}" for number in range(40))
        )
        at_once = most = 0
        for line in lines:
            at_once += -1 if line == "end" else 1
            most = max(most, at_once)
        self.assertLessEqual(most, 8)
        self.assertGreater(most, 1)

    async def test_large_answer(self) -> None:
        """A megabyte of each stream is stored; what is over it is left out and counted."""
        document = await self.pi.run("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; head -c 100 /dev/zero >&2")
        stdout, stderr = document["ret"]
        self.assertEqual((stdout.count("x"), stderr), (1024 * 1024, "\0" * 100))
        self.assertEqual(document["execution"]["dropped_bytes"], 3_000_000 - 1024 * 1024)

    async def test_stop(self) -> None:
        """At the end of the daemon what runs is ended, even what heeds nothing, and says so."""
        script = "trap '' TERM; echo out; while :; do sleep 0.05; done"
        self.pi.commands.submit(await self.pi.save("deaf", ["sh", "-c", script]))
        self.pi.commands.submit(await self.pi.save("quick", ["sleep", "60"]))
        await self.pi.running("deaf")
        await self.pi.running("quick")
        await deferLater(reactor, 0.2, lambda: None)
        await self.pi.commands.stopService()
        for id, output in (("deaf", "out\n"), ("quick", "")):
            document = await self.pi.couch.get(DATABASE, id)
            self.assertEqual(document["ret"], [output, ""])
            self.assertEqual(document["execution"]["state"], "interrupted")

    async def test_stop_what_can_not_be_ended(self) -> None:
        """What can't be ended, since it runs as another user, does not hold up the end of the daemon."""
        self.pi.commands.submit(await self.pi.save("c", ["sleep", "600"]))
        await until(lambda: any(record.birth for record in self.pi.journal.left()))
        (birth,) = (record.birth for record in self.pi.journal.left() if record.birth)
        self.addCleanup(os.kill, birth.pid, signal.SIGKILL)
        self.patch(os, "killpg", _not_permitted)
        await self.pi.commands.stopService()
        os.kill(birth.pid, 0)  # it has been left behind, and not waited for

    async def test_two_daemons(self) -> None:
        """Of two daemons that follow one database, one runs the command, and the other leaves it alone."""
        other = Pi(self.pi.couch, new_folder(self.mktemp()))
        log = self.folder / "log"
        for number in range(20):
            one = await self.pi.save(f"c{number}", ["sh", "-c", f"echo {number} >> {log}"])
            self.pi.commands.submit(one)
            other.commands.submit(one)
            self.assertEqual((await self.pi.answer(f"c{number}"))["execution"]["state"], "done")
        await other.commands.stopService()
        self.assertEqual(read(log).split(), [str(number) for number in range(20)])

    async def test_noted_as_started(self) -> None:
        """The process is noted down once it has run for a moment, and at once where it is to be ended."""
        noted: list[Birth | None] = []
        note = self.pi.journal.started

        def started(claim: str, birth: Birth | None) -> None:
            noted.append(birth)
            note(claim, birth)

        self.patch(self.pi.journal, "started", started)
        for id in ("long", "cancelled"):
            noted.clear()
            one = await self.pi.save(id, ["sleep", "60"])
            self.pi.commands.submit(one)
            await until(lambda: any(task._process for task in self.pi.commands._executor.tasks))
            if id == "long":
                await until(lambda: bool(noted))
            document = await self.pi.couch.get(DATABASE, id)
            await self.pi.couch.put(DATABASE, {**document, "cancel": True})
            self.pi.commands.submit(row(await self.pi.couch.get(DATABASE, id)))
            self.assertEqual((await self.pi.answer(id))["execution"]["state"], "cancelled")
            (birth,) = noted
            assert birth is not None
            self.assertGreater(birth.pid, 1)


class MemoryCouchContract(TestCase):
    """The database in memory answers as the client does: the same calls, on both."""

    async def contract(self, couch: Couch | MemoryCouch) -> None:
        """What commands rely on."""
        first = await couch.put(DATABASE, {"_id": "c", "a": 1})
        self.assertEqual(await couch.get(DATABASE, "c"), {"_id": "c", "_rev": first, "a": 1})
        for stale in ({}, {"_rev": "1-967a00dff5e02add41819138abb3284d"}):
            await self.assertFailure_(couch.put(DATABASE, {"_id": "c", **stale}), Conflict)
        second = await couch.put(DATABASE, {"_id": "c", "_rev": first, "a": 2})
        self.assertTrue(first.startswith("1-") and second.startswith("2-"))
        missing = await self.assertFailure_(couch.get(DATABASE, "d"), NotFound)
        self.assertIn("missing", missing.reason)
        if isinstance(couch, MemoryCouch):
            couch.delete("c")
        else:
            await couch.put(DATABASE, {"_id": "c", "_rev": second, "_deleted": True})
        deleted = await self.assertFailure_(couch.get(DATABASE, "c"), NotFound)
        self.assertIn("deleted", deleted.reason)
        await self.assertFailure_(couch.put(DATABASE, {"_id": "c", "_rev": second}), Conflict)
        self.assertTrue((await couch.put(DATABASE, {"_id": "c"})).startswith("4-"))

    async def assertFailure_(self, asking: Any, kind: type[Any]) -> Any:
        try:
            await asking
        except kind as error:
            return error
        self.fail(f"no {kind.__name__}")
        return None

    async def test_memory(self) -> None:
        """The one in memory keeps to it."""
        await self.contract(MemoryCouch())

    async def test_client(self) -> None:
        """The client keeps to it; a missing database is told apart from a missing document."""
        url, admin = await embedded_server.start(self)
        response = await treq.put(f"{url}/{quote(DATABASE, safe='')}", auth=admin, persistent=False)
        await treq.content(response)
        login = Login(admin[0], [admin[1]], lambda _password: None)
        couch = connect(reactor, login=login, ca_file=None, random=random.random)
        couch.move(url)
        try:
            await self.contract(couch)
            for asking in (couch.get("none", "c"), couch.put("none", {"_id": "c"})):
                error = await self.assertFailure_(asking, NotFound)
                self.assertNotRegex(error.reason, "missing|deleted")
        finally:
            await couch.close()


def _not_permitted(_group: int, _signal: int) -> None:
    raise PermissionError


def row(document: Json) -> Command:
    """A command document as the feed would bring it."""
    command = documents.read(document, MAC_ID, max_source_bytes=1).command
    assert command is not None
    return command


async def until(ask: Callable[[], Any]) -> None:
    """Ask until the answer is true."""
    deadline = time.monotonic() + WITHIN_S
    answer = False
    while not answer:
        assert time.monotonic() < deadline, "it takes too long"
        asked = ask()
        answer = asked if isinstance(asked, bool) else await asked
        await deferLater(reactor, 0.01, lambda: None)


def ended(pid_file: Path) -> bool:
    """Whether the process of that id has ended."""
    try:
        stat = Path(f"/proc/{pid_file.read_text().strip()}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def read(path: Path) -> str:
    """What is in a file."""
    return path.read_text()


def new_folder(path: str) -> Path:
    """A folder, by its absolute path."""
    folder = Path(path).absolute()
    folder.mkdir()
    return folder
