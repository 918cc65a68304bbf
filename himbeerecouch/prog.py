"""The daemon without twistd's command line: in the foreground under a supervisor, or by start, stop and reload."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from himbeerecouch.errors import HimbeerecouchError

TWISTD = "from twisted.scripts.twistd import run; run()"
STOP_TIMEOUT_S = 60.0
"""Longer than the daemon gives its programs and commands to quit."""


def run(server_file: str, *options: str) -> None:
    """Run the daemon in the foreground until SIGINT or SIGTERM; it logs to stdout.

    ``options`` are further ones of ``twistd himbeerecouch``, such as ``"--database=lab"``.  Called in the main thread,
    once in a process, as a supervisor does.  Raises SystemExit where it can't start.
    """
    from twisted.scripts import twistd

    command = twistd.ServerOptions()  # type: ignore[attr-defined]  # imported there under either platform
    ours = ["himbeerecouch", f"--server-file={server_file}", *options]
    command.parseOptions(["--nodaemon", "--pidfile=", "--logfile=-", *ours])
    twistd.runApp(command)


def run_daemon(action: str, server_file: str = "/etc/rspby/server", path: str = "/var/rspby", *options: str) -> None:
    """Start, stop, restart or reload the daemon in the background; its pid file and log are in the folder ``path``.

    ``options`` are further ones of ``twistd himbeerecouch``, for a daemon that is started.  Blocks until that is done.
    Raises HimbeerecouchError where it can't be, ValueError for another action.
    """
    pid_file = Path(path).absolute() / "himbeerecouch.pid"
    if action == "start":
        _start(server_file, pid_file, options)
    elif action == "stop":
        _stop(pid_file)
    elif action == "restart":
        _stop(pid_file)
        _start(server_file, pid_file, options)
    elif action == "reload":
        pid = _pid(pid_file)
        if pid is None:
            raise HimbeerecouchError(f"no daemon runs with the pid file {pid_file}: start it first")
        _signal(pid, signal.SIGHUP)
    else:
        raise ValueError(f"{action!r} is none of start, stop, restart, reload")


def _start(server_file: str, pid_file: Path, options: Sequence[str]) -> None:
    pid = _pid(pid_file)
    if pid is not None:
        raise HimbeerecouchError(f"the daemon runs already, with the pid {pid}")
    try:
        pid_file.parent.mkdir(parents=True, exist_ok=True)
        # twistd would not start beside a pid file whose number is another process's by now.
        pid_file.unlink(missing_ok=True)
    except OSError as error:
        raise HimbeerecouchError(f"the folder {pid_file.parent} can't be used: {error.strerror}") from error
    logfile = pid_file.with_suffix(".log")
    started = subprocess.run(  # noqa: S603 - our own interpreter, no shell
        [
            sys.executable,
            "-c",
            TWISTD,
            f"--pidfile={pid_file}",
            f"--logfile={logfile}",
            "himbeerecouch",
            f"--server-file={Path(server_file).absolute()}",
            *options,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if started.returncode != 0:
        # Under a mistake in its options twistd prints all that there are, too.
        said = (started.stderr or started.stdout).strip().splitlines()
        raise HimbeerecouchError(f"the daemon did not start: {said[-1] if said else f'see {logfile}'}")


def _stop(pid_file: Path) -> None:
    pid = _pid(pid_file)
    if pid is None:
        return
    _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _pid(pid_file) == pid:
        if time.monotonic() > deadline:
            raise HimbeerecouchError(f"the daemon (pid {pid}) has not ended within {STOP_TIMEOUT_S:.0f} s")
        time.sleep(0.05)


def _pid(pid_file: Path) -> int | None:
    """The pid of the daemon that runs, None where none does."""
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
        # After a power cut the number in a left-over pid file may be anybody's.  A process that has ended, and that
        # nobody has asked about yet, has no command line any more.
        if pid in (os.getpid(), os.getppid()):  # numbers come in about the same order at each boot
            return None
        return pid if b"himbeerecouch" in Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError, ValueError):
        return None
    except OSError as error:
        raise HimbeerecouchError(f"{error.filename or pid_file}: {error.strerror}. Run with sudo") from error


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise HimbeerecouchError(f"the daemon (pid {pid}) is another user's: run with sudo") from error
