"""The whole way by the command himbeerecouch, on a real server with a real daemon; and an operator who is no admin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.fleet.rights import OPERATOR
from tests.integration.test_readme import free_udp_port
from tests.integration.world import DATABASE, MAC_ID, PATH, WITHIN_S, World, environment, until

PI = str(MAC_ID)
LOOP = "import time\n\ndef main():\n    log('{0}')\n    while not should_quit():\n        time.sleep(60)\n"


class OperatorTests(SynchronousTestCase):
    timeout = 240

    def setUp(self) -> None:
        self.world = World(self, database=False, user=False)
        self.who = self.world.server.admin
        self.here = self.world.folder / "here"
        self.here.mkdir()

    def run_cli(self, *arguments: str, status: int = 0, stdout: int = subprocess.PIPE) -> str:
        """Run the command to its end, where no terminal is; give its standard output."""
        user, password = self.who
        variables = {
            "HIMBEERECOUCH_SERVER": self.world.server.url,
            "HIMBEERECOUCH_USER": user,
            "HIMBEERECOUCH_PASSWORD": password,
        }
        done = subprocess.run(
            [sys.executable, "-m", "himbeerecouch.cli", *arguments],
            cwd=self.here,
            env={**environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, status, f"{arguments}\n{done.stdout}{done.stderr}")
        self.said = done.stderr
        return done.stdout

    def write(self, source: str) -> Path:
        """Write the program's file."""
        path = self.here / "blink.py"
        path.write_text(source)
        return path

    def log_in_as_an_operator(self) -> None:
        """From now on the command is used by somebody who has the role, and is no admin."""
        user = {"name": "olga", "password": "olgas", "roles": [OPERATOR], "type": "user"}
        self.world.couch.ask("PUT", "/_users/org.couchdb.user:olga", user)
        self.who = ("olga", "olgas")

    def test_five_commands(self) -> None:
        """From a server without anything, and a Pi that waits, to a program that runs, by five commands."""
        port = free_udp_port()
        daemon = self.world.start("--discovery=enroll", f"--discovery-port={port}", password=False, wait="Enrol the Pi")
        self.write(LOOP.format("hello"))
        self.assertIn(f"created the database {DATABASE}", self.run_cli("setup"))
        self.run_cli("enroll", PI, f"--discovery-port={port}", "--yes", "--wait", f"{WITHIN_S}")
        self.assertEqual(self.run_cli("deploy", "blink.py", "--to", PI), f"blink on {PI}: running\n")
        self.assertIn("blink", self.run_cli("status"))
        self.assertEqual(self.run_cli("run", PI, "--", "echo", "hello"), "hello\n")
        self.assertEqual(len(daemon.lines("program blink: hello")), 1)
        self.assertEqual(self.run_cli("setup", "--check").count("open: "), 0)

    def test_no_terminal(self) -> None:
        """Where no terminal is to ask for a password, it says which option is for that, and does not read one."""
        self.run_cli("enroll", "7", "--timeout", "0.1", "--discovery-port", "9", status=2)
        self.assertIn("there is nobody to ask: Password of the Pi 7? Give --password-file\n", self.said)
        self.assertNotIn("Warning", self.said)

    def test_full_disk(self) -> None:
        """What could not be written is not taken for done."""
        with Path("/dev/full").open("wb") as full:
            self.run_cli("setup", status=1, stdout=full.fileno())
        self.assertEqual(self.said.splitlines()[-1], "Error: the output can't be written: No space left on device")
        self.assertNotIn("Traceback", self.said)

    def test_an_operator_is_enough(self) -> None:
        """All that one does from day to day passes the guard, and what takes an admin is refused in clear words."""
        self.run_cli("setup")
        (self.here / "password").write_text("pi-secret\n")
        self.run_cli("enroll", PI, "--password-file", "password", "--wait", "0")
        daemon = self.world.start(wait="read afresh")
        self.log_in_as_an_operator()
        self.write(LOOP.format("first"))
        self.run_cli("name", PI, "lab-thermo")
        self.run_cli("deploy", "blink.py", "--to", "lab-thermo")
        self.write(LOOP.format("second"))
        self.run_cli("deploy", "blink.py", "--to", "lab-thermo")
        daemon.wait_for("program blink: second")
        self.assertIn("olga", self.run_cli("history", "lab-thermo", "blink"))
        self.run_cli("rollback", "lab-thermo", "blink")
        daemon.wait_for("program blink: first", count=2)
        self.run_cli("stop", "lab-thermo", "blink")
        self.run_cli("start", "lab-thermo", "blink")
        self.assertIn("lab-thermo", self.run_cli("status"))
        until(lambda: "first" in self.run_cli("logs", "lab-thermo"), "its log")
        self.assertEqual(self.run_cli("run", "lab-thermo", "--", "sh", "-c", "echo x; exit 3", status=3), "x\n")
        self.run_cli("identify", "lab-thermo")
        self.run_cli("remove", "lab-thermo", "blink", "--yes")
        self.run_cli("name", "lab-thermo", "--remove")
        for refused in (["setup"], ["revoke", PI, "--yes"]):
            self.run_cli(*refused, status=1)
            self.assertIn("admin", self.said)
        rights: Any = self.world.couch.ask("GET", f"{PATH}/_security")
        self.assertIn(OPERATOR, rights["members"]["roles"])
        self.assertNotIn(OPERATOR, daemon.log())
