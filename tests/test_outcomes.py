"""What has become of a program, by what its Pi reports: tables."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.fleet.outcomes import (
    Outcome,
    Verdict,
    Wait,
    judge,
    judge_removal,
    program_of,
    running_for_s,
    silence,
)
from himbeerecouch.fleet.roster import PiStatus, Presence, read
from himbeerecouch.model import Json, ProgramState

NOW = 1_777_636_800.0


def pi(entry: Json | None = None, **members: Any) -> PiStatus:
    """A Pi with one program, as a heartbeat of ten seconds ago has it."""
    programs = {} if entry is None else {"p": {"saved_rev": None, "error": None, **entry}}
    timestamp = "2026-05-01T11:59:50.000Z"
    heartbeat = {"_id": "7_heartbeat", "state": "running", "timestamp": timestamp, "interval_s": 30}
    found = read({**heartbeat, "programs": programs, **members}, NOW)
    assert found is not None
    return found


def verdict(entry: Json | None, *, seen_s: float = 0.0, **members: Any) -> Verdict | Wait:
    """What is said of the program's revision 2-b."""
    return judge(pi(entry, **members), "p", "2-b", running_for_s=seen_s)


class SilenceTests(SynchronousTestCase):
    def test_silence(self) -> None:
        """Of a Pi that is not online nothing is expected, whatever its last heartbeat said."""
        self.assertIsNone(silence(pi()))
        for presence, words in (
            (Presence.OFFLINE, "it was last heard of at 2026-05-01T11:59:50.000Z"),
            (Presence.STOPPED, "its daemon was stopped at 2026-05-01T11:59:50.000Z"),
            (Presence.UNSEEN, "it has never reported: is it enrolled, and switched on?"),
        ):
            silent = evolve(pi({"rev": "2-b", "state": "running"}), presence=presence)
            self.assertEqual(judge(silent, "p", "2-b", running_for_s=9.0), Verdict(Outcome.OFFLINE, words))
            self.assertEqual(judge_removal(silent, "q"), Verdict(Outcome.OFFLINE, words))
        never = evolve(pi(), presence=Presence.OFFLINE, seen=None)
        self.assertEqual(silence(never), "it was last heard of at never")


class JudgeTests(SynchronousTestCase):
    def test_decided(self) -> None:
        """Each state of that very revision has an outcome, with the reason."""
        for state, error, outcome in (
            ("finished", None, Verdict(Outcome.FINISHED)),
            ("backoff", None, Verdict(Outcome.FINISHED)),
            ("backoff", "boom", Verdict(Outcome.CRASHED, "boom")),
            ("crashed", "boom", Verdict(Outcome.CRASHED, "boom")),
            ("quarantined", "why", Verdict(Outcome.QUARANTINED, "why")),
            ("rejected", "cut", Verdict(Outcome.REJECTED, "cut")),
            ("stopped", None, Verdict(Outcome.STOPPED)),
        ):
            self.assertEqual(verdict({"rev": "2-b", "state": state, "error": error}), outcome, state)

    def test_every_state(self) -> None:
        """No state of a program is unknown here, and what is not decided yet says what it is."""
        for state in ProgramState:
            found = verdict({"rev": "2-b", "state": state.value, "error": "e"}, seen_s=5)
            going_on = state in (ProgramState.STARTING, ProgramState.STOPPING, ProgramState.ROLLED_BACK)
            self.assertEqual(found, Wait(None, f"it is {state.value}")) if going_on else self.assertIsInstance(
                found, Verdict, state
            )

    def test_running(self) -> None:
        """It runs once it has done so for a second."""
        entry = {"rev": "2-b", "state": "running"}
        self.assertEqual(verdict(entry, seen_s=1.0), Verdict(Outcome.RUNNING))
        self.assertEqual(verdict(entry, seen_s=0.25), Wait(0.75, "it has just begun to run"))

    def test_not_yet(self) -> None:
        """While the Pi tells of another revision, or of none, nothing is decided."""
        for entry, why in (
            (None, "it is not told of yet"),
            ({"rev": "1-a", "state": "running"}, "it is running, still with revision 1-a"),
            ({"rev": "1-a", "saved_rev": "2-b", "state": "stopping"}, "it is stopping, still with revision 1-a"),
            ({"rev": "2-c", "state": "running"}, "it is running, still with revision 2-c"),
        ):
            self.assertEqual(verdict(entry, seen_s=9), Wait(None, why))
        rejected = [{"id": "other", "reason": "no"}, {"id": "p", "reason": "it is too large to be read"}]
        self.assertEqual(verdict(None, rejected=rejected), Wait(None, "it is too large to be read"))

    def test_rolled_back(self) -> None:
        """Another revision runs in its place."""
        entry = {"rev": "1-a", "saved_rev": "2-b", "state": "rolled-back", "error": "it crashed 3 times"}
        self.assertEqual(verdict(entry), Verdict(Outcome.ROLLED_BACK, "it crashed 3 times"))
        self.assertEqual(verdict(entry | {"error": None}), Verdict(Outcome.ROLLED_BACK, ""))

    def test_replaced(self) -> None:
        """Somebody has saved a later revision, which runs or will."""
        for entry in ({"rev": "3-c", "state": "running"}, {"rev": "1-a", "saved_rev": "3-c", "state": "stopping"}):
            self.assertEqual(verdict(entry), Verdict(Outcome.REPLACED, "somebody has saved revision 3-c meanwhile"))

    def test_rejected(self) -> None:
        """The whole reason is told, which the program's own entry may have cut."""
        entry = {"rev": "2-b", "state": "rejected", "error": "cut"}
        self.assertEqual(
            verdict(entry, rejected=[{"id": "p", "reason": "the whole reason"}]),
            Verdict(Outcome.REJECTED, "the whole reason"),
        )

    def test_removal(self) -> None:
        """A program that was removed has ended once the Pi has it no more."""
        self.assertEqual(judge_removal(pi(), "p"), Verdict(Outcome.REMOVED))
        self.assertEqual(judge_removal(pi({"rev": "1-a", "state": "stopping"}), "p"), Wait(None, "it is stopping"))


class FactTests(SynchronousTestCase):
    def test_running_for(self) -> None:
        """How long it runs is told by its Pi, less what the clocks may be apart."""
        told = {"rev": "2-b", "state": "running", "since": "2026-05-01T11:59:55Z"}
        for entry, seconds in (
            (told, 4.0),
            (told | {"since": "2026-05-01T12:00:00Z"}, 0.0),
            (told | {"since": None}, 0.0),
            (told | {"rev": "1-a"}, 0.0),
            (told | {"state": "backoff"}, 0.0),
            (None, 0.0),
        ):
            self.assertEqual(running_for_s(pi(entry), "p", "2-b", NOW), seconds, entry)

    def test_odd_ids(self) -> None:
        """A program is found by its id, whatever characters that has."""
        odd = pi(programs={"a\x1bb": {"rev": "1-a"}})
        found = program_of(odd, "a\x1bb")
        self.assertEqual(found and found.rev, "1-a")
        self.assertIsNone(program_of(odd, "ab"))
