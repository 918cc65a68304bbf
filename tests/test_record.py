"""What is kept of a command is read back as it was, or not at all."""

from __future__ import annotations

import json

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.commands import record as records
from himbeerecouch.commands.record import Birth, Record
from himbeerecouch.model import Command, CommandState, Json, Result

BODY: Json = {"_id": "c", "_rev": "1-a", "type": "5_cmd", "cmd": ["echo", "\ud800 ü"], "note": "x" * 1000}
COMMAND = Command("c", "1-a", ("echo",), None, 600.0, None, False, False, BODY)
CLAIMED = records.record_of(7, COMMAND, "me-1", 12.5)
BORN = records.born(CLAIMED, Birth(300, 4000, "boot"))
DONE = Result(CommandState.DONE, "out \x00 ü", "err", exit_code=0, started=12.5, finished=13.0, dropped_bytes=4)
TIMEOUT = Result(CommandState.TIMEOUT, "", "", signal=15)
REFUSED = Result(CommandState.FAILED, None, None, reason="no")


class RecordTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        """Whatever a record has, it is read back the same."""
        for one in (
            CLAIMED,
            BORN,
            records.ended(BORN, DONE),
            records.ended(BORN, TIMEOUT),
            records.ended(CLAIMED, REFUSED),
            records.settled(records.ended(BORN, DONE)),
            records.born(CLAIMED, None),
        ):
            with self.subTest(one=one):
                self.assertEqual(records.parse(records.render(one)), one)

    def test_small(self) -> None:
        """Only what says what is to be run is kept of the document, and nothing of it once it is settled."""
        self.assertEqual(CLAIMED.body, {"_id": "c", "type": "5_cmd", "cmd": ["echo", "\ud800 ü"]})
        self.assertLess(len(records.render(records.settled(records.ended(BORN, DONE)))), 300)

    def test_open_ended(self) -> None:
        """Processes are to be ended of what has not ended, or was to; what has ended by itself may leave some."""
        for one, open_ended in (
            (CLAIMED, True),
            (BORN, True),
            (records.ended(CLAIMED, DONE), False),
            (records.ended(BORN, DONE), False),
            (records.ended(BORN, TIMEOUT), True),
            (records.settled(records.ended(BORN, DONE)), False),
            (records.settled(records.ended(BORN, TIMEOUT)), True),
            (records.settled(CLAIMED), False),
        ):
            with self.subTest(one=one):
                self.assertIs(one.open_ended, open_ended)

    def test_command(self) -> None:
        """A record is enough of a command to answer it."""
        command = CLAIMED.command()
        self.assertEqual((command.id, command.rev, command.claimed), ("c", "1-a", True))
        self.assertEqual(command.body["cmd"], BODY["cmd"])

    def test_garbage(self) -> None:
        """What was not written by us, or is torn, is no record."""
        whole = records.render(records.ended(BORN, DONE))
        values = json.loads(whole.decode("utf-8", "surrogatepass"))
        wrong: list[Json] = [
            {**values, "number": True},
            {**values, "more": 1},
            {name: value for name, value in values.items() if name != "rev"},
            {name: value for name, value in values.items() if name != "birth"},
            {**values, "birth": {"pid": 1}},
            {**values, "birth": []},
            {**values, "result": {**values["result"], "state": "odd"}},
            {**values, "result": {**values["result"], "stdout": 1}},
            {**values, "result": {}},
            {**values, "body": None},
            {**values, "started": "now"},
        ]
        texts = [b"", b"\x00" * 100, b"[]", b"1", b"\xff", b"[" * 100_000, whole[:-10], whole[: len(whole) // 2]]
        for data in (*texts, *(json.dumps(one).encode() for one in wrong)):
            with self.subTest(data=data[:100]):
                self.assertIsNone(records.parse(data))
        self.assertEqual(records.parse(json.dumps(values).encode()), evolve(CLAIMED, result=DONE))

    def test_is_a_value(self) -> None:
        """The steps of a command's way leave the record that they start from as it was."""
        self.assertEqual(CLAIMED, Record(7, "c", "1-a", "me-1", CLAIMED.body, 12.5))
