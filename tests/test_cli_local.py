"""Files that are watched for what is saved."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from click import ClickException
from twisted.internet import inotify
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from himbeerecouch.cli import local


class TracebackTests(SynchronousTestCase):
    def test_pointing_here(self) -> None:
        """A traceback names the files of this machine, also those in packages; other programs' stay as they are."""
        folder = Path(self.mktemp())
        (folder / "pins").mkdir(parents=True)
        traceback = 'File "7%3Ablink@2-b/pins/left.py", line 3\nFile "global lib@1-a/units.py", line 1\n'
        expected = f'File "{folder}/pins/left.py", line 3\nFile "global lib@1-a/units.py", line 1\n'
        self.assertEqual(local.pointing_here(folder, "2-b", traceback), expected)


class ReadTests(SynchronousTestCase):
    def test_gone(self) -> None:
        """What an editor has just moved away is not taken for an empty folder."""
        error = self.assertRaises(ClickException, local.read, Path(self.mktemp()))
        self.assertIn("there is no such file or folder now", error.message)


class SavesTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "main.py"
        self.file.write_text("1")

    def saves(self, path: Path) -> local.Saves:
        """Watch until the end of the test."""
        found = local.Saves(self.reactor, path)
        self.addCleanup(found.close)
        return found

    async def quiet(self, waiting: Deferred[None]) -> None:
        """Nothing comes for a while."""
        await deferLater(self.reactor, 0.3)
        self.assertFalse(waiting.called)

    def put_in_place(self) -> None:
        """Save as many editors do: another file takes the place of the old one."""
        elsewhere = Path(self.mktemp())
        elsewhere.write_text("3")
        elsewhere.rename(self.file)

    async def test_file(self) -> None:
        """What is saved over a file, or put in its place, is noticed; also where nobody was waiting just then."""
        saves = self.saves(self.file)
        waiting = saves.next()
        await self.quiet(waiting)
        self.file.write_text("2")
        await waiting
        self.put_in_place()
        await deferLater(self.reactor, 0.3)
        await saves.next()
        last = saves.next()
        await self.quiet(last)
        last.cancel()
        await self.assertFailure(last, CancelledError)

    async def test_folder(self) -> None:
        """So is what is saved in a folder, and in folders in it that are new."""
        saves = self.saves(self.folder)
        (self.folder / "pkg").mkdir()
        await saves.next()
        (self.folder / "pkg" / "a.py").write_text("1")
        await saves.next()

    async def test_closed_at_once(self) -> None:
        """Nothing is left of it, whatever has just been saved."""
        saves = local.Saves(self.reactor, self.file)
        waiting = saves.next()
        self.file.write_text("2")
        await deferLater(self.reactor, 0.02)
        saves.close()
        await self.quiet(waiting)

    async def test_without_inotify(self) -> None:
        """Where the system has no more watches to give, the files are looked at instead."""

        def none_left(*_: Any) -> None:
            raise OSError(errno.EMFILE, "no more")

        self.patch(inotify, "INotify", none_left)
        self.patch(local, "LOOK_EVERY_S", 0.05)
        saves = self.saves(self.file)
        self.file.write_text("2")
        await saves.next()
        await saves.next()
