"""The roster of Pis, from heartbeats in which anything may stand."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import rfc3339
from himbeerecouch.fleet.roster import LONGEST_INTERVAL_S, PiStatus, Presence, as_json, read, roster, span
from himbeerecouch.model import Failure, ProgramState, Report
from himbeerecouch.status import heartbeat
from himbeerecouch.status.heartbeat import Facts, Machine, Moment

NOW = 1_800_000_000.0
CRASH = 'Traceback (most recent call last):\n  File "main", line 3, in main\nZeroDivisionError: division by zero'


def beat(mac_id: int = 7, age_s: float = 10.0, **members: Any) -> dict[str, Any]:
    """A heartbeat with the least that there may be in it."""
    timestamp = rfc3339.render(NOW - age_s)
    document = {"_id": f"{mac_id}_heartbeat", "type": "heartbeat", "timestamp": timestamp, "interval_s": 30.0}
    return {**document, "state": "running", **members}


def status(**members: Any) -> PiStatus:
    found = read(beat(**members), NOW)
    assert found is not None
    return found


def program(state: str, **members: Any) -> dict[str, Any]:
    return {"name": "blink", "rev": "1-a", "saved_rev": None, "state": state, "since": None, "restarts": 0, **members}


class ReadTests(SynchronousTestCase):
    def test_the_daemons_own(self) -> None:
        """All that is shown of a Pi is found in the heartbeat that the daemon itself renders."""
        machine = Machine(
            "pi",
            {"himbeerecouch": "1.0", "model": None},
            100.0,
            {"cpu_temperature_c": 81.5, "under_voltage": True, "disk_free_bytes": 1000, "disk_read_only": True},
        )
        report = Report("blink", "Blink", "2-b", ProgramState.BACKOFF, 440.0, 3, CRASH, saved_rev="3-c")
        document = heartbeat.render(
            7,
            Moment(NOW, 500.0, -2.0),
            Facts(
                machine=machine,
                started=400.0,
                ip="10.0.0.2",
                reports=[report],
                failures={"blink": [Failure("2-b", 470.0, CRASH, ())]},
                rejected={"c": "it is nonsense"},
                refused={},
                interval_s=30.0,
            ),
        )
        pi = read(document, NOW, ["lab", "door"])
        assert pi is not None
        self.assertEqual((pi.mac_id, pi.presence, pi.seen, pi.ip), (7, Presence.ONLINE, NOW, "10.0.0.2"))
        self.assertEqual((pi.hostname, pi.versions, pi.label), ("pi", {"himbeerecouch": "1.0"}, "door"))
        self.assertEqual((pi.started, pi.booted, pi.clock_offset_s), (NOW - 100, NOW - 100, -2.0))
        self.assertEqual((pi.temperature_c, pi.under_voltage), (81.5, True))
        self.assertEqual(pi.warnings, ("under-voltage", "hot", "disk full", "disk read-only", "1 document rejected"))
        [found] = pi.programs
        self.assertEqual((found.id, found.name, found.rev, found.saved_rev), ("blink", "Blink", "2-b", "3-c"))
        self.assertEqual((found.state, found.since, found.restarts, found.error), ("backoff", NOW - 60, 3, CRASH))
        self.assertEqual(found.last_words, "ZeroDivisionError: division by zero")
        self.assertEqual(pi.failed, (found,))
        self.assertEqual(pi.rejected, (("c", "it is nonsense"),))
        shown = json.loads(json.dumps(as_json(pi)))
        self.assertEqual((shown["presence"], shown["seen"]), ("online", "2027-01-15T08:00:00.000Z"))
        self.assertEqual((shown["programs"][0]["error"], shown["rejected"][0]["id"]), (CRASH, "c"))

    def test_presence(self) -> None:
        """Three missed heartbeats make a Pi offline, by its own interval, and no heartbeat is good for ever."""
        cases: list[tuple[float, dict[str, Any], Presence]] = [
            (0, {}, Presence.ONLINE),
            (90, {}, Presence.ONLINE),
            (90.1, {}, Presence.OFFLINE),
            (1800, {"interval_s": 600.0}, Presence.ONLINE),
            (1801, {"interval_s": 600.0}, Presence.OFFLINE),
            (4 * LONGEST_INTERVAL_S, {"interval_s": 1e12}, Presence.OFFLINE),
            (91, {"interval_s": "often"}, Presence.OFFLINE),
            (91, {"interval_s": float("nan")}, Presence.OFFLINE),
            (2, {"interval_s": -5}, Presence.ONLINE),
            (-80, {}, Presence.ONLINE),
            (-86400, {}, Presence.OFFLINE),
            (0, {"timestamp": "yesterday"}, Presence.OFFLINE),
            (0, {"timestamp": None}, Presence.OFFLINE),
            (0, {"state": "stopped"}, Presence.STOPPED),
            (1e6, {"state": "stopped"}, Presence.STOPPED),
        ]
        for age_s, members, expected in cases:
            self.assertIs(status(age_s=age_s, **members).presence, expected, (age_s, members))

    def test_no_heartbeat(self) -> None:
        """Only an id that the guard keeps for one Pi makes a document that Pi's heartbeat."""
        for id in (None, 7, "7_log", "_heartbeat", "x_heartbeat", "٣_heartbeat", "1" * 16 + "_heartbeat"):
            self.assertIsNone(read({**beat(), "_id": id}, NOW), id)
        self.assertEqual(status(mac_id=9).mac_id, 9)

    def test_anything(self) -> None:
        """Whatever stands in a heartbeat, it can be shown, and moves no cursor."""
        everything: list[Any] = [None, True, 1, -1.5, 1e300, "x", "\x1b[2J\nx", [], [1], {}, {"a": {"b": 1}}, [{}, []]]
        names = set(beat()) | {"ip", "hostname", "versions", "started", "boot_time", "health", "programs", "rejected"}
        for name in sorted(names | {"rejected_left_out", "clock_offset_s"} - {"_id"}):
            for value in everything:
                pi = read({**beat(), name: value}, NOW) if name != "_id" else status()
                assert pi is not None
                self.assertNotIn("\\u001b", json.dumps(as_json(pi)), (name, value))
        odd = {"p\x1b": program("run\x1bning", name="\x1b[31m", error="a\tb\n\x1bc"), "q": 5, "r": {}}
        first, second = status(programs=odd).programs
        self.assertEqual((first.id, first.name, first.state), ("p\\x1b", "\\x1b[31m", "run\\x1bning"))
        self.assertEqual((first.error, first.last_words), ("a       b\n\\x1bc", "\\x1bc"))
        self.assertEqual((second.name, second.state, second.error, second.last_words), ("r", "unknown", None, ""))

    def test_failed(self) -> None:
        """What has crashed, was rolled back or may not run is to be looked at; what was ended is not."""
        states = [state.value for state in ProgramState]
        failed = [state for state in states if status(programs={"p": program(state)}).failed]
        self.assertEqual(set(failed), {"crashed", "backoff", "rolled-back", "quarantined", "rejected"})

    def test_many_rejected(self) -> None:
        """Documents that the heartbeat left out are counted too."""
        pi = status(rejected=[{"id": "a", "reason": "b"}], rejected_left_out=4)
        self.assertEqual(pi.warnings, ("5 documents rejected",))


class RosterTests(SynchronousTestCase):
    def test_order(self) -> None:
        """What needs attention comes first: failures, Pis that are gone, the last ones first, then the rest."""
        heartbeats = [
            beat(1),
            beat(2, programs={"p": program("running")}),
            beat(3, health={"under_voltage": True}),
            beat(4, age_s=1000),
            beat(5, age_s=500),
            beat(6, state="stopped"),
            beat(8, programs={"p": program("crashed")}),
            beat(9, age_s=500, programs={"p": program("crashed")}),
            {"_id": "x"},
        ]
        found = roster(heartbeats, {"zeta": 1, "alpha": 2, "beta": 2, "lost": 10}, NOW)
        self.assertEqual([pi.mac_id for pi in found], [8, 5, 9, 4, 3, 10, 6, 2, 1])
        self.assertEqual(found[-2].names, ("alpha", "beta"))
        never = found[5]
        self.assertEqual((never.label, never.presence, never.seen), ("lost", Presence.UNSEEN, None))
        self.assertEqual(as_json(never)["seen"], None)

    def test_two_heartbeats(self) -> None:
        """Of a Pi's heartbeats in two databases the newer one counts, in whichever order they come."""
        for heartbeats in ([beat(age_s=500), beat()], [beat(), beat(age_s=500)]):
            [pi] = roster(heartbeats, {}, NOW)
            self.assertEqual((pi.presence, pi.seen), (Presence.ONLINE, NOW - 10))

    def test_label(self) -> None:
        """A Pi without a name is called by its number."""
        self.assertEqual(evolve(status(), names=()).label, "7")

    def test_span(self) -> None:
        """Time spans have one unit, in which they are still telling."""
        shown = [span(s) for s in (-3, 0.4, 119, 120, 7199, 7200, 48 * 3600 - 1, 48 * 3600, 4e6)]
        self.assertEqual(shown, ["0 s", "0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d", "46 d"])
