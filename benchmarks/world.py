"""The processes that a benchmark measures: an embedded database and a daemon, both started as a user starts them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from benchmarks.peers.process import free_port

MAC_ID = 202481591484002
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=")
ADMIN, PASSWORD = "admin", "bench"
REST_S = 60.0
"""A connection that nobody has used for longer may have been closed by the server."""


class Connection:
    """One HTTP connection that is kept, with as little as possible around it."""

    def __init__(self, port: int, host: str = "127.0.0.1", user: tuple[str, str] = (ADMIN, PASSWORD)) -> None:
        self._http = http.client.HTTPConnection(host, port, timeout=60)
        self._used_at = time.monotonic()
        login = base64.b64encode(":".join(user).encode()).decode()
        self._headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request and its answer."""
        self.send(method, path, body)
        return self.receive()

    def send(self, method: str, path: str, body: Any = None) -> None:
        """A request, whose answer is taken later."""
        now = time.monotonic()
        if now - self._used_at > REST_S:
            self._http.close()  # it connects anew by itself
        self._used_at = now
        data = None if body is None else json.dumps(body).encode()
        self._http.request(method, path, data, self._headers)

    def receive(self) -> Any:
        """The answer, as JSON.  Raises RuntimeError for an error status."""
        with self._http.getresponse() as answer:
            data = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{answer.status} {data!r}")
        return json.loads(data)


def start_server(folder: Path, port: int) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start an embedded database on ``folder``; give its process, and a connection as its admin once it answers."""
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / "admin").write_text(f"{ADMIN}:{PASSWORD}\n")
        (folder / "admin").chmod(0o600)
    listen = f"--listen=tcp:{port}:interface=127.0.0.1"
    log = folder.with_suffix(".log")
    process = subprocess.Popen([*TWISTD, f"--logfile={log}", "himbeerecouch-embedded", listen, f"--data={folder}"])
    for _ in range(600):
        with contextlib.suppress(OSError):
            connection = Connection(port)
            connection.ask("GET", "/_up")
            return process, connection
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise TimeoutError("the embedded database does not answer")


class World:
    """An embedded database with one enrolled Pi, and its daemon, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.database = "/" + quote("nedm/raspberries", safe="")
        self.url = f"http://127.0.0.1:{self.port}"
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> World:
        self._server, self.couch = start_server(self._folder / "couch", self.port)
        self.couch.ask("PUT", self.database)
        self.couch.ask("PUT", f"{self.database}_status")
        members = {"names": [str(MAC_ID)], "roles": []}
        for name in (self.database, f"{self.database}_status"):
            self.couch.ask("PUT", f"{name}/_security", {"admins": {"roles": ["_admin"]}, "members": members})
        user = {"name": str(MAC_ID), "password": "pi", "roles": [], "type": "user"}
        self.couch.ask("PUT", f"/_users/org.couchdb.user:{MAC_ID}", user)
        (self._folder / "server").write_text(f"{self.url}\n")
        (self._folder / "password").write_text("pi\n")
        self.start_daemon()
        self.save({"_id": "ready", "type": f"{MAC_ID}_cmd", "cmd": ["true"], "expires": "2100-01-01T00:00:00Z"})
        self.wait_for("ready", lambda document: "ret" in document)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_daemon()
        self._server.terminate()
        self._server.wait()

    def connect(self) -> Connection:
        """A connection of its own, for a poll."""
        return Connection(self.port)

    def start_daemon(self) -> None:
        """Start the daemon, and return at once."""
        self._daemon = subprocess.Popen(
            [
                *TWISTD,
                f"--logfile={self._folder / 'daemon.log'}",
                "himbeerecouch",
                f"--server-file={self._folder / 'server'}",
                f"--password-file={self._folder / 'password'}",
                f"--state-dir={self._folder / 'state'}",
                f"--mac-id={MAC_ID}",
                "--discovery=off",
            ]
        )

    def stop_daemon(self) -> None:
        """End the daemon, and wait until it is gone."""
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait()
            self._daemon = None

    def daemon_pid(self) -> int:
        """The pid of the daemon that runs."""
        assert self._daemon is not None
        return self._daemon.pid

    def save(self, document: dict[str, Any], *, replace: bool = False) -> tuple[int, int]:
        """Save the document; return when that was sent and when it was acknowledged, in monotonic ns."""
        if replace:
            with contextlib.suppress(RuntimeError):
                document["_rev"] = self.couch.ask("GET", f"{self.database}/{document['_id']}")["_rev"]
        sent = time.monotonic_ns()
        self.couch.ask("POST", self.database, document)
        return sent, time.monotonic_ns()

    def delete(self, id: str) -> None:
        """Delete the document."""
        rev = self.couch.ask("GET", f"{self.database}/{id}")["_rev"]
        self.couch.ask("DELETE", f"{self.database}/{id}?rev={rev}")

    def wait_for(self, id: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Follow the document until it is as ``wanted``."""
        return self.wait_for_all({id}, wanted)[id]

    def wait_for_all(self, ids: set[str], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, dict[str, Any]]:
        """Follow the documents until each is as ``wanted``."""
        poll, since = self.connect(), "0"
        found: dict[str, dict[str, Any]] = {}
        while found.keys() != ids:
            path = (
                f"{self.database}/_changes?feed=longpoll&timeout=20000&filter=_doc_ids&include_docs=true&since={since}"
            )
            answer = poll.ask("POST", path, {"doc_ids": sorted(ids)})
            since = answer["last_seq"]
            found |= {row["id"]: row["doc"] for row in answer["results"] if row.get("doc") and wanted(row["doc"])}
        return found
