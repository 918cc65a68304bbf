"""What a server of ours writes, and when it leaves, on real sockets."""

from __future__ import annotations

import base64
import json
import socket
from typing import Any

from twisted.internet.tcp import Connection
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests import embedded_server
from tests.embedded_server import ADMIN

LOGIN = base64.b64encode(":".join(ADMIN).encode()).decode()
LARGE = 4_000_000
"""Characters of a document that no socket takes at once."""
MANY = 100


class Client:
    """One connection to a server.  Its methods block: they are called in a thread."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.port = self._socket.getsockname()[1]

    def send(self, method: str, path: str, body: Any = None, *, headers: str = "") -> None:
        """Send a request."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {LOGIN}\r\n{headers}"
        self._socket.sendall(
            f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
        )

    def read(self, end: bytes) -> bytes:
        """Read on until this comes."""
        found = b""
        while not found.endswith(end):
            piece = self._socket.recv(65536)
            if not piece:
                raise EOFError(found)
            found += piece
        return found

    def rest(self) -> bytes:
        """Read all until the server closes the connection."""
        return b"".join(iter(lambda: self._socket.recv(65536), b""))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class SendingTests(TestCase):
    """On the reactor that the server runs on, too."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        url, _ = await embedded_server.start(self)
        self.port = int(url.rpartition(":")[2])
        self.writer = self.client()
        await self.ask(self.writer, "PUT", "/db")

    def client(self) -> Client:
        client = Client(self.port)
        self.addCleanup(client.close)
        return client

    async def ask(self, client: Client, method: str, path: str, body: Any = None) -> bytes:
        def asked() -> bytes:
            client.send(method, path, body)
            return client.read(b"\n")

        return await deferToThread(asked)

    async def test_changes_first(self) -> None:
        """Who waits for a change is sent it before the writer is told that it is stored, and both at once."""
        poll = self.client()
        selector = {"selector": {"type": "wanted"}}
        await self.ask(poll, "POST", "/db/_changes?feed=longpoll&filter=_selector", selector)
        sent: list[int] = []
        write = Connection.writeSomeData

        def written(connection: Any, data: bytes) -> Any:
            sent.append(connection.getPeer().port)
            return write(connection, data)

        self.patch(Connection, "writeSomeData", written)
        await self.ask(self.writer, "PUT", "/db/doc", {"type": "wanted"})
        self.assertEqual(sent, [poll.port, self.writer.port])
        self.assertIn(b'"doc"', await deferToThread(poll.read, b"0\r\n\r\n"))

    async def test_last_request(self) -> None:
        """A connection that is to be closed after its answer is closed after all of it."""

        def asked() -> bytes:
            self.writer.send("PUT", "/db/doc", {"text": "x" * LARGE})
            self.writer.read(b"\n")
            self.writer.send("GET", "/db/doc", headers="Connection: close\r\n")
            return self.writer.rest()

        head, _, body = (await deferToThread(asked)).partition(b"\r\n\r\n")
        self.assertIn(b"\r\nContent-Length: %d" % len(body), head)
        self.assertEqual(len(json.loads(body)["text"]), LARGE)

    async def test_larger_than_the_socket_takes(self) -> None:
        """What does not leave at once leaves later, and the next answer behind it."""

        def asked() -> list[bytes]:
            self.writer.send("PUT", "/db/doc", {"text": "x" * LARGE})
            self.writer.read(b"\n")
            self.writer.send("GET", "/db/doc")
            self.writer.send("GET", "/db", headers="Connection: close\r\n")
            return self.writer.rest().split(b"HTTP/1.1 200 OK\r\n")

        none, document, database = await deferToThread(asked)
        self.assertEqual(none, b"")
        self.assertEqual(len(json.loads(document.partition(b"\r\n\r\n")[2])["text"]), LARGE)
        self.assertEqual(json.loads(database.partition(b"\r\n\r\n")[2])["doc_count"], 1)

    async def test_many_behind_one_another(self) -> None:
        """Answers that are larger than what a connection holds do not pile up inside of one another."""
        one = "/db/_all_docs?include_docs=true&keys=%5B%22doc%22%5D"

        def asked() -> bytes:
            self.writer.send("PUT", "/db/doc", {"text": "x" * 70_000})
            self.writer.read(b"\n")
            for _ in range(MANY):
                self.writer.send("GET", one)
            self.writer.send("GET", one, headers="Connection: close\r\n")
            return self.writer.rest()

        self.assertEqual((await deferToThread(asked)).count(b"x" * 70_000), MANY + 1)

    async def test_gone(self) -> None:
        """A client that has gone before its answer takes nothing from the others."""
        gone = self.client()
        await deferToThread(gone.send, "PUT", "/db/doc", {"n": 1})
        gone.close()
        for number in range(3):
            self.assertIn(b"201", await self.ask(self.writer, "PUT", f"/db/{number}", {"n": number}))
        self.assertIn(b'"n":1', await self.ask(self.writer, "GET", "/db/doc"))
        self.assertEqual(self.flushLoggedErrors(), [])
