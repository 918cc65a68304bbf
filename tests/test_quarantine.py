"""What takes the daemon with it is not started again; all others are, each in its time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.boot.quarantine import FEED_WAIT_S, MARK, RECORD, Quarantine, boot_id
from himbeerecouch.boot.suspects import LONG_TURN_S, PROVEN_AFTER_S, SHORT_TURN_S
from himbeerecouch.model import GlobalModule, Program, ProgramState
from himbeerecouch.store import StateFolder


def program(id: str, digest: str = "1") -> Program:
    return Program(id, f"{digest}-x", f"name of {id}", {"main": ""}, digest)


class Life:
    """One life of a daemon that starts whatever it may."""

    def __init__(self, test: QuarantineTests, *ids: str, boot: str = "boot", feed: bool = True) -> None:
        self.clock = Clock()
        self.programs = {id: program(id) for id in ids}
        self.modules: dict[str, GlobalModule] = {}
        self.running: list[str] = []
        self.changed: list[str] = []
        self.quarantine = Quarantine(
            test.state,
            clock=self.clock,
            boot=boot,
            released=self.reconcile,
            changed=self.changed.append,
            now=lambda: 5.0 + self.clock.seconds(),
        )
        self.quarantine.startService()
        self.reconcile()
        if feed:
            self.read()

    def reconcile(self) -> None:
        allowed = self.quarantine.allowed(self.programs, self.modules)
        new = [self.programs[id] for id in sorted(allowed) if id not in self.running]
        self.quarantine.starting(new, self.modules)
        self.running.extend(one.id for one in new)

    def read(self) -> None:
        self.quarantine.learn(self.programs, self.modules)
        self.reconcile()

    def save(self, one: Program) -> None:
        self.programs[one.id] = one
        if one.id in self.running:
            self.running.remove(one.id)
        self.read()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


class QuarantineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dir = Path(self.mktemp()).absolute()
        self.state = StateFolder.open(self.dir, "pi")
        self.addCleanup(self.state.close)
        self.warnings: list[LogEvent] = []
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: LogEvent) -> None:
        if event["log_namespace"] == "himbeerecouch.boot.quarantine":
            self.warnings.append(event)

    def killed(self, count: int, *ids: str) -> None:
        for _ in range(count):
            Life(self, *ids)

    def files(self) -> set[str]:
        return set(self.state.names()) - {"lock"}

    def test_a_good_life(self) -> None:
        """All start at once; after a minute the disk is as before, and later starts write nothing."""
        life = Life(self, "a", "b")
        self.assertEqual((life.running, self.files()), (["a", "b"], {MARK}))
        life.advance(PROVEN_AFTER_S)
        self.assertEqual(self.files(), set())
        life.save(program("c"))
        self.assertEqual((self.files(), life.clock.getDelayedCalls(), self.warnings), (set(), [], []))

    def test_nothing_starts(self) -> None:
        """A daemon without programs writes nothing at all."""
        life = Life(self)
        self.assertEqual(self.files(), set())
        life.quarantine.stopService()
        self.assertEqual((self.files(), life.clock.getDelayedCalls()), (set(), []))

    def test_clean_ends(self) -> None:
        """A clean end is nobody's fault, and begins a row of unclean ones anew; a search that is under way goes on."""
        for _ in range(4):
            self.killed(1, "a", "b")
            life = Life(self, "a", "b")
            self.assertEqual(life.running, ["a", "b"])
            life.quarantine.stopService()
            life.quarantine.close()
            self.assertEqual((self.files(), life.clock.getDelayedCalls()), ({RECORD}, []))
        self.assertEqual(self.warnings, [])
        self.killed(2, "a", "b")
        for _ in range(2):
            life = Life(self, "a", "b")
            life.advance(0)
            self.assertEqual((life.running, self.warnings[0]["ends"]), (["a"], 2))
            life.quarantine.stopService()
            self.assertEqual(life.clock.getDelayedCalls(), [])

    def test_culprit(self) -> None:
        """In whose turn the daemon ends for the third time is not started any more, until its document changes."""
        self.killed(2, "a", "b", "c")
        life = Life(self, "a", "b", "c")
        life.advance(0)
        self.assertEqual(life.running, ["a"])
        life.advance(SHORT_TURN_S)
        self.assertEqual(life.running, ["a", "b"])
        self.warnings.clear()
        life = Life(self, "a", "b", "c", feed=False)
        life.advance(0)
        life.advance(SHORT_TURN_S)
        self.assertEqual(life.running, ["a", "c"])
        self.assertEqual([one.state for one in life.quarantine.reports()], [ProgramState.QUARANTINED])
        self.assertEqual([(one.id, one.rev, one.since) for one in life.quarantine.reports()], [("b", "1-x", 5.0)])
        self.assertIn("name of b", [event.get("name") for event in self.warnings])
        life.read()
        life.advance(SHORT_TURN_S)
        life.advance(PROVEN_AFTER_S)
        self.assertEqual((life.running, self.files(), life.clock.getDelayedCalls()), (["a", "c"], {RECORD}, []))
        for _ in range(2):
            life = Life(self, "a", "b", "c")
            self.assertEqual(life.running, ["a", "c"])
            life.quarantine.stopService()
        life = Life(self, "a", "b", "c")
        life.save(program("b", "2"))
        self.assertEqual((life.running, life.quarantine.reports(), life.changed), (["a", "c", "b"], [], ["b", "b"]))
        life.quarantine.stopService()
        self.assertEqual(Life(self, "a", "b", "c").running, ["a", "b", "c"])

    def test_global_module_mended(self) -> None:
        """A global module that the program names is as good as its document."""
        self.killed(3, "a")
        life = Life(self, "a")
        life.advance(0)
        life = Life(self, "a")
        self.assertEqual(life.running, [])
        life.programs["a"] = Program("a", "1-x", "a", {"main": ""}, "1")
        life.modules = {"": GlobalModule("", "x", "lib", "1-a", "digest")}  # named by any source
        life.read()
        self.assertEqual(life.running, ["a"])

    def test_feed_first(self) -> None:
        """Suspects wait for the feed, up to a time; one that it has changed starts at once."""
        self.killed(2, "a", "b")
        life = Life(self, "a", "b", "new", feed=False)
        self.assertEqual(life.running, ["new"])
        life.advance(FEED_WAIT_S - 1)
        self.assertEqual(life.running, ["new"])
        life.programs["b"] = program("b", "2")
        life.read()
        self.assertEqual(life.running, ["new", "b"])
        life.advance(0)
        life.read()
        self.assertEqual(life.running, ["new", "b"])
        life.advance(SHORT_TURN_S)
        self.assertEqual(life.running, ["new", "b", "a"])
        life = Life(self, "a", "b", "new", feed=False)
        life.advance(FEED_WAIT_S)
        self.assertNotEqual(life.running, [])

    def test_long_turns(self) -> None:
        """Where the daemon ends after all had their turn, each gets a minute of its own."""
        self.killed(2, "a", "b")
        life = Life(self, "a", "b")
        for _ in range(3):
            life.advance(SHORT_TURN_S)
        self.assertEqual(life.running, ["a", "b"])
        life = Life(self, "a", "b")
        life.advance(0)
        self.assertEqual(life.running, ["a"])
        life.advance(LONG_TURN_S - 1)
        self.assertEqual((life.running, len(life.quarantine.reports())), (["a"], 1))
        life.advance(1)
        self.assertEqual(life.running, ["a", "b"])
        life = Life(self, "a", "b")
        life.advance(LONG_TURN_S)
        self.assertEqual((life.running, [one.id for one in life.quarantine.reports()]), (["a"], ["b"]))

    def test_a_turn_with_nobody(self) -> None:
        """A suspect that was deleted has no turn."""
        self.killed(2, "a", "b")
        life = Life(self, "b")
        life.advance(0)
        self.assertEqual(life.running, ["b"])

    def test_power_cuts(self) -> None:
        """However often the power is cut, nobody is quarantined for it."""
        for number in range(6):
            life = Life(self, "a", "b", boot=f"boot {number}")
            life.advance(0)
        life.advance(SHORT_TURN_S)
        self.assertEqual((life.running, life.quarantine.reports()), (["a", "b"], []))

    def test_garbage(self) -> None:
        """What can't be understood is set aside, and counts as nothing; the daemon starts all the same."""
        self.state.write(RECORD, b"garbage")
        self.state.write(MARK, bytes(10))
        life = Life(self, "a")
        self.assertEqual((life.running, self.files()), (["a"], {f"{RECORD}.bad", f"{MARK}.bad", MARK}))

    def test_disk_refuses(self) -> None:
        """With a disk that takes nothing, programs run as ever, and one warning says what is lost."""
        self.state.write("x", b"")
        for name in (RECORD, MARK):
            (self.state.path / name).mkdir()
        self.patch(os, "open", _refuse)
        life = Life(self, "a")
        life.save(program("b"))
        life.quarantine.stopService()
        self.assertEqual((life.running, len(self.warnings)), (["a", "b"], 1))

    def test_boot_id(self) -> None:
        """The kernel tells which boot this is; where it does not, all are one."""
        self.assertRegex(boot_id(), r"\A[0-9a-f-]{36}\Z")
        self.assertEqual(boot_id(self.dir / "missing"), "")


def _refuse(*arguments: object) -> int:
    raise OSError(5, "Input/output error")
