"""Shows the main job on one machine: an embedded database, a page, a daemon, and programs that run.  ``make demo``."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import quote

from himbeerecouch.discovery.ask import find, probe
from himbeerecouch.errors import HimbeerecouchError
from himbeerecouch.source_tree import read_program

MAC_ID = 202481591484002
DATABASE = "nedm/raspberries"
START_TIMEOUT_S = 60.0
WAKE_S = 0.4
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=")
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, kill, and a terminal that is closed."""


def main(argv: Sequence[str]) -> int:
    """Run the demo with the examples of the folder ``argv[0]`` until Ctrl-C; return the exit status."""
    examples = Path(argv[0] if argv else "examples")
    if not examples.is_dir():
        print(f"{examples}: there is no such folder of examples", file=sys.stderr)
        return 2
    for number in ENDS:
        signal.signal(number, _interrupt)
    try:
        with contextlib.ExitStack() as stack:
            try:
                _run(examples, stack)
            finally:
                # A second Ctrl-C would leave something behind.
                for number in ENDS:
                    signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        print("\nall ended", flush=True)
        return 0
    except (HimbeerecouchError, OSError) as error:
        print(f"the demo can't go on: {error}", file=sys.stderr)
        return 1


def _run(examples: Path, stack: contextlib.ExitStack) -> NoReturn:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="himbeerecouch-demo-")))
    port, discovery_port = _free_port(5984, socket.SOCK_STREAM), _free_port(53000, socket.SOCK_DGRAM)
    web_port = _free_port(8080, socket.SOCK_STREAM)
    server, password = f"http://127.0.0.1:{port}", secrets.token_hex(6)
    couch = Couch(server, "admin", password)

    _say(f"1. Starting a database server for this demo alone, {server}, and the page")
    (folder / "couch").mkdir()
    (folder / "couch" / "admin").write_text(f"admin:{password}\n")
    (folder / "couch" / "admin").chmod(0o600)
    embedded = ("himbeerecouch-embedded", f"--listen=tcp:{port}:interface=127.0.0.1", f"--data={folder / 'couch'}")
    stack.enter_context(_child(*TWISTD, *embedded, stdout=folder / "couch.log"))
    _wait_until(lambda: couch.ask("GET", "/_up"), "the embedded database does not answer")

    (folder / "server").write_text(server + "\n")
    web = ("himbeerecouch-web", f"--server-file={folder / 'server'}", f"--listen=tcp:{web_port}:interface=127.0.0.1")
    stack.enter_context(_child(*TWISTD, *web, f"--discovery-port={discovery_port}", stdout=folder / "web.log"))

    _say(f"2. Starting the daemon, as a Raspberry Pi with the MacID {MAC_ID}")
    log = DaemonLog(folder / "daemon.log")
    # Registered before the daemon, so called after its end: what it says while it ends is shown as well.
    stack.callback(log.show)
    daemon = stack.enter_context(
        _child(
            *TWISTD,
            "himbeerecouch",
            f"--server-file={folder / 'server'}",
            f"--mac-id={MAC_ID}",
            f"--state-dir={folder / 'state'}",
            f"--discovery-port={discovery_port}",
            stdout=log.path,
        )
    )

    _say("3. Asking the network which Pi waits to be enrolled, and making a user with its password; it logs in soon")
    found = _wait_until(
        lambda: [a for a in probe(server, 1.0, port=discovery_port) if a.mac_id == MAC_ID and a.password],
        "the daemon does not answer the probe",
    )[0]
    user = {"name": str(MAC_ID), "password": found.password, "roles": [], "type": "user"}
    for name in (DATABASE, f"{DATABASE}_status"):
        couch.ask("PUT", f"/{quote(name, safe='')}")
        members = {"names": [str(MAC_ID)], "roles": []}
        couch.ask("PUT", f"/{quote(name, safe='')}/_security", {"admins": {"roles": ["_admin"]}, "members": members})
    couch.ask("PUT", f"/_users/org.couchdb.user:{MAC_ID}", user)
    for _ in range(2):  # being asked by one who asked before makes it log in now, and not some seconds later
        find(server, MAC_ID, WAKE_S, port=discovery_port)

    programs = [path for path in sorted(examples.iterdir()) if path.suffix == ".py" or (path / "main.py").is_file()]
    _say(f"4. Saving the programs of {examples}/: {', '.join(path.stem for path in programs)}")
    for path in programs:
        couch.ask("PUT", f"/{quote(DATABASE, safe='')}/{path.stem}", read_program(path, MAC_ID))

    page = Couch(f"http://127.0.0.1:{web_port}", "", "")
    _wait_until(lambda: page.ask("GET", "/config.json"), "the page's server does not answer")

    _explain(
        f"http://127.0.0.1:{web_port}/",
        password,
        f"http://admin:{password}@127.0.0.1:{port}/{quote(DATABASE, safe='')}",
    )
    while daemon.poll() is None:
        log.show()
        time.sleep(0.1)
    raise ChildProcessError(f"the daemon has ended by itself, with {daemon.returncode}")


def _explain(page: str, password: str, database: str) -> None:
    code = 'import time\n\ndef main():\n    while not should_quit():\n        log("changed!")\n        time.sleep(2)\n'
    program = shlex.quote(json.dumps({"type": MAC_ID, "name": "clock", "code": code}))
    command = shlex.quote(json.dumps({"type": f"{MAC_ID}_cmd", "cmd": ["uname", "-a"]}))
    rev = """python3 -c 'import json, sys; print(json.load(sys.stdin)["_rev"])'"""
    _say(
        f"""5. They run, and one of them crashes on purpose. Now it is your turn, in a browser:

   {page}   as the user admin, with the password {password}

   Or in another terminal:

    DB={database}

   Change a program. A change names the revision that it replaces:

    REV=$(curl -s $DB/clock | {rev})
    curl -X PUT "$DB/clock?rev=$REV" -d {program}

   Run a command. A moment later the answer is in its document, as "ret":

    curl -X PUT $DB/look-1 -d {command}
    sleep 1; curl $DB/look-1

   Ctrl-C here ends all of it. Below is what the daemon logs, beginning before step 3, when it had no user yet.
"""
    )


class DaemonLog:
    """What the daemon writes to ``path``, shown bit by bit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shown_bytes = 0

    def has(self, text: str) -> bool:
        """Whether the daemon has written ``text``."""
        return text in self.path.read_text(encoding="utf-8", errors="replace")

    def show(self) -> None:
        """Print the lines that are new since the last call."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self._shown_bytes)
            new = file.read()
            # The rest is half a line, which is shown when it is whole.
            whole = new[: new.rfind(b"\n") + 1]
            self._shown_bytes += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                if shown := readable(line):
                    print(shown, flush=True)


LOGGED_IN = "read afresh"
"""What the daemon logs once it has read its database for the first time."""

LOG_LINE = re.compile(r"\S+T(?P<time>\d\d:\d\d:\d\d)\S* \[(?P<system>[^]#]*)#?(?P<level>[^]]*)\] (?P<text>.*)")
"""As twistd writes it: ``2026-05-01T12:00:00+0000 [himbeerecouch.node#info] words``."""


def readable(line: str) -> str | None:
    """A line of twistd's log as it is shown to a person; None where it is not about himbeerecouch."""
    parts = LOG_LINE.fullmatch(line)
    if parts is None:
        return f"          {line}"
    if not parts["system"].startswith("himbeerecouch."):
        return None
    level = {"warn": "warning: ", "error": "error: ", "critical": "error: "}.get(parts["level"], "")
    return f"{parts['time']}  {level}{parts['text']}"


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _free_port(wanted: int, kind: socket.SocketKind) -> int:
    """``wanted`` where it is free, else another one."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET, kind) as probe_socket, contextlib.suppress(OSError):
            probe_socket.bind(("127.0.0.1" if kind == socket.SOCK_STREAM else "", port))
            return int(probe_socket.getsockname()[1])
    raise OSError("no port is free")


@contextlib.contextmanager
def _child(*argv: str, stdout: Path) -> Iterator[subprocess.Popen[bytes]]:
    # In a session of its own: Ctrl-C reaches the demo alone, which then ends the others in order.
    with stdout.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own programs
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(ask: Any, otherwise: str) -> Any:
    """Ask again and again until there is something; give up after a minute."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if answer := ask():
                return answer
        time.sleep(0.1)
    raise OSError(otherwise)


class Couch:
    """As much of a CouchDB client as a script needs: one blocking request at a time."""

    def __init__(self, server: str, user: str, password: str) -> None:
        self._server = server
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return what the server answers, as JSON.  Raises OSError, which an HTTP error status is too."""
        request = urllib.request.Request(  # noqa: S310 - an http URL of our own making
            self._server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": self._authorization, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the same
            return json.load(answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
