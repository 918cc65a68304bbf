"""The world of the page's tests, all real: a database, the page's server and a daemon, told what to do line by line.

``python -m tests.page_world`` prints addresses and logins as a line of JSON as soon as it runs.  Each line it reads
is a request, ``{"do": "save", "document": {...}}``, and answered by a line, ``{"ok": ...}`` or ``{"error": ...}``.  At
the end of its input it ends everything.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from himbeerecouch.couch import query
from himbeerecouch.fleet import guard
from himbeerecouch.fleet.guard import Place
from tests.integration.world import DATABASE, MAC_ID, PATH, TWISTD, Daemon, World, environment, until

OPERATOR = {"name": "olga", "password": "operator-secret", "roles": ["himbeerecouch_operator"]}
READER = {"name": "ren", "password": "reader-secret", "roles": ["himbeerecouch_reader"]}
STRANGER = {"name": "sam", "password": "stranger-secret", "roles": []}
BULK = 500


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of this machine that nobody uses at the moment."""
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


TRACEBACK = 'Traceback (most recent call last):\n  File "heater@3-c0ffee/main.py", line 4, in main\nKeyError: 1'


class Cleanup:
    """What the worlds of the other tests want of a test: a folder, and somebody who cleans up."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self.addCleanup = stack.callback

    def mktemp(self) -> str:
        """A path that does not exist yet."""
        return str(self._folder / "world")


class PageWorld:
    """Everything that a browser test needs, and what can be done to it."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.world = World(Cleanup(folder, stack))
        self.couch = self.world.couch
        self._stack = stack
        self._port = free_port()
        # Not the usual one: no Pi of the network that this runs in is asked.
        self._discovery_port = free_port(socket.SOCK_DGRAM)
        self._web: subprocess.Popen[bytes] | None = None
        self._daemon: Daemon | None = None
        for path, place in ((PATH, Place.PROGRAMS), (f"{PATH}_status", Place.STATUS)):
            members = {"names": [str(MAC_ID)], "roles": ["himbeerecouch_pi", *OPERATOR["roles"], *READER["roles"]]}
            self.couch.ask("PUT", f"{path}/_security", {"admins": {"roles": ["_admin"]}, "members": members})
            self.couch.ask("PUT", f"{path}/{guard.DESIGN_DOCUMENT}", guard.design_document(place))
        for index in query.INDEXES.values():
            self.couch.ask("POST", f"{PATH}/_index", index)
        for user in (OPERATOR, READER, STRANGER):
            self.couch.ask("PUT", f"/_users/org.couchdb.user:{user['name']}", {**user, "type": "user"})
        stack.callback(self.stop_web)

    def describe(self) -> dict[str, Any]:
        """What a browser test has to know."""
        admin = {"name": self.world.server.admin[0], "password": self.world.server.admin[1]}
        users = {"admin": admin, "operator": OPERATOR, "reader": READER, "stranger": STRANGER}
        return {"url": f"http://127.0.0.1:{self._port}/", "database": DATABASE, "mac_id": str(MAC_ID), **users}

    # --- what can be asked for ----------------------------------------------------------------------------------------

    def start_web(self) -> None:
        """Start the page's server, on the port that it has for good."""
        listen = f"tcp:{self._port}:interface=127.0.0.1"
        options = [
            "himbeerecouch-web",
            f"--server-file={self.world.server_file}",
            f"--listen={listen}",
            f"--discovery-port={self._discovery_port}",
        ]
        with (self.world.folder / "web.log").open("ab") as log:
            self._web = subprocess.Popen(
                [*TWISTD, "--nodaemon", "--pidfile=", *options],
                cwd=self.world.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._web_answers, "the page's server")

    def _web_answers(self) -> bool:
        if self._web is None or self._web.poll() is not None:
            raise AssertionError((self.world.folder / "web.log").read_text(errors="replace")[-4000:])
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self._port}/config.json") as answer,
        ):
            return bool(answer.status == 200)
        return False

    def stop_web(self) -> None:
        """End the page's server, as a crash does."""
        if self._web is not None:
            self._web.kill()
            self._web.wait()

    def start_daemon(self) -> None:
        """Start the Pi, and return when it has told how it is."""
        self._daemon = self.world.start()
        before = self.heartbeat().get("started")
        until(lambda: self.heartbeat().get("started") != before, "a heartbeat of the daemon")

    def start_waiting(self, mac_id: int) -> None:
        """Start another Pi, which has no user and tells its password to who asks."""
        self.world.start(
            f"--mac-id={mac_id}",
            f"--state-dir={self.world.folder / str(mac_id)}",
            "--discovery=enroll",
            f"--discovery-port={self._discovery_port}",
            password=False,
            wait="Enrol the Pi",
        )

    def stop_daemon(self) -> None:
        """Stop the Pi's daemon on purpose."""
        assert self._daemon is not None
        self._daemon.stop()

    def kill_daemon(self) -> None:
        """Cut the Pi's power."""
        assert self._daemon is not None
        self._daemon.kill()

    def stop_server(self) -> None:
        """End the database."""
        self.world.server.kill()

    def start_server(self) -> None:
        """Start the database again."""
        self.world.server_up()

    def drop_status(self) -> None:
        """Take the status database away, and the guard that keeps the Pi from telling how it is in the other one."""
        self.couch.ask("DELETE", f"{PATH}_status")
        design = self.couch.ask("GET", f"{PATH}/{guard.DESIGN_DOCUMENT}")
        self.couch.ask("DELETE", f"{PATH}/{guard.DESIGN_DOCUMENT}?rev={design['_rev']}")

    def save(self, document: dict[str, Any], status: bool = False) -> str:
        """Save a document over whatever there is, as an admin; return its revision."""
        path = f"{PATH}{'_status' if status else ''}/{quote(document['_id'], safe='')}"
        with contextlib.suppress(OSError):
            document = {"_rev": self.couch.ask("GET", path)["_rev"], **document}
        return str(self.couch.ask("PUT", path, document)["rev"])

    def get(self, id: str, status: bool = False) -> Any:
        """A document; null where there is none."""
        with contextlib.suppress(OSError):
            return self.couch.ask("GET", f"{PATH}{'_status' if status else ''}/{quote(id, safe='')}")
        return None

    def delete(self, id: str) -> None:
        """Delete a document of the database of the programs."""
        self.world.delete(id)

    def ids(self, prefix: str) -> list[str]:
        """The ids in the database of the programs that begin like that."""
        rows = self.couch.ask("GET", f"{PATH}/_all_docs")["rows"]
        return [row["id"] for row in rows if row["id"].startswith(prefix)]

    def heartbeat(self, mac_id: int = MAC_ID) -> Any:
        """A Pi's heartbeat, in whichever database it is; empty where there is none."""
        id = f"{mac_id}_heartbeat"
        return self.get(id, status=True) or self.get(id) or {"state": None, "programs": {}}

    def age(self, age_s: float, mac_id: int = MAC_ID) -> None:
        """Make a Pi's heartbeat one that was written so long ago."""
        written = datetime.now(timezone.utc) - timedelta(seconds=age_s)
        timestamp = written.isoformat().replace("+00:00", "Z")
        self.save({**self.heartbeat(mac_id), "timestamp": timestamp}, status=True)

    def fleet(self, count: int, first: int = 100_000, age_s: float = 0.0) -> int:
        """Write the heartbeats of made-up Pis, each of which was written so long ago; every 50th has a problem."""
        beats = [made_up(first + number, number, age_s) for number in range(count)]
        known = self.couch.ask("POST", f"{PATH}_status/_all_docs", {"keys": [beat["_id"] for beat in beats]})["rows"]
        for beat, row in zip(beats, known, strict=True):
            if rev := row.get("value", {}).get("rev"):
                beat["_rev"] = rev
        for start in range(0, count, BULK):
            self.couch.ask("POST", f"{PATH}_status/_bulk_docs", {"docs": beats[start : start + BULK]})
        return count


def made_up(mac_id: int, number: int, age_s: float) -> dict[str, Any]:
    """The heartbeat of a Pi that does not exist, among others of its kind: a few crash, are hot, or are long gone."""
    now = datetime.now(timezone.utc)
    kind = number % 50
    written = now - timedelta(seconds=86_400 if kind == 7 else age_s)
    since = (now - timedelta(hours=number % 90)).isoformat()
    crashed = kind == 3
    programs = {
        "logger": {"name": "logger", "state": "running", "error": None},
        "heater": {
            "name": "heater",
            "state": "backoff" if crashed else "running",
            "error": TRACEBACK if crashed else None,
        },
    }
    common: dict[str, Any] = {
        "rev": "3-c0ffee",
        "saved_rev": None,
        "since": since,
        "restarts": 7 if crashed else 0,
        "failures": [],
    }
    return {
        "_id": f"{mac_id}_heartbeat",
        "type": "heartbeat",
        "mac_id": mac_id,
        "state": "stopped" if kind == 13 else "running",
        "timestamp": written.isoformat().replace("+00:00", "Z"),
        "interval_s": 30,
        "ip": f"10.0.{number // 250}.{number % 250 + 1}",
        "hostname": f"lab-{number:04d}",
        "versions": {"himbeerecouch": "0.6.0", "python": "3.11.2", "model": "Raspberry Pi 4 Model B Rev 1.4"},
        "boot_time": since,
        "started": since,
        "clock_offset_s": 0.1,
        "health": {
            "cpu_temperature_c": 83.2 if kind == 21 else 41.0 + number % 17,
            "under_voltage": kind == 31,
            "load": [0.1, 0.2, 0.1],
            "memory_total_bytes": 4_000_000_000,
            "memory_available_bytes": 3_100_000_000,
            "disk_total_bytes": 31_000_000_000,
            "disk_free_bytes": 20_000_000_000,
            "disk_read_only": kind == 41,
        },
        "running_ids": [id for id, program in programs.items() if program["state"] == "running"],
        "programs": {id: {**common, **program} for id, program in programs.items()},
        "rejected": [],
        "rejected_left_out": 0,
    }


def main() -> int:
    """Serve one browser test, until the end of its input."""
    with tempfile.TemporaryDirectory(prefix="himbeerecouch-page-") as folder, contextlib.ExitStack() as stack:
        world = PageWorld(Path(folder), stack)
        world.start_web()
        print(json.dumps(world.describe()), flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            do: Callable[..., Any] = getattr(world, request.pop("do"))
            try:
                answer: dict[str, Any] = {"ok": do(**request)}
            except (AssertionError, OSError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
