"""The shell lines of the documents, run as they stand: from a Pi that nobody knows to a program that runs."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from himbeerecouch.demo import Couch
from himbeerecouch.discovery.ask import probe
from tests.integration.world import DATABASE, MAC_ID, PATH, ROOT, Daemon, World, environment, until
from tests.test_docs import DOCS, README, blocks

STARTED = DOCS / "getting-started.rst"
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

    def run_lines(self, script: str, variables: Mapping[str, str] | None = None) -> str:
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
            ["bash", "-eu"],
            input=script,
            cwd=ROOT,
            env={**environment(), **(variables or {})},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
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
        """The commands of the README enrol a Pi and make it run a program, and one on the Pi is answered."""
        steps = "".join(block for block in blocks(README, "console") if "$ himbeerecouch " in block).splitlines()
        typed = [line[2:] for line in steps if line.startswith("$ himbeerecouch ")]
        shown = [line for line in steps if not line.startswith("$ ")]
        self.assertEqual([line.split()[1] for line in typed], ["setup", "enroll", "name", "deploy", "status", "run"])
        # What a person answers, and the port, which others on this machine use.
        answers = f"--yes --discovery-port={self.port}"
        command = (
            f'himbeerecouch() {{ local name=$1; shift; [ $name != enroll ] || set -- {answers} "$@"; '
            f'{sys.executable} -m himbeerecouch.cli $name "$@"; }}'
        )
        written = self.run_lines("\n".join([command, *typed]), self.operator())
        self.assertLessEqual(set(shown), set(written.splitlines()))
        self.assertIn("\nLinux ", written)
        self.daemon.wait_for("program clock: it is")

    def test_getting_started(self) -> None:
        """Those of getting-started.rst do it by hand, save a file twice, and make the indexes."""
        self.run_document(STARTED)
        self.daemon.wait_for("program clock: it is")
        self.assertTrue(self.world.get("clock")["_rev"].startswith("2-"))

    def test_guarded_later(self) -> None:
        """What was made by hand is open, which the check says; set up, the same Pi goes on, and writes no programs."""
        self.run_document(STARTED)
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

    def operator(self) -> dict[str, str]:
        """What the command finds in its environment, in place of the README's server and a person's password."""
        user, password = self.world.server.admin
        return {
            "HIMBEERECOUCH_SERVER": self.world.server.url,
            "HIMBEERECOUCH_USER": user,
            "HIMBEERECOUCH_PASSWORD": password,
        }

    def run_setup(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run ``himbeerecouch setup`` as the admin."""
        return subprocess.run(
            [sys.executable, "-m", "himbeerecouch.cli", "setup", *options],
            env={**environment(), **self.operator()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def test_security(self) -> None:
        """The lines of security.rst make an operator, and close a database that was public; the Pi goes on."""
        self.run_document(STARTED)
        for path in (PATH, f"{PATH}_status"):
            self.world.couch.ask("PUT", f"{path}/_security", {"members": {}})
        self.assertIn(f"open: {DATABASE} is public", self.run_setup("--check").stdout)
        self.run_lines("\n".join(blocks(DOCS / "security.rst", "sh")))
        self.assertNotIn("is public", self.run_setup("--check").stdout)
        self.run_setup()
        self.world.couch = Couch(self.world.server.url, "alice", "hers-alone")
        self.assertEqual(self.world.command("c", "echo", "x")["ret"], ["x\n", ""])
