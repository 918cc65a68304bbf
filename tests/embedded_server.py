"""An embedded server for other tests: inside the test's own reactor, or as a real ``twistd``.

``start`` serves tests that run on the global reactor::

    class SomethingTests(TestCase):
        async def setUp(self): self.url, self.admin = await start(self)

``spawn`` starts a process of its own, for tests that kill the server, or that run one beside a daemon.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from himbeerecouch.embedded.home import Login
from himbeerecouch.embedded.service import Embedded

ADMIN = ("admin", "secret")
FEW_ITERATIONS = 10
"""PBKDF2 rounds: a test's logins need not be slow."""


async def start(test: TestCase, folder: Path | None = None, *, port: int = 0) -> tuple[str, tuple[str, str]]:
    """Start a server for one test on the global reactor; return its URL (no slash at the end) and (name, password).

    Without ``folder`` it keeps everything in memory.  It is stopped by the test's clean-up.
    """
    service = await start_service(test, folder, port=port)
    assert service.port is not None
    where: Any = service.port.getHost()
    return f"http://127.0.0.1:{where.port}", ADMIN


async def start_service(
    test: TestCase, folder: Path | None = None, *, port: int = 0, iterations: int = FEW_ITERATIONS
) -> Embedded:
    """The same, for tests that stop and start the server themselves: ``await service.stopService()``."""
    from twisted.internet import reactor

    endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
    service = Embedded(
        reactor, endpoint, folder=folder, admin=Login(*ADMIN), iterations=iterations, in_thread=deferToThread
    )
    service.running = 1
    await service.listen()
    test.addCleanup(service.stopService)
    return service


@define
class Spawned:
    """A server in a process of its own."""

    url: str
    process: subprocess.Popen[bytes]
    admin: tuple[str, str] = ADMIN
    log: Path = field(default=Path(os.devnull))

    def kill(self) -> None:
        """End it without warning, as a power cut does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at the moment."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def spawn(
    test: Any, folder: Path, *, port: int | None = None, admin: bool = True, options: Sequence[str] = ()
) -> Spawned:
    """Start ``twistd himbeerecouch-embedded`` on ``folder``, wait until it answers, and stop it after the test.

    With ``admin`` False the server makes itself an admin, as it does for a user.
    """
    folder = folder.absolute()
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.parent / f"{folder.name}.log"
    twistd = "from twisted.scripts.twistd import run; run()"
    command = [sys.executable, "-c", twistd, "--nodaemon", "--pidfile=", f"--logfile={log}", "himbeerecouch-embedded"]
    command += ["--listen", f"tcp:{port}:interface=127.0.0.1", "--data", str(folder)]
    command += ["--admin", ":".join(ADMIN)] if admin else []
    command += ["--iterations", str(FEW_ITERATIONS), *options]
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    process = subprocess.Popen(command, env=environment, cwd=folder.parent, stdin=subprocess.DEVNULL)
    spawned = Spawned(f"http://127.0.0.1:{port}", process, log=log)
    test.addCleanup(spawned.stop)
    wait_until_up(spawned)
    return spawned


def wait_until_up(spawned: Spawned, within_s: float = 20.0) -> None:
    """Wait until the server answers; blocks, so not for a test whose server lives in this process."""
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        if spawned.process.poll() is not None:
            raise RuntimeError(f"the embedded server ended: {spawned.log.read_text() if spawned.log.exists() else ''}")
        try:
            with urllib.request.urlopen(f"{spawned.url}/_up", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise RuntimeError("the embedded server does not answer")


def wait(clock: Any, seconds: float) -> Deferred[None]:
    """Fire after so many seconds of the reactor's time."""
    done: Deferred[None] = Deferred()
    clock.callLater(seconds, done.callback, None)
    return done
