"""Commands run once or not at all, whatever ends the daemon, and their answers say which."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from tests import embedded_server
from tests.fault_proxy import FaultProxy
from tests.integration.world import MAC_ID, Daemon, World, until

FOLLOWS = "read afresh"
GOES_ON = "import time\n\ndef main():\n    while True:\n        time.sleep(0.05)\n        log('on')\n"
ORPHAN_S = 5.0
"""How long after the daemon is back something of a killed one's command may be left."""
TELLING = ("fsync", "fdatasync", "rename", "vfork", "clone", "clone3", "sendto", "waitid")
"""System calls after which something is otherwise than before: the disk, a process, the network."""


class Task:
    """A command of which every run leaves a line in ``runs``, and that goes on until it is let go."""

    def __init__(self, test: TestCase, folder: Path, id: str) -> None:
        test.addCleanup(self.let_go)
        self.id = id
        self._runs = folder / f"{id}.runs"
        self._go = folder / f"{id}.go"
        self.argv = ["sh", "-c", f"echo $$ >>{self._runs}; while [ ! -e {self._go} ]; do sleep 0.02; done; echo out"]

    def pids(self) -> list[int]:
        """The process of each run."""
        return [int(line) for line in self._runs.read_text().split()] if self._runs.exists() else []

    def let_go(self) -> None:
        """Let it end."""
        self._go.touch()

    def lives(self) -> bool:
        """Whether a process of it has not ended."""
        return any(alive(pid) for pid in self.pids())


@frozen
class Call:
    """One system call of the daemon, as strace counts them."""

    name: str
    occurrence: int
    """From 1: the how manyeth of that name."""


@frozen
class Outcome:
    """What became of one command while the daemon was killed at one system call."""

    call: Call
    killed: bool
    """The daemon was: otherwise the command took fewer calls than that."""
    runs: int
    state: str
    ret: Sequence[str | None]
    orphan: bool
    """Something of it was left for longer than it may be."""

    def wrong(self) -> str:
        """What must not be, in words; empty where all is well."""
        if self.runs > 1:
            return f"it ran {self.runs} times"
        if self.orphan:
            return "a process of it is left"
        if self.state == "done":
            return "" if self.runs == 1 and list(self.ret) == ["out\n", ""] else f"done, after {self.runs} runs"
        if self.state != "interrupted" or not self.killed:
            return f"it is {self.state}"
        told = "is not known" in (self.ret[1] or "")
        return "" if self.ret[0] is None and told else "it does not say that it is not known"


def tracing() -> bool:
    """Whether strace is there, and may look at a process of ours."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def traced(daemon: Daemon, *options: str, output: str = os.devnull) -> Iterator[None]:
    """Trace the daemon's main thread, in which all that commands do is done, for as long as it lives."""
    argv = ["strace", "-p", str(daemon.pid), "-o", output, *options]
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        assert b"attached" in said, f"strace {options}: {said!r}"
        try:
            yield
        finally:
            strace.terminate()


def rehearse(world: World, daemon: Daemon) -> list[Call]:
    """All system calls that one command takes, from the idle daemon to the stored answer."""
    output = world.folder / "calls"
    task = Task(world.test, world.folder, "rehearsal")
    with traced(daemon, output=str(output)):
        world.save(task.id, type=f"{MAC_ID}_cmd", cmd=task.argv)
        until(task.pids, "a run of the rehearsal")
        task.let_go()
        world.answered(task.id)
    counts: Counter[str] = Counter()
    calls = []
    for name in re.findall(r"^(\w+)\(", output.read_text(), re.MULTILINE):
        counts[name] += 1
        calls.append(Call(name, counts[name]))
    return calls


def kill_at(world: World, daemon: Daemon, call: Call) -> tuple[Outcome, Daemon]:
    """Run one command, and kill the daemon as it makes this system call; with the daemon that runs then."""
    task = Task(world.test, world.folder, f"{call.name}-{call.occurrence}-{time.monotonic_ns()}")
    with traced(daemon, "-e", f"inject={call.name}:signal=SIGKILL:when={call.occurrence}"):
        world.save(task.id, type=f"{MAC_ID}_cmd", cmd=task.argv)
        ran_at = 0.0
        while daemon.process.poll() is None and "ret" not in world.get(task.id):
            # One that is killed right after the start leaves a command that ends only if it is ended.
            if task.pids() and not ran_at:
                ran_at = time.monotonic()
            elif ran_at and time.monotonic() > ran_at + 0.3:
                task.let_go()
            time.sleep(0.01)
    # It may have been killed after the answer, just before it was let go.
    with contextlib.suppress(subprocess.TimeoutExpired):
        daemon.process.wait(0.2)
    killed = daemon.process.poll() is not None
    if killed:
        daemon = world.start(wait=FOLLOWS)
    since = time.monotonic()
    # Where nothing of it had been started, the next daemon runs it.
    while "ret" not in world.get(task.id):
        if task.pids() and time.monotonic() > since + ORPHAN_S:
            task.let_go()
        time.sleep(0.02)
        assert time.monotonic() < since + 30, f"no answer after a kill at call {call}\n{daemon.log()[-6000:]}"
    while task.lives() and time.monotonic() < since + ORPHAN_S:
        time.sleep(0.02)
    orphan = task.lives()
    task.let_go()
    document = world.get(task.id)
    state = document["execution"]["state"]
    return Outcome(call, killed, len(task.pids()), state, document["ret"], orphan), daemon


def sweep(world: World, choose: Callable[[list[Call]], Iterable[Call]] = lambda calls: calls) -> Iterator[Outcome]:
    """Kill a daemon at every system call of a command, or at those that ``choose`` chooses.

    For the fault suite too: each outcome's ``wrong()`` says what must not be.
    """
    daemon = world.start(wait=FOLLOWS)
    for call in choose(rehearse(world, daemon)):
        outcome, daemon = kill_at(world, daemon, call)
        yield outcome
    daemon.stop()


def telling(calls: Sequence[Call]) -> list[Call]:
    """Those calls that change something outside the daemon."""
    return [call for call in calls if call.name in TELLING]


class CrashTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.world = World(self)
        self.daemon = self.world.start(wait=FOLLOWS)

    def save(self, task: Task, **members: Any) -> None:
        self.world.save(task.id, type=f"{MAC_ID}_cmd", cmd=task.argv, **members)

    def runs(self, task: Task) -> None:
        until(task.pids, f"a run of {task.id}")

    def start_again(self) -> None:
        self.daemon = self.world.start(wait=FOLLOWS)

    def test_killed_while_they_run(self) -> None:
        """Commands that ran are interrupted, and nothing is left of them; what had been answered stays as it is."""
        self.world.command("before", "echo", "before")
        before = self.world.get("before")
        tasks = [Task(self, self.world.folder, f"task{number}") for number in range(3)]
        for task in tasks:
            self.save(task)
        for task in tasks:
            self.runs(task)
        for _ in range(2):
            self.daemon.kill()
            self.start_again()
            until(lambda: not any(task.lives() for task in tasks), "the end of all of them", ORPHAN_S)
            for task in tasks:
                document = self.world.answered(task.id)
                self.assertEqual(document["execution"]["state"], "interrupted")
                self.assertIsNone(document["ret"][0])
                self.assertEqual(len(task.pids()), 1)
        self.assertEqual(self.world.get("before"), before)

    def test_children_of_a_dead_leader(self) -> None:
        """What a killed daemon's command has left is ended, also where the command itself is gone by then."""
        task = Task(self, self.world.folder, "child")
        self.world.save(task.id, type=f"{MAC_ID}_cmd", cmd=["sh", "-c", f"sh -c '{task.argv[2]}' & wait"])
        self.runs(task)
        leader = int(Path(f"/proc/{task.pids()[0]}/stat").read_text().rpartition(")")[2].split()[1])
        self.daemon.kill()
        os.kill(leader, signal.SIGKILL)
        until(lambda: not alive(leader), "the end of the leader")
        self.assertTrue(task.lives())
        self.start_again()
        until(lambda: not task.lives(), "the end of the child", ORPHAN_S)

    def test_without_a_journal(self) -> None:
        """Where nothing is left of the state folder, the claim in the document is enough to end what runs."""
        task, copied = Task(self, self.world.folder, "task"), Task(self, self.world.folder, "copied")
        for one in (task, copied):
            self.save(one)
            self.runs(one)
        self.world.save("copy", **{k: v for k, v in self.world.get("copied").items() if not k.startswith("_")})
        self.assertEqual(self.world.answered("copy")["execution"]["state"], "interrupted")
        copied.let_go()
        self.assertEqual(self.world.answered("copied")["ret"], ["out\n", ""])
        self.daemon.kill()
        shutil.rmtree(self.world.state_dir)
        self.start_again()
        self.assertEqual(self.world.answered("task")["execution"]["state"], "interrupted")
        self.assertFalse(task.lives())

    def test_background_is_let_alone(self) -> None:
        """What a command that has ended left in the background outlives the daemon."""
        left = Task(self, self.world.folder, "left")
        self.world.command("starts", "sh", "-c", f"sh -c '{left.argv[2]}' &")
        self.runs(left)
        self.daemon.kill()
        self.start_again()
        self.world.command("after", "true")
        self.assertTrue(left.lives())
        left.let_go()

    def test_reboot(self) -> None:
        """A command that ends the daemon, as a reboot does, is run once, however often the daemon starts."""
        ran = self.world.folder / "ran"
        script = f"echo x >>{ran}; kill -9 {self.daemon.pid}; exec sleep 60"
        self.world.save("reboot", type=f"{MAC_ID}_cmd", cmd=["sh", "-c", script])
        self.daemon.wait()
        for _ in range(2):
            self.start_again()
            self.assertEqual(self.world.answered("reboot")["execution"]["state"], "interrupted")
            self.world.command("next", "true")
            self.world.delete("next")
            self.daemon.stop()
        self.assertEqual(ran.read_text(), "x\n")

    def test_server_away(self) -> None:
        """A result that the server was not there for is stored by the next daemon, however the one before ended."""
        for how in ("stop", "kill"):
            with self.subTest(how):
                task = Task(self, self.world.folder, how)
                self.save(task)
                self.runs(task)
                self.stop_server()
                task.let_go()
                self.daemon.wait_for(f"{how} has to wait")
                getattr(self.daemon, how)()
                self.start_server()
                self.start_again()
                document = self.world.answered(task.id)
                self.assertEqual((document["execution"]["state"], document["ret"]), ("done", ["out\n", ""]))
                self.assertEqual(len(task.pids()), 1)

    def stop_server(self) -> None:
        self.world.server.stop()

    def start_server(self) -> None:
        port = int(self.world.server.url.rpartition(":")[2])
        self.world.server = embedded_server.spawn(self, self.world.folder / "couch", port=port)

    def test_disk_fails(self) -> None:
        """Where the disk fails, a command is refused with the reason and programs go on; then commands run again."""
        if not tracing():
            raise SkipTest("strace is not there, or may not trace")
        self.world.program(
            "p", "import time\ndef main():\n    while True:\n        time.sleep(0.05)\n        log('on')\n"
        )
        with traced(self.daemon, "-e", "inject=fsync,fdatasync:error=EIO"):
            refused = self.world.command("refused", "sh", "-c", f"touch {self.world.folder / 'touched'}")
            self.daemon.wait_for("on", count=len(self.daemon.lines("on")) + 3)
        self.assertEqual(refused["execution"]["state"], "failed")
        self.assertIn("Input/output error", refused["ret"][1])
        self.assertFalse((self.world.folder / "touched").exists())
        self.assertEqual(self.world.command("runs", "echo", "x")["ret"], ["x\n", ""])


class ExpiresTests(TestCase):
    timeout = 60

    async def test_time_is_not_known(self) -> None:
        """While the server has not said what time it is, a command with "expires" waits, and others do not."""
        world = await deferToThread(World, self)
        proxy = FaultProxy(reactor, int(world.server.url.rpartition(":")[2]))
        world.server_file.write_text(f"http://127.0.0.1:{await proxy.start()}\n")
        proxy.rewrite = lambda data: data.replace(b"Date:", b"Xate:")
        try:
            await deferToThread(self.in_thread, world, proxy)
        finally:
            await proxy.close()

    def in_thread(self, world: World, proxy: FaultProxy) -> None:
        daemon = world.start(wait=FOLLOWS)
        for id, expires in (("past", "2001-01-01T00:00:00Z"), ("ahead", "2101-01-01T00:00:00Z")):
            world.save(id, type=f"{MAC_ID}_cmd", cmd=["echo", id], expires=expires)
        world.command("other", "true")
        self.assertEqual([id for id in ("past", "ahead") if "execution" in world.get(id)], [])
        proxy.rewrite = None
        world.command("another", "true")
        self.assertEqual(world.answered("ahead")["ret"], ["ahead\n", ""])
        self.assertEqual(world.answered("past")["execution"]["state"], "expired")
        self.assertEqual(daemon.stop(), 0)


class KillTests(TestCase):
    timeout = 300

    def test_killed_at_a_system_call(self) -> None:
        """Killed wherever disk, network or processes change, a command ran at most once, and its answer is true."""
        if not tracing():
            raise SkipTest("strace is not there, or may not trace")
        world = World(self)
        outcomes = list(sweep(world, telling))
        self.assertEqual([(outcome, wrong) for outcome in outcomes if (wrong := outcome.wrong())], [])
        # Otherwise nothing was shown: it is killed before it starts the command, while it runs, and after it.
        self.assertGreater(sum(outcome.killed for outcome in outcomes), len(outcomes) // 2)
        self.assertEqual({outcome.state for outcome in outcomes}, {"done", "interrupted"})


def alive(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
