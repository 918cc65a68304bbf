"""The embedded server as a real ``twistd``: what was acknowledged survives, and it ends cleanly."""

from __future__ import annotations

import base64
import http.client
import json
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.embedded_server import ADMIN, Spawned, free_port, spawn

WRITERS = 4


class Asker:
    """One connection to a server."""

    def __init__(self, url: str, login: tuple[str, str] = ADMIN) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        self._login = "Basic " + base64.b64encode(":".join(login).encode()).decode()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send one request; return status and JSON."""
        headers = {"Authorization": self._login, "Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read() or b"null")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Writer(threading.Thread):
    """Writes documents until the server is gone, and remembers which ones were acknowledged."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__()
        self._url, self._number = url, number
        self.acknowledged: dict[str, str] = {}

    def run(self) -> None:
        """Write new documents and change old ones in turn."""
        asker = Asker(self._url)
        try:
            for count in range(100_000):
                identity = f"w{self._number}-{count // 2}"
                body = {"n": count, **({"_rev": self.acknowledged[identity]} if count % 2 else {})}
                status, answer = asker.ask("PUT", f"/db/{identity}", body)
                if status == 201:
                    self.acknowledged[identity] = answer["rev"]
        except (OSError, http.client.HTTPException, ValueError):
            return
        finally:
            asker.close()


class DurabilityTests(SynchronousTestCase):
    """Killed in the middle of writing."""

    def test_acknowledged_writes_survive_kill(self) -> None:
        """After kill -9 every acknowledged revision is there, and the server goes on from it; three times."""
        folder = Path(self.mktemp()) / "data"
        port = free_port()
        wanted: dict[str, str] = {}
        for round_number in range(3):
            server = spawn(self, folder, port=port)
            asker = Asker(server.url)
            self.addCleanup(asker.close)
            asker.ask("PUT", "/db")
            writers = [Writer(server.url, round_number * WRITERS + number) for number in range(WRITERS)]
            for writer in writers:
                writer.start()
            time.sleep(0.5)
            server.kill()
            for writer in writers:
                writer.join(10)
                self.assertFalse(writer.is_alive())
                self.assertGreater(len(writer.acknowledged), 5)
                wanted.update(writer.acknowledged)
        server = spawn(self, folder, port=port)
        asker = Asker(server.url)
        self.addCleanup(asker.close)
        status, answer = asker.ask("POST", "/db/_all_docs", {"keys": [*wanted]})
        self.assertEqual(status, 200)
        there = {row["key"]: row.get("value", {}).get("rev", "missing") for row in answer["rows"]}
        lost = [name for name, rev in wanted.items() if int(there[name].split("-")[0]) < int(rev.split("-")[0])]
        self.assertEqual(lost, [])
        status, feed = asker.ask("GET", "/db/_changes")
        self.assertLessEqual(set(wanted), {row["id"] for row in feed["results"]})


class ProcessTests(SynchronousTestCase):
    """Starting and ending."""

    def test_ends_on_sigterm_with_polls_open(self) -> None:
        """SIGTERM answers open polls and ends the process; neither waits for the timeout that was asked for."""
        server = spawn(self, Path(self.mktemp()) / "data")
        asker = Asker(server.url)
        self.addCleanup(asker.close)
        asker.ask("PUT", "/db")
        polls: list[tuple[int, Any]] = []
        poller = Asker(server.url)
        self.addCleanup(poller.close)
        thread = threading.Thread(
            target=lambda: polls.append(poller.ask("GET", "/db/_changes?feed=longpoll&timeout=30000"))
        )
        thread.start()
        time.sleep(0.3)
        server.stop()
        thread.join()
        self.assertEqual([(status, answer["results"]) for status, answer in polls], [(200, [])])

    def test_second_server_on_one_folder(self) -> None:
        """A second server on the same folder says why it does not start, and ends; the first goes on."""
        folder = Path(self.mktemp()) / "data"
        server = spawn(self, folder)
        second = self.run_once("--data", str(folder.absolute()))
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("another embedded database runs on it", second.stdout + second.stderr)
        self.assertEqual(Asker(server.url).ask("GET", "/_up")[0], 200)

    def test_admin_is_made_up_once(self) -> None:
        """Without --admin a password is made, kept 0600, told of in the log by its place, and used again."""
        folder = Path(self.mktemp()) / "data"
        first = self.spawn_without_admin(folder)
        self.assertEqual(stat.S_IMODE((folder / "admin").stat().st_mode), 0o600)
        name, _, password = (folder / "admin").read_text().strip().partition(":")
        self.assertEqual(Asker(first.url, (name, password)).ask("GET", "/_all_dbs")[0], 200)
        self.assertEqual(Asker(first.url, (name, "")).ask("GET", "/_all_dbs")[0], 401)
        first.stop()
        log = first.log.read_text()
        self.assertIn(str(folder / "admin"), log)
        self.assertNotIn(password, log)
        second = self.spawn_without_admin(folder)
        self.assertEqual(Asker(second.url, (name, password)).ask("GET", "/_all_dbs")[0], 200)

    def spawn_without_admin(self, folder: Path) -> Spawned:
        """Start a server whose admin stands in its folder."""
        return spawn(self, folder, admin=False)

    def run_once(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Start ``twistd himbeerecouch-embedded`` and wait for its end."""
        command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]
        command += ["himbeerecouch-embedded", "--listen", f"tcp:{free_port()}:interface=127.0.0.1", *options]
        return subprocess.run(
            command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=15, check=False
        )

    def test_help(self) -> None:
        """--help names every option, and wrong options are refused with the reason."""
        shown = self.run_once("--help").stdout
        for option in ("--listen", "--data", "--admin", "--iterations", "--memory"):
            self.assertIn(option, shown)
        self.assertIn("--data FOLDER", self.run_once().stdout)
