"""``twistd himbeerecouch-web`` as a process, as a user starts it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.embedded_server import free_port
from tests.integration.world import ROOT, TWISTD, environment, until


class ProcessTests(SynchronousTestCase):
    timeout = 120

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it in the foreground."""
        self.log = Path(self.mktemp()).absolute()
        argv = [*TWISTD, "--nodaemon", "--pidfile=", "himbeerecouch-web", *arguments]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                argv, env=environment(), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

        def end() -> None:
            process.kill()
            process.wait()

        self.addCleanup(end)
        return process

    def test_serves(self) -> None:
        """It listens where it is told, works without a server, tells what it was told, and ends when it is asked to."""
        port = free_port()
        server_file = Path(self.mktemp()).absolute()
        server_file.write_text(f"http://127.0.0.1:{free_port()}\n")
        listen = f"tcp:{port}:interface=127.0.0.1"
        process = self.start("--server-file", str(server_file), "--listen", listen, "--database", "a/b")

        def ask(path: str) -> Any:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                return json.load(error)
            except OSError:
                return process.poll()

        config = until(lambda: ask("/config.json"), "the page's server")
        self.assertEqual((config["database"], config["status_database"]), ("a/b", "a/b_status"))
        self.assertEqual(ask("/couch/_session")["error"], "bad_gateway")
        # A browser that holds its connection does not hold up the end.
        with socket.create_connection(("127.0.0.1", port)) as held:
            held.send(b"GET ")
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        self.assertNotIn("Traceback", self.log.read_text())

    def test_port_in_use(self) -> None:
        """Where it can't listen it ends, says so, and its exit status is not 0."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            process = self.start("--listen", f"tcp:{other.getsockname()[1]}:interface=127.0.0.1")
            self.assertNotEqual(process.wait(60), 0)
        self.assertIn("Address already in use", self.log.read_text())
        self.assertNotIn("Traceback", self.log.read_text())

    def test_wrong_options(self) -> None:
        """What can't be is said in one line."""
        for arguments, said in (
            (["--ca-file", "/nowhere"], "CA file /nowhere: No such file"),
            (["--listen", "nonsense:1"], "--listen nonsense:1: Unknown endpoint type"),
            (["--listen", "tcp"], "--listen tcp: "),
            (["--listen", "ssl:1:privateKey=/nowhere"], "No such file"),
            (["--discovery-port", "0"], "1 to 65535"),
        ):
            process = self.start(*arguments)
            self.assertNotEqual(process.wait(60), 0)
            log = self.log.read_text()
            self.assertIn(said, log)
            self.assertNotIn("Traceback", log)

    def test_daemon_without_it(self) -> None:
        """The daemon imports nothing of it."""
        code = "import sys, himbeerecouch.tap; print([name for name in sys.modules if '.web.' in name])"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
        )
        self.assertEqual([name for name in eval(done.stdout) if name.startswith("himbeerecouch")], [])
