"""The whole daemon over TLS, with the embedded database behind an endpoint of Twisted's."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests import embedded_server
from tests.integration.world import MAC_ID, PATH, TWISTD, World, environment, until
from tests.tls import Authority

PROGRAM = "def main():\n    log('runs over TLS')\n"


class Admin:
    """An admin of a server whose certificate is of this authority."""

    def __init__(self, url: str, ca: Path) -> None:
        self._url = url
        self._context = ssl.create_default_context(cafile=str(ca))
        self._login = "Basic " + b64encode(":".join(embedded_server.ADMIN).encode()).decode()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What the server answers."""
        headers = {"Authorization": self._login, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, method=method, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=10, context=self._context) as answer:
            return json.load(answer)


class WholeDaemon(TestCase):
    """A real daemon and a real server, with files as an operator has them."""

    def setUp(self) -> None:
        self.world = World(self)
        folder, authority = self.world.folder, Authority("lab")
        self.pem, self.ca, self.other_ca = folder / "server.pem", folder / "ca.pem", folder / "other.pem"
        self.pem.write_bytes(authority.issue_pem("localhost", "127.0.0.1"))
        self.ca.write_bytes(authority.pem)
        self.other_ca.write_bytes(Authority("other").pem)
        # The same data as before, but behind TLS.
        self.world.server.stop()
        self.port = embedded_server.free_port()
        self.log = folder / "tls.log"
        listen = f"ssl:{self.port}:interface=127.0.0.1:privateKey={self.pem}:certKey={self.pem}"
        command = [*TWISTD, "--nodaemon", "--pidfile=", f"--logfile={self.log}", "himbeerecouch-embedded"]
        command += ["--listen", listen, "--data", str(folder / "couch"), "--admin", ":".join(embedded_server.ADMIN)]
        server = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL)
        self.addCleanup(server.wait, 10)
        self.addCleanup(server.terminate)
        self.admin = Admin(f"https://localhost:{self.port}", self.ca)
        until(self.up, "the server behind TLS")

    def up(self) -> bool:
        """Whether the server answers."""
        try:
            self.admin.ask("GET", "/_up")
        except OSError:
            return False
        return True

    def state_in(self, status: str) -> str | None:
        """What the heartbeat says of the program; None where there is no heartbeat."""
        try:
            state: str = self.admin.ask("GET", status)["programs"]["program"]["state"]
        except (OSError, KeyError):
            return None
        return state

    def command(self, id: str) -> Any:
        """Insert a command, and return its document once it is answered."""
        self.admin.ask("PUT", f"{PATH}/{id}", {"type": f"{MAC_ID}_cmd", "cmd": ["echo", "over TLS"]})
        return until(
            lambda: document if "ret" in (document := self.admin.ask("GET", f"{PATH}/{id}")) else None, "an answer"
        )

    def test_programs_and_commands(self) -> None:
        """With the laboratory's CA, by name or by address, a program runs, a command is answered, the status is told;
        with another CA nothing is asked of the server."""
        self.admin.ask("PUT", f"{PATH}/program", {"type": MAC_ID, "code": PROGRAM})
        self.world.server_file.write_text(f"https://localhost:{self.port}\n")
        stranger = self.world.start(f"--ca-file={self.other_ca}", wait="its certificate is refused")
        self.assertEqual(stranger.lines("runs over TLS"), [])
        self.assertEqual(stranger.stop(), 0)
        status = f"{PATH}_status/{MAC_ID}_heartbeat"
        self.assertRaises(OSError, self.admin.ask, "GET", status)

        for number, host in enumerate(("localhost", "127.0.0.1")):
            self.world.server_file.write_text(f"https://{host}:{self.port}\n")
            daemon = self.world.start(f"--ca-file={self.ca}", wait="runs over TLS")
            self.assertEqual(self.command(f"command-{number}")["ret"], ["over TLS\n", ""])
            until(lambda: self.state_in(status) == "finished", "a heartbeat")
            self.assertEqual(daemon.lines("certificate"), [])
            self.assertEqual(daemon.stop(), 0)

    def test_ca_file_that_is_none(self) -> None:
        """A CA file that can't be used ends the start, with the file in the message."""
        self.ca.write_text("no certificate")
        options = [*self.world.arguments(), f"--ca-file={self.ca}"]
        ran = subprocess.run(
            [sys.executable, *TWISTD[1:], "--nodaemon", "--pidfile=", *options],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertNotEqual(ran.returncode, 0)
        self.assertIn(str(self.ca), ran.stdout + ran.stderr)
