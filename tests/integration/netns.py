"""Networks of the test's own: namespaces that hang together by virtual cables, and with nothing else."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, TestCase

ROOT = Path(__file__).parents[2]

_numbers = itertools.count()


class Namespace:
    """One network namespace, with its loopback interface up."""

    def __init__(self, case: Any) -> None:
        """Made at once and gone with the test, which is skipped where it can't be made."""
        if shutil.which("ip") is None:
            raise SkipTest("needs ip (iproute2) for a network namespace")
        self.name = f"hbc{os.getpid()}n{next(_numbers)}"
        made = subprocess.run(["ip", "netns", "add", self.name], capture_output=True, text=True, check=False)
        if made.returncode:
            raise SkipTest(f"needs root for a network namespace: {made.stderr.strip()}")
        case.addCleanup(subprocess.run, ["ip", "netns", "del", self.name], check=True)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> None:
        """Run ``ip`` inside."""
        subprocess.run(["ip", "-n", self.name, *arguments], check=True)

    def cable(self, other: Namespace, here: str, there: str) -> None:
        """Lay a cable: ``here`` and ``there`` are the two ends' addresses, as in 10.0.0.1/24."""
        ends = [f"v{os.getpid()}x{next(_numbers)}" for _ in range(2)]
        subprocess.run(
            ["ip", "link", "add", ends[0], "netns", self.name, "type", "veth", "peer", ends[1], "netns", other.name],
            check=True,
        )
        for namespace, end, address in ((self, ends[0], here), (other, ends[1], there)):
            namespace.ip("address", "add", address, "dev", end)
            namespace.ip("link", "set", end, "up")

    def devices(self) -> list[str]:
        """The ends of cables that are in here."""
        shown = subprocess.run(
            ["ip", "-n", self.name, "-o", "link", "show", "type", "veth"], capture_output=True, text=True, check=True
        )
        return [line.split()[1].partition("@")[0] for line in shown.stdout.splitlines()]

    def enter(self, case: Any) -> None:
        """Bring this thread into the namespace until the test is over; what it starts is in there too."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        inside = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        case.addCleanup(os.close, outside)
        case.addCleanup(_enter, outside)
        _enter(inside)
        os.close(inside)

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs ``arguments`` inside."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str, cwd: str | Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run something inside to its end, within 20 s."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def start(self, case: TestCase, *arguments: str) -> subprocess.Popen[str]:
        """Start something inside that runs until the test is over; returns once it has printed a line."""
        process = subprocess.Popen(
            self.command(*arguments), stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert process.stdout is not None
        case.addCleanup(process.stdout.close)
        case.addCleanup(process.wait, 10)
        case.addCleanup(process.terminate)
        process.stdout.readline()
        return process


def _enter(descriptor: int) -> None:
    clone_newnet = 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is there from Python 3.12 on
    if libc.setns(descriptor, clone_newnet):
        raise OSError(ctypes.get_errno(), "the network namespace can't be entered")


PI = """
import sys
from twisted.internet import reactor
from himbeerecouch.discovery.responder import Discovery, DiscoveryService, Mode
mac_id, enrolled = int(sys.argv[1]), sys.argv[2] == "enrolled"
discovery = Discovery(
    mac_id, lambda: f"password of {mac_id}", lambda: enrolled, Mode.ENROLL, clock=reactor, probed=lambda asker: None
)
DiscoveryService(discovery, reactor=reactor).startService()
reactor.callWhenRunning(print, "ready", flush=True)
reactor.run()
"""


def start_pi(case: TestCase, namespace: Namespace, mac_id: int, state: str = "waiting") -> None:
    """Start the answering side of a daemon in ``namespace``; ``state`` is "waiting" or "enrolled"."""
    namespace.start(case, sys.executable, "-c", PI, str(mac_id), state)
