"""The daemon without twistd's command line; ``tests/integration`` runs the real one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.scripts import twistd
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from himbeerecouch import prog
from himbeerecouch.errors import HimbeerecouchError

STAND_IN = """
import signal, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it may be ignored by whoever runs the tests
print(flush=True)
time.sleep(99)
"""


class ProgTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.pid_file = self.folder / "himbeerecouch.pid"

    def do(self, action: str) -> None:
        prog.run_daemon(action, str(self.folder / "server"), str(self.folder))

    def refused(self, action: str) -> str:
        return str(self.assertRaises(HimbeerecouchError, self.do, action))

    def stand_in(self, name: str = "himbeerecouch") -> subprocess.Popen[bytes]:
        """A process of that name, which the pid file names as the daemon."""
        process = subprocess.Popen([sys.executable, "-c", STAND_IN, name], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for clean_up in (process.stdout.close, process.wait, process.kill):
            self.addCleanup(clean_up)
        process.stdout.readline()
        self.pid_file.write_text(str(process.pid))
        return process

    def test_run(self) -> None:
        """``run`` is twistd in the foreground without a pid file, that logs to stdout."""
        ran: list[Any] = []
        self.patch(twistd, "runApp", ran.append)
        prog.run("/some/where", "--database=lab")
        self.assertEqual(ran[0].subOptions["server-file"], "/some/where")
        self.assertEqual(ran[0].subOptions["database"], "lab")
        said = {name: ran[0][name] for name in ("nodaemon", "pidfile", "logfile")}
        self.assertEqual(said, {"nodaemon": 1, "pidfile": "", "logfile": "-"})

    def test_reload(self) -> None:
        """``reload`` sends SIGHUP."""
        daemon = self.stand_in()
        self.do("reload")
        self.assertEqual(daemon.wait(10), -signal.SIGHUP)

    def test_stop(self) -> None:
        """``stop`` sends SIGTERM, and returns when the daemon is gone; once more does no harm."""
        daemon = self.stand_in()
        self.do("stop")
        self.assertEqual(daemon.wait(10), -signal.SIGTERM)
        self.do("stop")

    def test_one_that_does_not_end(self) -> None:
        """One that does not end is an error after a time, and is not killed."""
        daemon = self.stand_in()
        self.patch(prog, "STOP_TIMEOUT_S", 0.1)
        self.patch(os, "kill", lambda pid, number: None)
        self.assertIn(f"pid {daemon.pid}) has not ended", self.refused("stop"))

    def test_one_that_ends_by_itself(self) -> None:
        """One that is gone before the signal reaches it is no error."""

        def gone(pid: int, number: int) -> None:
            raise ProcessLookupError

        self.stand_in()
        self.patch(os, "kill", gone)
        self.do("reload")

    def test_nothing_runs(self) -> None:
        """A pid file that is missing, garbage, or names nobody or another's process is no daemon's."""
        self.assertIn("start it first", self.refused("reload"))
        for content in ("", "x", "-1", str(2**22 + 1), str(os.getppid())):
            self.pid_file.write_text(content)
            self.assertIn("start it first", self.refused("reload"))
            self.do("stop")
        other = self.stand_in("other")
        self.do("stop")
        self.assertIsNone(other.poll())

    def test_number_of_ones_own(self) -> None:
        """After a power cut the number that is left may be that of the very command that is to start the daemon."""
        code = "import sys; from himbeerecouch import prog; prog.run_daemon(*sys.argv[1:])"
        shell = f"echo $$ > {self.pid_file}; exec {sys.executable} -c '{code}' stop x {self.folder}"
        subprocess.run(["sh", "-c", shell], check=True, timeout=60)
        self.assertEqual(subprocess.run(["sh", "-c", f"{shell}; :"], timeout=60, check=False).returncode, 0)

    def test_it_runs_already(self) -> None:
        """A second one is not started."""
        daemon = self.stand_in()
        self.assertIn(f"runs already, with the pid {daemon.pid}", self.refused("start"))

    def test_another_users(self) -> None:
        """What this user may not do is said, and not taken for a daemon that does not run."""

        def forbidden(pid: int, number: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.stand_in()
        self.patch(os, "kill", forbidden)
        for action in ("stop", "restart", "reload"):
            self.assertIn("run with sudo", self.refused(action))

    def test_pid_file_that_can_not_be_read(self) -> None:
        """A pid file that can't be read is an error that names it."""
        self.pid_file.mkdir()
        self.assertIn(str(self.pid_file), self.refused("stop"))

    def test_does_not_start(self) -> None:
        """What keeps twistd from starting is told in one line; a left-over pid file is not among it."""
        if not Path("/proc/sys/kernel").is_dir():
            raise SkipTest("needs Linux")
        self.pid_file.write_text(str(os.getppid()))
        (self.folder / "himbeerecouch.log").mkdir()
        for action in ("start", "restart"):
            said = self.refused(action)
            self.assertIn("himbeerecouch.log can't be written: Is a directory", said)
            self.assertEqual(len(said.splitlines()), 1)
        self.assertFalse(self.pid_file.exists())

    def test_folder_that_can_not_be_made(self) -> None:
        """A folder that can't be made is an error that names it."""
        (self.folder / "file").write_text("")
        error = self.assertRaises(
            HimbeerecouchError, prog.run_daemon, "start", path=str(self.folder / "file" / "folder")
        )
        self.assertIn("file/folder can't be used: Not a directory", str(error))

    def test_another_action(self) -> None:
        """Another action is refused with those that there are."""
        self.assertIn("start, stop, restart, reload", str(self.assertRaises(ValueError, self.do, "begin")))
