"""The daemon without twistd's command line: in the foreground under a supervisor, or by start, stop and reload."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from himbeerecouch.errors import HimbeerecouchError

TWISTD = "from twisted.scripts.twistd import run; run()"
STOP_TIMEOUT_S = 60.0
"""Longer than the daemon gives its programs and commands to quit."""


def run(server_file: str) -> None:
    """Run the daemon in the foreground until SIGINT or SIGTERM; it logs to stdout.

    Called in the main thread, once in a process, as a supervisor does.  Raises SystemExit where it can't start.
    """
    from twisted.scripts import twistd

    options = twistd.ServerOptions()  # type: ignore[attr-defined]  # imported there under either platform
    options.parseOptions(["--nodaemon", "--pidfile=", "--logfile=-", "himbeerecouch", f"--server-file={server_file}"])
    twistd.runApp(options)


def run_daemon(action: str, server_file: str = "/etc/rspby/server", path: str = "/var/rspby") -> None:
    """Start, stop, restart or reload the daemon in the background; its pid file and log are in the folder ``path``.

    Blocks until that is done.  Raises HimbeerecouchError where it can't be, ValueError for another action.
    """
    pid_file = Path(path) / "himbeerecouch.pid"
    if action == "start":
        _start(server_file, pid_file)
    elif action == "stop":
        _stop(pid_file)
    elif action == "restart":
        _stop(pid_file)
        _start(server_file, pid_file)
    elif action == "reload":
        pid = _pid(pid_file)
        if pid is None:
            raise HimbeerecouchError(f"no daemon runs with the pid file {pid_file}: start it first")
        os.kill(pid, signal.SIGHUP)
    else:
        raise ValueError(f"{action!r} is none of start, stop, restart, reload")


def _start(server_file: str, pid_file: Path) -> None:
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    logfile = pid_file.with_suffix(".log")
    started = subprocess.run(  # noqa: S603 - our own interpreter, no shell
        [
            sys.executable,
            "-c",
            TWISTD,
            f"--pidfile={pid_file.absolute()}",
            f"--logfile={logfile.absolute()}",
            "himbeerecouch",
            f"--server-file={Path(server_file).absolute()}",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if started.returncode != 0:
        said = (started.stderr or started.stdout).strip()
        raise HimbeerecouchError(f"the daemon did not start: {said or f'see {logfile}'}")


def _stop(pid_file: Path) -> None:
    pid = _pid(pid_file)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _pid(pid_file) == pid:
        if time.monotonic() > deadline:
            raise HimbeerecouchError(f"the daemon (pid {pid}) has not ended within {STOP_TIMEOUT_S:.0f} s")
        time.sleep(0.05)


def _pid(pid_file: Path) -> int | None:
    """The pid of the daemon that runs, None where none does."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        os.kill(pid, 0)
        # After a power cut the number in a left-over pid file may be anybody's.
        if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None
