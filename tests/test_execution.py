"""How command documents are written back."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.commands import execution
from himbeerecouch.commands.capture import marker
from himbeerecouch.model import Command, CommandState, Json, Result

BODY: Json = {"_id": "c", "_rev": "1-a", "type": "5_cmd", "cmd": ["echo"], "note": "mine"}


def command(**changed: Any) -> Command:
    return Command("c", "1-a", ("echo",), None, 600.0, None, False, False, BODY | changed)


class ExecutionTests(SynchronousTestCase):
    def test_claimed(self) -> None:
        """A claim keeps all that is in the document, and names the claim and when it began."""
        body = execution.claimed(BODY, "token", 0.25)
        running = {"state": "running", "started": "1970-01-01T00:00:00.250Z", "claim": "token"}
        self.assertEqual(body, BODY | {"execution": running})
        self.assertNotIn("execution", BODY)
        self.assertEqual(execution.claim_of(body), "token")

    def test_claim_of_others(self) -> None:
        """Whatever else stands there is nobody's claim."""
        others: list[Json] = [
            {},
            {"execution": None},
            {"execution": []},
            {"execution": {}},
            {"execution": {"claim": 1}},
        ]
        for there in others:
            with self.subTest(there=there):
                self.assertIsNone(execution.claim_of(there))

    def test_same_owner(self) -> None:
        """One Pi's claims have a name in common; what is no claim of that form is nobody's."""
        for claim, other, same in (
            ("a1-01", "a1-02", True),
            ("a1-01", "b2-01", False),
            ("a1-01", "a1", False),
            ("01", "02", False),
            ("a1-01", None, False),
            ("a1-01", "", False),
        ):
            with self.subTest(claim=claim, other=other):
                self.assertIs(execution.same_owner(claim, other), same)

    def test_answered(self) -> None:
        """An answer has what was written, and how it ended."""
        result = Result(CommandState.DONE, "out", "err", exit_code=0, started=0.0, finished=1.5, dropped_bytes=3)
        body = execution.answered(execution.claimed(BODY, "token", 0.0), result)
        self.assertEqual(body["ret"], ["out", "err"])
        self.assertEqual(
            body["execution"],
            {
                "state": "done",
                "exit_code": 0,
                "signal": None,
                "started": "1970-01-01T00:00:00.000Z",
                "finished": "1970-01-01T00:00:01.500Z",
                "dropped_bytes": 3,
            },
        )
        self.assertEqual(body["note"], "mine")

    def test_not_run(self) -> None:
        """What could not be run is answered with null and the reason."""
        for result, ret in (
            (Result(CommandState.REJECTED, None, None, reason="no cmd"), [None, "no cmd"]),
            (Result(CommandState.EXPIRED, None, None), [None, "expired"]),
            (Result(CommandState.DONE, "only", None), ["only", ""]),
        ):
            with self.subTest(ret=ret):
                body = execution.answered(BODY, result)
                self.assertEqual(body["ret"], ret)
                self.assertIsNone(body["execution"]["started"])

    def test_same_task(self) -> None:
        """Only who it is for and what is run counts."""
        for there, same in (
            ({**BODY, "cancel": True, "_rev": "2-b"}, True),
            ({**BODY, "cmd": ["ls"]}, False),
            ({**BODY, "action": "restart"}, False),
        ):
            with self.subTest(there=there):
                self.assertEqual(execution.same_task(there, command()), same)

    def test_smaller(self) -> None:
        """A stream that is too large loses its middle, which is counted."""
        result = Result(CommandState.DONE, "a" * 10 + "b" * 10, "short", dropped_bytes=1)
        small = execution.smaller(result, 10)
        self.assertEqual(small.stdout, "a" * 5 + marker(10) + "b" * 5)
        self.assertEqual((small.stderr, small.dropped_bytes), ("short", 11))
        none = Result(CommandState.FAILED, None, None, reason="why")
        self.assertEqual(execution.smaller(none, 10), none)
