"""The shell lines of the documents, run as they stand: from a Pi that nobody knows to a program that runs."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from himbeerecouch.demo import Couch
from himbeerecouch.discovery.ask import probe
from tests.integration.world import DATABASE, MAC_ID, PATH, ROOT, Daemon, World, environment, until
from tests.test_docs import DOCS, README, blocks

SERVER = "http://admin:password@server.name:5984"


def free_udp_port() -> int:
    """A port that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("", 0))
        return int(held.getsockname()[1])


class ReadmeTests(SynchronousTestCase):
    timeout = 180

    def setUp(self) -> None:
        if shutil.which("curl") is None or shutil.which("bash") is None:
            raise SkipTest("there is no curl or no bash to run the lines of the documents with")
        self.world = World(self, database=False, user=False)
        self.port = free_udp_port()
        self.daemon: Daemon = self.world.start(
            "--discovery=enroll", f"--discovery-port={self.port}", password=False, wait="Enrol the Pi"
        )

    def run_lines(self, script: str) -> str:
        """Run lines of a document in a shell, with this server and this Pi in place of those in it."""
        user, password = self.world.server.admin
        here = self.world.server.url.replace("://", f"://{user}:{password}@")
        # Each asker is answered once a second, so one that comes too soon asks again.
        found = until(lambda: [each for each in probe("http://x", 1.0, port=self.port) if each.mac_id == MAC_ID], "it")[
            0
        ]
        script = script.replace(SERVER, here).replace("1234566", str(MAC_ID))
        script = script.replace("apassword", found.password or "(enrolled)")
        done = subprocess.run(
            ["bash", "-eu"], input=script, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual(done.returncode, 0, f"{script}\n{done.stderr}")
        self.assertNotIn('{"error"', done.stdout, script)
        return done.stdout

    def run_document(self, path: Path) -> str:
        """Run all that a document has typed on the machine one sits at; return what the lines after enrolling wrote."""
        here = [block for block in blocks(path, "sh") if "sudo" not in block]
        (users,) = (number for number, block in enumerate(here) if "_users/" in block)
        first, then = here[: users + 1], here[users + 1 :]
        self.run_lines("\n".join(first))
        # The second probe, as the document says, which makes the Pi try to log in soon.
        self.assertTrue(probe("http://x", 1.0, port=self.port))
        self.daemon.wait_for("read afresh")
        written = self.run_lines("\n".join([f"COUCH={SERVER}", *then]))
        self.daemon.wait_for("Hello from the Pi")
        return written

    def test_readme(self) -> None:
        """The five steps of the README make a Pi run a program, and its command is answered."""
        self.run_document(README)
        answer = until(lambda: self.world.get("look-1").get("ret"), "an answer to the command")
        self.assertIn("Linux", answer[0])

    def test_getting_started(self) -> None:
        """So do those of getting-started.rst, which also saves a file twice and makes the indexes."""
        self.run_document(DOCS / "getting-started.rst")
        self.daemon.wait_for("program clock: it is")
        self.assertTrue(self.world.get("clock")["_rev"].startswith("2-"))

    def test_guarded_later(self) -> None:
        """What was made by hand is open, which the check says; set up, the same Pi goes on, and writes no programs."""
        self.run_document(README)
        before = self.run_setup("--check")
        self.assertEqual(before.returncode, 1, before.stderr)
        self.assertIn(f"open: {DATABASE} has no guard", before.stdout)
        done = self.run_setup()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{DATABASE}: put up the guard", done.stdout)
        self.assertNotIn("let in", done.stdout)
        after = self.run_setup("--check")
        self.assertEqual((after.returncode, "nothing" in after.stdout), (0, False), after.stdout + after.stderr)
        self.world.program("second", "def main():\n    log('after the guard')\n")
        self.daemon.wait_for("after the guard")
        self.assertEqual(self.world.command("c", "echo", "x")["ret"], ["x\n", ""])
        account = json.loads((self.world.state_dir / str(MAC_ID) / "account.json").read_text())
        pi = Couch(self.world.server.url, str(MAC_ID), account["password"])
        with self.assertRaises(OSError) as caught:
            pi.ask("PUT", f"{PATH}/evil", {"type": MAC_ID + 1, "code": "x"})
        self.assertIn("403", str(caught.exception))

    def run_setup(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run ``himbeerecouch setup`` as the admin."""
        user, password = self.world.server.admin
        variables = {
            "HIMBEERECOUCH_SERVER": self.world.server.url,
            "HIMBEERECOUCH_USER": user,
            "HIMBEERECOUCH_PASSWORD": password,
        }
        return subprocess.run(
            [sys.executable, "-m", "himbeerecouch.cli", "setup", *options],
            env={**environment(), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def test_security(self) -> None:
        """The lines of security.rst make an operator, and close a database that was public; the Pi goes on."""
        self.run_document(README)
        for path in (PATH, f"{PATH}_status"):
            self.world.couch.ask("PUT", f"{path}/_security", {"members": {}})
        self.assertIn(f"open: {DATABASE} is public", self.run_setup("--check").stdout)
        self.run_lines("\n".join(blocks(DOCS / "security.rst", "sh")))
        self.assertNotIn("is public", self.run_setup("--check").stdout)
        self.run_setup()
        self.world.couch = Couch(self.world.server.url, "alice", "hers-alone")
        self.assertEqual(self.world.command("c", "echo", "x")["ret"], ["x\n", ""])
