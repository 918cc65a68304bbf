"""How many Pis one embedded database carries: simulated fleets of several sizes, each on a server of its own.

``python -m benchmarks.scaling`` prints a table; ``--json FILE`` keeps the figures.  The Pis are those of
``benchmarks.fleet``; the server is ``twistd himbeerecouch-embedded`` on a folder of the disk.  Times are as somebody
waits for them, CPU is that of the server's process alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks import fleet
from benchmarks.peers.process import free_port
from benchmarks.world import ADMIN, PASSWORD, Connection, start_server

SIZES = (1, 10, 100, 300, 1000)
CHANGES = 30
DEPLOYS = 3
PATH = "/" + quote(fleet.DATABASE, safe="")
PROGRAM = """
import socket
import time


def main():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"{round} {mac_id}", ("127.0.0.1", {port}))
    while not should_quit():
        time.sleep(3600)
"""
OUTAGE_S = 5.0
SETTLE_S = 10.0
WITHIN_S = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Server:
    """An embedded database in a process of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Connection:
        """Start it, and return a connection as its admin once it answers."""
        self._process, connection = start_server(self._folder, self.port)
        return connection

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it in order."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def cpu_s(self) -> float:
        """The processor time that it has taken."""
        assert self._process is not None
        return cpu_s(self._process.pid)

    def resident_mb(self) -> float:
        """Its memory."""
        assert self._process is not None
        return resident_mb(self._process.pid)


def cpu_s(pid: int) -> float:
    """The processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mb(pid: int) -> float:
    """The memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6


class Round:
    """One fleet on one server."""

    def __init__(self, folder: Path, count: int, *, own_status: bool, rest_s: float, iterations: int) -> None:
        self._count = count
        self._rest_s = rest_s
        self._iterations = iterations
        self._own_status = own_status
        self._pis = fleet.mac_ids(count)
        self._number = 0
        self._revs: dict[int, str] = {}
        self._server = Server(folder)

    def measure(self) -> dict[str, Any]:
        """Take all figures."""
        admin = self._server.start()
        try:
            self._set_up(admin)
            fleet.enroll(admin, self._pis, status=self._own_status, iterations=self._iterations)
            bare = self._per_change(admin)
            began = time.monotonic()
            pis = fleet.Processes(self._server.url, self._pis)
            try:
                pis.wait_until_started()
                database = f"{fleet.DATABASE}_status" if self._own_status else fleet.DATABASE
                fleet.wait_for_heartbeats(admin, self._count, database)
                return {
                    "pis": self._count,
                    "status": "own database" if self._own_status else "same database",
                    "load": round(os.getloadavg()[0], 1),
                    "started_s": round(time.monotonic() - began, 2),
                    "per_change_without_pis_ms": bare,
                    **self._with(admin, pis),
                }
            finally:
                pis.stop(kill=True)
        finally:
            self._server.stop()

    def _set_up(self, admin: Connection) -> None:
        """Make the databases as an operator does, the guard included."""
        login = {"HIMBEERECOUCH_USER": ADMIN, "HIMBEERECOUCH_PASSWORD": PASSWORD}
        subprocess.run(
            [sys.executable, "-m", "himbeerecouch.cli", "--server", self._server.url, "setup", "--yes"],
            env={**os.environ, **login},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        if not self._own_status:
            admin.ask("DELETE", f"{PATH}_status")
            # The guard lets a Pi write its heartbeat nowhere else; without a status database it has to.
            guard = admin.ask("GET", f"{PATH}/_design/himbeerecouch_guard")
            admin.ask("DELETE", f"{PATH}/_design/himbeerecouch_guard?rev={guard['_rev']}")

    def _with(self, admin: Connection, pis: fleet.Processes) -> dict[str, Any]:
        with _datagrams() as port:
            before = self._server.cpu_s()
            deploys = [self._deploy(admin, port) for _ in range(DEPLOYS)]
            # The heartbeats of what has changed are over by then.
            time.sleep(SETTLE_S)
            per_deploy = (self._server.cpu_s() - before) / (DEPLOYS * self._count)
            before, began = self._server.cpu_s(), time.monotonic()
            time.sleep(self._rest_s)
            rest = (self._server.cpu_s() - before) / (time.monotonic() - began)
            found = {
                "rest_cpu_percent": round(100 * rest, 2),
                "per_change_ms": self._per_change(admin),
                "per_deploy_ms": round(1000 * per_deploy, 2),
                "deploy_s": round(statistics.median(deploys), 2),
                "deploy_most_s": round(max(deploys), 2),
                "server_mb": round(self._server.resident_mb(), 1),
                "pi_mb": round(sum(map(resident_mb, pis.pids)) / self._count, 2),
            }
            self._server.kill()
            time.sleep(OUTAGE_S)
            admin = self._server.start()
            return {**found, "back_s": round(self._deploy(admin, port), 2)}

    def _per_change(self, admin: Connection) -> float:
        """Milliseconds of the server's processor for a change that is no Pi's."""
        before = self._server.cpu_s()
        for _ in range(CHANGES * 10):
            admin.ask("POST", PATH, {"type": "a measurement", "value": 20.5})
        return round((self._server.cpu_s() - before) * 1000 / (CHANGES * 10), 2)

    def _deploy(self, admin: Connection, port: socket.socket) -> float:
        """Seconds from the save of a program for each Pi until the last of them runs."""
        self._number += 1
        documents = []
        for mac_id in self._pis:
            code = PROGRAM.format(round=self._number, mac_id=mac_id, port=port.getsockname()[1])
            known = {"_rev": self._revs[mac_id]} if mac_id in self._revs else {}
            documents.append({"_id": f"{mac_id}:bench", "type": mac_id, "name": "bench", "code": code, **known})
        began = time.monotonic()
        told = admin.ask("POST", f"{PATH}/_bulk_docs", {"docs": documents})
        self._revs = {mac_id: each["rev"] for mac_id, each in zip(self._pis, told, strict=True)}
        left = set(self._pis)
        while left:
            number, mac_id = map(int, port.recv(100).split())
            if number == self._number:
                left.discard(mac_id)
        return time.monotonic() - began


@contextlib.contextmanager
def _datagrams() -> Iterator[socket.socket]:
    """Where the programs say that they run."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        port.bind(("127.0.0.1", 0))
        port.settimeout(WITHIN_S)
        yield port


COLUMNS = {
    "Pis": "pis",
    "status in": "status",
    "CPU at rest, %": "rest_cpu_percent",
    "CPU a change, ms": "per_change_ms",
    "without Pis": "per_change_without_pis_ms",
    "CPU a deploy, ms": "per_deploy_ms",
    "all run, s": "deploy_s",
    "at most": "deploy_most_s",
    "back, s": "back_s",
    "server, MB": "server_mb",
    "a Pi, MB": "pi_mb",
    "load": "load",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure fleets of several sizes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--pis", default=",".join(map(str, SIZES)), help="sizes, with commas between [%(default)s]")
    parser.add_argument("--rest", type=float, default=60.0, metavar="S", help="how long to look at rest [%(default)s]")
    parser.add_argument("--databases", type=int, choices=(1, 2), help="only with that many [both]")
    rounds = "of the Pis' passwords; 600000 is what CouchDB has [%(default)s]"
    parser.add_argument("--iterations", type=int, default=fleet.ITERATIONS, metavar="N", help=rounds)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there")
    given = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    print("  ".join(COLUMNS), flush=True)
    for count in map(int, given.pis.split(",")):
        fleet.allow_descriptors(100 + fleet.DESCRIPTORS_PER_PI * count)
        for own_status in [two for two in (True, False) if given.databases in (None, 1 + two)]:
            with tempfile.TemporaryDirectory() as folder:
                data = Path(folder) / "couch"
                rows.append(
                    Round(data, count, own_status=own_status, rest_s=given.rest, iterations=given.iterations).measure()
                )
            print("  ".join(f"{rows[-1][key]!s:>{len(heading)}}" for heading, key in COLUMNS.items()), flush=True)
            if given.json is not None:
                given.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        # So that servers and Pis end with it, whoever ends it.
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
