"""The one line of configuration, and all that people may have written there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.errors import ServerFileError
from himbeerecouch.server_file import ServerFile


class ServerFileTests(SynchronousTestCase):
    def write(self, data: bytes) -> str:
        path = Path(self.mktemp())
        path.write_bytes(data)
        return str(path)

    def test_read(self) -> None:
        """Windows line ends, a byte order mark, blanks and a slash at the end are no part of the URL."""
        table = (
            (b"http://server.name:5984\n", "http://server.name:5984"),
            (b"http://server.name:5984/", "http://server.name:5984"),
            (b"\xef\xbb\xbfhttps://server.name\r\n", "https://server.name:443"),
            (b"\n  http://[::1]:5984/couch/ \t\r\n\n", "http://[::1]:5984/couch"),
        )
        for data, url in table:
            self.assertEqual(ServerFile(self.write(data)).read(), url)

    def test_credentials(self) -> None:
        """A user and a password in the URL are taken off, which is said once, and never logged."""
        events: list[LogEvent] = []
        observer = cast("ILogObserver", events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        file = ServerFile(self.write(b"http://user:hun@ter2@server:5984"))
        self.assertEqual([file.read(), file.read()], ["http://server:5984"] * 2)
        self.assertEqual(len(events), 1)
        self.assertNotIn("ter2", str(events))

    def test_refused(self) -> None:
        """What can't be used is refused with the file's name and what to do, and without its content."""
        table = (
            (b"", "it is empty"),
            (b"\xef\xbb\xbf \r\n", "it is empty"),
            (b"http://a\nhttp://b\n", "it has 2 lines"),
            (b"server.name:5984", "not begin with http"),
            (b"ftp://secret@server", "not begin with http"),
            (b"http://", "no host"),
            (b"http://server:port", "no URL"),
            (b"http://[::1", "no URL"),
            (b"http://a b", "no URL"),
            (b"http://server/?x=1", "no ?"),
            (b"\xff\xfe", "no UTF-8"),
            (b"x" * 70_000, "too long"),
        )
        for data, reason in table:
            path = self.write(data)
            error = self.assertRaises(ServerFileError, ServerFile(path).read)
            self.assertIn(reason, str(error))
            self.assertIn(path, str(error))
            self.assertNotIn("secret", str(error))

    def test_no_file(self) -> None:
        """A missing file, a folder and a FIFO are errors, and none of them hangs."""
        folder = Path(self.mktemp())
        folder.mkdir()
        os.mkfifo(folder / "fifo")
        for path in (folder / "none", folder, folder / "fifo"):
            error = self.assertRaises(ServerFileError, ServerFile(str(path)).read)
            self.assertEqual(error.path, str(path))
