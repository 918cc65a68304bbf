"""The command ``himbeerecouch``, a server and simulated Pis, each in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import fleet
from benchmarks.world import Connection
from tests import embedded_server
from tests.integration.world import PATH, environment, until

ABSENT = 4711
CODE = "import time\n\ndef main():\n    while not should_quit():\n        print('tick')\n        time.sleep(0.1)\n"


class FleetCase(SynchronousTestCase):
    count = 1

    def setUp(self) -> None:
        """A server and its Pis."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.server = embedded_server.spawn(self, self.folder / "couch")
        self.admin = Connection(int(self.server.url.rpartition(":")[2]), user=self.server.admin)
        self.pis = fleet.mac_ids(self.count)
        fleet.enroll(self.admin, self.pis)
        processes = fleet.Processes(self.server.url, self.pis)
        self.addCleanup(processes.stop)
        processes.wait_until_started()
        fleet.wait_for_heartbeats(self.admin, self.count, within_s=60)
        fleet.wait_until_ready(self.admin, self.pis, within_s=60)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command."""
        name, password = self.server.admin
        login = {"HIMBEERECOUCH_USER": name, "HIMBEERECOUCH_PASSWORD": password}
        process = subprocess.Popen(
            [sys.executable, "-m", "himbeerecouch.cli", "--server", self.server.url, *arguments],
            cwd=self.folder,
            env={**environment(), **login},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def end(self, process: subprocess.Popen[str], number: signal.Signals | None = None) -> tuple[int, str, str]:
        """Let it end, or tell it to; give its exit status and what it wrote."""
        if number is not None:
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def ask(self, id: str) -> Any:
        """A document, None where there is none."""
        try:
            return self.admin.ask("GET", f"{PATH}/{id}")
        except RuntimeError:
            return None

    def command_of(self, mac_id: int, *members: str) -> dict[str, Any]:
        """The only command of a Pi, once it has these members."""

        def there() -> Any:
            rows = self.admin.ask("GET", f"{PATH}/_all_docs?include_docs=true")["rows"]
            found = [row["doc"] for row in rows if row["doc"].get("type") == f"{mac_id}_cmd"]
            return found and all(member in found[0] for member in members) and found[0]

        command: dict[str, Any] = until(there, f"a command with {members}", 60)
        return command


class OneTests(FleetCase):
    def test_interrupt(self) -> None:
        """Ctrl-C ends the command on the Pi as well, and what it had printed until then is printed."""
        [pi] = self.pis
        process = self.start("run", str(pi), "--", "sh", "-c", "echo begun; sleep 60")
        self.command_of(pi, "execution")
        status, out, err = self.end(process, signal.SIGINT)
        self.assertEqual((status, out), (130, "begun\n"), err)
        self.assertEqual(self.command_of(pi, "ret")["execution"]["state"], "cancelled")

    def test_interrupt_without_a_pi(self) -> None:
        """What a Pi that is away has not run is cancelled for when it is back, and nobody waits for that."""
        process = self.start("run", str(ABSENT), "--", "true")
        self.command_of(ABSENT)
        assert process.stderr is not None
        said = process.stderr.readline()
        self.assertIn("has never reported", said)
        status, out, err = self.end(process, signal.SIGINT)
        self.assertEqual((status, out), (130, ""))
        self.assertIn("the Pi has not answered yet", err)
        self.assertIs(self.command_of(ABSENT)["cancel"], True)

    def test_logs(self) -> None:
        """Lines come as they are printed, and with Ctrl-C the Pi is told that nobody looks on any more."""
        [pi] = self.pis
        self.admin.ask("PUT", f"{PATH}/clock", {"type": pi, "name": "clock", "code": CODE})
        process = self.start("logs", str(pi), "clock", "-f")
        assert process.stdout is not None
        # More than there are in the first minute's only document.
        lines = [process.stdout.readline() for _ in range(60)]
        self.assertEqual(set(lines), {"tick\n"})
        self.assertEqual(self.ask(f"{pi}_watch")["type"], f"{pi}_watch")
        status, _, err = self.end(process, signal.SIGINT)
        self.assertEqual((status, err), (0, ""))
        self.assertIsNone(self.ask(f"{pi}_watch"))

    def test_watch(self) -> None:
        """Every change of the fleet is a line, until Ctrl-C."""
        [pi] = self.pis
        process = self.start("status", "--watch", "--json")
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        self.assertEqual((first["mac_id"], first["presence"], first["programs"]), (pi, "online", []))
        self.admin.ask("PUT", f"{PATH}/clock", {"type": pi, "name": "clock", "code": CODE})
        while not (changed := json.loads(process.stdout.readline()))["programs"]:
            pass
        self.assertEqual(changed["programs"][0]["name"], "clock")
        self.assertEqual(self.end(process, signal.SIGINT)[0], 0)


class TwentyTests(FleetCase):
    count = 20

    def test_all(self) -> None:
        """A program reaches all of them, a command is answered by all, and the status has them all."""
        program = self.folder / "clock.py"
        program.write_text(CODE)
        status, out, err = self.end(self.start("deploy", str(program), "--all", "--json"))
        self.assertEqual(status, 0, err)
        self.assertEqual([each["outcome"] for each in json.loads(out)], ["running"] * self.count)
        status, out, err = self.end(self.start("run", "--all", "--json", "--", "echo", "hello"))
        self.assertEqual(status, 0, err)
        self.assertEqual([each["stdout"] for each in json.loads(out)], ["hello\n"] * self.count)
        status, out, err = self.end(self.start("status", "--json"))
        shown = [(pi["presence"], [program["state"] for program in pi["programs"]]) for pi in json.loads(out)]
        self.assertEqual(shown, [("online", ["running"])] * self.count)
