"""The daemon as a Unix process; ``tests/integration`` does all of this to the real one."""

from __future__ import annotations

import os
import queue
import signal
import sys
import time
from pathlib import Path
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import daemon, offspring
from himbeerecouch.daemon import HANDOVER, Daemon, Handover
from himbeerecouch.model import Running
from himbeerecouch.notify import Notify


class Reactor:
    """Keeps what it is asked for, and calls at once."""

    def __init__(self) -> None:
        self.stops = 0
        self.triggers: list[tuple[Any, ...]] = []

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        call(*arguments)

    callWhenRunning = callFromThread

    def addSystemEventTrigger(self, *trigger: Any) -> None:
        self.triggers.append(trigger)

    def stop(self) -> None:
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning


class Replaced(BaseException):
    """Stands for the end of this image."""


class DaemonCase(SynchronousTestCase):
    def setUp(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.addCleanup(os.environ.pop, HANDOVER, None)
        self.addCleanup(offspring.unmark)
        self.logged: list[str] = []
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: LogEvent) -> None:
        self.logged.append(formatEvent(event))


class LogTests(DaemonCase):
    def bound(self, **twistd: Any) -> dict[str, Any]:
        daemon.bound_log_file(twistd)
        return twistd

    def test_what_is_bounded(self) -> None:
        """A log file is bounded, whether named or twistd's own; stdout, syslog and another observer are let be."""
        path = Path(self.mktemp()).absolute()
        name = "himbeerecouch.daemon.bounded_log_observer"
        self.assertEqual(self.bound(logfile=str(path)), {"logfile": str(path), "logger": name})
        self.assertEqual(self.bound(logfile=str(path), nodaemon=1)["logger"], name)
        self.assertEqual(self.bound(logfile=None)["logfile"], str(Path("twistd.log").absolute()))
        for let_be in ({"logfile": "-"}, {"nodaemon": 1}, {"syslog": 1}, {"logger": "x.y"}):
            self.assertEqual(self.bound(**let_be), let_be)

    def test_one_that_can_not_be_written(self) -> None:
        """A log file that can't be written is an error that names it."""
        error = self.assertRaises(UsageError, self.bound, logfile="/no/such/folder/log")
        self.assertIn("/no/such/folder/log can't be written: No such file", str(error))

    def test_bounded(self) -> None:
        """However much is logged, there are a few files of a few bytes; SIGUSR1 begins a new one."""
        self.patch(daemon, "LOG_FILE_BYTES", 1000)
        self.patch(daemon, "LOG_FILES", 2)
        self.patch(global_reactor, "callFromThread", lambda call: call())
        folder = Path(self.mktemp())
        folder.mkdir()
        self.bound(logfile=str(folder / "log"))
        observe = daemon.bounded_log_observer()
        for number in range(200):
            observe({"log_format": "line {number}", "number": number, "log_time": 0.0, "log_level": None})
        os.kill(os.getpid(), signal.SIGUSR1)
        self.assertEqual((folder / "log").read_text(), "")
        self.assertIn("line 199", (folder / "log.1").read_text())
        self.assertEqual(sorted(file.name for file in folder.iterdir()), ["log", "log.1", "log.2"])
        self.assertLess(sum(file.stat().st_size for file in folder.iterdir()), 3000)


class SignalTests(DaemonCase):
    def test_signals(self) -> None:
        """SIGTERM and SIGINT end it, once; SIGHUP reloads; SIGUSR2 logs the stacks with the programs' names."""
        reactor, reloads = Reactor(), []
        daemon.install_signals(reactor, reload=lambda: reloads.append(1), owner_of=lambda ident: "blink")
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        self.assertEqual((reloads, reactor.stops), ([1], 2))
        self.assertIn("already stopping", self.logged)
        stacks = next(line for line in self.logged if line.startswith("stacks"))
        self.assertIn("of program 'blink'", stacks)
        self.assertIn("in test_signals", stacks)

    def test_stacks_of_nobody(self) -> None:
        """A thread that is no program's bears its own name."""
        self.assertIn("--- MainThread\n", daemon.thread_stacks(lambda ident: None))

    def test_time(self) -> None:
        """The reactor's timers do not follow the wall clock."""
        reactor = Reactor()
        daemon.use_monotonic_time(reactor)
        self.assertIs(cast(Any, reactor).seconds, time.monotonic)

    def test_processor(self) -> None:
        """Programs that compute give way to the reactor sooner than Python has them do by itself."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(0.005)
        daemon.share_processor()
        self.assertLess(sys.getswitchinterval(), 0.001)


class HandoverTests(DaemonCase):
    def replace(self, twistd: dict[str, Any], handover: Handover) -> list[str]:
        """The command line of the next image."""
        argv: list[str] = []

        def execv(path: str, arguments: list[str]) -> None:
            argv.extend(arguments)
            raise Replaced

        self.patch(os, "execv", execv)
        self.assertRaises(Replaced, daemon.replace_image, twistd, ["--mac-id=5"], handover)
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)
        return argv

    def test_handed_over(self) -> None:
        """What had finished, and the pid file, reach the next image, and nobody after it."""
        given = Handover(True, {"a": Running("digest", {"lib": "x", "none": None})}, "/run/pid")
        argv = self.replace({}, given)
        self.assertEqual(argv[0], sys.executable)
        self.assertEqual(argv[-5:], ["--nodaemon", "--pidfile=", "--logfile=-", "himbeerecouch", "--mac-id=5"])
        self.assertEqual(daemon.take_handover(), given)
        self.assertEqual(daemon.take_handover(), Handover())

    def test_log(self) -> None:
        """It goes on logging where it did."""

        def observer() -> None:
            """Somebody's own."""

        table: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({"logfile": "/x", "logger": daemon.bounded_log_observer}, ["--logfile=/x"]),
            ({"syslog": 1, "prefix": "pi", "logger": None}, ["--syslog", "--prefix=pi"]),
            ({"logger": observer}, [f"--logger={__name__}.{observer.__qualname__}"]),
        )
        for twistd, options in table:
            argv = self.replace(twistd, Handover())
            self.assertEqual(argv[argv.index("--pidfile=") + 1 : argv.index("himbeerecouch")], options)

    def test_garbage(self) -> None:
        """What is not understood is not used, and said."""
        for text in ("{", "[]", '{"finished": {"a": 1}}', '{"finished": []}'):
            os.environ[HANDOVER] = text
            self.assertEqual(daemon.take_handover(), Handover())
        self.assertEqual(len(self.logged), 4)

    def test_pid_file(self) -> None:
        """The pid file is removed; one that is gone is no error, and one that can't be removed is logged."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "pid").write_text("1")
        for path in (str(folder / "pid"), str(folder / "pid"), None):
            daemon.remove_pid_file(path)
        self.assertEqual(list(folder.iterdir()), [])
        self.assertEqual(self.logged, [])
        daemon.remove_pid_file(str(folder))
        self.assertIn(str(folder), self.logged[0])


class Part(Service):
    """Stands for the node, the host and the commands; keeps the order in which it is asked."""

    finished: dict[str, Running] = {}  # noqa: RUF012 - never changed

    def __init__(self) -> None:
        self.told: list[str] = []
        self.stuck_programs: tuple[str, ...] = ()
        self.draining: Deferred[None] = Deferred()

    def reload(self) -> None:
        self.told.append("reload")

    async def stop_following(self) -> None:
        self.told.append("stop following")

    async def drain(self, timeout_s: float) -> None:
        self.told.append(f"drain {timeout_s:g}")
        await self.draining

    async def quit_all(self, timeout_s: float) -> None:
        self.told.append(f"quit {timeout_s:g}")

    def stuck(self) -> tuple[str, ...]:
        return self.stuck_programs


class LifeTests(DaemonCase):
    def setUp(self) -> None:
        super().setUp()
        self.ends: queue.Queue[int] = queue.Queue()
        self.patch(daemon, "end_at_once", self.ends.put)
        self.patch(daemon, "ENDING_S", 0.0)
        self.patch(offspring, "orphans", lambda name: [])
        self.patch(offspring, "descendants", lambda: [])
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.pid_file = self.folder / "pid"
        self.pid_file.write_text("1")
        self.reactor, self.part = Reactor(), Part()
        self.twistd: dict[str, Any] = {"pidfile": ""}
        self.daemon = self.make()

    def make(self) -> Daemon:
        part: Any = self.part
        return Daemon(
            self.reactor,
            name=str(self.folder),
            node=part,
            host=part,
            commands=part,
            systemd=Notify(Clock(), {}),
            twistd=self.twistd,
            arguments=["--mac-id=5"],
            handover=Handover(True, {}, str(self.pid_file)),
            quit_timeout_s=2.0,
            close=lambda: self.part.told.append("close"),
        )

    def test_life(self) -> None:
        """It takes the signals while it runs, lets go of all at its end, and waits for no thread."""
        self.daemon.startService()
        os.kill(os.getpid(), signal.SIGHUP)
        self.successResultOf(self.daemon.stopService())
        self.assertEqual(self.ends.get(timeout=10), 0)
        self.assertEqual(self.part.told, ["reload", "close"])
        self.assertFalse(self.pid_file.exists())
        self.assertEqual(self.reactor.triggers, [])

    def test_pid_file_of_twistd(self) -> None:
        """twistd's pid file is twistd's to remove, wherever a program has gone to."""
        self.twistd["pidfile"] = os.path.relpath(self.pid_file)
        self.daemon = self.make()
        self.daemon.startService()
        self.assertEqual(self.twistd["pidfile"], str(self.pid_file.absolute()))
        # What ends the process at last would take it away, too.
        self.patch(self.daemon, "_end_all_the_same", self.ends.put)
        self.successResultOf(self.daemon.stopService())
        self.assertEqual(self.ends.get(timeout=10), 0)
        self.assertTrue(self.pid_file.exists())

    def test_stuck(self) -> None:
        """A program that does not return is named, and makes the exit status one of a failure."""
        self.part.stuck_programs = ("a", "b")
        self.daemon.startService()
        self.successResultOf(self.daemon.stopService())
        self.assertEqual(self.ends.get(timeout=10), 1)
        self.assertIn("ending without waiting for a, b, whose threads do not return", self.logged)
        ((phase, event, end, status),) = self.reactor.triggers
        self.assertEqual((phase, event), ("after", "shutdown"))
        end(status)
        self.assertEqual(self.ends.get(timeout=10), 1)

    def test_left_over(self) -> None:
        """What the programs of a daemon that was killed have left behind is ended at the start, and that is said."""
        ended: list[list[int]] = []
        self.patch(offspring, "orphans", lambda name: [7] if name == str(self.folder) else [])
        self.patch(offspring, "end", ended.append)
        self.daemon.startService()
        self.assertEqual(ended, [[7]])
        self.assertIn("[7]", self.logged[0])

    def test_replace(self) -> None:
        """It replaces itself once, after the commands have ended and the programs have quit."""
        told: list[Any] = []
        self.patch(daemon, "replace_image", lambda *given: told.append(given))
        self.daemon.replace("too early")
        self.daemon.startService()
        self.daemon.replace("a program is stuck")
        self.daemon.replace("another is, too")
        self.assertEqual(self.part.told, ["stop following", "drain 2"])
        self.part.draining.callback(None)
        self.assertEqual(self.part.told, ["stop following", "drain 2", "quit 5", "close"])
        self.assertEqual(told, [(self.twistd, ["--mac-id=5"], Handover(True, {}, str(self.pid_file.absolute())))])
        self.assertEqual(len([line for line in self.logged if "replaces" in line]), 1)

    def test_not_replaced(self) -> None:
        """One that can't replace itself says so and ends: its supervisor starts it."""

        def fail(*given: Any) -> None:
            raise OSError("no memory")

        self.patch(daemon, "replace_image", fail)
        self.daemon.startService()
        self.daemon.replace("a program is stuck")
        self.part.draining.callback(None)
        self.assertEqual(self.ends.get(timeout=10), 1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_stopped_while_it_replaces_itself(self) -> None:
        """Asked to end meanwhile, it ends."""
        self.daemon.startService()
        self.daemon.replace("a program is stuck")
        self.successResultOf(self.daemon.stopService())
        self.assertEqual(self.ends.get(timeout=10), 0)
        self.assertNotIn("quit 5", self.part.told)


class EndTests(DaemonCase):
    def test_end_at_once(self) -> None:
        """It ends without waiting for anything, with what was printed."""
        ended: list[int] = []
        self.patch(os, "_exit", ended.append)
        daemon.end_at_once(3)
        self.assertEqual(ended, [3])
