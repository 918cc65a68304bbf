"""The heartbeat, rendered from values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.model import Failure, ProgramState, Report
from himbeerecouch.status import logbook
from himbeerecouch.status.health import Health
from himbeerecouch.status.heartbeat import REJECTED_LIMIT, Facts, Machine, Moment, document_id, render

MOMENT = Moment(server_time=1_800_000_000.0, seconds=500.0, offset_s=-3600.04)
MACHINE = Machine("pi", {"python": "3.11", "model": None}, 100.5, {"load": [0.1, 0.2, 0.3], "cpu_temperature_c": None})


def report(id: str = "a", state: ProgramState = ProgramState.RUNNING, **members: Any) -> Report:
    return evolve(Report(id, f"name of {id}", "1-a", state, 440.0, 2, None), **members)


def facts(**members: Any) -> Facts:
    nothing = Facts(
        machine=MACHINE, started=400.0, ip="10.0.0.2", reports=(), failures={}, rejected={}, refused={}, interval_s=30.0
    )
    return evolve(nothing, **members)


def size(value: object) -> int:
    return len(json.dumps(value))


class HeartbeatTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """Every field, with all times by the server's clock, whichever clock they were noted by."""
        crash = Failure("1-a", 470.0, "boom", ("line",))
        document = render(
            7,
            MOMENT,
            facts(
                reports=[report(error="boom"), report("b", ProgramState.FINISHED, since=499.75, saved_rev="2-b")],
                failures={"a": [crash], "b": []},
                rejected={"c": "it is nonsense", "lib": "it does not compile"},
                refused={"c": "3-c"},
            ),
        )
        self.assertEqual(
            document,
            {
                "_id": "7_heartbeat",
                "type": "heartbeat",
                "mac_id": 7,
                "state": "running",
                "timestamp": "2027-01-15T08:00:00.000Z",
                "interval_s": 30.0,
                "ip": "10.0.0.2",
                "hostname": "pi",
                "versions": {"python": "3.11", "model": None},
                "boot_time": "2027-01-15T07:58:19.500Z",
                "started": "2027-01-15T07:58:20.000Z",
                "clock_offset_s": -3600.0,
                "health": {"load": [0.1, 0.2, 0.3], "cpu_temperature_c": None},
                "running_ids": ["a"],
                "programs": {
                    "a": {
                        "name": "name of a",
                        "rev": "1-a",
                        "saved_rev": None,
                        "state": "running",
                        "since": "2027-01-15T07:59:00.000Z",
                        "restarts": 2,
                        "error": "boom",
                        "failures": [
                            {"rev": "1-a", "time": "2027-01-15T07:59:30.000Z", "error": "boom", "log": ["line"]}
                        ],
                    },
                    "b": {
                        "name": "name of b",
                        "rev": "1-a",
                        "saved_rev": "2-b",
                        "state": "finished",
                        "since": "2027-01-15T07:59:59.750Z",
                        "restarts": 2,
                        "error": None,
                        "failures": [],
                    },
                    "c": {
                        "name": "c",
                        "rev": "3-c",
                        "saved_rev": None,
                        "state": "rejected",
                        "since": None,
                        "restarts": 0,
                        "error": "it is nonsense",
                        "failures": [],
                    },
                },
                "rejected": [{"id": "c", "reason": "it is nonsense"}, {"id": "lib", "reason": "it does not compile"}],
                "rejected_left_out": 0,
            },
        )
        self.assertEqual(document_id(7), "7_heartbeat")

    def test_running(self) -> None:
        """A program runs where its threads may do something: not where it only waits or has ended."""
        running = {"starting", "running", "stopping", "rolled-back"}
        document = render(7, MOMENT, facts(reports=[report(state.value, state) for state in ProgramState]))
        self.assertEqual(set(document["running_ids"]), running)
        self.assertEqual(
            {id: entry["state"] for id, entry in document["programs"].items()},
            {state.value: state.value for state in ProgramState},
        )

    def test_stopped(self) -> None:
        """The last one says that nothing runs any more, also of a program that would not end."""
        document = render(7, MOMENT, facts(reports=[report()], stopped=True))
        self.assertEqual((document["state"], document["running_ids"]), ("stopped", []))

    def test_unknown(self) -> None:
        """What can't be known is null."""
        machine = Machine("", {}, None, {})
        document = render(7, MOMENT, facts(machine=machine, ip=None))
        self.assertEqual((document["boot_time"], document["ip"]), (None, None))

    def test_a_program_that_still_stops(self) -> None:
        """A refused program whose revision before is still being stopped is told of as it is."""
        document = render(
            7, MOMENT, facts(reports=[report(state=ProgramState.STOPPING)], refused={"a": "2-b"}, rejected={"a": "no"})
        )
        self.assertEqual((document["programs"]["a"]["state"], document["running_ids"]), ("stopping", ["a"]))

    def test_size(self) -> None:
        """A thousand programs that all fail with long tracebacks stay well below what any server takes."""
        names = [f"program-{number:04}" for number in range(1000)]
        small = render(7, MOMENT, facts(reports=[report(id) for id in names]))
        self.assertLess(size(small), 250_000)
        crash = Failure("1-a", 470.0, "x" * 16_000, ("y" * 4000,) * 50)
        large = render(
            7,
            MOMENT,
            facts(
                reports=[report(id, ProgramState.BACKOFF, error="ü" * 16_000) for id in names],
                failures={id: [crash] * 10 for id in names},
                rejected={f"bad-{number:04}": "z" * 10_000 for number in range(1000)},
                refused={f"bad-{number:04}": "1-a" for number in range(1000)},
            ),
        )
        self.assertLess(size(large), 1_000_000)
        self.assertEqual((len(large["rejected"]), large["rejected_left_out"]), (REJECTED_LIMIT, 500))
        self.assertEqual(size(large["programs"]["program-0000"]["error"]) <= 200, True)
        alone = render(7, MOMENT, facts(reports=[report(error="x" * 16_000), report("b")]))
        self.assertEqual(alone["programs"]["a"]["error"], "x" * 16_000)

    def test_documented(self) -> None:
        """docs/status.rst tells of every field."""
        text = (Path(__file__).parent.parent / "docs/status.rst").read_text(encoding="utf-8")
        crash = Failure("1-a", 470.0, "boom", ("line",))
        document = render(
            7, MOMENT, facts(reports=[report()], failures={"a": [crash]}, machine=Health().read(), rejected={"b": "x"})
        )
        program = document["programs"]["a"]
        log = logbook.render(7, "", [logbook.ProgramLog("a", "a", ("x",), 0)])
        parts = (document, document["health"], document["versions"], program, program["failures"][0])
        fields = {key for part in (*parts, log, log["programs"]["a"]) for key in part if key != "_id"}
        self.assertEqual({key for key in fields if f"``{key}``" not in text}, set())
        states = {state.value for state in ProgramState}
        self.assertEqual({state for state in states if f"``{state}``" not in text}, set())
