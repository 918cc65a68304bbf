"""Simulated Pis: the daemon's own services, many of them in a process, each with a MacID and a state folder of its own.

``python -m benchmarks.fleet --server http://127.0.0.1:5984 --user admin --pis 200`` makes the databases and the users
where they are missing, starts the Pis, and runs until Ctrl-C; the admin's password is in ``HIMBEERECOUCH_PASSWORD``.
What is not as on a Pi: the state folders are in memory, programs share one process and its processor, and nobody
answers probes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlsplit

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher, textFileLogObserver
from zope.interface import provider

from benchmarks.world import Connection
from himbeerecouch.couch import query
from himbeerecouch.tap import Config, make_daemon
from himbeerecouch.unix import Handover, use_monotonic_time

FIRST_MAC_ID = 202_481_600_000_000
DATABASE = "nedm/raspberries"
PASSWORD = "simulated"
ITERATIONS = 10
"""Rounds of PBKDF2 for the passwords of the simulated Pis: they protect nothing."""
DESCRIPTORS_PER_PI = 6
"""Two or three connections, the lock of the state folder, and what a command takes."""


# --- the server's side ------------------------------------------------------------------------------------------------


def mac_ids(count: int, first: int = FIRST_MAC_ID) -> list[int]:
    """The MacIDs of so many Pis."""
    return list(range(first, first + count))


def enroll(
    admin: Connection,
    pis: Sequence[int],
    database: str = DATABASE,
    *,
    status: bool = True,
    iterations: int = ITERATIONS,
) -> None:
    """Make databases, indexes and a user for each Pi, where they are missing; without ``status`` one database."""
    for name in (database, f"{database}_status")[: 2 if status else 1]:
        path = "/" + quote(name, safe="")
        with contextlib.suppress(RuntimeError):
            admin.ask("PUT", path)
        security = admin.ask("GET", f"{path}/_security")
        members = security.setdefault("members", {}).setdefault("roles", [])
        if "himbeerecouch_pi" not in members:
            members.append("himbeerecouch_pi")
            admin.ask("PUT", f"{path}/_security", security)
    for index in query.INDEXES.values():
        admin.ask("POST", "/" + quote(database, safe="") + "/_index", index)
    # The salt is the same for all, and so one derivation is enough.
    salt = "0" * 32
    key = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt.encode(), iterations).hex()
    users = [_user(mac_id, salt, iterations, key) for mac_id in pis]
    for start in range(0, len(users), 500):
        # Those that are there already come back as conflicts.
        admin.ask("POST", "/_users/_bulk_docs", {"docs": users[start : start + 500]})


def _user(mac_id: int, salt: str, iterations: int, key: str) -> dict[str, Any]:
    return {
        "_id": f"org.couchdb.user:{mac_id}",
        "name": str(mac_id),
        "roles": ["himbeerecouch_pi"],
        "type": "user",
        "password_scheme": "pbkdf2",
        "pbkdf2_prf": "sha256",
        "salt": salt,
        "iterations": iterations,
        "derived_key": key,
    }


# --- the Pis' side ----------------------------------------------------------------------------------------------------


class Pi:
    """One Pi: all services of the daemon, without the process around them."""

    def __init__(self, reactor: Any, mac_id: int, url: str, folder: Path, database: str) -> None:
        self.mac_id = mac_id
        config = Config(
            server_file=str(folder / "server"),
            database=database,
            mac_id=mac_id,
            password_file=str(folder / "password"),
            state_dir=str(folder / "state"),
            discovery="off",
        )
        self._daemon = cast(Any, make_daemon(reactor, config, {}, Handover(), systemd={}))
        self._daemon.replace = lambda reason: None

    def start(self) -> None:
        """Begin, as after a boot."""
        # Not the daemon's own: that takes the signals of the process, and ends its children.
        MultiService.startService(self._daemon)

    async def stop(self) -> None:
        """End in order, with the last heartbeat."""
        if self._daemon.running:
            await maybeDeferred(MultiService.stopService, self._daemon)
        self._daemon._close()


class Fleet:
    """The Pis of one process.  The daemon has the reactor run on the monotonic clock, from here on."""

    def __init__(self, reactor: Any, url: str, folder: Path, pis: Sequence[int], database: str = DATABASE) -> None:
        use_monotonic_time(reactor)
        folder = folder.absolute()
        self._reactor = reactor
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "server").write_text(f"{url}\n")
        (folder / "password").write_text(f"{PASSWORD}\n")
        self._make = lambda mac_id: Pi(reactor, mac_id, url, folder, database)
        self._mac_ids = list(pis)
        self._timers: list[Any] = []
        self.pis: list[Pi] = []

    def start(self, spread_s: float) -> Deferred[None]:
        """Start them one by one within ``spread_s``; fires once the last one has begun."""
        started: Deferred[None] = Deferred()
        begun = self._reactor.seconds()
        pause_s = spread_s / max(1, len(self._mac_ids))
        left = iter(enumerate(self._mac_ids, 1))

        def start_one() -> None:
            number, mac_id = next(left, (0, 0))
            if not number:
                started.callback(None)
                return
            pi = self._make(mac_id)
            self.pis.append(pi)
            pi.start()
            at = begun + number * pause_s
            self._timers[:] = [self._reactor.callLater(max(0.0, at - self._reactor.seconds()), start_one)]

        start_one()
        return started

    async def stop(self) -> None:
        """End them all at once."""
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        await gatherResults([Deferred.fromCoroutine(pi.stop()) for pi in self.pis])


# --- processes --------------------------------------------------------------------------------------------------------


class Processes:
    """Simulated Pis in processes of their own, for a benchmark or a test that has a reactor or none."""

    def __init__(
        self, url: str, pis: Sequence[int], *, processes: int = 1, spread_s: float = 0.0, database: str = DATABASE
    ) -> None:
        each = -(-len(pis) // processes)
        # Here and not there: a process that is killed leaves its folder behind.
        self._folder = contextlib.ExitStack()
        folder = self._folder.enter_context(memory_folder())
        self._children = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.fleet",
                    "--enrolled",
                    f"--server={url}",
                    f"--pis={len(part)}",
                    f"--first-mac-id={part[0]}",
                    f"--database={database}",
                    f"--spread={spread_s}",
                    f"--folder={folder / str(part[0])}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                cwd=Path(__file__).resolve().parent.parent,
                text=True,
            )
            for part in (pis[start : start + each] for start in range(0, len(pis), each))
        ]

    def wait_until_started(self) -> None:
        """Block until every Pi has begun."""
        for child in self._children:
            assert child.stdout is not None
            if not child.stdout.readline():
                raise RuntimeError("the simulated Pis ended")

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [child.pid for child in self._children]

    def stop(self, *, kill: bool = False) -> None:
        """End them, and wait until they are gone; ``kill``: as when the power fails."""
        for child in self._children:
            child.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        for child in self._children:
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()
        self._folder.close()


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder in memory, where the machine has one: a thousand Pis have a thousand disks, and here there is one."""
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="himbeerecouch-fleet-", dir=where) as folder:
        yield Path(folder)


def wait_for_heartbeats(
    admin: Connection, count: int, database: str = f"{DATABASE}_status", within_s: float = 600.0
) -> None:
    """Block until there are so many heartbeats in the database.  Raises TimeoutError."""
    path = "/" + quote(database, safe="") + "/_all_docs"
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        rows = admin.ask("GET", path)["rows"]
        if sum(row["id"].endswith("_heartbeat") for row in rows) >= count:
            return
        time.sleep(0.1)
    raise TimeoutError(f"no {count} heartbeats within {within_s:g} s")


def wait_until_ready(admin: Connection, pis: Sequence[int], database: str = DATABASE, within_s: float = 600.0) -> None:
    """Block until each of the Pis runs commands.  Raises TimeoutError.

    Without ``expires`` a command that is there before a Pi has first read its database is too old to be run.
    """
    path = "/" + quote(database, safe="")
    expires = "2100-01-01T00:00:00Z"
    ids = [f"{mac_id}_cmd:ready" for mac_id in pis]
    commands = [
        {"_id": id, "type": f"{mac_id}_cmd", "cmd": ["true"], "expires": expires}
        for id, mac_id in zip(ids, pis, strict=True)
    ]
    admin.ask("POST", f"{path}/_bulk_docs", {"docs": commands})
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        rows = admin.ask("POST", f"{path}/_all_docs?include_docs=true", {"keys": ids})["rows"]
        if all("ret" in row["doc"] for row in rows):
            gone = [{"_id": row["id"], "_rev": row["value"]["rev"], "_deleted": True} for row in rows]
            admin.ask("POST", f"{path}/_bulk_docs", {"docs": gone})
            return
        time.sleep(0.1)
    raise TimeoutError(f"{len(pis)} Pis don't all run commands within {within_s:g} s")


def allow_descriptors(count: int) -> None:
    """Raise this process's limit of open files, as far as it may.  Raises SystemExit where that is too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise SystemExit(f"{count} open files are needed, and {hard} allowed: use more --processes, or raise ulimit -n")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def main(argv: Sequence[str] | None = None) -> int:
    """Run simulated Pis until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description="Runs simulated Pis until Ctrl-C.")
    parser.add_argument("--server", required=True, metavar="URL", help="the CouchDB server")
    parser.add_argument("--user", default="admin", help="who makes databases and users; HIMBEERECOUCH_PASSWORD is its")
    parser.add_argument("--pis", type=int, default=10, help="how many [10]")
    parser.add_argument("--first-mac-id", type=int, default=FIRST_MAC_ID, metavar="N")
    parser.add_argument("--database", default=DATABASE, metavar="NAME")
    parser.add_argument("--spread", type=float, default=0.0, metavar="S", help="start them within so many seconds [0]")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="how many processes they share [1]")
    parser.add_argument("--folder", type=Path, help="for the Pis' state [one in memory]")
    parser.add_argument("--enrolled", action="store_true", help="databases and users are there already")
    parser.add_argument("--verbose", action="store_true", help="show what the daemons log")
    given = parser.parse_args(argv)
    pis = mac_ids(given.pis, given.first_mac_id)
    if not given.enrolled:
        address = urlsplit(given.server)
        password = os.environ.get("HIMBEERECOUCH_PASSWORD", "")
        enroll(Connection(address.port or 5984, address.hostname or "", (given.user, password)), pis, given.database)
    if given.processes > 1:
        return _wait_for_children(given, pis)
    with contextlib.ExitStack() as stack:
        return _run(given, pis, given.folder or stack.enter_context(memory_folder()))


def _wait_for_children(given: argparse.Namespace, pis: Sequence[int]) -> int:
    children = Processes(given.server, pis, processes=given.processes, spread_s=given.spread, database=given.database)
    ended = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.append(True))
    children.wait_until_started()
    print(f"{len(pis)} Pis have started", flush=True)
    while not ended:
        signal.pause()
    children.stop()
    return 0


def _run(given: argparse.Namespace, pis: Sequence[int], folder: Path) -> int:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    allow_descriptors(100 + DESCRIPTORS_PER_PI * len(pis))
    globalLogPublisher.addObserver(textFileLogObserver(sys.stderr) if given.verbose else _trouble)
    fleet = Fleet(reactor, given.server, folder, pis, given.database)

    def started(_: None) -> None:
        print(f"{len(pis)} Pis have started", flush=True)

    def end(*_: object) -> None:
        reactor.callFromThread(reactor.stop)

    def begin() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        fleet.start(given.spread).addCallback(started)

    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(fleet.stop()))
    reactor.run()
    return 0


@provider(ILogObserver)
def _trouble(event: Any) -> None:
    """Show what should never happen; that a server is away is no news for a benchmark that has stopped it."""
    if event.get("log_level", LogLevel.info) >= LogLevel.critical:
        textFileLogObserver(sys.stderr)(event)


if __name__ == "__main__":
    sys.exit(main())
