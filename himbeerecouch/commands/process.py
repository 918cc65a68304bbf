"""Runs one program to its end, bounded in output and in what is left of it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from himbeerecouch.commands.capture import Capture

LIMIT_BYTES = 1024 * 1024
"""What is kept of each stream."""
GRACE_S = 5.0
"""From TERM to KILL."""
BACKGROUND_S = 0.2
"""How long the output is waited for when the program itself has ended, but what it left in the background has not."""
UNKILLABLE_S = 2.0
"""How long after KILL one that hangs in the kernel, or belongs to another user, is given up."""
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Child(Protocol):
    """A program that has been started; see ``spawn.Child``."""

    pid: int

    def signalProcess(self, signalID: str, /) -> None:
        """Send a signal to its whole group."""
        ...

    def loseConnection(self) -> None:
        """Read what is there, and close the pipes."""
        ...

    def group_lives(self) -> bool:
        """Whether anybody of its group has not ended."""
        ...

    def release(self) -> None:
        """Let the kernel forget it."""
        ...


class Spawn(Protocol):
    """Starts a program; see ``spawn.spawn``."""

    def __call__(
        self, reactor: Any, protocol: ProcessProtocol, argv: Sequence[str], /, *, env: Mapping[str, str], cwd: str
    ) -> Child:
        """The program, which has been started."""
        ...


@frozen
class Ended:
    """How a program ended, and what it wrote."""

    stdout: str
    stderr: str
    dropped_bytes: int
    exit_code: int | None
    """None where a signal ended it, or where it could not be ended."""
    signal: int | None


class Run(ProcessProtocol):
    """One program, from its start to the end of its process group.

    ``ended`` fires with ``Ended`` once the program itself has ended; ``gone`` with None once nothing is left to do:
    what it left in the background is let alone, unless ``end`` was called.  Used on the reactor thread.
    """

    def __init__(self, reactor: Any, spawn: Spawn, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.ended: Deferred[Ended] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._reactor = reactor
        self._spawn = spawn
        self._captures = {1: Capture(limit_bytes), 2: Capture(limit_bytes)}
        self._child: Child | None = None
        self._answered = False
        self._released = False
        self._reason: Any = None
        self._background: IDelayedCall | None = None
        self._kill: IDelayedCall | None = None

    def start(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str = "/") -> int:
        """Start the program and return its process id; ``OSError`` or ``ValueError`` where it can't be."""
        self._child = self._spawn(self._reactor, self, argv, env=env, cwd=cwd)
        return self._child.pid

    def end(self, grace_s: float = GRACE_S) -> None:
        """Ask the whole group to end now, and kill it ``grace_s`` later; a second call can only shorten that."""
        if self._released:
            return
        if self._kill is None:
            self._signal("TERM")
            self._kill = self._reactor.callLater(grace_s, self._kill_now)
        elif self._kill.active() and self._kill.getTime() > self._reactor.seconds() + grace_s:
            self._kill.reset(grace_s)

    def abandon(self) -> None:
        """Hear nothing of it any more: kill the group, close everything, answer with what there is."""
        self._signal("KILL")
        if self._child is not None:
            self._child.loseConnection()
        self._answer()
        self._release()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._captures[childFD].add(data)

    def processExited(self, reason: Failure) -> None:
        self._reason = reason.value
        if self._child is not None:
            self._background = self._reactor.callLater(BACKGROUND_S, self._child.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        self._answer()
        # Where it was told to end, what is left of its group has until the kill; the number is kept for that.
        if self._kill is None or self._child is None or not self._child.group_lives():
            self._release()

    def _kill_now(self) -> None:
        self._signal("KILL")
        if self._answered:
            self._release()
        else:
            self._kill = self._reactor.callLater(UNKILLABLE_S, self.abandon)

    def _signal(self, name: str) -> None:
        if self._child is not None:
            # Whoever runs as another user, through sudo, is not ours to end.
            with contextlib.suppress(ProcessExitedAlready, PermissionError):
                self._child.signalProcess(name)

    def _answer(self) -> None:
        if not self._answered:
            self._answered = True
            stdout, out_dropped = self._captures[1].text()
            stderr, err_dropped = self._captures[2].text()
            self.ended.callback(
                Ended(
                    stdout=stdout,
                    stderr=stderr,
                    dropped_bytes=out_dropped + err_dropped,
                    exit_code=getattr(self._reason, "exitCode", None),
                    signal=getattr(self._reason, "signal", None),
                )
            )

    def _release(self) -> None:
        if self._released:
            return
        self._released = True
        for call in (self._background, self._kill):
            if call is not None and call.active():
                call.cancel()
        if self._child is not None:
            self._child.release()
        self.gone.callback(None)


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What a command sees of the daemon's environment: all but what is meant for the daemon alone."""
    private = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
    seen = {
        name: value for name, value in ours.items() if name not in private and not name.startswith("HIMBEERECOUCH_")
    }
    return {"PATH": DEFAULT_PATH, **seen}


def why_not(error: Exception, argv: Sequence[str], env: Mapping[str, str]) -> str:
    """In words for the person who saved the command: why it could not be started."""
    program = argv[0] if argv else ""
    if not isinstance(error, OSError):
        return f"{program!r} can't be started: {error}"
    if error.errno == errno.ENOENT:
        found = _found(program, env)
        if found is None:
            where = "there is no such file" if "/" in program else "it is not found on the PATH"
            return f"{program!r} does not exist: {where}"
        return f"{found!r} can't be started: the interpreter that it names in its first line does not exist"
    reasons = {
        errno.EACCES: "it is no program, or may not be executed by the daemon's user",
        errno.ENOEXEC: "it is no program for this machine, and names no interpreter in its first line",
        errno.E2BIG: "its arguments are too long",
    }
    return f"{program!r} can't be started: {reasons.get(error.errno or 0, error.strerror or str(error))}"


def _found(program: str, env: Mapping[str, str]) -> str | None:
    folders = [""] if "/" in program else os.get_exec_path(env)
    # Commands run in the root folder: a relative path starts there.
    candidates = (Path("/", folder, program) for folder in folders)
    return next((str(candidate) for candidate in candidates if candidate.is_file()), None)
