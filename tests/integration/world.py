"""The world of a whole-daemon test: an embedded database and real daemons, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from himbeerecouch.demo import Couch
from himbeerecouch.fleet.guard import DESIGN_DOCUMENT, Place, design_document
from tests import embedded_server

ROOT = Path(__file__).resolve().parents[2]
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
MAC_ID = 202481591484002
DATABASE = "nedm/raspberries"
PATH = "/" + quote(DATABASE, safe="")
WITHIN_S = 30.0
"""Longer than anything here takes on a busy machine; what is waited for ends the wait."""


def environment() -> dict[str, str]:
    """That of this process, with the package importable from any folder."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}


def until(ask: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> Any:
    """Ask until there is something, and return it.  Raises AssertionError, with ``what`` was waited for."""
    deadline = time.monotonic() + within_s
    while True:
        if answer := ask():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within_s:g} s")
        time.sleep(0.02)


class World:
    """One server, on which the Pi ``MAC_ID`` may be enrolled, and a folder for its daemon.

    Everything that was started is ended by the test's clean-up.
    """

    def __init__(self, test: Any, *, database: bool = True, user: bool = True) -> None:
        self.test = test
        self.folder = Path(test.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.server = embedded_server.spawn(test, self.folder / "couch")
        self.couch = Couch(self.server.url, *self.server.admin)
        self.server_file = self.folder / "server"
        self.server_file.write_text(self.server.url + "\n")
        self.password_file = self.folder / "password"
        self.password_file.write_text("pi-secret\n")
        self.state_dir = self.folder / "state"
        if database:
            self.make_database()
        if user:
            self.make_user()

    @property
    def port(self) -> int:
        """The server's port, which it keeps when it is started again."""
        return int(urlsplit(self.server.url).port or 0)

    def server_up(self) -> None:
        """Start the server again on its port and its data, after it was killed or stopped."""
        self.server = embedded_server.spawn(self.test, self.folder / "couch", port=self.port)

    # --- the database -------------------------------------------------------------------------------------------------

    def make_database(self) -> None:
        """Create the two databases, with the Pi as a member."""
        for path in (PATH, f"{PATH}_status"):
            self.couch.ask("PUT", path)
            members = {"names": [str(MAC_ID)], "roles": []}
            self.couch.ask("PUT", f"{path}/_security", {"admins": {"roles": ["_admin"]}, "members": members})

    def guard(self) -> None:
        """Put the guard into both databases: an admin writes anything, the Pi its answers and its status."""
        for place, path in ((Place.PROGRAMS, PATH), (Place.STATUS, f"{PATH}_status")):
            self.couch.ask("PUT", f"{path}/{DESIGN_DOCUMENT}", design_document(place))

    def make_user(self, password: str = "pi-secret") -> None:
        """Create the Pi's user, or change its password."""
        path = f"/_users/org.couchdb.user:{MAC_ID}"
        user = {"name": str(MAC_ID), "password": password, "roles": [], "type": "user"}
        with contextlib.suppress(OSError):
            user["_rev"] = self.couch.ask("GET", path)["_rev"]
        self.couch.ask("PUT", path, user)

    def save(self, id: str, **members: Any) -> str:
        """Save a document, whatever there is under its id; return the revision."""
        with contextlib.suppress(OSError):
            members = {"_rev": self.get(id)["_rev"], **members}
        rev: str = self.couch.ask("PUT", f"{PATH}/{quote(id, safe='')}", members)["rev"]
        return rev

    def program(self, id: str, code: str, **members: Any) -> str:
        """Save a program for the Pi."""
        return self.save(id, type=MAC_ID, name=id, code=code, **members)

    def get(self, id: str) -> dict[str, Any]:
        """The document as it is now."""
        document: dict[str, Any] = self.couch.ask("GET", f"{PATH}/{quote(id, safe='')}")
        return document

    def delete(self, id: str) -> None:
        """Delete the document."""
        self.couch.ask("DELETE", f"{PATH}/{quote(id, safe='')}?rev={self.get(id)['_rev']}")

    def command(self, id: str, *argv: str, **members: Any) -> dict[str, Any]:
        """Insert a command, and return its document once it is answered."""
        self.save(id, type=f"{MAC_ID}_cmd", **({"cmd": list(argv)} if argv else {}), **members)
        return self.answered(id)

    def answered(self, id: str, within_s: float = WITHIN_S) -> dict[str, Any]:
        """The command's document, once it has ``ret``."""
        found: dict[str, Any] = until(
            lambda: document if "ret" in (document := self.get(id)) else None, f"an answer to {id}", within_s
        )
        return found

    # --- the daemon ---------------------------------------------------------------------------------------------------

    def arguments(self) -> list[str]:
        """What every daemon here is told."""
        return [
            "himbeerecouch",
            f"--server-file={self.server_file}",
            f"--mac-id={MAC_ID}",
            f"--state-dir={self.state_dir}",
            "--discovery=off",
        ]

    def start(
        self,
        *options: str,
        twistd: Sequence[str] = (),
        password: bool = True,
        wait: str = "",
        launcher: Sequence[str] = TWISTD,
        prefix: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> Daemon:
        """Start ``twistd -n himbeerecouch``; with ``wait``, return when its log has that.

        ``prefix`` is what runs it, such as strace; ``variables`` are added to its environment.
        """
        arguments = [*self.arguments(), *([f"--password-file={self.password_file}"] if password else []), *options]
        argv = [*prefix, *launcher, "--nodaemon", "--pidfile=", *twistd, *arguments]
        daemon = Daemon(argv, self.folder, variables)
        self.test.addCleanup(daemon.kill)
        if wait:
            daemon.wait_for(wait)
        return daemon


class Daemon:
    """A daemon in the foreground, and what it logs."""

    started = 0

    def __init__(self, argv: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> None:
        Daemon.started += 1
        self.log_path = folder / f"daemon-{Daemon.started}.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                argv,
                cwd=folder,
                env={**environment(), **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Its pid, which stays while it replaces itself."""
        return self.process.pid

    def log(self) -> str:
        """All that it has logged so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def lines(self, text: str) -> list[str]:
        """The lines of its log that have ``text``."""
        return [line for line in self.log().splitlines() if text in line]

    def wait_for(self, text: str, count: int = 1, within_s: float = WITHIN_S) -> None:
        """Wait until so many lines of its log have ``text``."""
        try:
            until(lambda: len(self.lines(text)) >= count or self.process.poll() is not None, text, within_s)
            if len(self.lines(text)) < count:
                raise AssertionError(f"the daemon ended with {self.process.returncode}, without {text!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-6000:]}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self, within_s: float = WITHIN_S) -> int:
        """Ask it to end; return its exit status."""
        self.process.terminate()
        return self.wait(within_s)

    def wait(self, within_s: float = WITHIN_S) -> int:
        """Wait for its end; return its exit status."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended within {within_s:g} s\n{self.log()[-6000:]}") from None

    def kill(self) -> None:
        """End it without warning, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def threads(self) -> int:
        """How many threads it has."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def resident_mb(self) -> float:
        """Its resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096 / 1e6
