"""supervisord, told to start a program again whose file was written."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.peers.beacon import beacon
from benchmarks.peers.folders import python_of
from benchmarks.peers.process import running

CONFIGURATION = """
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
[unix_http_server]
file={folder}/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:program]
command={python} {folder}/program.py
startsecs=0
autostart=false
"""


@contextlib.contextmanager
def deploying(folder: Path) -> Iterator[Callable[[int], float]]:
    """Give what deploys a program: milliseconds from writing its file to its first line, stop and start included."""
    python = python_of("supervisor", "supervisor")
    (folder / "conf").write_text(CONFIGURATION.format(folder=folder, python=python))
    program = folder / "program.py"
    with beacon() as port:

        def deploy(number: int) -> float:
            sent = time.monotonic_ns()
            program.write_text(port.source(number) + "time.sleep(3600)\n")
            with contextlib.suppress(xmlrpc.client.Fault):  # it does not run, the first time
                supervisor.supervisor.stopProcess("program", True)
            supervisor.supervisor.startProcess("program", False)
            return (port.heard(number) - sent) / 1e6

        argv = (str(python.parent / "supervisord"), "--configuration", str(folder / "conf"))
        with running(argv, log=folder / "log"):
            supervisor = xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(str(folder / "socket")))
            _wait(folder / "socket")
            yield deploy


def _wait(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"supervisord has not made {path}")
        time.sleep(0.1)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        return _UnixConnection(self._path)
