"""What nobody should send, given to the real daemon: one table a family.

What the pieces make of each line by themselves stands with them: test_wire, test_documents, test_server_file,
test_answers, test_couch_faults, test_couch_tls.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.stage import LOOP, alive, check, free_udp_port, probe, ready_for_commands
from tests.integration.world import MAC_ID, PATH, World, until
from tests.test_wire import NOT_OURS

RUNS = "def main():\n    log('{0} runs')\n"


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


class Datagrams(SynchronousTestCase):
    def test_datagrams(self) -> None:
        """All of them are dropped in silence, with one line in the log; the next good one is answered."""
        world = World(self)
        port = free_udp_port()
        daemon = world.start("--discovery=enroll", f"--discovery-port={port}")
        until(lambda: probe(port) is not None, "an answer to a probe")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(1.0)
            asker.bind(("127.0.0.2", 0))  # an address of its own: none of these may use up its ration
            for datagram in (*NOT_OURS.values(), b"x" * 60_000):
                asker.sendto(datagram, ("127.0.0.1", port))
                time.sleep(0.001)
            self.assertRaises(TimeoutError, asker.recv, 4096)
            asker.sendto(b'{"server": "http://server:5984"}', ("127.0.0.1", port))
            self.assertEqual(json.loads(asker.recv(4096))["MacID"], MAC_ID)
        self.send_from_port_0(port)
        self.assertEqual(len(daemon.lines("dropped a datagram")), 1)
        until(lambda: probe(port) is not None, "an answer after all that")
        alive(daemon)

    def send_from_port_0(self, port: int) -> None:
        """Nobody can be answered there; only root can even send so."""
        if os.geteuid() != 0:
            return
        data = b'{"server": "http://server:5984"}'
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
            raw.sendto(struct.pack("!HHHH", 0, port, 8 + len(data), 0) + data, ("127.0.0.1", 0))


COMMANDS: dict[str, dict[str, Any]] = {
    "no cmd": {},
    "cmd a string": {"cmd": "echo"},
    "cmd empty": {"cmd": []},
    "cmd with a number": {"cmd": ["sleep", 1]},
    "cmd with NUL": {"cmd": ["echo", "a\0b"]},
    "argument too long": {"cmd": ["echo", "x" * 128 * 1024]},
    "no such program": {"cmd": ["no-such-program"]},
}
NAMED: dict[str, dict[str, Any]] = {
    "syntax": {"code": "def main(:\n"},
    "no main": {"code": "x = 1\n"},
    "main not callable": {"code": "main = 5\n"},
    "NUL": {"code": "x = '\0'\n"},
    "lone surrogate": {"code": "x = '\ud800'\n"},
    "modules a list": {"code": "", "modules": ["main"]},
    "module no string": {"modules": {"main": 5}},
    "impossible name": {"code": "", "modules": {"a-b": ""}},
    "too deep": {"code": RUNS.format("too deep"), "deep": nested(65)},
    "large": {"code": "#" * 7_900_000},
    "huge as JSON": {"code": "\x01" * 7_900_000},
}
"""Reported as rejected, or as the program's error."""
ACCEPTED: dict[str, dict[str, Any]] = {
    "decimal string": {"type": str(MAC_ID)},
    "float": {"type": float(MAC_ID)},
    "no name": {},
    "same name": {"name": "twin"},
    "same name again": {"name": "twin"},
    "long name": {"name": "line\n" * 2000},
    "module os": {"modules": {"os": "X = 1\n"}},
}
IGNORED: dict[str, dict[str, Any]] = {
    "type true": {"type": True},
    "another Pi": {"type": MAC_ID + 1},
    "answered": {"type": f"{MAC_ID}_cmd", "ret": ["", ""]},
    "answered by null": {"type": f"{MAC_ID}_cmd", "ret": None},
}


class Documents(SynchronousTestCase):
    timeout = 180

    def test_documents(self) -> None:
        """What is nonsense is named, what is unusual runs, what is another's is let alone, and all others go on."""
        world = World(self)
        world.program("other", LOOP.format("other"))
        daemon = world.start(wait="other runs")
        ready_for_commands(world)
        touched = world.folder / "touched"
        touch = ["touch", str(touched)]
        for id, members in IGNORED.items():
            world.save(id, **{"code": RUNS.format(id), **members}, **({"cmd": touch} if "ret" in members else {}))
        for id, members in NAMED.items():
            world.save(id, **{"type": MAC_ID, **members})
        for id, members in ACCEPTED.items():
            world.save(id, **{"type": MAC_ID, "code": RUNS.format(id), **members})
        for id, members in COMMANDS.items():
            world.save(id, type=f"{MAC_ID}_cmd", **members)
        self.conflict(world)
        for id in (*ACCEPTED, "winner"):
            daemon.wait_for(f"{id} runs")
        for id in NAMED:
            daemon.wait_for(id)
        for id in COMMANDS:
            nothing, reason = world.answered(id)["ret"]
            self.assertEqual((nothing, bool(reason)), (None, True), id)
        revs = {id: world.get(id)["_rev"] for id in (*COMMANDS, *IGNORED)}
        world.program("other", LOOP.format("edited"))
        daemon.wait_for("edited runs")
        self.assertEqual({id: world.get(id)["_rev"] for id in revs}, revs, "answered once, or let alone")
        self.assertEqual([id for id in (*IGNORED, "too deep", "loser") if daemon.lines(f"{id} runs")], [])
        self.assertFalse(touched.exists())
        self.assertEqual(len(daemon.lines("other quits")), 1)
        self.assertLess(max(map(len, daemon.lines("line"))), 2000, "a name is cut")
        alive(daemon)

    def conflict(self, world: World) -> None:
        """Two revisions of one document, from two servers: the winner counts."""
        for rev, word in (("1-b", "winner"), ("1-a", "loser")):
            document = {"_id": "conflict", "_rev": rev, "type": MAC_ID, "code": RUNS.format(word)}
            world.couch.ask("POST", f"{PATH}/_bulk_docs", {"docs": [document], "new_edits": False})


class ServerFile(SynchronousTestCase):
    def test_server_file(self) -> None:
        """Whatever stands there, or nothing: alive, the file and the reason are named, and no password is logged."""
        world = World(self)
        world.program("other", LOOP.format("other"))
        file = world.server_file
        file.unlink()
        daemon = world.start(wait=str(file))
        table: tuple[tuple[bytes | str, str], ...] = (
            (b"", "it is empty"),
            (b"server.name:5984\n", "does not begin with http"),
            (b"ftp://user:hunter2@server\n", "does not begin with http"),
            (b"http://a\nhttp://b\n", "2 lines"),
            (b"\xff\xfe", "UTF-8"),
            ("missing", "No such file"),
            ("fifo", "is no ordinary file"),
            ("folder", "Is a directory"),
        )
        for content, reason in table:
            count = len(daemon.lines(reason))
            file.rmdir() if file.is_dir() else file.unlink(missing_ok=True)
            if content == "fifo":
                os.mkfifo(file)
            elif content == "folder":
                file.mkdir()
            elif isinstance(content, bytes):
                file.write_bytes(content)
            daemon.signal(signal.SIGHUP)
            with self.subTest(content):
                daemon.wait_for(reason, count=count + 1, within_s=10)
                self.assertIn(str(file), daemon.lines(reason)[-1])
        file.rmdir()
        url = world.server.url.replace("http://", "http://user:hunter2@")
        file.write_bytes(b"\xef\xbb\xbf" + url.encode() + b"  \t\r\n")
        daemon.wait_for("other runs", within_s=30)  # by itself
        self.assertNotIn("hunter2", daemon.log())
        alive(daemon)


class Canned(threading.Thread):
    """A server that answers everything with ``answer``, and then ``endless`` for as long as anybody listens."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.answer, self.endless = b"", b""
        self.asked = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.start()

    def run(self) -> None:
        """Answer one after the other until it is closed."""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    connection.recv(65536)
                    self.asked += 1
                    connection.sendall(self.answer)
                    while self.endless:
                        connection.sendall(self.endless)

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """An answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answers(elsewhere: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Answers that no server should give: a name, the answer, and what follows it without end."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield "302", http(b"", f"Location: {elsewhere}/", status="302 Found"), b""
    yield "HTML", http(b"<html>hello</html>"), b""
    yield "endless headers", b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 995 + b"\r\n"
    yield "gzip bomb", http(gzip.compress(b" " * 50_000_000), "Content-Encoding: gzip"), b""
    yield "short", http(b'{"update_seq":', length=999), b""
    yield "bad chunk", chunked + b"zz\r\n{}\r\n", b""
    yield "nothing", b"", b""
    yield "no HTTP", b"SSH-2.0-x\r\n", b""


class Http(SynchronousTestCase):
    timeout = 120

    def test_answers(self) -> None:
        """Each is an error and a pause, nobody is told the password elsewhere, memory stays; then all is well."""
        world = World(self)
        world.program("other", LOOP.format("other"))
        canned, elsewhere = Canned(), Canned()
        self.addCleanup(canned.close)
        self.addCleanup(elsewhere.close)
        world.server_file.write_text(canned.url)
        canned.answer = http(b"{}")
        daemon = world.start(wait="Next try in")
        before_mb = daemon.resident_mb()
        for name, answer, endless in answers(elsewhere.url):
            canned.answer, canned.endless = answer, endless
            asked = canned.asked
            daemon.signal(signal.SIGHUP)
            until(lambda: canned.asked > asked, f"a request, for {name}", 20)  # noqa: B023 - asked at once
            time.sleep(0.5)
            check(canned.asked - asked < 6, f"{name}: asked {canned.asked - asked} times in half a second")
            check(not daemon.lines("other runs"), name)
            check(daemon.resident_mb() - before_mb < 20, f"{name}: {daemon.resident_mb() - before_mb:.0f} MB more")
            alive(daemon)
        self.assertEqual(elsewhere.asked, 0)
        self.assertGreater(len(daemon.lines("Next try in")), 2)
        canned.endless = b""
        world.server_file.write_text(world.server.url)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("other runs")
