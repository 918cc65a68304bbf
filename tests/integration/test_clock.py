"""The wall clock is set while the real daemon runs, as it is on every Pi once a time server answers: nothing of ours
goes by it.  Only the daemon sees the other time; the machine's clock, the test's and the server's stay as they are."""

from __future__ import annotations

import itertools
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import rfc3339
from tests import embedded_server
from tests.clock_shim import ClockShim
from tests.integration.world import MAC_ID, TWISTD, World, environment, until
from tests.tls import Authority

HOUR_S = 3600.0
LATE_S = 15.0
"""What a busy machine may add to a time; an hour is far from it."""

CLOCKS = """import time

def main():
    while not should_quit():
        log('clocks', time.monotonic(), time.time())
        time.sleep(0.5)
"""

CRASH = """import time

def main():
    log('attempt', time.monotonic())
    raise ValueError('again')
"""


class SteppedClock(SynchronousTestCase):
    def setUp(self) -> None:
        self.shim = ClockShim.make(self)
        self.world = World(self)

    def numbers(self, word: str) -> list[list[float]]:
        """What the programs have logged behind a word."""
        lines = [line.partition(f": {word} ")[2].split() for line in self.daemon.lines(f": {word} ")]
        return [[float(number) for number in numbers] for numbers in lines]

    def clock_of_daemon_is_off_by(self) -> float:
        """How far the daemon's clock is ahead of the real one, by what a program sees after now."""
        now_s = time.monotonic()
        seen = until(
            lambda: [(mono, wall) for mono, wall in self.numbers("clocks") if mono > now_s], "a look at the clock"
        )
        mono, wall = seen[-1]
        return float(wall - (time.time() - time.monotonic() + mono))

    def attempts(self, count: int) -> list[float]:
        """When the program that crashes was started, once that was so many times."""
        found: list[list[float]] = until(
            lambda: seen if len(seen := self.numbers("attempt")) >= count else None, f"{count} attempts"
        )
        return [number for (number,) in found]

    def ask(self, id: str, expires_in_s: float) -> str:
        """How a command ends that expires then, by the server's clock."""
        document = self.world.command(id, "date", expires=rfc3339.render(time.time() + expires_in_s))
        return str(document["execution"]["state"])

    def test_steps(self) -> None:
        """An hour ahead, then two back: pauses, timeouts and polls take as long as they should, and what expires
        does so by the server's clock."""
        self.world.program("clocks", CLOCKS)
        with self.shim.environment():
            self.daemon = self.world.start(wait=": clocks ")
        self.world.program("crash", CRASH)
        self.attempts(3)
        began_s = time.monotonic()
        self.world.save("long", type=f"{MAC_ID}_cmd", cmd=["sleep", "600"], timeout=8)
        until(lambda: "execution" in self.world.get("long"), "the start of the command")

        self.shim.set_offset(HOUR_S)
        self.assertApproximates(self.clock_of_daemon_is_off_by(), HOUR_S, 2.0)
        self.assertEqual(self.ask("soon", 600.0), "done")
        # The pauses are 1, 2, 4 and 8 s: the third is under way now, the fourth when the clock goes back.
        self.attempts(4)

        self.shim.set_offset(-HOUR_S)
        self.assertApproximates(self.clock_of_daemon_is_off_by(), -HOUR_S, 2.0)
        self.assertEqual(self.ask("past", -600.0), "expired")
        answer = self.world.answered("long")
        took_s = time.monotonic() - began_s
        self.assertEqual(answer["execution"]["state"], "timeout")
        self.assertTrue(8.0 <= took_s < 8.0 + LATE_S, took_s)
        for name in ("started", "finished"):
            self.assertApproximates(rfc3339.parse(answer["execution"][name]), time.time(), 60.0)

        attempts = self.attempts(5)
        for pause_s, before_s, after_s in zip((1.0, 2.0, 4.0, 8.0), attempts, attempts[1:], strict=False):
            self.assertTrue(pause_s <= after_s - before_s < pause_s + LATE_S, (pause_s, attempts))
        ticks = [mono for mono, _ in self.numbers("clocks")]
        self.assertLess(max(after_s - before_s for before_s, after_s in itertools.pairwise(ticks)), LATE_S)

        self.world.program("crash", "def main():\n    log('mended')\n")
        self.daemon.wait_for("mended", within_s=LATE_S)
        # A deadline that came early would have cut the long poll, and be complained about.
        self.assertEqual(self.daemon.lines("himbeerecouch.couch.changes#warn"), [])
        self.assertEqual(self.daemon.stop(), 0)

    def test_boots_in_1970(self) -> None:
        """With the clock at 1970 the server's certificate is refused, again and again; once the clock is right, the
        daemon is in, and what expires is judged rightly."""
        authority = Authority("lab")
        pem, ca = self.world.folder / "server.pem", self.world.folder / "ca.pem"
        pem.write_bytes(authority.issue_pem("localhost"))
        ca.write_bytes(authority.pem)
        port = embedded_server.free_port()
        self.forward(f"ssl:{port}:interface=127.0.0.1:privateKey={pem}:certKey={pem}", self.world.folder)
        self.world.server_file.write_text(f"https://localhost:{port}\n")
        self.world.program("clocks", CLOCKS)
        for id, expires_in_s in (("ahead", 600.0), ("past", -600.0)):
            expires = rfc3339.render(time.time() + expires_in_s)
            self.world.save(id, type=f"{MAC_ID}_cmd", cmd=["true"], expires=expires)

        self.shim.set_time(1000.0)
        with self.shim.environment():
            self.daemon = self.world.start(f"--ca-file={ca}", wait="its certificate is refused")
        # Long enough for a few more attempts: none is let through.
        time.sleep(5.0)
        self.assertEqual(self.daemon.lines(": clocks "), [])
        self.assertNotIn("execution", self.world.get("ahead"))

        self.shim.set_offset(0.0)
        self.daemon.wait_for(": clocks ", within_s=90.0)
        self.assertEqual(self.world.answered("ahead")["execution"]["state"], "done")
        self.assertEqual(self.world.answered("past")["execution"]["state"], "expired")
        self.assertEqual(self.daemon.stop(), 0)

    def forward(self, listen: str, folder: Path) -> None:
        """Serve the world's server at one more address."""
        plain = self.world.server.url.rpartition(":")[2]
        argv = [*TWISTD, "--nodaemon", "--pidfile=", f"--logfile={folder}/forward.log", "portforward"]
        argv += [f"--port={listen}", "--host=127.0.0.1", f"--dest_port={plain}"]
        process = subprocess.Popen(argv, cwd=folder, env=environment(), stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
