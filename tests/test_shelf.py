"""What runs is on disk soon, written only where it differs, and the disk's refusals change nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from himbeerecouch import documents
from himbeerecouch.boot.kept import Entry, file_name, parse
from himbeerecouch.boot.shelf import RETRY_S, SETTLE_S, Shelf
from himbeerecouch.model import GlobalModule, Program
from himbeerecouch.store import StateFolder

MAC = 7


def program(id: str, code: str = "x", **members: Any) -> Program:
    document = {"_id": id, "_rev": "1-a", "type": MAC, "code": code, **members}
    found = documents.read(document, MAC, max_source_bytes=10**9).program
    assert found is not None
    return found


class ShelfTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.held: list[Callable[[], None]] | None = None
        """What waits in a thread; None where threads are done at once."""
        self.dir = Path(self.mktemp()).absolute()
        self.warnings: list[LogEvent] = []
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: LogEvent) -> None:
        if event["log_namespace"] == "himbeerecouch.boot.shelf":
            self.warnings.append(event)

    def shelf(self, state: StateFolder | None = None) -> tuple[Shelf, tuple[Entry, ...]]:
        """A fresh one, as after a boot, and what it has."""
        if state is None:
            state = StateFolder.open(self.dir, "pi")
            self.addCleanup(state.close)
        shelf = Shelf(
            state, partial(parse, mac_id=MAC, max_source_bytes=1000), clock=self.clock, in_thread=self.in_thread
        )
        shelf.startService()
        return shelf, shelf.load()

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.dir / "pi").iterdir() if path.name != "lock")

    def settle(self) -> None:
        self.clock.advance(SETTLE_S)
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def reopened(self, shelf: Shelf) -> tuple[Entry, ...]:
        """What the next daemon has."""
        shelf.stopService()
        shelf._state.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return self.shelf()[1]

    def test_there_after_a_boot(self) -> None:
        """What was kept is there for the next daemon, and what is no longer wanted is gone."""
        shelf, nothing = self.shelf()
        lib = GlobalModule("g", "1", "lib", "1-a", "digest")
        shelf.keep([program("a"), program("b")], [lib], _none)
        self.settle()
        self.assertEqual((nothing, len(self.files())), ((), 3))
        shelf.keep([program("a", "y")], [], _none)
        self.settle()
        self.assertEqual(self.files(), [file_name("a")])
        self.assertEqual(self.reopened(shelf), (Entry(program("a", "y")),))

    def test_written_once(self) -> None:
        """Of many edits within a second the last is written; what is there already is not written again."""
        shelf, _ = self.shelf()
        for number in range(100):
            shelf.keep([program("a", f"x = {number}")], [], _none)
            self.clock.advance(SETTLE_S / 100)
        self.settle()
        path = self.dir / "pi" / file_name("a")
        before = path.stat()
        shelf.keep([program("a", "x = 99")], [], _none)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIn(b"x = 99", path.read_bytes())
        self.assertEqual(path.stat().st_ino, before.st_ino)
        again = self.reopened(shelf)
        self.assertEqual(len(again), 1)

    def test_one_after_the_other(self) -> None:
        """Each file is written in a thread, and the next one once that has ended; meanwhile nothing waits."""
        shelf, _ = self.shelf()
        self.held = []
        shelf.keep([program(f"p{n}") for n in range(3)], [], _none)
        self.clock.advance(SETTLE_S)
        for count in range(4):
            self.assertEqual((len(self.files()), len(self.held)), (count, int(count < 3)))
            shelf.keep([program(f"p{n}") for n in range(3)], [], _none)
            self.release()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_meanwhile(self) -> None:
        """What a thread was about to write is written at the end, and not by the thread after that."""
        shelf, _ = self.shelf()
        self.held = []
        shelf.keep([program("a", "old"), program("b")], [], _none)
        self.clock.advance(SETTLE_S)
        shelf.keep([program("a", "new")], [], _none)
        shelf.stopService()
        self.assertEqual(self.files(), [file_name("a")])
        self.release()
        self.held = None
        self.assertEqual(self.reopened(shelf), (Entry(program("a", "new")),))

    def in_thread(self, work: Callable[[], None]) -> Deferred[None]:
        """Do it at once, or when the test says so."""
        if self.held is None:
            return maybeDeferred(work)
        done: Deferred[None] = Deferred()
        self.held.append(lambda: done.callback(work()))  # type: ignore[func-returns-value]
        return done

    def release(self) -> None:
        """Let the threads go on."""
        held, self.held = self.held or [], []
        for work in held:
            work()

    def test_good(self) -> None:
        """The revision to go back to is kept where the document asks for that, and only then."""
        shelf, _ = self.shelf()
        old, new, plain = program("a", "old"), program("a", "new", rollback=True), program("b")
        shelf.keep([new, plain], [], {"a": old, "b": plain}.get)
        self.settle()
        self.assertEqual(set(self.reopened(shelf)), {Entry(new, good=old), Entry(plain)})
        shelf, _ = self.shelf(shelf._state)
        for good in (new, program("gone")):
            shelf.keep_good(good)
        shelf.keep_good(plain)
        self.settle()
        shelf.stopService()
        shelf.keep_good(old)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(set(self.shelf(shelf._state)[1]), {Entry(new, good=new), Entry(plain)})

    def test_close(self) -> None:
        """What is not written yet is written at the end; after it nothing is taken any more."""
        shelf, _ = self.shelf()
        shelf.keep([program("a"), program("b")], [], _none)
        shelf.stopService()
        self.assertEqual(len(self.files()), 2)
        shelf.keep([], [], _none)
        shelf.close()
        self.assertEqual((len(self.files()), self.clock.getDelayedCalls()), (2, []))

    def test_garbage(self) -> None:
        """What can't be understood is set aside, what can't be read is left; all else goes on, and both are mended."""
        shelf, _ = self.shelf()
        shelf.keep([program("a"), program("b"), program("c"), program("d")], [], _none)
        shelf.stopService()
        shelf._state.close()
        (self.dir / "pi" / file_name("b")).write_bytes(b"\0" * 100)
        for id in ("c", "d"):
            (self.dir / "pi" / file_name(id)).unlink()
            (self.dir / "pi" / file_name(id)).mkdir()  # as good as a bad sector, for reading
        shelf, entries = self.shelf()
        self.assertEqual(entries, (Entry(program("a")),))
        self.assertEqual(len(self.warnings), 2)
        self.assertIn(f"{file_name('b')}.bad", self.files())
        for id in ("c", "d"):
            (self.dir / "pi" / file_name(id)).rmdir()
        (self.dir / "pi" / file_name("d")).write_bytes(b"what is not wanted any more")
        shelf.keep([program("a"), program("b"), program("c")], [], _none)
        self.settle()
        self.assertEqual(self.files(), sorted([*(file_name(id) for id in "abc"), f"{file_name('b')}.bad"]))
        self.assertEqual(len(self.reopened(shelf)), 3)

    def test_full_disk(self) -> None:
        """On a full disk the files are old or new and never torn, and one warning says so; later they are new."""
        self.dir.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(self.dir)], capture_output=True, check=False
        )
        if mounted.returncode:
            raise SkipTest("needs root, to mount a small file system")
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.dir)], check=True)
        shelf, _ = self.shelf()
        shelf.keep([program("a"), program("b")], [], _none)
        self.settle()
        large = "#" * 400_000
        shelf.keep([program("a", large), program("b", "small"), program("c", large)], [], _none)
        self.settle()
        self.clock.advance(RETRY_S)
        self.settle()
        self.assertEqual((self.files(), len(self.warnings)), (sorted(map(file_name, "ab")), 1))
        self.assertIn("No space left", str(self.warnings[0]["error"]))
        shelf.keep([program("a", "new"), program("b", "small")], [], _none)
        self.settle()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(
            {entry.program for entry in self.reopened(shelf)}, {program("a", "new"), program("b", "small")}
        )

    def test_disk_gone_bad(self) -> None:
        """Where nothing can be written any more, nothing else happens, and an end does not wait."""
        shelf, _ = self.shelf()
        self.patch(os, "open", _refuse)
        shelf.keep([program("a")], [], _none)
        self.settle()
        self.clock.advance(RETRY_S)
        self.settle()
        shelf.stopService()
        self.assertEqual((len(self.warnings), self.clock.getDelayedCalls()), (1, []))

    def test_read_only(self) -> None:
        """On a read-only disk what is there runs, and nothing is tried."""
        shelf, _ = self.shelf()
        shelf.keep([program("a")], [], _none)
        shelf.stopService()
        shelf, entries = self.shelf(StateFolder.look(self.dir, "pi"))
        self.assertEqual(entries, (Entry(program("a")),))
        shelf.keep([program("b")], [], _none)
        self.assertEqual((self.clock.getDelayedCalls(), self.warnings), ([], []))


def _none(id: str) -> None:
    """Nothing is known to have run for long."""


def _refuse(*arguments: object) -> int:
    raise OSError(5, "Input/output error")
