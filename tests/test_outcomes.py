"""What has become of a program, by what its Pi reports: tables."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import rfc3339
from himbeerecouch.fleet.outcomes import (
    Outcome,
    Sight,
    Verdict,
    Wait,
    judge,
    judge_removal,
    program_of,
    rejection,
    running_for_s,
    silence,
)
from himbeerecouch.model import Json, ProgramState

NOW = 1_777_636_800.0


def heartbeat(entry: Json | None = None, **members: Any) -> Json:
    """A heartbeat of ten seconds ago, with one program."""
    programs = {} if entry is None else {"p": {"saved_rev": None, "error": None, **entry}}
    timestamp = rfc3339.render(NOW - 10)
    return {"state": "running", "timestamp": timestamp, "interval_s": 30, "programs": programs, **members}


def verdict(entry: Json | None, *, seen_s: float = 0.0, **members: Any) -> Verdict | Wait:
    """What is said of the program's revision 2-b."""
    return judge(Sight(heartbeat(entry, **members), NOW, seen_s), "p", "2-b")


class SilenceTests(SynchronousTestCase):
    def test_silence(self) -> None:
        """A Pi is offline after three heartbeats that did not come, or where it said so, or never said anything."""
        self.assertIsNone(silence(heartbeat(), NOW))
        self.assertIsNone(silence(heartbeat(), NOW + 79))
        for told, words in (
            (heartbeat(timestamp=rfc3339.render(NOW - 91)), "last heartbeat is of 2026-"),
            (heartbeat(state="stopped"), "daemon was stopped at 2026-"),
            (heartbeat(timestamp=None), "no time"),
            (heartbeat(timestamp="yesterday"), "no time"),
            (heartbeat(interval_s="30"), "last heartbeat"),
            (None, "never reported"),
        ):
            self.assertIn(words, silence(told, NOW) or "")
            self.assertIs(getattr(judge(Sight(told, NOW, 9.0), "p", "2-b"), "outcome", None), Outcome.OFFLINE)
            self.assertIs(getattr(judge_removal(Sight(told, NOW, 0.0), "p"), "outcome", None), Outcome.OFFLINE)


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
        self.assertEqual(judge_removal(Sight(heartbeat(), NOW, 0), "p"), Verdict(Outcome.REMOVED))
        told = heartbeat({"rev": "1-a", "state": "stopping"})
        self.assertEqual(judge_removal(Sight(told, NOW, 0), "p"), Wait(None, "it is stopping"))


class FactTests(SynchronousTestCase):
    def test_running_for(self) -> None:
        """How long it runs is told by its Pi, less what the clocks may be apart."""
        since = rfc3339.render(NOW - 5)
        told = {"rev": "2-b", "state": "running", "since": since}
        for entry, seconds in (
            (told, 4.0),
            (told | {"since": rfc3339.render(NOW)}, 0.0),
            (told | {"since": None}, 0.0),
            (told | {"since": "long"}, 0.0),
            (told | {"rev": "1-a"}, 0.0),
            (told | {"state": "backoff"}, 0.0),
        ):
            self.assertEqual(running_for_s(heartbeat(entry), "p", "2-b", NOW), seconds, entry)

    def test_odd_heartbeats(self) -> None:
        """What is no heartbeat has nothing in it."""
        without_program: tuple[Json | None, ...] = (None, {}, {"programs": []}, {"programs": {"p": 5}})
        self.assertEqual([program_of(odd, "p") for odd in without_program], [{}] * 4)
        without_reason: tuple[Json | None, ...] = (None, {}, {"rejected": 5}, {"rejected": [5, {"id": "q"}]})
        self.assertEqual([rejection(odd, "p") for odd in without_reason], [""] * 4)
        self.assertEqual(rejection({"rejected": [{"id": "p", "reason": None}]}, "p"), "")
