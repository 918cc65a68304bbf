"""The feed's rows reach the host and the commands, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import node
from himbeerecouch.boot.kept import Entry
from himbeerecouch.catalogue import Catalogue
from himbeerecouch.errors import ServerFileError
from himbeerecouch.model import Command, Exports, GlobalModule, Program, ProgramState, Report, Row, Running
from himbeerecouch.node import SERVER_FILE_RETRY_S, Node

MAC = 7


class Host(Service):
    """Runs nothing; keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.programs: dict[str, Program] = {}
        self.revs: dict[str, str] = {}
        self.asked: dict[str, Mapping[str, str | None]] = {}

    def start(self, program: Program) -> None:
        self.told.append(f"start {program.id} {program.rev}")
        self.programs[program.id] = program

    def saved(self, program: Program) -> None:
        self.revs[program.id] = program.rev

    def stop(self, id: str) -> None:
        self.told.append(f"stop {id}")
        del self.programs[id]

    def in_hand(self) -> dict[str, Running]:
        return {id: Running(program.digest, self.asked.get(id, {})) for id, program in self.programs.items()}

    def restart_all(self) -> None:
        self.told.append("restart all")

    def before(self, id: str) -> Program | None:
        return self.programs.get(id)

    def reports(self) -> list[Report]:
        return [report(id, ProgramState.RUNNING) for id in self.programs]


def report(id: str, state: ProgramState) -> Report:
    return Report(id, id, "1-a", state, 0.0, 0, None)


class Shelf(Service):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.kept: list[list[str]] = []
        self.good: list[Program] = []

    def keep(
        self,
        programs: Iterable[Program],
        global_modules: Iterable[GlobalModule],
        good: Callable[[str], Program | None],
    ) -> None:
        self.kept.append(sorted([*(p.id for p in programs), *(m.name for m in global_modules)]))

    def keep_good(self, good: Program) -> None:
        self.good.append(good)


class Quarantine(Service):
    """Holds back what the test says."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.told: list[str] = []

    def allowed(self, programs: Mapping[str, Program], modules: Mapping[str, GlobalModule]) -> dict[str, Program]:
        return {id: program for id, program in programs.items() if id not in self.held}

    def starting(self, programs: Iterable[Program], modules: Mapping[str, GlobalModule]) -> None:
        self.told.extend(f"starting {program.id}" for program in programs)

    def learn(self, programs: Mapping[str, Program], modules: Mapping[str, GlobalModule]) -> None:
        self.told.append(f"learn {' '.join(sorted([*programs, *modules]))}")

    def reports(self) -> list[Report]:
        return [report(id, ProgramState.QUARANTINED) for id in self.held]


class Commands(Service):
    """Runs nothing; keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def submit(self, command: Command, *, stale: bool = False) -> None:
        self.told.append(f"{'stale' if stale else 'run'} {command.id}")

    def refuse(self, document: dict[str, Any], reason: str) -> None:
        self.told.append(f"refuse {document['_id']}: {reason}")

    def gone(self, id: str) -> None:
        self.told.append(f"gone {id}")

    def in_use(self) -> set[str]:
        return {"in-hand"}

    def answering(self, ids: Iterable[str]) -> Deferred[None] | None:
        return Deferred() if "in-hand" in ids else None

    def hurry(self) -> None:
        """Nothing waits to be stored."""


class Status(Service):
    """Writes nothing; keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def changed(self) -> None:
        self.told.append("changed")

    def watched(self, until: float | None) -> None:
        if until is not None:
            self.told.append(f"watched until {until:g}")

    def hurry(self) -> None:
        """Nothing waits for the server."""

    def look_again(self) -> None:
        self.told.append("look again")

    async def farewell(self) -> None:
        self.told.append("farewell")


class Changes(Service):
    """Follows nothing."""

    resyncs = 0

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return succeed(None)

    def resync(self) -> None:
        self.resyncs += 1


class Couch:
    """Keeps where it was moved to."""

    closed = False

    def __init__(self) -> None:
        self.urls: list[str | None] = []

    def move(self, url: str | None) -> None:
        self.urls.append(url)

    async def close(self) -> None:
        self.closed = True


def row(id: str, rev: str = "1-a", **members: Any) -> Row:
    return Row(id, {"_id": id, "_rev": rev, **members})


def program(id: str, rev: str = "1-a", code: str = "x") -> Row:
    return row(id, rev, type=MAC, code=code)


class NodeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.host, self.commands, self.changes, self.couch = Host(), Commands(), Changes(), Couch()
        self.shelf, self.quarantine = Shelf(), Quarantine()
        self.restored: list[Entry] = []
        self.status = Status()
        self.url: str | ServerFileError = "http://server:5984"
        self.settled = 0
        self.compiled: list[str] = []
        self.node = self.make()

    def make(self, *, stale: bool = False) -> Node:
        def settled() -> None:
            self.settled += 1

        return Node(
            clock=self.clock,
            read_server_file=self.read_server_file,
            couch=cast(Any, self.couch),
            changes=lambda listener: cast(Any, self.changes),
            host=cast(Any, self.host),
            commands=cast(Any, self.commands),
            status=cast(Any, self.status),
            catalogue=Catalogue(MAC, 1000),
            shelf=cast(Any, self.shelf),
            restored=self.restored,
            quarantine=cast(Any, self.quarantine),
            compile_error=self.compile_error,
            stale=stale,
            settled=settled,
        )

    def compile_error(self, source: str, name: str) -> str | None:
        self.compiled.append(name)
        return "line 1" if source == "!" else None

    def read_server_file(self) -> str:
        if isinstance(self.url, ServerFileError):
            raise self.url
        return self.url

    def told(self) -> list[str]:
        told, self.host.told[:] = list(self.host.told), []
        return told

    def test_programs(self) -> None:
        """A program starts, changes and stops as its document does; rows that come again change nothing."""
        self.node.snapshot([program("b"), program("a")])
        self.assertEqual(self.told(), ["start a 1-a", "start b 1-a"])
        self.node.changed([program("a"), program("b")])
        self.assertEqual(self.told(), [])
        self.node.changed([program("a", "2-b", "y"), Row("b", None, deleted=True)])
        self.assertEqual(self.told(), ["stop b", "start a 2-b"])

    def test_global_modules_are_compiled_once(self) -> None:
        """A global module is compiled when it is new, whether it compiles or not, and not with each row that comes."""
        self.node.snapshot([row("good", global_modules={"g": ""}), row("bad", global_modules={"b": "!"})])
        self.node.changed([program("a")])
        self.node.changed([program("a", "2-b", "y")])
        self.assertEqual(sorted(self.compiled), ["b", "g"])
        self.assertEqual(len(self.node.rejected), 1)
        self.node.changed([row("bad", "2-b", global_modules={"b": "x = 1"})])
        self.assertEqual(self.compiled[2:], ["b"])
        self.assertEqual(self.node.rejected, {})

    def test_saved_without_a_change(self) -> None:
        """A program that was saved without a change runs on, and is known by its new revision."""
        self.node.snapshot([program("a")])
        self.told()
        self.node.changed([program("a", "2-b")])
        self.assertEqual((self.told(), self.host.revs), ([], {"a": "2-b"}))

    def test_last_known_good(self) -> None:
        """What is on disk runs before the server has answered; the snapshot starts, stops and keeps what differs."""
        before = Catalogue(MAC, 1000)
        before.fold(program("a"))
        before.fold(program("b"))
        lib = Exports("lib", "1-a", {"g": "1"})
        self.restored += [Entry(exports=lib), *(Entry(one) for one in before.programs.values())]
        self.node.startService()
        self.assertEqual((self.told(), self.shelf.kept), (["start a 1-a", "start b 1-a"], []))
        self.assertEqual(self.node.global_modules["g"].source, "1")
        self.host.asked = {"a": {"g": self.node.global_modules["g"].digest}}
        self.assertLessEqual({"a", "b", "lib"}, self.node.ids_in_use())
        self.node.snapshot([program("a"), program("c"), row("lib", type=8, global_modules={"g": "1"})])
        self.assertEqual((self.told(), self.shelf.kept), (["stop b", "start c 1-a"], [["a", "c", "g"]]))

    def test_good_revision(self) -> None:
        """What has become a revision to go back to is kept as that."""
        self.node.snapshot([program("a")])
        for id in ("a", "b"):
            self.node.program_changed(id)
        self.assertEqual([one.id for one in self.shelf.good], ["a"])

    def test_quarantine(self) -> None:
        """What is held back is not started, is reported, and starts once it is released; each start is told before."""
        self.quarantine.held = {"b"}
        self.node.snapshot([program("a"), program("b"), program("c")])
        self.assertEqual(self.told(), ["start a 1-a", "start c 1-a"])
        self.assertEqual(self.quarantine.told, ["learn a b c", "starting a", "starting c"])
        self.assertEqual(
            [(one.id, one.state.value) for one in self.node.reports()],
            [("a", "running"), ("b", "quarantined"), ("c", "running")],
        )
        self.quarantine.held = set()
        self.node.reconcile()
        self.assertEqual(self.told(), ["start b 1-a"])

    def test_stopped(self) -> None:
        """A program that is stopped is the host's all the same, and is not suspected when the daemon ends."""
        self.node.snapshot([row("a", type=MAC, code="x", stopped=True), program("b")])
        self.assertEqual(self.told(), ["start a 1-a", "start b 1-a"])
        self.assertEqual(self.quarantine.told, ["learn a b", "starting b"])

    def test_snapshot_is_all_there_is(self) -> None:
        """What vanished while nobody looked is stopped at the next snapshot; the last revision of a batch counts."""
        self.node.snapshot([program("a"), program("b")])
        self.told()
        self.node.snapshot([program("b", "3-c", "z")])
        self.assertEqual(self.told(), ["stop a", "start b 3-c"])

    def test_global_modules(self) -> None:
        """A global module restarts those who asked for it, and no one with a typo in it."""
        self.node.snapshot([program("a"), program("b"), row("lib", type=8, global_modules={"g": "1"})])
        self.assertEqual(self.node.global_modules["g"].source, "1")
        self.told()
        self.host.asked = {"a": {"g": self.node.global_modules["g"].digest}}
        self.node.changed([row("lib", "2-b", type=8, global_modules={"g": "!"})])
        self.assertEqual((self.told(), self.node.global_modules["g"].source), ([], "1"))
        self.node.changed([row("lib", "3-c", type=8, global_modules={"g": "2"})])
        self.assertEqual(self.told(), ["start a 1-a"])

    def test_commands(self) -> None:
        """Commands are handed on in the order of the feed, the impossible ones to be refused."""
        self.node.changed(
            [
                row("c1", type="7_cmd", cmd=["true"]),
                row("c2", type="7_cmd", cmd=[]),
                row("c0", type="7_cmd", cmd=["true"]),
                Row("c1", None, deleted=True),
            ]
        )
        self.assertEqual(
            [told.split(":")[0] for told in self.commands.told], ["run c1", "refuse c2", "run c0", "gone c1"]
        )

    def test_commands_leave_programs_alone(self) -> None:
        """What is only about commands has no program looked at: there may be a hundred, and commands are quick."""
        self.node.snapshot([program("a")])
        for rows, looked in (
            ([row("c", type="7_cmd", cmd=["true"])], False),
            ([row("c", type="7_cmd", cmd=[])], False),
            ([Row("c", None, deleted=True), row("w", type="7_watch", until="2030-01-01T00:00:00Z")], False),
            ([row("c", type="7_cmd", cmd=["true"]), program("a", "2-b")], True),
            ([row("lib", type=8, global_modules={"g": ""})], True),
            ([row("bad", type=MAC, code=5)], True),
            ([Row("bad", None, deleted=True)], True),
            ([row("a", type="7_cmd", cmd=["true"])], True),
        ):
            self.quarantine.told.clear()
            self.shelf.kept.clear()
            self.node.changed(rows)
            self.assertEqual((bool(self.quarantine.told), bool(self.shelf.kept)), (looked, looked), rows)
        self.assertEqual(self.host.programs, {})

    def test_stale_commands(self) -> None:
        """On the first start ever, commands of the first snapshot are too old; later ones are not."""
        node = self.make(stale=True)
        node.snapshot([row("old", type="7_cmd", cmd=["reboot"])])
        node.changed([row("new", type="7_cmd", cmd=["true"])])
        node.snapshot([row("newer", type="7_cmd", cmd=["true"])])
        self.assertEqual([t for t in self.commands.told if "in-hand" not in t], ["stale old", "run new", "run newer"])
        self.assertEqual(self.settled, 1)

    def test_ids_in_use(self) -> None:
        """The feed is asked for all that runs, exports, was refused, or is a command in hand."""
        self.node.snapshot([program("a"), row("lib", type=8, global_modules={"g": ""}), row("bad", type=MAC, code=5)])
        self.assertEqual(self.node.ids_in_use(), {"a", "lib", "bad", "in-hand"})

    def test_answering(self) -> None:
        """The feed may wait for the answers of the commands that it has brought, and waits for no others."""
        self.assertIsNone(self.node.answering([row("a", type=MAC, code="")]))
        self.assertIsNotNone(self.node.answering([row("a", type=MAC, code=""), row("in-hand", type="7_cmd")]))

    def test_server_file(self) -> None:
        """A bad server file is read again until it is good; then the feed is followed."""
        self.url = ServerFileError("/etc/rspby/server", "it is empty")
        self.node.startService()
        self.clock.advance(SERVER_FILE_RETRY_S)
        self.assertEqual((self.couch.urls, bool(self.changes.running)), ([], False))
        self.url = "http://other:5984"
        self.clock.advance(SERVER_FILE_RETRY_S)
        self.assertEqual((self.couch.urls, bool(self.changes.running)), (["http://other:5984"], True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_server_file_that_stays_bad(self) -> None:
        """What is wrong with it is logged once, then every ten minutes, and to whoever asks for a reload."""
        logged: list[str] = []
        self.patch(node, "log", Logger(observer=cast(Any, lambda event: logged.append(formatEvent(event)))))
        self.url = ServerFileError("/etc/rspby/server", "it is empty")
        self.node.startService()
        self.clock.pump([SERVER_FILE_RETRY_S] * 29)
        self.assertEqual(len([line for line in logged if "it is empty" in line]), 1)
        self.clock.pump([SERVER_FILE_RETRY_S] * 2)
        self.assertEqual(len([line for line in logged if "it is empty" in line]), 2)
        self.node.reload()
        self.url = ServerFileError("/etc/rspby/server", "it is no ordinary file")
        self.clock.advance(SERVER_FILE_RETRY_S)
        self.assertEqual(len([line for line in logged if "/etc/rspby/server" in line]), 4)
        self.successResultOf(self.node.stopService())

    def test_look_for_server(self) -> None:
        """When the server fails, the server file may name another one by now; a bad file changes nothing."""
        self.node.startService()
        self.url = "http://other:5984"
        self.node.look_for_server()
        self.url = ServerFileError("/etc/rspby/server", "it is empty")
        self.node.look_for_server()
        self.assertEqual(self.couch.urls, ["http://server:5984", "http://other:5984"])
        self.assertEqual((self.told(), self.clock.getDelayedCalls()), ([], []))

    def test_reload(self) -> None:
        """A reload reads the server file again and restarts the programs; with a bad file the old server stays."""
        self.node.startService()
        self.node.reload()
        self.assertEqual((len(self.couch.urls), self.changes.resyncs, self.told()), (2, 1, ["restart all"]))
        self.url = ServerFileError("/etc/rspby/server", "it is empty")
        self.node.reload()
        self.node.reload()
        self.assertEqual((len(self.couch.urls), len(self.clock.getDelayedCalls())), (2, 1))
        self.successResultOf(self.node.stopService())
        self.assertEqual((self.clock.getDelayedCalls(), self.couch.closed), ([], True))

    def test_stop_following(self) -> None:
        """The feed can be left while all else goes on."""

        self.node.startService()
        self.successResultOf(Deferred.fromCoroutine(self.node.stop_following()))
        self.successResultOf(Deferred.fromCoroutine(self.node.stop_following()))
        self.assertEqual((bool(self.changes.running), bool(self.host.running)), (False, True))
        self.assertFalse(self.couch.closed)

    def test_status(self) -> None:
        """The status hears of what is wrong with documents, once, of who watches, and of a database read afresh."""
        bad = row("bad", type=MAC, code=5)
        self.node.snapshot([bad, row("7_watch", type="7_watch", until="1970-01-01T00:01:00Z")])
        self.assertEqual(self.status.told, ["look again", "watched until 60", "changed"])
        self.assertEqual((set(self.node.rejected), self.node.refused_programs), ({"bad"}, {"bad": "1-a"}))
        self.node.changed([bad])
        self.assertEqual(self.status.told[3:], ["watched until 60"])
        self.node.changed([program("bad"), Row("7_watch", None, deleted=True)])
        self.assertEqual(self.status.told[4:], ["changed"])
        self.assertEqual((self.node.rejected, self.node.refused_programs), ({}, {}))
        self.node.program_changed("bad")
        self.assertEqual(self.status.told[5:], ["changed"])

    def test_end(self) -> None:
        """The status says that the daemon ends once the programs have quit, and before the client is closed."""
        self.node.startService()
        quit: Deferred[None] = Deferred()
        self.host.stopService = lambda: quit  # type: ignore[method-assign]
        ended = self.node.stopService()
        self.assertNotIn("farewell", self.status.told)
        self.assertFalse(self.status.running)
        self.status.farewell = self.said_before_the_client_closed  # type: ignore[method-assign]
        quit.callback(None)
        self.successResultOf(ended)
        self.assertEqual((self.status.told[-1], self.couch.closed), ("farewell", True))

    async def said_before_the_client_closed(self) -> None:
        self.assertFalse(self.couch.closed)
        self.status.told.append("farewell")
