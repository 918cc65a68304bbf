"""What the daemon needs of Unix."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as global_reactor
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import offspring, unix
from himbeerecouch.model import Running
from himbeerecouch.unix import HANDOVER, Handover
from tests.process_case import ProcessCase, Reactor, Replaced


class LogTests(ProcessCase):
    def bound(self, **twistd: Any) -> dict[str, Any]:
        unix.bound_log_file(twistd)
        return twistd

    def test_what_is_bounded(self) -> None:
        """A log file is bounded, whether named or twistd's own; stdout, syslog and another observer are let be."""
        path = Path(self.mktemp()).absolute()
        name = "himbeerecouch.unix.bounded_log_observer"
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
        self.patch(unix, "LOG_FILE_BYTES", 1000)
        self.patch(unix, "LOG_FILES", 2)
        self.patch(global_reactor, "callFromThread", lambda call: call())
        folder = Path(self.mktemp())
        folder.mkdir()
        self.bound(logfile=str(folder / "log"))
        observe = unix.bounded_log_observer()
        for number in range(200):
            observe({"log_format": "line {number}", "number": number, "log_time": 0.0, "log_level": None})
        os.kill(os.getpid(), signal.SIGUSR1)
        self.assertEqual((folder / "log").read_text(), "")
        self.assertIn("line 199", (folder / "log.1").read_text())
        self.assertEqual(sorted(file.name for file in folder.iterdir()), ["log", "log.1", "log.2"])
        self.assertLess(sum(file.stat().st_size for file in folder.iterdir()), 3000)


class SignalTests(ProcessCase):
    def test_signals(self) -> None:
        """SIGTERM and SIGINT end it, once; SIGHUP reloads; SIGUSR2 logs the stacks with the programs' names."""
        reactor, reloads = Reactor(), []
        unix.install_signals(reactor, reload=lambda: reloads.append(1), owner_of=lambda ident: "blink")
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        self.assertEqual((reloads, reactor.stops), ([1], 2))
        self.assertIn("already stopping", self.logged)
        stacks = next(line for line in self.logged if line.startswith("stacks"))
        self.assertIn("of program 'blink'", stacks)
        self.assertIn("in test_signals", stacks)

    def test_stacks_of_nobody(self) -> None:
        """A thread that is no program's bears its own name."""
        self.assertIn("--- MainThread\n", unix.thread_stacks(lambda ident: None))

    def test_time(self) -> None:
        """The reactor's timers do not follow the wall clock."""
        reactor = Reactor()
        unix.use_monotonic_time(reactor)
        self.assertIs(cast(Any, reactor).seconds, time.monotonic)

    def test_processor(self) -> None:
        """Programs that compute give way to the reactor sooner than Python has them do by itself."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(0.005)
        unix.share_processor()
        self.assertLess(sys.getswitchinterval(), 0.001)


TAKE_AND_GIVE_BACK = """
import os
from himbeerecouch import unix

def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

unix.return_large_blocks()
for _ in range(5):
    blocks = [bytes(b"x" * (1_000_000 + 10_000 * number)) for number in range(20)]
    last = bytearray(200_000)  # lies behind them, where they came from one heap
    before = resident_bytes()
    blocks.clear()
    print(before - resident_bytes())
    del last
"""


SETTLE = """
import gc, linecache, traceback
from attrs import frozen
from himbeerecouch import unix

@frozen
class Value:
    number: int

linecache.cache["program"] = (9, None, ["raise ValueError\\n"], "program")
unix.settle_memory()
print(gc.get_freeze_count() > 1000)
print([name for name in linecache.cache if "attrs" in name])
print(linecache.getline("program", 1).strip(), Value(1) == Value(1))
"""


class MemoryTests(SynchronousTestCase):
    def test_settled(self) -> None:
        """What there is at the start is not looked at again for garbage, and programs' sources stay for tracebacks."""
        # In a process of its own: what is frozen stays so.
        done = subprocess.run([sys.executable, "-c", SETTLE], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.splitlines(), ["True", "[]", "raise ValueError True"])

    def test_large_blocks(self) -> None:
        """What was taken in large blocks is given back, also after larger ones were freed before."""
        # In a process of its own: where much was freed before, as in this one, even a large block comes from there.
        done = subprocess.run([sys.executable, "-c", TAKE_AND_GIVE_BACK], capture_output=True, text=True, check=True)
        returned_bytes = [int(line) for line in done.stdout.split()]
        self.assertEqual(len(returned_bytes), 5)
        self.assertGreater(min(returned_bytes), 15_000_000)


class ChildTests(ProcessCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor: Any = Reactor()
        unix.install_signals(self.reactor, reload=lambda: None, owner_of=lambda ident: None)

    def status_of(self, act: Callable[[], int]) -> int:
        """How a child ends that is forked, and does this."""
        pid = os.fork()
        if pid == 0:
            try:
                os._exit(act())
            finally:
                os._exit(99)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_signal_right_after_the_fork(self) -> None:
        """A signal that finds the daemon's handler still there does to a child what it does to any process."""

        def terminated() -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            return 1

        self.assertEqual(self.status_of(terminated), -signal.SIGTERM)
        self.assertEqual(self.reactor.stops, 0)

    def test_signal_before_the_child_runs(self) -> None:
        """A signal that is sent right after the fork is not lost: Python by itself forgets it."""
        offspring.let_go_in_children([lambda: None])
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                time.sleep(5)
                os._exit(99)
            os.kill(pid, signal.SIGTERM)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), -signal.SIGTERM)

    def test_children_let_go(self) -> None:
        """A child has no handler of the daemon's, and forgets what it is told to; the daemon itself does not."""
        told: list[int] = []
        offspring.let_go_in_children([lambda: told.append(1)])
        offspring.let_go_in_children([lambda: told.append(2)])

        def look() -> int:
            return sum(told) + 10 * (signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)

        self.assertEqual(self.status_of(look), 12)
        self.assertEqual(look(), 0)


class HandoverTests(ProcessCase):
    room_bytes = 1_000_000

    def replace(self, twistd: dict[str, Any], handover: Handover) -> list[str]:
        """The command line of the next image."""
        argv: list[str] = []

        def execve(path: str, arguments: list[str], environ: dict[str, str]) -> None:
            longest = max(len(f"{name}={value}") + 1 for name, value in environ.items())
            if longest > 128 * 1024 or sum(map(len, environ.values())) > self.room_bytes:
                raise OSError(errno.E2BIG, "Argument list too long")
            argv.extend(arguments)
            os.environ.update({name: value for name, value in environ.items() if name.startswith(HANDOVER)})
            raise Replaced

        self.patch(os, "execve", execve)
        self.assertRaises(Replaced, unix.replace_image, twistd, ["--mac-id=5"], handover)
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)
        return argv

    def test_handed_over(self) -> None:
        """What had finished, and the pid file, reach the next image, and nobody after it."""
        given = Handover(True, {"a": Running("digest", {"lib": "x", "none": None})}, "/run/pid")
        argv = self.replace({}, given)
        self.assertEqual(argv[0], sys.executable)
        self.assertEqual(argv[-5:], ["--nodaemon", "--pidfile=", "--logfile=-", "himbeerecouch", "--mac-id=5"])
        self.assertEqual(unix.take_handover(), given)
        self.assertEqual(unix.take_handover(), Handover())

    def test_much_to_tell(self) -> None:
        """Many programs may have finished; where there is no room to tell of them, they run again, and that is said."""
        given = Handover(True, {f"{number}": Running("d" * 64, {}, "e" * 500) for number in range(500)}, "/run/pid")
        self.replace({}, given)
        self.assertEqual(unix.take_handover(), given)
        self.assertEqual([name for name in os.environ if name.startswith(HANDOVER)], [])
        self.room_bytes = 100_000
        self.replace({}, given)
        self.assertEqual(unix.take_handover(), Handover(True, {}, "/run/pid"))
        self.assertIn("they run again", self.logged[-1])

    def test_not_replaced(self) -> None:
        """What else keeps it from being replaced is told."""

        def refuse(*given: object) -> None:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

        self.patch(os, "execve", refuse)
        self.assertRaises(OSError, unix.replace_image, {}, [], Handover())

    def test_folder_that_is_gone(self) -> None:
        """The new image starts where the daemon did; in the root where that folder is gone."""
        self.addCleanup(os.chdir, unix.working_folder())
        there, gone = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        there.mkdir()
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
        self.assertEqual(unix.working_folder(), "/")
        unix.go_to(str(there))
        self.assertEqual(unix.working_folder(), str(there))
        unix.go_to(str(gone))
        self.assertEqual(unix.working_folder(), "/")

    def test_descriptors(self) -> None:
        """What a C library of a program has open is not handed over; only the standard ones are."""
        opened = fcntl.fcntl(1, fcntl.F_DUPFD, 10)
        self.addCleanup(os.close, opened)
        self.assertTrue(os.get_inheritable(opened))
        self.replace({}, Handover())
        self.assertEqual((os.get_inheritable(1), os.get_inheritable(opened)), (True, False))
        os.set_inheritable(opened, True)
        self.patch(os, "listdir", self.refuse)
        self.replace({}, Handover())
        self.assertEqual((os.get_inheritable(1), os.get_inheritable(opened)), (True, False))

    def refuse(self, *given: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    def test_out_of_descriptors(self) -> None:
        """That nothing can be opened any more is known; another error is not taken for it."""
        self.assertFalse(unix.out_of_descriptors())
        self.patch(os, "open", self.refuse)
        self.assertTrue(unix.out_of_descriptors())

    def test_log(self) -> None:
        """It goes on logging where it did."""

        def observer() -> None:
            """Somebody's own."""

        table: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({"logfile": "/x", "logger": unix.bounded_log_observer}, ["--logfile=/x"]),
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
            self.assertEqual(unix.take_handover(), Handover())
        self.assertEqual(len(self.logged), 4)

    def test_pid_file(self) -> None:
        """The pid file is removed; one that is gone is no error, and one that can't be removed is logged."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "pid").write_text("1")
        for path in (str(folder / "pid"), str(folder / "pid"), None):
            unix.remove_pid_file(path)
        self.assertEqual(list(folder.iterdir()), [])
        self.assertEqual(self.logged, [])
        unix.remove_pid_file(str(folder))
        self.assertIn(str(folder), self.logged[0])


class EndTests(ProcessCase):
    def test_end_at_once(self) -> None:
        """It ends without waiting for anything, with what was printed."""
        ended: list[int] = []
        self.patch(os, "_exit", ended.append)
        unix.end_at_once(3)
        self.assertEqual(ended, [3])
