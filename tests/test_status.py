"""The status as a service: what it writes, where, and when."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import rfc3339
from himbeerecouch.errors import BadRequest, CouchError, Forbidden, LoginRefused, NotFound, Unavailable
from himbeerecouch.model import Failure, Json, ProgramState, Report
from himbeerecouch.status.heartbeat import Machine
from himbeerecouch.status.pace import SETTLE_S
from himbeerecouch.status.places import CLOSED_S
from himbeerecouch.status.service import FAREWELL_S, REPEAT_S, Status
from himbeerecouch.status.sources import Sources
from tests.memory_couch import MemoryCouch

CODE, OWN = "code", "code_status"
BEAT, LOG = "7_heartbeat", "7_log"
STEP_S = 0.125
NOON = 1_800_000_000.0
MISSING = NotFound("PUT", status=404, reason="Database does not exist.")
FORBIDDEN = Forbidden("PUT", status=403, reason="You are not allowed to access this db.")


class Couch:
    """Two databases in memory, each of which may refuse everything."""

    def __init__(self, clock: Clock) -> None:
        self.databases = {CODE: MemoryCouch(), OWN: MemoryCouch()}
        self.refusals: dict[str, CouchError] = {}
        self.on_news: list[Callable[[bool], None]] = []
        self.server_offset_s = 12.0
        self.local_address: str | None = "10.0.0.2"
        self._clock = clock

    def server_time(self) -> float:
        return NOON + self._clock.seconds()

    async def get(self, db: str, document_id: str) -> Json:
        if db in self.refusals:
            self.databases[db].requests.append(("GET", document_id))
            raise self.refusals[db]
        return await self.databases[db].get(db, document_id)

    async def put(self, db: str, document: Json) -> str:
        if db in self.refusals:
            self.databases[db].requests.append(("PUT", document["_id"]))
            raise self.refusals[db]
        return await self.databases[db].put(db, document)


class World:
    """What the status asks for its facts: the host, the node and the machine."""

    def __init__(self) -> None:
        self.states: dict[str, Report] = {}
        self.lines: dict[str, tuple[str, ...]] = {}
        self.rejected: dict[str, str] = {}
        self.refused_programs: dict[str, str] = {}
        self.broken = False

    def reports(self) -> list[Report]:
        return [self.states[id] for id in sorted(self.states)]

    def failures(self, program_id: str) -> list[Failure]:
        return []

    def tail(self, program_id: str) -> tuple[int, tuple[str, ...]]:
        return 4, self.lines.get(program_id, ())

    def dropped_lines(self, program_id: str) -> int:
        return 3

    def machine(self) -> Machine:
        if self.broken:
            raise RuntimeError("a bug")
        return Machine("pi", {}, 1.0, {})


class StatusCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.couch = Couch(self.clock)
        self.world = World()
        sources = Sources(
            self.clock,
            self.couch,
            7,
            programs=self.world,
            overview=lambda: self.world,
            machine=self.world.machine,
        )
        self.status = Status(self.clock, self.couch, CODE, sources, random=lambda: 0.0)
        self.heard: list[LogEvent] = []
        hear = cast(ILogObserver, self.heard.append)
        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)

    def tearDown(self) -> None:
        if self.status.running:
            self.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.couch.on_news), ([], []))

    def start(self) -> None:
        """Start, and let the first heartbeat be written."""
        self.status.startService()
        self.wait(SETTLE_S)

    def stop(self) -> None:
        self.successResultOf(self.status.stopService())

    def wait(self, seconds: float) -> None:
        """Let time pass, in small steps that add up exactly."""
        for _ in range(math.ceil(seconds / STEP_S)):
            self.clock.advance(STEP_S)

    def written(self, id: str = BEAT, database: str = OWN) -> int:
        """How often a document was stored since this was last asked."""
        requests = self.couch.databases[database].requests
        count = requests.count(("PUT", id))
        requests[:] = [request for request in requests if request[1] != id]
        return count

    def there(self, id: str = BEAT, database: str = OWN) -> Json:
        return self.couch.databases[database].documents.get(id, {})

    def report(self, id: str, state: ProgramState) -> None:
        """A program's state changes; the host says so."""
        before = self.world.states.get(id, Report(id, id, "1-a", state, 0.0, 0, None))
        self.world.states[id] = evolve(before, state=state, since=self.clock.seconds())
        self.status.changed()

    def print(self, id: str, *lines: str) -> None:
        """A program prints; the host's sink says so."""
        for line in lines:
            self.world.lines[id] = (*self.world.lines.get(id, ()), line)
            self.status.printed(id)

    def said(self) -> list[str]:
        """What was logged since this was last asked."""
        said = [formatEvent(event) for event in self.heard]
        self.heard.clear()
        return said


class HeartbeatTests(StatusCase):
    def test_first(self) -> None:
        """The first one is there a moment after the start, with what is known then."""
        self.report("a", ProgramState.RUNNING)
        self.world.rejected = {"b": "nonsense"}
        self.world.refused_programs = {"b": "1-b"}
        self.start()
        found = self.there()
        self.assertEqual((found["type"], found["running_ids"], found["ip"]), ("heartbeat", ["a"], "10.0.0.2"))
        self.assertEqual(found["programs"]["b"]["state"], "rejected")
        self.assertEqual((found["interval_s"], found["clock_offset_s"]), (30.0, 12.0))
        self.assertEqual(found["timestamp"], "2027-01-15T08:00:00.125Z")

    def test_pace(self) -> None:
        """One PUT every 30 s while nothing changes, and at once, but not too often, where something does."""
        self.start()
        self.couch.databases[OWN].requests.clear()
        self.wait(301)
        self.assertEqual(self.couch.databases[OWN].requests, [("PUT", BEAT)] * 10)
        self.written()
        self.report("a", ProgramState.STARTING)
        self.report("a", ProgramState.RUNNING)
        self.wait(SETTLE_S)
        self.assertEqual((self.written(), self.there()["running_ids"]), (1, ["a"]))
        for _ in range(100):
            self.report("a", ProgramState.RUNNING)
            self.wait(STEP_S)
        self.assertIn(self.written(), range(8, 11))
        self.wait(2)
        self.assertEqual(self.there()["programs"]["a"]["since"], rfc3339.render(NOON + self.clock.seconds() - 2.125))

    def test_conflict(self) -> None:
        """What somebody else wrote or deleted is written over; whoever goes on writing is left alone for a while."""
        self.start()
        database = self.couch.databases[OWN]
        database.edit(BEAT, type="mine")
        self.report("a", ProgramState.RUNNING)
        self.wait(1)
        self.assertEqual(self.there()["type"], "heartbeat")
        database.delete(BEAT)
        self.report("a", ProgramState.FINISHED)
        self.wait(1)
        self.assertEqual(self.there()["programs"]["a"]["state"], "finished")
        put = database.put

        async def raced(db: str, document: Json) -> str:
            database.edit(BEAT, type="mine")
            return await put(db, document)

        database.put = raced  # type: ignore[method-assign]
        self.written()
        self.report("a", ProgramState.RUNNING)
        self.wait(SETTLE_S)
        self.assertEqual(self.written(), 3)
        self.assertEqual(len([line for line in self.said() if "conflict" in line]), 1)
        database.put = put  # type: ignore[method-assign]
        self.wait(1)
        self.assertEqual(self.there()["type"], "heartbeat")

    def test_server_away(self) -> None:
        """A server that is away is nothing to talk about; it is told at once when it is back and somebody knows."""
        self.couch.refusals = {OWN: Unavailable("PUT", reason="no connection")}
        self.start()
        self.status.hurry()
        self.wait(1)
        self.couch.refusals = {OWN: Unavailable("PUT", status=503, retry_after_s=100.0)}
        self.wait(5)
        self.couch.refusals = {}
        self.status.hurry()
        self.wait(60)
        self.assertEqual((self.there(), self.said()), ({}, []))
        self.wait(50)
        self.assertEqual(self.there()["type"], "heartbeat")
        self.couch.refusals = {OWN: LoginRefused("PUT", status=401)}
        self.wait(40)
        self.assertEqual(self.said(), [])

    def test_enrolled_meanwhile(self) -> None:
        """After a refused login it is told as soon as another request got through, not when the gate said."""
        refused = LoginRefused("PUT", status=401)
        refused.retry_after_s = 75.0
        self.couch.refusals = {OWN: refused}
        self.start()
        self.wait(5)
        self.couch.refusals = {}
        self.status.hurry()
        self.wait(1)
        self.assertEqual(self.there()["type"], "heartbeat")

    def test_refused_otherwise(self) -> None:
        """Another refusal is logged, once, and tried again."""
        self.couch.refusals = {OWN: BadRequest("PUT", status=413, reason="too large")}
        self.start()
        self.wait(REPEAT_S / 2)
        self.assertEqual(len(self.said()), 1)
        self.wait(REPEAT_S)
        self.assertEqual(len(self.said()), 1)

    def test_bug(self) -> None:
        """A failure that nobody foresaw is logged, and does not end the status."""
        self.world.broken = True
        self.start()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.world.broken = False
        self.wait(2)
        self.flushLoggedErrors(RuntimeError)
        self.wait(30)
        self.assertEqual(self.there()["type"], "heartbeat")

    def test_another_server(self) -> None:
        """Another server is told at once; what was known of the first one's revisions is forgotten."""
        self.start()
        self.couch.databases[OWN] = MemoryCouch()
        self.couch.on_news[0](True)
        self.wait(1)
        self.assertEqual(self.there()["type"], "heartbeat")
        self.couch.on_news[0](False)
        self.wait(1)
        self.assertEqual(self.written(), 1)

    def test_stopped_while_writing(self) -> None:
        """A request that is under way ends with the service."""
        held: list[Deferred[None]] = []
        self.couch.databases[OWN].held = held
        self.start()
        self.assertEqual(len(held), 1)
        self.stop()
        self.assertEqual(self.there(), {})


class PlaceTests(StatusCase):
    def test_missing(self) -> None:
        """Without a status database it goes into the other one, on a change and every ten minutes, until there is."""
        self.couch.refusals = {OWN: MISSING}
        self.start()
        self.wait(0.1)
        self.assertEqual((self.written(database=CODE), self.there(database=CODE)["interval_s"]), (1, 600.0))
        said = self.said()
        self.assertEqual(len(said), 1)
        self.assertIn("Create code_status", said[0])
        self.report("a", ProgramState.RUNNING)
        self.print("a", "line")
        self.wait(1)
        self.assertEqual(self.written(database=CODE), 1)
        self.wait(1799)
        self.assertEqual(self.written(database=CODE), 2)
        looks = [request for request in self.couch.databases[OWN].requests if request[1] == BEAT]
        self.assertLessEqual(len(looks), 1 + 1800 / CLOSED_S)
        self.assertEqual((self.there(LOG, CODE), self.said()), ({}, []))
        self.couch.refusals = {}
        self.wait(CLOSED_S)
        self.assertEqual((self.there()["running_ids"], self.there()["interval_s"]), (["a"], 30.0))
        self.assertEqual((len(self.said()), self.there(LOG)["programs"]["a"]["lines"]), (1, ["line"]))
        self.written(database=CODE)
        self.wait(700)
        self.assertEqual(self.written(database=CODE), 0)

    def test_forbidden(self) -> None:
        """Where no database takes it, that is said once; both are looked at again, and at once after a resync."""
        self.couch.refusals = {OWN: MISSING, CODE: FORBIDDEN}
        self.start()
        self.wait(1800)
        said = self.said()
        self.assertEqual(len(said), 1)
        self.assertIn("Database does not exist", said[0])
        self.assertIn("not allowed", said[0])
        self.assertLessEqual(len(self.couch.databases[OWN].requests), 1 + 1800 / CLOSED_S)
        self.couch.refusals = {}
        self.status.look_again()
        self.wait(1)
        self.assertEqual(self.there()["type"], "heartbeat")
        self.assertEqual(len(self.said()), 1)

    def test_goes_away(self) -> None:
        """A status database that is deleted later is left for the other one, also where only the log finds out."""
        self.start()
        self.print("a", "line")
        self.report("a", ProgramState.RUNNING)
        self.wait(1)
        self.assertEqual(self.written(LOG), 1)
        self.couch.refusals = {OWN: FORBIDDEN}
        self.wait(20)
        self.assertEqual(self.written(database=CODE), 0)
        self.wait(11)
        self.assertEqual(self.written(database=CODE), 1)
        self.couch.refusals = {}
        self.status.look_again()
        self.wait(100)
        self.written(database=CODE)
        self.written()
        self.print("a", "line")
        self.couch.refusals = {OWN: FORBIDDEN}
        self.wait(0.3)
        self.report("a", ProgramState.FINISHED)
        self.wait(1)
        self.assertEqual(self.written(database=CODE), 1)


class LogTests(StatusCase):
    def test_log(self) -> None:
        """The first lines are written at once, later ones once a minute, and nothing where nothing is new."""
        self.start()
        self.report("a", ProgramState.RUNNING)
        self.report("silent", ProgramState.RUNNING)
        self.print("a", "one", "two")
        self.wait(1)
        self.assertEqual(
            self.there(LOG)["programs"],
            {"a": {"name": "a", "lines": ["one", "two"], "dropped_lines": 3, "first_line": 4}},
        )
        self.assertEqual(self.written(LOG), 1)
        self.wait(300)
        self.assertEqual(self.written(LOG), 0)
        for number in range(600):
            self.print("a", str(number))
            self.wait(0.5)
        self.assertIn(self.written(LOG), (5, 6))
        self.wait(60)
        self.assertEqual((self.written(LOG), self.there(LOG)["programs"]["a"]["lines"][-1]), (1, "599"))

    def test_watched(self) -> None:
        """While somebody watches, new lines are there within two seconds."""
        self.start()
        self.report("a", ProgramState.RUNNING)
        self.print("a", "one")
        self.wait(1)
        self.print("a", "two")
        self.wait(5)
        self.assertEqual(self.written(LOG), 1)
        self.status.watched(NOON + self.clock.seconds() + 20)
        self.wait(0.1)
        self.assertEqual(self.there(LOG)["programs"]["a"]["lines"], ["one", "two"])
        self.written(LOG)
        for number in range(20):
            self.print("a", str(number))
            self.wait(1)
        self.assertIn(self.written(LOG), (9, 10))
        self.wait(2)
        self.written(LOG)
        self.print("a", "not watched")
        self.wait(10)
        self.assertEqual(self.written(LOG), 0)
        self.status.watched(NOON + 10_000)
        self.status.watched(None)
        self.status.watched(None)
        self.wait(1)
        self.assertEqual(self.written(LOG), 0)

    def test_crash(self) -> None:
        """After a crash the log is written at once, also when it was written just before."""
        self.start()
        self.report("a", ProgramState.RUNNING)
        self.print("a", "one")
        self.wait(5)
        self.written(LOG)
        self.print("a", "Traceback")
        self.report("a", ProgramState.CRASHED)
        self.wait(1)
        self.assertEqual(self.written(LOG), 1)
        self.print("a", "more")
        self.wait(10)
        self.assertEqual(self.written(LOG), 0)

    def test_server_away(self) -> None:
        """Lines that could not be written are, as soon as the server is back."""
        self.start()
        self.report("a", ProgramState.RUNNING)
        self.wait(1)
        self.couch.refusals = {OWN: Unavailable("PUT")}
        self.print("a", "one")
        self.wait(5)
        self.couch.refusals = {}
        self.wait(40)
        self.assertEqual(self.there(LOG)["programs"]["a"]["lines"], ["one"])

    def test_lines_meanwhile(self) -> None:
        """What is printed while the document is on its way is written the next time."""
        self.start()
        self.report("a", ProgramState.RUNNING)
        self.wait(1)
        held: list[Deferred[None]] = []
        self.couch.databases[OWN].held = held
        self.print("a", "one")
        self.wait(0.2)
        self.print("a", "two")
        self.couch.databases[OWN].held = None
        for request in held:
            request.callback(None)
        self.wait(61)
        self.assertEqual(self.there(LOG)["programs"]["a"]["lines"], ["one", "two"])


class FarewellTests(StatusCase):
    def farewell(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.status.farewell())

    def test_farewell(self) -> None:
        """The last heartbeat says that nothing runs any more."""
        self.report("a", ProgramState.RUNNING)
        self.start()
        self.stop()
        self.successResultOf(self.farewell())
        self.assertEqual((self.there()["state"], self.there()["running_ids"]), ("stopped", []))

    def test_slow(self) -> None:
        """A server that does not answer is given a second."""
        self.start()
        self.stop()
        self.couch.databases[OWN].held = []
        last = self.farewell()
        self.wait(FAREWELL_S - 0.2)
        self.assertNoResult(last)
        self.wait(0.25)
        self.successResultOf(last)
        self.assertEqual(self.there()["state"], "running")

    def test_away(self) -> None:
        """A server that was away is not asked; one that has gone since is asked once."""
        self.start()
        self.couch.refusals = {OWN: Unavailable("PUT")}
        self.written()
        last = self.farewell()
        self.successResultOf(last)
        self.assertEqual(self.written(), 1)
        self.wait(31)
        self.written()
        self.stop()
        self.successResultOf(self.farewell())
        self.assertEqual(self.written(), 0)

    def test_never_started(self) -> None:
        """Without a heartbeat there is no last one, and nothing to stop."""
        self.stop()
        self.successResultOf(self.farewell())
        self.assertEqual(self.couch.databases[OWN].requests, [])
