"""Real programs: started in their own group, bounded in output, and ended with all that they left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import ConnectionDone, ProcessExitedAlready
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from himbeerecouch.commands import process, spawn
from himbeerecouch.commands.process import Ended, Run, environment, why_not

ENV = environment(os.environ)
LONG_S = 300.0
"""Longer than a test may take."""


class ProcessTests(TestCase):
    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for coroutines
        # A reactor that runs has descriptors of its own.
        await deferLater(reactor, 0, lambda: None)
        self.folder = new_folder(self.mktemp())
        self.runs: list[Run] = []
        self.descriptors = open_descriptors()

    async def tearDown(self) -> None:  # type: ignore[override]
        for run in self.runs:
            run.abandon()
            await run.gone
        self.assertEqual(open_descriptors(), self.descriptors)

    def start(self, *argv: str, **options: Any) -> Run:
        run = Run(reactor, spawn.spawn, **options)
        run.start(argv, env=ENV)
        self.runs.append(run)
        return run

    async def run_shell(self, script: str, **options: Any) -> Ended:
        return await self.start("sh", "-c", script, **options).ended

    def not_started(self, *argv: str) -> str:
        run = Run(reactor, spawn.spawn)
        error = self.assertRaises((OSError, ValueError), run.start, argv, env=ENV)
        return why_not(error, argv, ENV)

    # --- how it ends --------------------------------------------------------------------------------------------------

    async def test_ends(self) -> None:
        """What it wrote and how it ended is told, and nothing is left."""
        for script, expected in (
            ("echo out; echo err >&2", Ended("out\n", "err\n", 0, 0, None)),
            ("exit 3", Ended("", "", 0, 3, None)),
            ("kill -9 $$", Ended("", "", 0, None, 9)),
            ("printf 'a\\377b'", Ended("a\ufffdb", "", 0, 0, None)),
        ):
            run = self.start("sh", "-c", script)
            self.assertEqual(await run.ended, expected)
            await run.gone

    async def test_surroundings(self) -> None:
        """It starts in the root folder, in a session of its own, with empty input and no descriptor of the daemon."""
        read_end, write_end = os.pipe()
        os.set_inheritable(read_end, True)
        ended = await self.run_shell("pwd; cat; ls /proc/self/fd; cut -d' ' -f1,5,6 /proc/$$/stat; echo $$")
        os.close(read_end)
        os.close(write_end)
        lines = ended.stdout.split("\n")
        pid = lines[-2]
        self.assertEqual(lines, ["/", "0", "1", "2", "3", f"{pid} {pid} {pid}", pid, ""])

    async def test_signals(self) -> None:
        """The daemon's ignored signals are not its own: a broken pipe ends it."""
        ended = await self.run_shell("(yes; echo $? >&2) | head -n 1; sleep 0.1")
        self.assertEqual((ended.stdout, ended.stderr), ("y\n", f"{128 + signal.SIGPIPE}\n"))

    async def test_large_output(self) -> None:
        """Of a flood, the first and the last part is kept, and the rest is counted."""
        ended = await self.run_shell("seq 1 400000; seq 1 3 >&2")
        total = sum(len(f"{number}\n") for number in range(1, 400001))
        self.assertTrue(ended.stdout.startswith("1\n2\n3\n"))
        self.assertTrue(ended.stdout.endswith("399999\n400000\n"))
        self.assertEqual(ended.stderr, "1\n2\n3\n")
        self.assertEqual(ended.dropped_bytes, total - process.LIMIT_BYTES)

    async def test_flood_is_bounded(self) -> None:
        """A gigabyte of output needs no memory, and the reactor goes on meanwhile."""
        before = resident_bytes()
        run = self.start("head", "-c", "1000000000", "/dev/zero")
        ticks = 0
        while not run.ended.called:
            await deferLater(reactor, 0.01, lambda: None)
            ticks += 1
        ended = await run.ended
        self.assertEqual(ended.dropped_bytes, 1_000_000_000 - process.LIMIT_BYTES)
        self.assertGreater(ticks, 5)
        self.assertLess(resident_bytes() - before, 20_000_000)

    async def test_output_after_a_stall(self) -> None:
        """What was written while the reactor was held up is not lost."""
        run = self.start("sh", "-c", "echo early; sleep 0.1 & echo late")
        hold_up(0.4)
        self.assertEqual((await run.ended).stdout, "early\nlate\n")

    async def test_background(self) -> None:
        """What it left in the background holds nothing up, and is let alone: it goes on after the answer."""
        pid_file = self.folder / "pid"
        run = self.start("sh", "-c", f"sleep {LONG_S} & echo $! > {pid_file}; echo done")
        ended = await run.ended
        self.assertEqual((ended.stdout, ended.exit_code), ("done\n", 0))
        await run.gone
        pid = int(pid_file.read_text())
        self.assertTrue(alive(pid))
        os.kill(pid, signal.SIGKILL)

    # --- to be ended --------------------------------------------------------------------------------------------------

    async def test_told_to_end(self) -> None:
        """TERM ends it at once, and where nobody is left, nothing is waited for."""
        run = self.start("sh", "-c", f"sleep {LONG_S}")
        run.end(LONG_S)  # who waited for that would not be there before the test's own end
        self.assertEqual((await run.ended).signal, signal.SIGTERM)
        await run.gone
        run.end()

    async def test_killed(self) -> None:
        """What does not heed TERM is killed, with all its children; a second call can only shorten that."""
        run = self.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
        await self.output(run, "ready")
        run.end(LONG_S)
        run.end(2 * LONG_S)
        run.end(0.1)
        ended = await run.ended
        self.assertEqual((ended.stdout, ended.signal), ("ready\n", signal.SIGKILL))
        await run.gone

    async def test_children_are_killed(self) -> None:
        """Where it ends and its children do not, it is answered, and they are killed when the time is over."""
        pid_file = self.folder / "pid"
        script = (
            f"(trap '' TERM; echo ready; exec 1>&- 2>&-; while :; do sleep 0.05; done) & echo $! > {pid_file}; wait"
        )
        run = self.start("sh", "-c", script)
        await self.output(run, "ready")
        child = int(pid_file.read_text())
        run.end(0.4)
        self.assertEqual((await run.ended).signal, signal.SIGTERM)
        self.assertFalse(run.gone.called)
        self.assertTrue(alive(child))
        await run.gone
        await self.until(lambda: not alive(child))

    async def test_can_not_be_killed(self) -> None:
        """What hangs in the kernel, or belongs to another user, is given up, and answered with what there is."""
        self.patch(process, "UNKILLABLE_S", 0.1)
        run = self.start("sh", "-c", f"echo ready; exec sleep {LONG_S}")
        await self.output(run, "ready")
        refused = os.killpg
        self.patch(os, "killpg", self._not_permitted)
        run.end(0.1)
        self.assertEqual(await run.ended, Ended("ready\n", "", 0, None, None))
        await run.gone
        assert run._child is not None
        refused(run._child.pid, signal.SIGKILL)

    def _not_permitted(self, _group: int, _signal: int) -> None:
        raise PermissionError

    async def test_own_group_only(self) -> None:
        """However soon it is ended, the signal hits nobody else."""
        for _ in range(20):
            run = self.start("sleep", str(LONG_S))
            run.end()
            await run.ended
            self.assertNotEqual(run._child and run._child.pid, os.getpgid(0))

    async def test_released(self) -> None:
        """Once released, its number is never used again."""
        run = self.start("true")
        await run.gone
        assert run._child is not None
        self.assertRaises(ProcessExitedAlready, run._child.signalProcess, "TERM")

    async def test_reactor_ends(self) -> None:
        """When the reactor drops all that it reads, everything is closed."""
        run = self.start("sleep", str(LONG_S))
        child = run._child
        assert isinstance(child, spawn.Child)
        for reader in (*child._pipes.values(), child._watch):
            assert not isinstance(reader, spawn._Poll)
            self.assertTrue(reader.logPrefix())
            reader.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(open_descriptors(), self.descriptors)

    async def output(self, run: Run, text: str) -> None:
        """Wait until it has written ``text``."""
        await self.until(lambda: text in run._captures[1].text()[0])

    async def until(self, ask: Any) -> None:
        while not ask():
            await deferLater(reactor, 0.01, lambda: None)

    # --- without the kernel's help ------------------------------------------------------------------------------------

    async def test_old_kernel(self) -> None:
        """Where the kernel does not tell of an end, it is asked."""
        self.patch(os, "pidfd_open", self._not_there)
        self.assertEqual(await self.run_shell("sleep 0.1; echo done"), Ended("done\n", "", 0, 0, None))
        run = self.start("sleep", str(LONG_S))
        run.abandon()
        await run.gone

    def _not_there(self, _pid: int) -> int:
        raise OSError

    async def test_exit_status_is_taken(self) -> None:
        """Where a program of the user's takes the exit status away, it has ended all the same."""
        run = self.start("sh", "-c", "sleep 0.1; echo done")
        assert run._child is not None
        stolen = threading.Thread(target=os.waitpid, args=(run._child.pid, 0))
        stolen.start()
        ended = await run.ended
        stolen.join()
        self.assertEqual((ended.stdout, ended.signal), ("done\n", None))

    # --- that can't be started ----------------------------------------------------------------------------------------

    async def test_not_started(self) -> None:
        """What can't be started is said in words, and leaves nothing behind."""
        script = self.folder / "script"
        for content, mode, words in (
            ("#!/no/such/interpreter\n", 0o755, "interpreter"),
            ("no program\n", 0o755, "no program for this machine"),
            ("#!/bin/sh\n", 0o644, "may not be executed"),
        ):
            script.write_text(content)
            script.chmod(mode)
            self.assertIn(words, self.not_started(str(script)))
        for argv, words in (
            (("no-such-program",), "not found on the PATH"),
            (("/no/such/program",), "no such file"),
            ((str(self.folder),), "may not be executed"),
            (("true", "x" * 200_000), "too long"),
            (("true", "a\0b"), "null byte"),
            (("true", "\ud800"), "surrogates"),
            (("true", *["x" * 100_000] * 100), "too long"),
        ):
            self.assertIn(words, self.not_started(*argv))
        for number, words in ((11, "temporarily unavailable"), (12, "memory")):
            self.assertIn(words, why_not(OSError(number, os.strerror(number)), ["x"], ENV))
        self.assertIn("IndexError", why_not(IndexError("IndexError"), [], ENV))


class EnvironmentTests(TestCase):
    def test_environment(self) -> None:
        """A command has the daemon's environment, without what is the daemon's alone, and always a PATH."""
        seen = environment({"HOME": "/root", "NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "1", "HIMBEERECOUCH_X": "1"})
        self.assertEqual(seen, {"HOME": "/root", "PATH": process.DEFAULT_PATH})
        self.assertEqual(environment({"PATH": "/bin"}), {"PATH": "/bin"})


def alive(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def resident_bytes() -> int:
    """The memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_descriptors() -> int:
    """How many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def new_folder(path: str) -> Path:
    """A folder, by its absolute path."""
    folder = Path(path).absolute()
    folder.mkdir()
    return folder


def hold_up(seconds: float) -> None:
    """Do what the reactor can't bear: nothing, for so long."""
    time.sleep(seconds)
