"""A boot of the real daemon: what ran last starts from disk, and what takes the daemon with it does not for ever."""

from __future__ import annotations

import contextlib
import shutil
import signal
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.boot.kept import file_name
from himbeerecouch.store import StateFolder, until_boot
from tests import embedded_server
from tests.integration.test_supervise import SOON_PROVEN
from tests.integration.world import MAC_ID, PATH, Daemon, World, until

LOOP = """import time

def main():
    log('{0} runs')
    while not should_quit():
        time.sleep(60)
    log('{0} quits')
"""
DEADLY = """import os, time

def main():
    log('{0} is deadly')
    time.sleep(0.3)  # until that is logged
    os.kill(os.getpid(), 11)
"""


class KeptTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)
        self.kept = self.world.state_dir / str(MAC_ID)

    def file(self, id: str) -> Path:
        return self.kept / file_name(id)

    def wait_kept(self, *ids: str) -> None:
        for id in ids:
            until(self.file(id).exists, f"{id} on disk")

    def told(self, id: str, rev: str) -> dict[str, Any] | None:
        """The heartbeat, once it has that revision of a program."""
        with contextlib.suppress(OSError):
            found: dict[str, Any] = self.world.couch.ask("GET", f"{PATH}_status/{MAC_ID}_heartbeat")
            return found if found["programs"].get(id, {}).get("rev") == rev else None
        return None

    def die(self, daemon: Daemon) -> None:
        daemon.signal(signal.SIGKILL)
        daemon.wait()

    def server_again(self) -> None:
        """Start the server that was killed, on the same address."""
        port = int(self.world.server.url.rpartition(":")[2])
        self.world.server = embedded_server.spawn(self, self.world.folder / "couch", port=port)

    def test_without_the_server(self) -> None:
        """With the server down, the programs of the last time run at once, with their global modules; then corrected.

        What did not change is not restarted, what changed is, and what vanished is stopped.
        """
        self.world.save("lib", global_modules={"lib": "NAME = 'lib of disk'\n"})
        self.world.program("a", LOOP.format("a"))
        self.world.program("b", "import lib\n" + LOOP.replace("'{0} runs'", "lib.NAME + ' runs'").format("b"))
        self.world.program("c", LOOP.format("c"))
        self.world.program("d", LOOP.format("d of disk"))
        self.world.program("waits", LOOP.format("waits"), offline=False)
        self.world.program("wrong", "", modules=5)
        daemon = self.world.start()
        for text in ("a runs", "lib of disk runs", "c runs", "d of disk runs", "waits runs"):
            daemon.wait_for(text)
        self.wait_kept("lib", "a", "b", "c", "d")
        self.assertFalse(self.file("waits").exists() or self.file("wrong").exists())
        self.die(daemon)
        self.world.delete("c")
        self.world.program("d", LOOP.format("d of the server"))
        self.world.server.kill()

        daemon = self.world.start()
        for text in ("a runs", "lib of disk runs", "c runs", "d of disk runs"):
            daemon.wait_for(text)
        self.server_again()
        daemon.wait_for("waits runs", within_s=60)
        daemon.wait_for("c quits")
        daemon.wait_for("d of the server runs")
        until(lambda: not self.file("c").exists(), "c gone from the disk")
        self.assertEqual((len(daemon.lines("a runs")), len(daemon.lines("lib of disk runs"))), (1, 1))
        self.assertEqual(daemon.stop(), 0)
        self.world.server.kill()
        self.world.start(wait="d of the server runs")

    def test_garbage(self) -> None:
        """A file that can't be understood is set aside, the others run, and the server mends it."""
        self.world.program("a", LOOP.format("a"))
        self.world.program("b", LOOP.format("b"))
        daemon = self.world.start(wait="b runs")
        self.wait_kept("a", "b")
        self.die(daemon)
        data = self.file("b").read_bytes()
        self.file("b").write_bytes(data[:-7])
        self.world.server.kill()
        daemon = self.world.start(wait="a runs")
        daemon.wait_for(".bad")
        self.assertEqual(daemon.lines("b runs"), [])
        self.assertEqual(self.file("b").with_name(self.file("b").name + ".bad").read_bytes(), data[:-7])
        self.server_again()
        daemon.wait_for("b runs", within_s=60)
        until(lambda: self.file("b").exists() and self.file("b").read_bytes() == data, "b on disk again")

    def test_rollback_over_a_restart(self) -> None:
        """What ran for long in an earlier life is still there to go back to, also when it was changed meanwhile."""
        self.world.program("a", LOOP.format("good"), rollback=True)
        daemon = self.world.start(wait="good runs", launcher=SOON_PROVEN)
        until(lambda: b'"good": true' in self.file("a").read_bytes() if self.file("a").exists() else False, "proof")
        self.die(daemon)
        self.world.program("a", "def main():\n    raise ValueError('bad')\n", rollback=True)
        daemon = self.world.start(wait="runs in its place", launcher=SOON_PROVEN)
        daemon.wait_for("good runs", count=2)
        self.assertEqual(daemon.stop(), 0)
        self.assertIn(b"good runs", self.file("a").read_bytes())

    def test_stopped_program(self) -> None:
        """A program that is stopped is reported so, is not run from disk either, and runs again when that is taken out.

        Its global modules count all the same.
        """
        self.world.program("a", LOOP.format("a"), global_modules={"g": "X = 1"})
        self.world.program("b", "import g\n" + LOOP.format("b"))
        daemon = self.world.start(wait="a runs")
        daemon.wait_for("b runs")
        rev = self.world.program("a", LOOP.format("a"), global_modules={"g": "X = 1"}, stopped=True)
        daemon.wait_for("a quits")
        told = until(lambda: self.told("a", rev), "the heartbeat that has it")
        self.assertEqual((told["programs"]["a"]["state"], told["running_ids"]), ("stopped", ["b"]))
        self.wait_kept("a", "b")
        until(lambda: b'"stopped": true' in self.file("a").read_bytes(), "a on disk as stopped")
        self.die(daemon)
        self.world.server.kill()
        daemon = self.world.start(wait="b runs")
        self.server_again()
        self.world.program("c", "import g\ndef main():\n    log('c has', g.X)\n")
        daemon.wait_for("c has 1", within_s=60)
        self.assertEqual(daemon.lines("a runs"), [])
        self.world.program("a", LOOP.format("a"))
        daemon.wait_for("a runs")
        self.assertEqual(daemon.stop(), 0)

    def test_stopped_at_once(self) -> None:
        """What was saved a moment before the daemon is stopped is on disk as well."""
        self.world.program("a", LOOP.format("a"))
        daemon = self.world.start(wait="a runs")
        self.assertEqual(daemon.stop(), 0)
        self.assertTrue(self.file("a").exists())


class QuarantineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)
        for name in ("a", "c"):
            self.world.program(name, LOOP.format(name))

    def starts(self, count: int) -> None:
        """So many starts that end without warning, as under a supervisor."""
        for _ in range(count):
            self.assertEqual(self.world.start().wait(60), -signal.SIGSEGV)

    def state_of(self, id: str) -> str | None:
        """What the heartbeat says of a program."""
        try:
            heartbeat = self.world.couch.ask("GET", f"{PATH}_status/{MAC_ID}_heartbeat")
        except OSError:
            return None
        state: str | None = heartbeat["programs"].get(id, {}).get("state")
        return state

    def test_deadly_program(self) -> None:
        """After the third time all run but the one that takes the daemon with it, until its document changes."""
        self.world.program("b", DEADLY.format("b"))
        self.starts(3)
        daemon = self.world.start(wait="a runs")
        daemon.wait_for("c runs")
        daemon.wait_for("quarantined")
        until(lambda: self.state_of("b") == "quarantined", "the status says so")
        self.world.program("b", LOOP.format("b at last"))
        daemon.wait_for("b at last runs")
        self.assertEqual((daemon.lines("deadly"), daemon.stop()), ([], 0))

    def test_storage_that_does_not_last(self) -> None:
        """Where the state folder can't be written, the quarantine lasts until the next boot of the machine."""
        self.world.state_dir.write_text("a file where the folder should be")
        self.world.program("b", DEADLY.format("b"))
        memory = until_boot(StateFolder.look(self.world.state_dir, str(MAC_ID))).path
        self.addCleanup(shutil.rmtree, memory, ignore_errors=True)
        self.starts(3)
        daemon = self.world.start(wait="quarantined")
        daemon.wait_for("c runs")
        self.assertEqual((daemon.lines("deadly"), daemon.stop()), ([], 0))

    def test_mended_while_down(self) -> None:
        """The daemon reads the feed before it starts a suspect: one that was mended runs, and the others too."""
        self.world.program("b", DEADLY.format("b"))
        self.starts(2)
        self.world.program("b", LOOP.format("b at last"))
        daemon = self.world.start(wait="b at last runs")
        daemon.wait_for("a runs")
        daemon.wait_for("c runs")
        self.assertEqual((daemon.lines("quarantined"), daemon.stop()), ([], 0))

    def test_without_the_server(self) -> None:
        """Also without the server all others run, and the quarantined one stays where it is."""
        self.world.program("b", DEADLY.format("b"))
        self.starts(3)
        self.world.server.kill()
        daemon = self.world.start(wait="quarantined")
        daemon.wait_for("a runs")
        daemon.wait_for("c runs")
        self.assertEqual((daemon.lines("deadly"), daemon.stop()), ([], 0))

    def test_clean_ends(self) -> None:
        """Clean ends, and the daemon's replacing itself, are nobody's fault, however many there are."""
        for _ in range(4):
            daemon = self.world.start(wait="a runs")
            daemon.wait_for("c runs")
            self.assertEqual(daemon.stop(), 0)
        daemon = self.world.start(wait="c runs")
        for count in range(2, 5):
            self.world.command(f"restart-{count}", action="restart")
            daemon.wait_for("c runs", count=count)
        self.assertEqual((daemon.lines("one by one"), daemon.stop()), ([], 0))
