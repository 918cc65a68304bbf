"""How many Pis one embedded database carries: simulated fleets of several sizes, each on a server of its own.

``python -m benchmarks.scaling`` prints a table; ``--json FILE`` keeps the figures, from the first fleet on.  The Pis
are those of ``benchmarks.fleet``; the server is ``twistd himbeerecouch-embedded`` on a folder of the disk.  Times are
as somebody waits for them; CPU is that of the server's process alone, where it is not said to be that of the Pis.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks import fleet
from benchmarks.fleets import OWN, SAME, goals
from benchmarks.peers.process import free_port
from benchmarks.samples import added, circumstances, figures
from benchmarks.world import ADMIN, PASSWORD, Connection, start_server

SIZES = (1, 10, 100, 300, 1000)
WARM_UP, CHANGES = 100, 300
DEPLOYS = 3
"""Whose processor time is taken, with all that follows; their heartbeats are not put off yet."""
MOST_DEPLOYS, DEPLOYS_S = 30, 20.0
"""So many, those included, are timed, unless it takes longer."""
MOST_RETURNS, RETURNS_S = 3, 30.0
"""So often the server is killed, unless it takes longer."""
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
SETTLE_S = 12.0
WITHIN_S = 300.0
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

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid


def cpu_s(pid: int) -> float:
    """The processor time that a process has taken, its threads that have ended included."""
    # As clock_getcpuclockid(3) makes the number of that clock: /proc/PID/stat has hundredths of seconds only.
    return time.clock_gettime((~pid << 3) | 2)


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
            time.sleep(SETTLE_S)
            before, of_pis = cpu_s(self._server.pid), sum(map(cpu_s, pis.pids))
            deploys = [self._deploy(admin, port) for _ in range(DEPLOYS)]
            # The heartbeats of what has changed are over by then.
            time.sleep(SETTLE_S)
            per_deploy = (cpu_s(self._server.pid) - before) / (DEPLOYS * self._count)
            pis_per_deploy = (sum(map(cpu_s, pis.pids)) - of_pis) / (DEPLOYS * self._count)
            deploys += _again(lambda: self._deploy(admin, port), MOST_DEPLOYS - DEPLOYS, DEPLOYS_S)
            time.sleep(SETTLE_S)
            before, began = cpu_s(self._server.pid), time.monotonic()
            time.sleep(self._rest_s)
            rest = (cpu_s(self._server.pid) - before) / (time.monotonic() - began)
            return {
                "rest_cpu_percent": round(100 * rest, 2),
                "per_change_ms": self._per_change(admin, rest),
                "per_deploy_ms": round(1000 * per_deploy, 2),
                "pis_per_deploy_ms": round(1000 * pis_per_deploy, 2),
                "server_mb": round(resident_mb(self._server.pid), 1),
                "pi_mb": round(sum(map(resident_mb, pis.pids)) / self._count, 2),
                "deploy_s": figures(deploys),
                "back_s": figures(_again(lambda: self._return(port), MOST_RETURNS, RETURNS_S)),
            }

    def _return(self, port: socket.socket) -> float:
        """Seconds from a server that listens again until each Pi runs what was saved then."""
        self._server.kill()
        time.sleep(OUTAGE_S)
        return self._deploy(self._server.start(), port)

    def _per_change(self, admin: Connection, rest: float = 0.0) -> float:
        """Milliseconds of the server's processor for a change that is no Pi's, beside what it takes at rest."""
        document = {"type": "a measurement", "value": 20.5}
        for _ in range(WARM_UP):
            admin.ask("POST", PATH, document)
        before, began = cpu_s(self._server.pid), time.monotonic()
        for _ in range(CHANGES):
            admin.ask("POST", PATH, document)
        taken_s = cpu_s(self._server.pid) - before - rest * (time.monotonic() - began)
        return round(1000 * taken_s / CHANGES, 2)

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


def _again(measure: Callable[[], float], most: int, within_s: float) -> list[float]:
    """Measure once, and then again until it is often enough or late."""
    ends = time.monotonic() + within_s
    found = [measure()]
    while len(found) < most and time.monotonic() < ends:
        found.append(measure())
    return found


COLUMNS = {
    "Pis": "pis",
    "status in": "status",
    "CPU at rest, %": "rest_cpu_percent",
    "CPU a change, ms": "per_change_ms",
    "without Pis": "per_change_without_pis_ms",
    "CPU a deploy, ms": "per_deploy_ms",
    "of the Pis": "pis_per_deploy_ms",
    "all run, s": "deploy_s",
    "back, s": "back_s",
    "server, MB": "server_mb",
    "a Pi, MB": "pi_mb",
    "load": "load",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure fleets of several sizes; return 1 where one could not be, or where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--pis", default=",".join(map(str, SIZES)), help="sizes, with commas between [%(default)s]")
    parser.add_argument("--rest", type=float, default=45.0, metavar="S", help="how long to look at rest [%(default)s]")
    parser.add_argument("--databases", type=int, choices=(1, 2), help="only with that many [both]")
    rounds = "of the Pis' passwords; 600000 is what CouchDB has [%(default)s]"
    parser.add_argument("--iterations", type=int, default=fleet.ITERATIONS, metavar="N", help=rounds)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there, beside those of the day")
    given = parser.parse_args(argv)
    fleets: list[dict[str, Any]] = []
    print("  ".join(COLUMNS), flush=True)
    for count in map(int, given.pis.split(",")):
        fleet.allow_descriptors(100 + fleet.DESCRIPTORS_PER_PI * count)
        for own_status in [two for two in (True, False) if given.databases in (None, 1 + two)]:
            fleets.append(_measured(count, own_status=own_status, rest_s=given.rest, iterations=given.iterations))
            print(_line(fleets[-1]), flush=True)
            if given.json is not None:  # each time: half an hour is long, and what ends it early takes nothing away
                report = added(given.json, {**circumstances(), "fleets": fleets}, "fleets", ("pis", "status"))
                given.json.write_text(json.dumps(report, indent=1) + "\n")
    met = [goal.met for goal in goals(fleets)]
    return 0 if all(met) and not any("missing" in found for found in fleets) else 1


def _measured(count: int, *, own_status: bool, rest_s: float, iterations: int) -> dict[str, Any]:
    about = {"pis": count, "status": OWN if own_status else SAME}
    with tempfile.TemporaryDirectory() as folder:
        fleet_on_server = Round(
            Path(folder) / "couch", count, own_status=own_status, rest_s=rest_s, iterations=iterations
        )
        try:
            return {**about, **fleet_on_server.measure()}
        except Exception as error:  # noqa: BLE001 - nobody looks on: the other fleets are to be measured all the same
            traceback.print_exc()
            return {**about, "missing": str(error) or type(error).__name__}


def _line(found: dict[str, Any]) -> str:
    if "missing" in found:
        return f"{found['pis']:>3}  {found['status']}: not measured: {found['missing']}"
    shown = {name: value["median"] if isinstance(value, dict) else value for name, value in found.items()}
    return "  ".join(f"{shown[key]!s:>{len(heading)}}" for heading, key in COLUMNS.items())


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        # So that servers and Pis end with it, whoever ends it.
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
