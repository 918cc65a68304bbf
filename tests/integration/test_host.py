"""The host on the real reactor: many programs, many edits, much output."""

from __future__ import annotations

import gc
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from himbeerecouch.model import Program, ProgramState
from himbeerecouch.programs.host import Host


def descriptors() -> int:
    """How many files are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


class RealHost(TestCase):
    """Each test ends with no thread, descriptor or delayed call left; trial itself looks for the latter."""

    timeout = 60

    def setUp(self) -> None:
        """Start a host."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.lines: list[str] = []
        self.reasons: list[str] = []
        self.threads_before = set(threading.enumerate())
        self.host = Host(
            self.reactor,
            global_modules=dict,
            replace=self.reasons.append,
            changed=lambda id: None,
            sink=lambda program, line: self.lines.append(line),
            quit_timeout_s=1.0,
            raise_after_s=0.3,
        )
        self.host.startService()

    async def tearDown(self) -> None:  # type: ignore[override]
        """Stop it, and see that nothing is left."""
        if self.host.running:
            await self.host.stopService()
        self.assertEqual(set(threading.enumerate()) - self.threads_before, set())

    def start(self, code: str, id: str = "clock", rev: str = "1-a") -> None:
        """Give the host a program."""
        self.host.start(Program(id, rev, id, {"main": code}, digest=rev))

    async def pause(self, seconds: float) -> None:
        """Let the reactor turn for so long."""
        await deferLater(self.reactor, seconds, int)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until it holds; trial's timeout ends what never comes."""
        while not condition():
            await self.pause(0.005)

    def states(self) -> set[ProgramState]:
        """What the programs are doing, all together."""
        return {report.state for report in self.host.reports()}

    async def test_two_hundred_programs(self) -> None:
        """They all run at once, and all quit at once; the reactor is never held for long."""
        pauses_s: list[float] = []

        def look(before_s: float) -> None:
            now_s = time.monotonic()
            pauses_s.append(now_s - before_s)
            watch[0] = self.reactor.callLater(0, look, now_s)

        watch: list[Any] = [self.reactor.callLater(0, look, time.monotonic())]
        code = "import time\ndef main():\n    while not should_quit(): time.sleep(3600)\n"
        for number in range(200):
            self.start(code, id=f"program {number}")
        await self.until(lambda: self.states() == {ProgramState.RUNNING})
        self.assertGreaterEqual(threading.active_count(), 200)
        await self.host.stopService()
        watch[0].cancel()
        self.assertEqual((self.host.stuck(), self.host.reports()), ((), []))
        self.assertLess(max(pauses_s), 2.0)

    async def test_many_edits_and_reloads(self) -> None:
        """Whatever the pace of the edits, the last one runs, and threads and descriptors are as before."""
        self.start("def main(): pass")
        await self.until(lambda: self.states() == {ProgramState.FINISHED})
        before = descriptors()
        for number in range(300):
            self.start(f"def main(): print({number})", rev=f"{number}-x")
            if number % 3 == 0:
                await self.pause(0)
        await self.until(lambda: "299" in self.lines)
        self.assertLessEqual(descriptors(), before)
        self.assertEqual([name for name in sys.modules if name.startswith("himbeerecouch_program_")], [])

    async def test_flood(self) -> None:
        """A program that prints as fast as it can costs neither memory nor the reactor its turn."""
        code = "def main():\n    line = 'x' * 999\n    while not should_quit(): print(line)\n"
        self.start(code)
        await self.until(lambda: self.lines)
        gc.collect()
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began_s, turns = time.monotonic(), 0
        while time.monotonic() - began_s < 1.5:
            await self.pause(0)
            turns += 1
        self.assertGreater(turns, 20)
        # How fast it can print is up to the machine, and to what else that does.
        await self.until(lambda: self.host.dropped_lines("clock") > 1_000)
        self.assertLess(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb, 10_000)
        self.assertLess(len(self.lines), 500)

    async def test_a_beginners_loop(self) -> None:
        """while True with a sleep gives way to the new revision by the exception that is raised in it."""
        self.start("import time\ndef main():\n    print('old')\n    while True: time.sleep(60)\n")
        await self.until(lambda: "old" in self.lines)
        self.start("def main(): print('new')", rev="2-b")
        await self.until(lambda: "new" in self.lines)
        self.assertEqual(self.reasons, [])

    async def test_blocked_in_c(self) -> None:
        """A thread that nothing reaches leads to the replacement, whose reason names the program."""
        readable, writable = os.pipe()
        self.addCleanup(os.close, readable)
        self.start(f"import os\ndef main():\n    print('old')\n    os.read({readable}, 1)\n")
        await self.until(lambda: "old" in self.lines)
        self.start("def main(): print('new')", rev="2-b")
        await self.until(lambda: self.reasons)
        self.assertEqual(self.host.stuck(), ("clock",))
        left: Deferred[tuple[str, ...]] = self.host.quit_all(5.0)
        self.assertEqual(await left, ("clock",))
        os.close(writable)
        await self.until(lambda: not self.host.reports())
