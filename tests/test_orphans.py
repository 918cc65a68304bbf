"""What is left of a command is ended, and never anybody else."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.commands.orphans import GONE_S, GRACE_S, end_orphans, groups_of
from himbeerecouch.commands.record import Birth, Record
from tests.logged import warnings
from tests.test_processes import add_process

BIRTH = Birth(300, 4000, "boot-1")


def record(birth: Birth | None = BIRTH) -> Record:
    return Record(1, "c", "1-a", "me-1", {}, 0.0, birth)


class OrphansTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.proc = Path(self.mktemp())
        (self.proc / "sys/kernel/random").mkdir(parents=True)
        (self.proc / "sys/kernel/random/boot_id").write_text("boot-1\n")
        self.kills: list[tuple[int, int]] = []
        self.obeys = {signal.SIGKILL}
        self.error: OSError | None = None

    def kill(self, group: int, number: int) -> None:
        self.kills.append((group, number))
        if self.error:
            raise self.error
        if number in self.obeys:
            shutil.rmtree(self.proc / str(group))

    def end(self, *records: Record) -> Deferred[None]:
        ending = end_orphans(self.clock, records, proc=self.proc, kill=self.kill)
        return Deferred.fromCoroutine(ending)

    # --- whose they are -----------------------------------------------------------------------------------------------

    def test_groups(self) -> None:
        """The group that was noted counts as long as it is certainly the same one."""
        born: list[tuple[str, dict[int, dict[str, Any]], Birth, set[int]]] = [
            ("the leader lives", {300: {"ticks": 4000}}, BIRTH, {300}),
            ("its number was given anew", {300: {"ticks": 9000}}, BIRTH, set()),
            ("given anew, to another command", {300: {"ticks": 9000, "claim": "me-2"}}, BIRTH, set()),
            ("the leader is gone, a child lives", {301: {"group": 300, "claim": "me-1"}}, BIRTH, {300}),
            ("a group of somebody else", {301: {"group": 300}}, BIRTH, set()),
            ("a child in a session of its own", {301: {"claim": "me-1"}}, BIRTH, set()),
            ("a group in another session", {300: {"ticks": 4000, "session": 7}}, BIRTH, set()),
            ("only the dead leader", {300: {"ticks": 4000, "state": "Z"}}, BIRTH, set()),
            ("a dead leader's child", {300: {"ticks": 4000, "state": "Z"}, 301: {"group": 300}}, BIRTH, {300}),
            ("another boot", {300: {"ticks": 4000, "claim": "me-1"}}, Birth(300, 4000, "boot-0"), set()),
        ]
        for what, there, birth, groups in born:
            with self.subTest(what):
                self.add(there)
                self.assertEqual(groups_of(record(birth), self.proc), groups)

    def test_groups_by_mark(self) -> None:
        """Where no group was noted, the mark tells, but never of the daemon's own session."""
        self.add(
            {
                5: {"claim": "me-1"},
                6: {"group": 5, "claim": "me-1"},
                7: {"claim": "me-2"},
                8: {"claim": "me-1", "state": "Z"},
                9: {"claim": "me-1", "session": os.getsid(0)},
                10: {},
            }
        )
        self.assertEqual(groups_of(record(None), self.proc), {5})

    def add(self, there: dict[int, dict[str, Any]]) -> None:
        for folder in self.proc.glob("[0-9]*"):
            shutil.rmtree(folder)
        for pid, process in there.items():
            add_process(self.proc, pid, **process)

    # --- how they end -------------------------------------------------------------------------------------------------

    def test_nothing_left(self) -> None:
        """Where nothing is left, nothing is waited for."""
        self.successResultOf(self.end())
        self.successResultOf(self.end(record()))
        self.assertEqual((self.kills, self.clock.getDelayedCalls()), ([], []))

    def test_asked(self) -> None:
        """Those that end when they are asked to are not killed."""
        self.add({300: {"ticks": 4000}})
        self.obeys = {signal.SIGTERM}
        done = self.end(record())
        self.clock.advance(0.1)
        self.successResultOf(done)
        self.assertEqual(self.kills, [(300, signal.SIGTERM)])

    def test_killed(self) -> None:
        """Those that do not are killed, soon enough for nobody to find an orphan 5 s after the daemon is back."""
        self.add({300: {"ticks": 4000}, 5: {"claim": "me-2"}})
        done = self.end(record(), Record(2, "d", "1-a", "me-2", {}, 0.0))
        self.clock.pump([0.1] * round(GRACE_S / 0.1 + 2))
        self.successResultOf(done)
        term, kill = signal.SIGTERM, signal.SIGKILL
        self.assertEqual(self.kills, [(5, term), (300, term), (5, kill), (300, kill)])

    def test_not_to_be_ended(self) -> None:
        """What is another user's, or goes just now, or hangs in the kernel, is given up."""
        for error in (PermissionError(), ProcessLookupError(), None):
            with self.subTest(error=error), warnings("himbeerecouch.commands.orphans") as told:
                self.add({300: {"ticks": 4000}})
                self.error, self.obeys = error, set()
                done = self.end(record())
                self.clock.pump([0.1] * round((GRACE_S + GONE_S) / 0.1 + 2))
                self.successResultOf(done)
                self.assertEqual(len(told), 4 if error else 2)
