"""What every fault needs: a world that is taken down behind it, and words for what happened."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.integration.world import MAC_ID, Daemon, World, until

LOOP = """import time

def main():
    log('{0} runs')
    while not should_quit():
        time.sleep(60)
    log('{0} quits')
"""
"""A program that says when it starts and when it quits, and quits when it is told."""
ONCE = "def main():\n    log('{0} runs')\n"


KEPT_CONNECTIONS = 4
"""So many the daemon keeps open for the next request, for half a minute each."""


class Stage:
    """The place of one fault: takes the part of a test case for ``World`` and its like.

    ``brief``: the fault is one of many in ``make test``, and leaves out what takes long.
    """

    def __init__(self, folder: Path, *, brief: bool = False) -> None:
        self.folder = folder.absolute()
        self.brief = brief
        self._stack = contextlib.ExitStack()
        self._numbers = itertools.count()

    def mktemp(self) -> str:
        """Name a path that there is nothing at yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return str(self.folder / f"stage{next(self._numbers)}")

    def addCleanup(self, clean: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """Have ``clean`` called at the end, the last one first."""
        self._stack.callback(clean, *arguments, **named)

    def close(self) -> None:
        """Take everything down."""
        self._stack.close()

    def world(self, *programs: str) -> World:
        """Make a world, with programs that loop under these ids."""
        world = World(self)
        for id in programs:
            world.program(id, LOOP.format(id))
        return world


# --- what is seen -----------------------------------------------------------------------------------------------------


def check(holds: object, otherwise: str) -> None:
    """Raise AssertionError, with what is wrong, unless it holds."""
    if not holds:
        raise AssertionError(otherwise)


def took(ask: Callable[[], Any], what: str, within_s: float) -> float:
    """Wait until it holds, and return how many seconds that took; AssertionError where it took too long."""
    began = time.monotonic()
    until(ask, what, within_s)
    return time.monotonic() - began


def runs(daemon: Daemon, word: str, times: int = 1) -> Callable[[], bool]:
    """Ask whether a program of ``LOOP`` has started so many times."""
    return lambda: len(daemon.lines(f"{word} runs")) >= times


def exactly(daemon: Daemon, expected: dict[str, int]) -> None:
    """Check how many lines of the log have each text."""
    found = {text: len(daemon.lines(text)) for text in expected}
    check(found == expected, f"in the log: {found}, expected: {expected}")


def alive(daemon: Daemon) -> None:
    """Check that the process which was started still runs."""
    check(daemon.process.poll() is None, f"the daemon ended with {daemon.process.returncode}\n{daemon.log()[-3000:]}")


def ready_for_commands(world: World) -> None:
    """Wait until a command that is inserted now counts as new."""
    until((world.state_dir / str(MAC_ID) / "started").exists, "the first snapshot")


def own_threads(daemon: Daemon) -> int:
    """How many threads the daemon has beside those of Twisted's pool, which looks up names and keeps up to ten."""
    before = len(daemon.log())
    daemon.signal(signal.SIGUSR2)  # logs the stack of each
    until(lambda: "thread_stacks" in daemon.log()[before:], "the stacks of all threads")
    time.sleep(0.3)
    return len(re.findall(r"^\t--- (?!PoolThread-twisted)", daemon.log()[before:], re.MULTILINE))


def peak_mb(pid: int) -> float:
    """The most memory that a process has had resident since ``forget_peak``."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"the peak of {pid} is not known")


def forget_peak(pid: int) -> None:
    """Begin to measure the peak anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def named(argument: str) -> list[int]:
    """The pids of all processes, but this one, with ``argument`` in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if argument.encode() in (folder / "cmdline").read_bytes() and state != "Z":
                    found.append(int(folder.name))
    return found


def end_all(argument: str) -> None:
    """Kill what is left of processes with ``argument``, which nobody else's has, in their command line."""
    for pid in named(argument):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def probe(port: int, within_s: float = 1.0) -> float | None:
    """Ask the discovery port of this machine who is there; return after how many seconds it answered, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(within_s)
        began = time.monotonic()
        asker.sendto(json.dumps({"server": "http://server:5984"}).encode(), ("127.0.0.1", port))
        try:
            asker.recv(4096)
        except OSError:  # nobody in time, or nobody listens
            return None
        return time.monotonic() - began


def free_udp_port() -> int:
    """A UDP port that nobody has at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.bind(("127.0.0.1", 0))
        return int(asker.getsockname()[1])


# --- what is at hand --------------------------------------------------------------------------------------------------


def needs(*tools: str, root: bool = False) -> None:
    """Skip the fault, and say why, where a tool or root is missing."""
    for tool in tools:
        if shutil.which(tool) is None:
            raise SkipTest(f"there is no {tool} on this machine")
    if root and os.geteuid() != 0:
        raise SkipTest("needs root")


def private_mounts(script: str, *arguments: str) -> Sequence[str]:
    """What runs a program with mounts of its own: ``script`` makes them, with ``arguments`` as $1, $2 ..."""
    whole = f'set -e; {script}; shift {len(arguments)}; exec "$@"'
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", whole, "sh", *arguments]
