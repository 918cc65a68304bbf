"""A program's life from the operator's side: the command himbeerecouch, a real daemon, a real server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.test_boot import LOOP
from tests.integration.world import MAC_ID, ROOT, World, environment, until

CRASH = "import time\n\ndef main():\n    time.sleep(0.2)\n    raise ValueError('no sensor')\n"


class ProgramTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)
        self.here = self.world.folder / "here"
        self.here.mkdir()

    def environment(self) -> dict[str, str]:
        user, password = self.world.server.admin
        return {
            **environment(),
            "HIMBEERECOUCH_SERVER": self.world.server.url,
            "HIMBEERECOUCH_USER": user,
            "HIMBEERECOUCH_PASSWORD": password,
        }

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command, in the folder of the sources."""
        process = subprocess.Popen(
            [sys.executable, "-m", "himbeerecouch.cli", *arguments],
            cwd=self.here,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(lambda: [stream.close() for stream in (process.stdout, process.stderr) if stream])
        return process

    def run_cli(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """Run the command to its end; give what it has printed."""
        process = self.begin(*arguments)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, status, out + err)
        return out, err

    def write(self, name: str, source: str) -> Path:
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return path

    def table(self, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
        out, _ = self.run_cli(*arguments, "--json", status=status)
        found: list[dict[str, Any]] = json.loads(out)
        return found

    def test_life(self) -> None:
        """Deployed, crashed, rolled back, stopped, started, removed and brought back: each is what the Pi says."""
        daemon = self.world.start(wait="read afresh")
        pi = str(MAC_ID)
        self.write("blink.py", LOOP.format("first"))
        out, err = self.run_cli("deploy", "blink.py", "--to", pi)
        self.assertEqual(out, f"blink on {pi}: running\n")
        self.assertIn("saved, revision 1-", err)
        daemon.wait_for("first runs")
        (again,) = self.table("deploy", "blink.py", "--to", pi)
        self.assertEqual((again["changed"], again["outcome"], again["error"]), (False, "running", None))

        self.write("blink.py", CRASH)
        out, err = self.run_cli("deploy", "blink.py", "--to", pi, status=1)
        self.assertEqual(out, "")
        self.assertIn(", in place of 1-", err)
        self.assertIn("saved by admin at 20", err)
        self.assertIn('File "blink.py", line 5, in main\n', err)
        self.assertIn("ValueError: no sensor", err)

        self.assertEqual([one["outcome"] for one in self.table("rollback", pi, "blink")], ["running"])
        self.assertEqual(self.world.get(f"{pi}:blink")["code"], LOOP.format("first"))
        (stopped,) = self.table("stop", pi, "blink")
        self.assertEqual((stopped["outcome"], stopped["error"]), ("stopped", None))
        self.assertEqual(self.run_cli("stop", pi, "blink")[0], f"blink on {pi}: stopped\n")
        _, err = self.run_cli("deploy", "blink.py", "--to", pi, "--force", status=1)
        self.assertIn("himbeerecouch start has it run", err)
        self.run_cli("rollback", pi, "blink", "1", status=1)
        self.assertEqual(self.run_cli("start", pi, "blink")[0], f"blink on {pi}: running\n")

        self.assertEqual(self.run_cli("remove", pi, "blink", "--yes")[0], f"blink on {pi}: removed\n")
        self.run_cli("pull", pi, "blink", status=1)
        self.run_cli("rollback", pi, "blink")
        versions = self.table("history", pi, "blink")
        self.assertEqual(
            [one["rev"].partition("-")[0] for one in versions], ["9", "8", "7", "6", "5", "4", "3", "2", "1"]
        )
        self.assertEqual({one["by"] for one in versions}, {"admin"})
        self.assertEqual([one["rev"] for one in versions if one.get("removed")], [versions[1]["rev"]])
        self.assertEqual(len(daemon.lines("first runs")), 4)
        (self.here / "blink.py").unlink()
        self.run_cli("pull", pi, "blink")
        self.assertEqual((self.here / "blink.py").read_text(), LOOP.format("first"))
        self.assertEqual(self.run_cli("diff", pi, "blink")[0], "")
        out, _ = self.run_cli("diff", pi, "blink", "--rev", "2", status=1)
        self.assertIn("-    raise ValueError('no sensor')\n", out)

    def test_watch(self) -> None:
        """--watch deploys what is saved, says what does not compile, and ends by Ctrl-C with the exit status 0."""
        daemon = self.world.start(wait="read afresh")
        self.write("heater/main.py", LOOP.format("one"))
        process = self.begin("deploy", "heater", "--to", str(MAC_ID), "--watch")
        daemon.wait_for("one runs")
        self.write("heater/main.py", "def main(:\n")
        self.write("heater/main.py", "import pins\n" + LOOP.format("two"))
        self.write("heater/pins.py", "PIN = 4\n")
        daemon.wait_for("two runs")
        id = f"{MAC_ID}:heater"
        until(lambda: self.world.get(id).get("modules") == {"pins": "PIN = 4\n"}, "the module")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual(str(ROOT) in err, False)
