"""Programs that end, under the real daemon: started again, left alone, rolled back."""

from __future__ import annotations

import signal
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.world import World

LOOP = """import time

def main():
    log('{0} runs')
    while not should_quit():
        time.sleep(60)
    log('{0} quits')
"""
CRASH = """def main():
    log('{0} tries')
    raise ValueError('{0} fails')
"""
STUCK = """import threading

def main():
    log('stuck is in it')
    threading.Event().wait()
"""
SOON_PROVEN = (
    sys.executable,
    "-c",
    "from functools import partial; from himbeerecouch import tap; from twisted.scripts.twistd import run; "
    "tap.make_daemon = partial(tap.make_daemon, proven_after_s=1.0); run()",
)
"""twistd, with a daemon that takes a second for a minute."""


class RestartTests(SynchronousTestCase):
    """What the document says about the time after an end."""

    def setUp(self) -> None:
        self.world = World(self)

    def test_a_crash_is_nobody_elses(self) -> None:
        """A program that crashes at once waits longer and longer, and the one beside it never notices."""
        self.world.program("other", LOOP.format("other"))
        self.world.program("bad", CRASH.format("bad"))
        daemon = self.world.start(wait="other runs")
        for pause_s in (1, 2, 4):
            daemon.wait_for(f"crashed; it starts again in {pause_s} s")
        self.assertEqual(len(daemon.lines("bad tries")), 3)
        self.world.program("bad", CRASH.format("bad"), restart="sometimes")
        daemon.wait_for('"restart" must be one of "always", "on-failure", "never"')
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual((len(daemon.lines("other runs")), len(daemon.lines("other quits"))), (1, 1))

    def test_always_and_never(self) -> None:
        """``always`` starts again what has returned, ``never`` leaves even what has crashed."""
        self.world.program("never", CRASH.format("never"), restart="never")
        self.world.program("always", "def main():\n    log('always returns')\n", restart="always")
        daemon = self.world.start(wait="always returns")
        daemon.wait_for("always returns", count=3)
        daemon.wait_for("never tries")
        self.assertEqual(len(daemon.lines("never tries")), 1)
        self.assertEqual(self.world.get("always")["restart"], "always")

    def test_never_means_never_when_the_daemon_replaces_itself(self) -> None:
        """What is not to be started again is not by a daemon that had to replace itself for another's sake either."""
        self.world.program("never", CRASH.format("never"), restart="never")
        self.world.program("stuck", STUCK)
        daemon = self.world.start("--quit-timeout=1", wait="stuck is in it")
        daemon.wait_for("it starts again when its document changes")
        self.world.program("stuck", LOOP.format("unstuck"))
        daemon.wait_for("unstuck runs")
        self.world.program("never", CRASH.format("never once more"), restart="never")
        daemon.wait_for("never once more tries")
        self.assertEqual(len(daemon.lines("never tries")), 1)


class RollbackTests(SynchronousTestCase):
    """A revision that crashes from its start gives way to the one before."""

    def test_rollback(self) -> None:
        """After three crashes the one before runs, through a resync and a reload, until the document changes."""
        world = World(self)
        world.program("blink", LOOP.format("first"), rollback=True)
        world.program("other", LOOP.format("other"))
        daemon = world.start(wait="first runs", launcher=SOON_PROVEN)
        # The pauses of this one tell how much time has passed in the daemon.
        world.program("pacer", CRASH.format("pacer"))
        daemon.wait_for("pacer tries", count=2)
        good = world.get("blink")["_rev"]
        bad = world.program("blink", CRASH.format("second"), rollback=True)
        daemon.wait_for("first runs", count=2)
        daemon.wait_for(f"revision {bad} crashed 3 times within 1 s of its start: revision {good} runs in its place")
        self.assertEqual((len(daemon.lines("second tries")), len(daemon.lines("first quits"))), (3, 1))
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("first runs", count=3)
        world.program("witness", LOOP.format("witness"))
        daemon.wait_for("witness runs")
        self.assertEqual((len(daemon.lines("second tries")), len(daemon.lines("first runs"))), (3, 3))
        world.program("blink", LOOP.format("third"), rollback=True)
        daemon.wait_for("third runs")
        daemon.wait_for("first quits", count=3)
        # Once at the start, once after the reload.
        self.assertEqual((len(daemon.lines("second tries")), len(daemon.lines("other runs"))), (3, 2))
        self.assertEqual(daemon.stop(), 0)
