"""Shows the main job on one machine: an embedded database, a page, a daemon, and programs that run.  ``make demo``."""

from __future__ import annotations

import base64
import contextlib
import json
import os
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
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from himbeerecouch.demo_log import DaemonLog
from himbeerecouch.errors import HimbeerecouchError

MAC_ID = 202481591484002
NAME = "demo-pi"
START_TIMEOUT_S = 60.0
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=")
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, kill, and a terminal that is closed."""


def examples_folder() -> Path:
    """Give the folder of the examples: in the package, or beside it in a copy of the repository."""
    package = Path(__file__).parent
    return next(
        (path for path in (package / "examples", package.parent / "examples") if path.is_dir()), Path("examples")
    )


def main(argv: Sequence[str] = ()) -> int:
    """Run the demo until Ctrl-C, with the programs of the folder ``argv[0]`` or the examples; give the exit status."""
    examples = Path(argv[0]) if argv else examples_folder()
    if not examples.is_dir():
        print(f"{examples}: there is no such folder of examples", file=sys.stderr)
        return 2
    if any(find_spec(name) is None for name in ("click", "quickjs")):
        print('the demo needs more than the daemon: pip install "himbeerecouch[cli,embedded]"', file=sys.stderr)
        return 1
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

    tool = Tool(server, password)
    _say("3. Making the server ready, and enrolling the Pi, as an operator does")
    tool.run("setup", "--yes")
    until = [f"--timeout={START_TIMEOUT_S:g}", f"--wait={START_TIMEOUT_S:g}"]
    tool.run("enroll", str(MAC_ID), f"--discovery-port={discovery_port}", *until)
    tool.run("name", str(MAC_ID), NAME)

    programs = [path for path in sorted(examples.iterdir()) if path.suffix == ".py" or (path / "main.py").is_file()]
    _say("4. Deploying programs")
    for path in programs:
        tool.run("deploy", str(path), f"--to={NAME}", "--wait=0")

    page = Couch(f"http://127.0.0.1:{web_port}", "", "")
    _wait_until(lambda: page.ask("GET", "/config.json"), "the page's server does not answer")

    _explain(f"http://127.0.0.1:{web_port}/", tool, examples / "clock.py", folder / "clock.py")
    while daemon.poll() is None:
        log.show()
        time.sleep(0.1)
    raise ChildProcessError(f"the daemon has ended by itself, with {daemon.returncode}")


def _explain(page: str, tool: Tool, program: Path, copy: Path) -> None:
    change = f"sed 's/it is/changed: &/' {shlex.quote(str(program.absolute()))} > {shlex.quote(str(copy))}"
    _say(
        f"""5. They run, and one of them crashes on purpose. Now it is your turn, in a browser:

   {page}   as the user admin, with the password {tool.password}

   Or in another terminal:

    {tool.definition()}
    export HIMBEERECOUCH_SERVER={tool.server} HIMBEERECOUCH_USER=admin HIMBEERECOUCH_PASSWORD={tool.password}

   How the Pi is, and why that one crashes:

    himbeerecouch status
    himbeerecouch logs {NAME} crash

   Change a program, and change it back:

    {change}
    himbeerecouch deploy {shlex.quote(str(copy))} --to {NAME}
    himbeerecouch rollback {NAME} clock

   Run a command on the Pi:

    himbeerecouch run {NAME} -- uname -a

   Ctrl-C here ends all of it. Below is what the daemon logs, beginning before step 3, when it had no user yet.
"""
    )


class Tool:
    """The command ``himbeerecouch``, as the admin of one server."""

    def __init__(self, server: str, password: str) -> None:
        self.server = server
        self.password = password
        login = {"HIMBEERECOUCH_SERVER": server, "HIMBEERECOUCH_USER": "admin", "HIMBEERECOUCH_PASSWORD": password}
        self._environment = {**os.environ, **login}

    def run(self, *arguments: str) -> None:
        """Show the command, and run it.  Raises ChildProcessError where it fails."""
        print(f"   $ himbeerecouch {shlex.join(arguments)}", flush=True)
        done = subprocess.run(  # noqa: S603 - our own program
            (sys.executable, "-m", "himbeerecouch.cli", *arguments),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            check=False,
        )
        for line in done.stdout.splitlines():
            print(f"   {line}", flush=True)
        if done.returncode:
            raise ChildProcessError(f"himbeerecouch {arguments[0]} has failed")

    def definition(self) -> str:
        """Give a line that makes the very command of here known to a shell, whatever is installed elsewhere."""
        return f'himbeerecouch() {{ {shlex.quote(sys.executable)} -m himbeerecouch.cli "$@"; }}'


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
    process = None
    try:
        # In a session of its own: Ctrl-C reaches the demo alone, which then ends the others in order.
        with stdout.open("wb") as log, _held():
            process = subprocess.Popen(  # noqa: S603 - our own programs
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        yield process
    finally:
        if process is not None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def _held() -> Iterator[None]:
    """Hold a Ctrl-C back: one between the start of a process and its name would leave it behind."""
    held: list[int] = []
    before = {number: signal.signal(number, lambda number, _frame: held.append(number)) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held:
        raise KeyboardInterrupt


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
