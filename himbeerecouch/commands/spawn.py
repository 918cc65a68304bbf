"""Starts a program in a session and process group of its own, and tells a ``ProcessProtocol`` about it.

Twisted's ``spawnProcess`` makes no group, so that a kill of the group would hit the daemon; it forks where the folder
is to be another one, which is slow and, with threads, risky; and behind ``setsid`` a program that can't be executed is
known only by an exit status that means other things as well.  ``subprocess`` does all three right, without blocking for
more than the exec; what it lacks, reading and waiting on the reactor, is here.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO, Any

from twisted.internet import error
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from himbeerecouch.commands.processes import group_lives

_CHUNK_BYTES = 65536
_DRAIN_CHUNKS = 32
# Where the kernel (before 5.3) has no descriptor that tells of a process's end.
_POLL_S = 0.05
_SIGNALS = {"HUP": signal.SIGHUP, "INT": signal.SIGINT, "KILL": signal.SIGKILL, "TERM": signal.SIGTERM}


def spawn(
    reactor: Any, protocol: ProcessProtocol, argv: Sequence[str], *, env: Mapping[str, str], cwd: str = "/"
) -> Child:
    """Start ``argv``, found along the PATH in ``env``, with nothing on its standard input.

    Called on the reactor thread.  Raises ``OSError`` or ``ValueError`` where it can't be executed; nothing is left of
    it then.
    """
    process = subprocess.Popen(  # noqa: S603 - running what the document says is the purpose; there is no shell
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=cwd,
        env=env,
        start_new_session=True,
    )
    child = Child(reactor, protocol, process)
    protocol.makeConnection(child)
    return child


class Child:
    """A program that runs, or has ended and is not released yet: what its protocol has for a transport.

    Until ``release`` the kernel keeps its process id, and with it the number of its group, so that a signal to the
    group never hits anybody else.
    """

    def __init__(self, reactor: Any, protocol: ProcessProtocol, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._protocol = protocol
        self._process = process
        self._exit: Failure | None = None
        self._ended = False
        self._released = False
        self._pipes = {
            fd: _Pipe(reactor, self, fd, file)
            for fd, file in ((1, process.stdout), (2, process.stderr))
            if file is not None
        }
        self._watch = _watch(reactor, self)

    def signalProcess(self, signalID: str | int) -> None:
        """Send a signal to the whole group; ``ProcessExitedAlready`` where nobody is in it any more."""
        if self._released:
            raise error.ProcessExitedAlready
        try:
            os.killpg(self.pid, _SIGNALS[signalID] if isinstance(signalID, str) else signalID)
        except ProcessLookupError:
            raise error.ProcessExitedAlready from None

    def group_lives(self) -> bool:
        """Whether a process of the group has not ended."""
        return group_lives(self.pid)

    def release(self) -> None:
        """Let the kernel forget it, if it has ended; nothing is heard of it after this.  Idempotent."""
        self._released = True
        self._ended = True
        self._watch.stop()
        self.loseConnection()
        # One that still has not ended is waited for by subprocess, the next time that anything is started.
        self._process.poll()

    def loseConnection(self) -> None:
        """Take what is in the pipes now, and close them, whoever else holds their other ends."""
        for pipe in list(self._pipes.values()):
            pipe.drain()

    def pipe_read(self, fd: int, data: bytes) -> None:
        """A pipe has read something."""
        self._protocol.childDataReceived(fd, data)

    def pipe_closed(self, fd: int) -> None:
        """A pipe is at its end."""
        del self._pipes[fd]
        self._protocol.childConnectionLost(fd)
        self._maybe_ended()

    def look(self) -> None:
        """See whether it has ended; leaves it to be waited for, which keeps its number."""
        try:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # A program of the user's that waits for all children took the exit status away.
            reason = _reason(None, None)
        else:
            if found is None:
                return
            exited = found.si_code == os.CLD_EXITED
            reason = _reason(found.si_status if exited else None, None if exited else found.si_status)
        self._watch.stop()
        self._exit = Failure(reason)
        self._protocol.processExited(self._exit)
        self._maybe_ended()

    def _maybe_ended(self) -> None:
        if self._exit is not None and not self._pipes and not self._ended:
            self._ended = True
            self._protocol.processEnded(self._exit)


def _reason(exit_code: int | None, signal_number: int | None) -> error.ProcessDone | error.ProcessTerminated:
    if exit_code == 0:
        return error.ProcessDone(0)
    return error.ProcessTerminated(exit_code, signal_number)


@implementer(IReadDescriptor)
class _Pipe:
    """The reading end of a standard output."""

    def __init__(self, reactor: Any, child: Child, child_fd: int, file: IO[bytes]) -> None:
        self._reactor = reactor
        self._child = child
        self._child_fd = child_fd
        self._file = file
        self._fileno = file.fileno()
        os.set_blocking(self._fileno, False)
        reactor.addReader(self)

    def logPrefix(self) -> str:
        return "command"

    def fileno(self) -> int:
        return self._fileno

    def doRead(self) -> None:
        data = self._read()
        if data:
            self._child.pipe_read(self._child_fd, data)
        elif data is not None:
            self._close()

    def drain(self) -> None:
        """Read what is there, though not for ever, and close."""
        for _ in range(_DRAIN_CHUNKS):
            data = self._read()
            if not data:
                break
            self._child.pipe_read(self._child_fd, data)
        self._close()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is at its end, and drops all that it reads."""
        self._close()

    def _read(self) -> bytes | None:
        try:
            return os.read(self._fileno, _CHUNK_BYTES)
        except BlockingIOError:
            return None

    def _close(self) -> None:
        if self._fileno >= 0:
            self._reactor.removeReader(self)
            self._file.close()
            self._fileno = -1
            self._child.pipe_closed(self._child_fd)


@implementer(IReadDescriptor)
class _Watch:
    """The kernel's own word that a process has ended; needs no signal, so that whoever runs the reactor may."""

    def __init__(self, reactor: Any, child: Child, pid_fd: int) -> None:
        self._reactor = reactor
        self._child = child
        self._pid_fd = pid_fd
        reactor.addReader(self)

    def logPrefix(self) -> str:
        return "command"

    def fileno(self) -> int:
        return self._pid_fd

    def doRead(self) -> None:
        self._child.look()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is at its end, and drops all that it reads."""
        self.stop()

    def stop(self) -> None:
        if self._pid_fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._pid_fd)
            self._pid_fd = -1


class _Poll:
    """Asks the kernel again and again, where it does not tell."""

    def __init__(self, reactor: Any, child: Child) -> None:
        self._reactor = reactor
        self._child = child
        self._call = reactor.callLater(_POLL_S, self._ask)

    def _ask(self) -> None:
        self._call = self._reactor.callLater(_POLL_S, self._ask)
        self._child.look()

    def stop(self) -> None:
        if self._call.active():
            self._call.cancel()


def _watch(reactor: Any, child: Child) -> _Watch | _Poll:
    try:
        return _Watch(reactor, child, os.pidfd_open(child.pid))
    except (AttributeError, OSError):
        return _Poll(reactor, child)
