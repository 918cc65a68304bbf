"""How the daemon begins, ends, and replaces itself."""

from __future__ import annotations

import os
import queue
import signal
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from himbeerecouch import daemon, offspring, unix
from himbeerecouch.daemon import Daemon
from himbeerecouch.model import Running
from himbeerecouch.notify import Notify
from himbeerecouch.unix import Handover
from tests.process_case import ProcessCase, Reactor


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


class LifeTests(ProcessCase):
    def setUp(self) -> None:
        super().setUp()
        self.ends: queue.Queue[int] = queue.Queue()
        self.patch(unix, "end_at_once", self.ends.put)
        self.patch(daemon, "ENDING_S", 0.0)
        # What is frozen stays so, also for all tests after this.
        self.patch(unix, "settle_memory", lambda: None)
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
            unlock=lambda: self.part.told.append("unlock"),
            sign=lambda: None,
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
        self.patch(unix, "replace_image", lambda *given: told.append(given))
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

        self.patch(unix, "replace_image", fail)
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
