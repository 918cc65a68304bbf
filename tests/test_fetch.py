"""The body of a request: piece by piece, at the pace of the connection, and let go when it is over."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.couch.fetch import PIECE_BYTES, Body, BytesBody


class Connection:
    """Takes so many pieces, and then says that it has enough for now."""

    def __init__(self, body: BytesBody, room: int) -> None:
        self.body = body
        self.room = room
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Take a piece."""
        self.pieces.append(data)
        self.room -= 1
        if self.room == 0:
            self.body.pauseProducing()

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Part of the interface."""

    def unregisterProducer(self) -> None:
        """Part of the interface."""


class BodyTests(SynchronousTestCase):
    def test_pieces(self) -> None:
        """Each piece is small, all of them together are the body, and none comes while the connection has enough."""
        data = bytes(range(256)) * 1000
        body = BytesBody(Body(data))
        connection = Connection(body, room=2)
        done = body.startProducing(connection)  # type: ignore[arg-type]  # zope's interface
        self.assertEqual(len(connection.pieces), 2)
        self.assertNoResult(done)
        connection.room = 100
        body.resumeProducing()
        self.successResultOf(done)
        self.assertEqual(b"".join(connection.pieces), data)
        self.assertLessEqual(max(map(len, connection.pieces)), PIECE_BYTES)
        self.assertEqual(body.length, len(data))
        body.resumeProducing()
        self.assertEqual(len(connection.pieces), 4)

    def test_nothing(self) -> None:
        """A body without a byte is sent at once."""
        body = BytesBody(Body(b""))
        self.successResultOf(body.startProducing(Connection(body, 1)))  # type: ignore[arg-type]

    def test_stopped(self) -> None:
        """When nobody wants the rest, no more of it is sent."""
        body = BytesBody(Body(bytes(PIECE_BYTES * 3)))
        connection = Connection(body, room=1)
        done = body.startProducing(connection)  # type: ignore[arg-type]
        body.stopProducing()
        body.resumeProducing()
        self.assertEqual(len(connection.pieces), 1)
        self.assertNoResult(done)

    def test_dropped(self) -> None:
        """What is let go is gone, whoever still holds the body."""
        body = Body(bytes(1000))
        body.drop()
        self.assertEqual(body.data, b"")
