"""The journal knows after a crash what was known before it, in bounded space, and says where it can't."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.commands.capture import marker
from himbeerecouch.commands.journal import OWNER, Journal
from himbeerecouch.commands.record import Birth
from himbeerecouch.errors import StateError
from himbeerecouch.model import Command, CommandState, Result
from himbeerecouch.store import StateFolder
from tests.logged import warnings

BIRTH = Birth(300, 4000, "boot")
DONE = Result(CommandState.DONE, "out", "err", exit_code=0)
TIMEOUT = Result(CommandState.TIMEOUT, "out", "err", signal=15)


def command(id: str = "c", *argv: str) -> Command:
    body = {"_id": id, "_rev": "1-a", "type": "5_cmd", "cmd": ["echo", *argv]}
    return Command(id, "1-a", ("echo", *argv), None, 600.0, None, False, False, body)


@frozen
class Writes:
    """How often a state folder was written to, and synced."""

    writes: int
    synced: int


class JournalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def open(self, **options: Any) -> Journal:
        """The journal as the next daemon finds it."""
        return Journal(StateFolder(self.folder, lasts=True), **options)

    def counted(self, do: Callable[[], None]) -> Writes:
        """What is written and synced while ``do`` is done."""
        writes, syncs = [], []
        replace, fsync = Path.replace, os.fsync

        def replaced(path: Path, to: Path) -> Path:
            writes.append(to)
            return replace(path, to)

        def synced(fd: int) -> None:
            syncs.append(fd)
            fsync(fd)

        patches = self.patch(Path, "replace", replaced), self.patch(os, "fsync", synced)
        do()
        for patch in patches:
            patch.restore()
        return Writes(len(writes), len(syncs))

    def fill_disk(self, full: bool = True) -> None:
        """Let every write fail from now on, or none."""
        if full:
            self.full = self.patch(os, "fdopen", self.fail_to_write)
        else:
            self.full.restore()

    def fail_to_write(self, fd: int, *_arguments: Any) -> Any:
        os.close(fd)
        raise OSError(errno.ENOSPC, "No space left on device")

    # --- across a crash -----------------------------------------------------------------------------------------------

    def test_way_of_a_command(self) -> None:
        """At every step, the next daemon knows how far it has come."""
        journal = self.open()
        journal.claimed(command(), "me-1", 12.5)
        self.assertEqual([self.open().knows(claim) for claim in ("me-1", "me-2")], [True, False])
        (left,) = self.open().left()
        self.assertEqual((left.id, left.claim, left.started, left.birth), ("c", "me-1", 12.5, None))
        journal.started("me-1", BIRTH)
        (left,) = self.open().left()
        self.assertEqual(left.birth, BIRTH)
        journal.ended("me-1", DONE)
        (left,) = self.open().left()
        self.assertEqual((left.result, left.birth), (DONE, None))
        self.assertEqual(self.open().settled(), [])
        journal.answered("me-1")
        self.assertEqual(self.open().left(), [])
        (past,) = self.open().settled()
        self.assertEqual((past.id, past.rev, past.claim, past.result), ("c", "1-a", "me-1", None))

    def test_forced(self) -> None:
        """The group of one that was ended before its time is remembered longer than its answer."""
        journal = self.open()
        journal.claimed(command(), "me-1", 12.5)
        journal.started("me-1", BIRTH)
        journal.ended("me-1", TIMEOUT)
        journal.answered("me-1")
        self.assertEqual([(record.settled, record.birth) for record in self.open().left()], [(True, BIRTH)])

    def test_in_order(self) -> None:
        """They are told in the order of their starts, over several lives of the daemon."""
        for number in range(3):
            journal = self.open()
            journal.claimed(command(f"c{number}"), f"me-{number}", 0.0)
        self.assertEqual([record.id for record in self.open().left()], ["c0", "c1", "c2"])

    def test_synced(self) -> None:
        """What must not be lost in a power cut is synced, file and folder; all else does not wear out a card."""
        journal = self.open()
        for do, expected in (
            (lambda: journal.claimed(command(), "me-1", 0.0), Writes(1, 2)),
            (lambda: journal.started("me-1", BIRTH), Writes(1, 0)),
            (lambda: journal.ended("me-1", DONE), Writes(1, 2)),
            (lambda: journal.ended("me-1", DONE), Writes(0, 0)),
            (lambda: journal.answered("me-1"), Writes(1, 0)),
            (lambda: journal.answered("me-1"), Writes(0, 0)),
        ):
            self.assertEqual(self.counted(do), expected)

    def test_not_started_here(self) -> None:
        """Of commands that were answered without being run, nothing is written."""
        journal = self.open()

        def answering() -> None:
            journal.ended("me-1", DONE)
            journal.answered("me-1")

        self.assertEqual(self.counted(answering), Writes(0, 0))

    def test_owner(self) -> None:
        """All claims of one state folder begin with the same name, over all its lives; garbage there is replaced."""
        owner = self.open().owner
        self.assertEqual(self.open().owner, owner)
        self.assertRegex(owner, "^[0-9a-f]{12}$")
        (self.folder / OWNER).write_bytes(b"\0\0\0")
        other = self.open().owner
        self.assertNotEqual(other, owner)
        self.assertEqual(self.open().owner, other)
        self.assertEqual((self.folder / f"{OWNER}.bad").read_bytes(), b"\0\0\0")

    # --- bounds -------------------------------------------------------------------------------------------------------

    def test_last_commands(self) -> None:
        """Of the commands that are answered, the last ones are kept; what waits is never dropped for them."""
        journal = self.open(slots=3)
        for number in range(6):
            journal.claimed(command(f"c{number}"), f"me-{number}", 0.0)
            if number != 1:
                journal.answered(f"me-{number}")
        again = self.open(slots=3)
        self.assertEqual([record.id for record in again.left()], ["c1"])
        self.assertEqual([record.id for record in again.settled()], ["c4", "c5"])
        self.assertEqual(len(list(self.folder.glob("command-*"))), 3)

    def test_full_of_answers(self) -> None:
        """Where too many answers wait, a command is refused, and taken again once there is room."""
        journal = self.open(slots=2)
        for number in range(2):
            journal.claimed(command(), f"me-{number}", 0.0)
        error = self.assertRaises(StateError, journal.claimed, command(), "me-2", 0.0)
        self.assertIn("2 commands wait for their answers to be stored", str(error))
        journal.answered("me-0")
        journal.claimed(command(), "me-2", 0.0)
        self.assertEqual([record.claim for record in self.open(slots=2).left()], ["me-1", "me-2"])

    def test_size(self) -> None:
        """Together they take no more than a bound: results are shortened, and then commands refused."""
        journal = self.open(limit_bytes=10_000)
        for number in range(3):
            journal.claimed(command(), f"me-{number}", 0.0)
        for number in range(3):
            journal.ended(f"me-{number}", Result(CommandState.DONE, "x" * 6000, "y" * 10))
        self.assertLess(self.size(), 10_000)
        kept = [record.result for record in self.open().left() if record.result]
        self.assertEqual([len(result.stdout or "") for result in kept], [6000, *[1024 + len(marker(4976))] * 2])
        self.assertEqual([result.dropped_bytes for result in kept], [0, 4976, 4976])
        self.assertRaises(StateError, journal.claimed, command("c", "z" * 5000), "me-4", 0.0)
        journal.answered("me-0")
        journal.claimed(command("c", "z" * 5000), "me-4", 0.0)
        self.assertLess(self.size(), 10_000)

    def test_nothing_fits(self) -> None:
        """A result that does not fit at all is not kept, and the command counts as interrupted after a crash."""
        journal = self.open(limit_bytes=300)
        journal.claimed(command(), "me-1", 0.0)
        journal.ended("me-1", Result(CommandState.FAILED, None, None, reason="x" * 300))
        self.assertEqual([record.result for record in self.open().left()], [None])

    def size(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir())

    # --- the disk refuses ---------------------------------------------------------------------------------------------

    def test_disk_full(self) -> None:
        """On a full disk nothing is claimed, with the reason; what runs goes on, and nothing that is there is lost."""
        journal = self.open()
        journal.claimed(command(), "me-1", 0.0)
        before = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        self.fill_disk()
        error = self.assertRaises(StateError, journal.claimed, command(), "me-2", 0.0)
        self.assertIn("No space left on device", str(error))
        with warnings("himbeerecouch.commands.journal") as told:
            journal.started("me-1", BIRTH)
            journal.ended("me-1", DONE)
        self.assertEqual(len(told), 2)
        self.assertEqual({path.name: path.read_bytes() for path in self.folder.iterdir()}, before)
        self.fill_disk(False)
        journal.answered("me-1")
        self.assertEqual(len(self.open().settled()), 1)
        for number in range(3, 105):
            journal.claimed(command(), f"me-{number}", 0.0)
            journal.answered(f"me-{number}")
        self.assertEqual(len(self.open().settled()), 100)

    def test_disk_full_from_the_start(self) -> None:
        """Where not even a name can be kept, the daemon starts all the same."""
        self.fill_disk()
        with warnings("himbeerecouch.commands.journal") as told:
            self.assertRegex(self.open().owner, "^[0-9a-f]{12}$")
        self.assertEqual(len(told), 1)

    def test_garbage(self) -> None:
        """A torn file is set aside, and its place used again; the others count."""
        journal = self.open()
        for number in range(3):
            journal.claimed(command(f"c{number}"), f"me-{number}", 0.0)
        (self.folder / "command-01").write_bytes(b"\0" * 200)
        again = self.open()
        self.assertEqual([record.id for record in again.left()], ["c0", "c2"])
        self.assertTrue((self.folder / "command-01.bad").exists())
        for number in range(3, 101):
            again.claimed(command(), f"me-{number}", 0.0)
        self.assertEqual(len(self.open().left()), 100)

    def test_unreadable(self) -> None:
        """A file that can't be read is left alone, and so is what can't be set aside."""
        (self.folder / "command-00").mkdir()
        (self.folder / OWNER).mkdir()
        with warnings("himbeerecouch.commands.journal") as told:
            journal = self.open(slots=2)
        self.assertEqual(len(told), 3)
        journal.claimed(command(), "me-1", 0.0)
        self.assertRaises(StateError, journal.claimed, command(), "me-2", 0.0)

    def test_in_memory(self) -> None:
        """Without a disk all of it is kept in memory, for as long as the daemon lives."""
        state = StateFolder(self.folder / "none", lasts=False, in_memory=True)
        journal = Journal(state)
        journal.claimed(command(), "me-1", 0.0)
        self.assertEqual(len(Journal(state).left()), 1)
        journal.answered("me-1")
        self.assertEqual(Journal(state).left(), [])
        self.assertEqual(list(self.folder.iterdir()), [])
