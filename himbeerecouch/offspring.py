"""The processes that programs have started: they end with the daemon, also with one that was killed.

Commands are none of them: those have groups of their own, and do not inherit the mark.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

MARK = "HIMBEERECOUCH_PI"
"""An environment variable that programs' processes inherit; its value is the path of the state folder."""
GRACE_S = 1.0
"""From SIGTERM to SIGKILL."""


def mark(name: str) -> None:
    """From now on, processes that programs start can be told by the state folder ``name``."""
    os.environ[MARK] = name


def unmark() -> None:
    """What this process is to become is not to be taken for one of those."""
    os.environ.pop(MARK, None)


def descendants(proc: Path = Path("/proc")) -> list[int]:
    """The pids of this process's children, theirs, and so on, as proc(5) shows them; zombies included."""
    children: dict[int, list[int]] = {}
    for pid, folder in _processes(proc):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name in parentheses may hold anything, parentheses too.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(pid)
    found = list(children.get(os.getpid(), ()))
    for pid in found:
        found += children.get(pid, ())
    return found


def orphans(name: str, proc: Path = Path("/proc")) -> list[int]:
    """The pids of processes that a killed daemon with the state folder ``name`` has left behind."""
    entry = f"{MARK}={name}".encode()
    family = {os.getpid(), os.getppid(), *descendants(proc)}
    found = []
    for pid, folder in _processes(proc):
        with contextlib.suppress(OSError):  # it is gone, or another user's
            if pid not in family and entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def end(pids: Sequence[int], *, grace_s: float = GRACE_S, sleep: Callable[[float], object] = time.sleep) -> None:
    """End these processes, and reap those that are children; waits at most ``grace_s``, and blocks meanwhile."""
    left = [pid for pid in pids if _signal(pid, signal.SIGTERM)]
    deadline = time.monotonic() + grace_s
    while left and time.monotonic() < deadline:
        sleep(0.01)
        left = [pid for pid in left if not _reap(pid) and _signal(pid, 0)]
    for pid in left:
        _signal(pid, signal.SIGKILL)
    for pid in left:
        _reap(pid)


def _processes(proc: Path) -> Iterator[tuple[int, Path]]:
    with contextlib.suppress(OSError):
        for folder in proc.iterdir():
            if folder.name.isdigit():
                yield int(folder.name), folder


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def _reap(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False
