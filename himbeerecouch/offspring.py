"""The processes that programs have started: they end with the daemon, also with one that was killed.

Commands are none of them: those have groups of their own, and do not inherit the mark.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

MARK = "HIMBEERECOUCH_PI"
"""An environment variable that programs' processes inherit; its value is the path of the state folder."""
_open_marks: dict[str, int] = {}
"""Descriptors of files in memory, which show what that variable does not: processes that were forked, and no more."""
GRACE_S = 1.0
"""From SIGTERM to SIGKILL."""
_in_child: tuple[Callable[[], None], ...] = ()
_at_fork = False
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_held: dict[int, set[int]] = {}
"""What each thread that forks had blocked before, by its identifier."""


def mark(name: str) -> None:
    """From now on, processes that programs start can be told by the state folder ``name``."""
    os.environ[MARK] = name
    if name not in _open_marks:
        with contextlib.suppress(AttributeError, OSError):  # an old kernel or C library has no such files
            _open_marks[name] = os.memfd_create(_label(name))


def unmark() -> None:
    """What this process is to become is not to be taken for one of those."""
    os.environ.pop(MARK, None)
    while _open_marks:
        os.close(_open_marks.popitem()[1])


def let_go_in_children(calls: Sequence[Callable[[], None]]) -> None:
    """From now on a child that a program forks, by ``multiprocessing`` say, is none of the daemon's doing.

    Signals do to it what they do to any process: with the daemon's handlers nothing but SIGKILL would end it.
    ``calls`` are called in it, and have it forget what else is the daemon's.
    """
    global _in_child, _at_fork  # noqa: PLW0603 - what is to be done after a fork is the process's, and can't be taken back
    _in_child = tuple(calls)
    if not _at_fork:
        _at_fork = True
        os.register_at_fork(before=_hold, after_in_parent=_go_on, after_in_child=_let_go)


def _hold() -> None:
    # Python forgets the signals that come right after a fork: terminate() would be lost.
    _held[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _go_on() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _held.pop(threading.get_ident()))


def _let_go() -> None:
    if _in_child:
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
        for call in _in_child:
            call()
    _go_on()


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
    entry, file = f"{MARK}={name}".encode(), f"/memfd:{_label(name)} (deleted)"
    family = {os.getpid(), os.getppid(), *descendants(proc)}
    found = []
    for pid, folder in _processes(proc):
        with contextlib.suppress(OSError):  # it is gone, or another user's
            if pid not in family and (
                entry in (folder / "environ").read_bytes().split(b"\0") or file in _open_files(folder)
            ):
                found.append(pid)
    return found


def _label(name: str) -> str:
    """The path in few characters: the name of a file in memory has at most 249 bytes (memfd_create(2))."""
    return f"{MARK}={hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _open_files(folder: Path) -> Iterator[str]:
    for link in (folder / "fd").iterdir():
        with contextlib.suppress(OSError):  # it was closed just now
            yield str(link.readlink())


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
