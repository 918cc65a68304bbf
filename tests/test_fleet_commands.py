"""Commands as the operator asks for them, and what their answers mean."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import documents
from himbeerecouch.commands.execution import answered as answered_document
from himbeerecouch.commands.execution import claimed
from himbeerecouch.embedded.selector import compile_selector
from himbeerecouch.fleet import commands
from himbeerecouch.fleet.commands import BadTime, Order, Outcome
from himbeerecouch.model import Action, CommandState, Result, Row

NOW = 1_800_000_000.0
ID = "7_cmd:0123"


def outcome(document: dict[str, Any]) -> Outcome:
    found = commands.read(Row(ID, document))
    assert found is not None
    return found


class OrderTests(SynchronousTestCase):
    def test_document(self) -> None:
        """The Pi reads in the document what was asked for, and who asked stays beside it."""
        order = Order(("ls", "-l"), timeout_s=5.0, expires=NOW + 60, by="ada")
        document = order.document(7, commands.document_id(7, "ab" * 16), NOW)
        command = documents.read(document, 7, max_source_bytes=1).command
        assert command is not None
        self.assertEqual((command.argv, command.action, command.timeout_s), (("ls", "-l"), None, 5.0))
        self.assertEqual((command.expires, command.cancel, command.claimed), (NOW + 60, False, False))
        self.assertEqual(document["_id"], "7_cmd:abababababababababababababababab")
        self.assertEqual((document["by"], document["at"]), ("ada", "2027-01-15T08:00:00.000Z"))

    def test_least(self) -> None:
        """What is not said is left to the Pi."""
        document = Order(action=Action.IDENTIFY).document(7, ID, NOW)
        self.assertEqual(document.keys(), {"_id", "type", "action", "by", "at"})
        command = documents.read(document, 7, max_source_bytes=1).command
        assert command is not None
        self.assertIs(command.action, Action.IDENTIFY)

    def test_expiry(self) -> None:
        """A time is given from now on in seconds, or as it is written in documents."""
        self.assertEqual(commands.expiry("90", NOW), NOW + 90)
        self.assertEqual(commands.expiry("2027-01-15T08:00:00Z", 0), NOW)
        for text in ("", "soon", "0", "-1", "nan", "inf", "2027-01-15T08:00:00"):
            self.assertRaises(BadTime, commands.expiry, text, NOW)


class OutcomeTests(SynchronousTestCase):
    def test_daemons_answers(self) -> None:
        """Each way in which the daemon answers a command has its exit status and its words."""
        cases = [
            (Result(CommandState.DONE, "out", "err", exit_code=0), 0, "done"),
            (Result(CommandState.FAILED, "", "no", exit_code=3), 3, "exit status 3"),
            (Result(CommandState.FAILED, "", "", signal=9), 137, "signal 9"),
            (Result(CommandState.FAILED, None, None, "no such program"), 255, "no such program"),
            (Result(CommandState.TIMEOUT, "half", "", signal=15), 124, "timeout"),
            (Result(CommandState.CANCELLED, "half", "", signal=15), 130, "cancelled"),
            (Result(CommandState.CANCELLED, None, None, "cancelled before it was started"), 130, None),
            (Result(CommandState.EXPIRED, None, None, "too late"), 255, "too late"),
            (Result(CommandState.INTERRUPTED, "half", ""), 255, "interrupted"),
            (Result(CommandState.REJECTED, None, None, "nonsense"), 255, "nonsense"),
        ]
        for result, exit_status, words in cases:
            found = outcome(answered_document({"_id": ID}, result))
            self.assertEqual(found.exit_status, exit_status, result)
            self.assertEqual(found.words, words or result.reason, result)
            self.assertEqual((found.state, found.stdout), (result.state.value, result.stdout))
            self.assertEqual((found.stderr, found.good), (result.stderr or "", exit_status == 0))

    def test_times(self) -> None:
        """How long it ran is by the server's clock at both ends."""
        result = Result(CommandState.DONE, "", "", exit_code=0, started=NOW, finished=NOW + 1.5, dropped_bytes=9)
        found = outcome(answered_document({"_id": ID}, result))
        self.assertEqual((found.took_s, found.dropped_bytes), (1.5, 9))
        self.assertIsNone(outcome({"ret": ["", ""]}).took_s)

    def test_not_yet(self) -> None:
        """A command has no outcome before there is an answer; one whose document is gone will never have another."""
        self.assertIsNone(commands.read(Row(ID, {"_id": ID})))
        self.assertIsNone(commands.read(Row(ID, claimed({"_id": ID}, "claim", NOW))))
        self.assertIsNone(commands.read(Row(ID, None, too_large=True)))
        gone = commands.read(Row(ID, None, deleted=True))
        assert gone is not None
        self.assertEqual((gone.state, gone.exit_status), ("deleted", 255))
        self.assertIn("deleted", gone.words)

    def test_by_hand(self) -> None:
        """An answer without an execution counts by what it has, and one that makes no sense says so."""
        self.assertEqual(outcome({"ret": ["out", "err"]}).exit_status, 0)
        self.assertEqual(outcome({"ret": [None, "no"]}).words, "no")
        for ret in (None, 5, [], ["a"], [1, 2], {"a": 1}):
            self.assertEqual(outcome({"ret": ret}).exit_status, 255, ret)
        odd = {"state": ["x"], "exit_code": "1", "signal": True, "started": 5, "dropped_bytes": float("inf")}
        found = outcome({"ret": ["out", 7], "execution": odd})
        self.assertEqual((found.exit_code, found.signal, found.started, found.dropped_bytes), (None, None, None, 0))
        self.assertEqual((found.stderr, found.exit_status), ("", 255))
        self.assertEqual(outcome({"ret": ["", ""], "execution": {"state": "failed"}}).exit_status, 1)

    def test_json(self) -> None:
        """--json has all of it."""
        result = Result(CommandState.FAILED, "out", "err", exit_code=3, started=NOW, finished=NOW + 2)
        shown = json.loads(json.dumps(commands.as_json(7, outcome(answered_document({"_id": ID}, result)))))
        expected = {"mac_id": 7, "id": ID, "state": "failed", "exit_status": 3, "exit_code": 3, "signal": None}
        expected |= {"stdout": "out", "stderr": "err", "reason": None, "took_s": 2.0, "dropped_bytes": 0}
        self.assertEqual(shown, expected)

    def test_selector(self) -> None:
        """The feed tells of these documents when they are answered or gone, and of no claim and no other document."""
        matches = compile_selector(commands.answered([ID, "b"])).matches
        self.assertTrue(matches({"_id": ID, "ret": ["", ""]}))
        self.assertTrue(matches({"_id": "b", "_deleted": True}))
        self.assertFalse(matches({"_id": ID, "execution": {}}))
        self.assertFalse(matches({"_id": "c", "ret": ["", ""]}))
