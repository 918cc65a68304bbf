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
from himbeerecouch.commands.journal import FILE, OWNER, Journal
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
        self.file = self.folder / FILE

    def open(self, **options: Any) -> Journal:
        """The journal as the next daemon finds it."""
        return Journal(StateFolder(self.folder, lasts=True), **options)

    def counted(self, do: Callable[[], None]) -> Writes:
        """What is written and synced while ``do`` is done."""
        writes: list[object] = []
        syncs: list[object] = []

        def noted(where: Any, name: str, notes: list[object]) -> Any:
            do = getattr(where, name)

            def noting(first: Any, *rest: Any, **options: Any) -> Any:
                notes.append(first)
                return do(first, *rest, **options)

            return self.patch(where, name, noting)

        patches = [
            noted(os, "fdopen", writes),
            noted(os, "fsync", syncs),
            noted(os, "fdatasync", syncs),
        ]
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

    def fail_to_write(self, fd: int, *_arguments: Any, **_options: Any) -> Any:
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
        journal.answered("me-1", DONE)
        self.assertEqual(self.open().left(), [])
        (past,) = self.open().settled()
        self.assertEqual((past.id, past.rev, past.claim, past.result), ("c", "1-a", "me-1", None))

    def test_forced(self) -> None:
        """The group of one that was ended before its time is remembered longer than its answer."""
        journal = self.open()
        journal.claimed(command(), "me-1", 12.5)
        journal.started("me-1", BIRTH)
        journal.ended("me-1", TIMEOUT)
        journal.answered("me-1", TIMEOUT)
        self.assertEqual([(record.settled, record.birth) for record in self.open().left()], [(True, BIRTH)])

    def test_answered_at_once(self) -> None:
        """Of one whose end was not noted before its answer was stored, the same is known as of any other."""
        for number, result in enumerate((DONE, TIMEOUT)):
            journal = self.open()
            journal.claimed(command(), f"me-{number}", 12.5)
            journal.started(f"me-{number}", BIRTH)
            journal.answered(f"me-{number}", result)
        self.assertEqual([record.claim for record in self.open().settled()], ["me-0", "me-1"])
        self.assertEqual([(record.claim, record.birth) for record in self.open().left()], [("me-1", BIRTH)])

    def test_in_order(self) -> None:
        """They are told in the order of their starts, over several lives of the daemon."""
        for number in range(3):
            journal = self.open()
            journal.claimed(command(f"c{number}"), f"me-{number}", 0.0)
        self.assertEqual([record.id for record in self.open().left()], ["c0", "c1", "c2"])

    def test_synced(self) -> None:
        """What must not be lost in a power cut is synced, once; all else does not wear out a card."""
        journal = self.open()
        for do, expected in (
            (lambda: journal.claimed(command(), "me-0", 0.0), Writes(1, 2)),  # the folder has a new file
            (lambda: journal.claimed(command(), "me-1", 0.0), Writes(1, 1)),
            (lambda: journal.started("me-1", BIRTH), Writes(1, 0)),
            (lambda: journal.ended("me-1", DONE), Writes(1, 1)),
            (lambda: journal.ended("me-1", DONE), Writes(0, 0)),
            (lambda: journal.answered("me-1", DONE), Writes(1, 0)),
            (lambda: journal.answered("me-1", DONE), Writes(0, 0)),
        ):
            self.assertEqual(self.counted(do), expected)

    def test_not_started_here(self) -> None:
        """Of commands that were answered without being run, nothing is written."""
        journal = self.open()

        def answering() -> None:
            journal.ended("me-1", DONE)
            journal.answered("me-1", DONE)

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
        journal = self.open(kept=3)
        for number in range(6):
            journal.claimed(command(f"c{number}"), f"me-{number}", 0.0)
            if number != 1:
                journal.answered(f"me-{number}", DONE)
        again = self.open(kept=3)
        self.assertEqual([record.id for record in again.left()], ["c1"])
        self.assertEqual([record.id for record in again.settled()], ["c4", "c5"])

    def test_full_of_answers(self) -> None:
        """Where too many answers wait, a command is refused, and taken again once there is room."""
        journal = self.open(kept=2)
        for number in range(2):
            journal.claimed(command(), f"me-{number}", 0.0)
        error = self.assertRaises(StateError, journal.claimed, command(), "me-2", 0.0)
        self.assertIn("2 commands wait for their answers to be stored", str(error))
        journal.answered("me-0", DONE)
        journal.claimed(command(), "me-2", 0.0)
        self.assertEqual([record.claim for record in self.open(kept=2).left()], ["me-1", "me-2"])

    def test_size(self) -> None:
        """Beyond a bound results are shortened, and then commands refused; the file takes no more than twice that."""
        journal = self.open(limit_bytes=10_000, outdated_bytes=0)
        for number in range(3):
            journal.claimed(command(), f"me-{number}", 0.0)
        for number in range(3):
            journal.ended(f"me-{number}", Result(CommandState.DONE, "x" * 6000, "y" * 10))
        self.assertLess(self.size(), 20_000)
        kept = [record.result for record in self.open().left() if record.result]
        self.assertEqual([len(result.stdout or "") for result in kept], [6000, *[1024 + len(marker(4976))] * 2])
        self.assertEqual([result.dropped_bytes for result in kept], [0, 4976, 4976])
        self.assertRaises(StateError, journal.claimed, command("c", "z" * 5000), "me-4", 0.0)
        journal.answered("me-0", DONE)
        journal.claimed(command("c", "z" * 5000), "me-4", 0.0)
        self.assertLess(self.size(), 20_000)

    def test_nothing_fits(self) -> None:
        """A result that does not fit at all is not kept, and the command counts as interrupted after a crash."""
        journal = self.open(limit_bytes=300)
        journal.claimed(command(), "me-1", 0.0)
        journal.ended("me-1", Result(CommandState.FAILED, None, None, reason="x" * 300))
        self.assertEqual([record.result for record in self.open().left()], [None])

    def size(self) -> int:
        """What is there, in bytes."""
        return self.file.stat().st_size

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
        journal.answered("me-1", DONE)
        self.assertEqual(len(self.open().settled()), 1)
        for number in range(3, 105):
            journal.claimed(command(), f"me-{number}", 0.0)
            journal.answered(f"me-{number}", DONE)
        self.assertEqual(len(self.open().settled()), 100)

    def test_disk_full_from_the_start(self) -> None:
        """Where not even a name can be kept, the daemon starts all the same."""
        self.fill_disk()
        with warnings("himbeerecouch.commands.journal") as told:
            self.assertRegex(self.open().owner, "^[0-9a-f]{12}$")
        self.assertEqual(len(told), 1)

    def test_torn(self) -> None:
        """A power cut tears what was just being added: all else counts, and more can be added."""
        for end in (b'{"number": 4, "id": "c', b"\0" * 200, b"\0" * 200 + b"\n"):
            self.setUp()
            journal = self.open()
            for number in range(3):
                journal.claimed(command(f"c{number}"), f"me-{number}", 0.0)
            with self.file.open("ab") as file:
                file.write(end)
            again = self.open()
            self.assertEqual([record.id for record in again.left()], ["c0", "c1", "c2"])
            again.claimed(command("c3"), "me-3", 0.0)
            again.answered("me-0", DONE)
            self.assertEqual([record.id for record in self.open().left()], ["c1", "c2", "c3"])
            self.assertTrue((self.folder / f"{FILE}.bad").read_bytes().endswith(end))

    def test_garbage(self) -> None:
        """A file that something else has written to is set aside, and all of it counts that can be understood."""
        journal = self.open()
        for number in range(3):
            journal.claimed(command(f"c{number}"), f"me-{number}", 0.0)
        lines = self.file.read_bytes().splitlines(keepends=True)
        for data, expected in ((lines[0] + b"\0\n" + lines[2], ["c0", "c2"]), (b"\0" * 200, [])):
            self.file.write_bytes(data)
            for _ in range(2):  # what counts is on the disk again, even where nothing more is run
                self.assertEqual([record.id for record in self.open().left()], expected)
            self.assertEqual((self.folder / f"{FILE}.bad").read_bytes(), data)

    def test_unreadable(self) -> None:
        """A file that can't be read is left alone, and commands are refused with the reason."""
        self.file.mkdir()
        (self.folder / OWNER).mkdir()
        with warnings("himbeerecouch.commands.journal") as told:
            journal = self.open()
        self.assertEqual(len(told), 3)
        error = self.assertRaises(StateError, journal.claimed, command(), "me-1", 0.0)
        self.assertIn("Is a directory", str(error))

    def test_cannot_be_set_aside(self) -> None:
        """Where what is there can be neither understood nor set aside, that is told, and nothing is written over it."""
        self.file.write_bytes(b"\0" * 200)
        (self.folder / f"{FILE}.bad").mkdir()
        with warnings("himbeerecouch.commands.journal") as told:
            self.open()
        self.assertEqual(len(told), 1)
        self.assertEqual(self.file.read_bytes(), b"\0" * 200)

    def test_written_anew(self) -> None:
        """The file is bounded by what counts, whatever was added; what outlives it is what would have been read."""
        journal = self.open(kept=5, outdated_bytes=2000)
        journal.claimed(command("waits"), "me-waits", 0.0)
        largest = 0
        for number in range(200):
            journal.claimed(command(f"c{number}"), f"me-{number}", 0.0)
            journal.ended(f"me-{number}", DONE)
            journal.answered(f"me-{number}", DONE)
            largest = max(largest, self.size())
        self.assertLess(largest, 2000 + 2 * 6 * 500)
        again = self.open(kept=5)
        self.assertEqual([record.id for record in again.left()], ["waits"])
        self.assertEqual([record.id for record in again.settled()], ["c196", "c197", "c198", "c199"])
        again.claimed(command("next"), "me-next", 0.0)
        self.assertEqual([record.number for record in self.open().left()], [1, 202])

    def test_in_memory(self) -> None:
        """Without a disk all of it is kept in memory, for as long as the daemon lives."""
        state = StateFolder(self.folder / "none", lasts=False, in_memory=True)
        journal = Journal(state)
        journal.claimed(command(), "me-1", 0.0)
        self.assertEqual(len(Journal(state).left()), 1)
        journal.answered("me-1", DONE)
        self.assertEqual(Journal(state).left(), [])
        self.assertEqual(list(self.folder.iterdir()), [])
