"""The host and its keepers: real threads, and a clock that the tests move."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Mapping

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.model import GlobalModule, Program, ProgramState, Restart, Running
from himbeerecouch.programs import threads
from himbeerecouch.programs.host import Host
from tests.threadclock import ThreadClock

WAITS = "def main():\n    while not should_quit():\n        time.sleep(3600)\n"
"""Runs until it is asked to quit, and quits as it should."""


def a_program(code: str, id: str = "clock", rev: str = "1-a", **modules: str) -> Program:
    """A program as documents.read makes it."""
    sources = {"main": code, **modules}
    return Program(id, rev, id, sources, digest=f"digest of {rev}")


CRASHES = "def main():\n    raise ValueError('no sensor')\n"


class HostCase(SynchronousTestCase):
    """A host on a clock, and the places where what it says arrives."""

    already: Mapping[str, Running] = types.MappingProxyType({})
    kept: Mapping[str, Program] = types.MappingProxyType({})

    def setUp(self) -> None:
        """Start the host; afterwards nothing may be left of it."""
        self.reactor = ThreadClock()
        self.lines: list[str] = []
        self.changes: list[tuple[str, ProgramState | None]] = []
        self.reasons: list[str] = []
        self.global_modules: dict[str, GlobalModule] = {}
        self.before = set(threading.enumerate())
        self.host = self.make_host()
        self.host.startService()
        self.addCleanup(self.end)

    def make_host(self) -> Host:
        """A host that writes down all it does."""
        return Host(
            self.reactor,
            global_modules=lambda: self.global_modules,
            replace=self.reasons.append,
            changed=lambda id: self.changes.append((id, self.state(id))),
            sink=lambda program, line: self.lines.append(f"{program.id}: {line}"),
            now=lambda: 1_700_000_000.0 + self.reactor.seconds(),
            already_finished=self.already,
            before=self.kept,
        )

    def end(self) -> None:
        """Stop the host, and see that nothing is left."""
        if self.host.running:
            done = self.host.stopService()
            self.reactor.until(lambda: done.called)
        self.reactor.turn()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(set(threading.enumerate()) - self.before, set())
        self.assertEqual([name for name in sys.modules if name.startswith("himbeerecouch_program_")], [])

    def state(self, id: str = "clock") -> ProgramState | None:
        """What a program is doing, None where there is none."""
        return next((report.state for report in self.host.reports() if report.id == id), None)

    def run_until(self, state: ProgramState | None, id: str = "clock") -> None:
        """Let things happen until the program is in that state."""
        self.reactor.until(lambda: self.state(id) is state)

    def said(self, id: str = "clock") -> list[str]:
        """What the log has of a program, by now."""
        self.reactor.turn()
        return [line.removeprefix(f"{id}: ") for line in self.lines if line.startswith(f"{id}: ")]


class Life(HostCase):
    """Starting, finishing, crashing."""

    def test_a_program_runs_and_finishes(self) -> None:
        """main() is called with the four functions there before the first line, and its return is no failure."""
        self.host.start(
            a_program("log('loading', should_quit())\nremove_quit_notification(len)\ndef main():\n    print('hello')\n")
        )
        self.run_until(ProgramState.FINISHED)
        self.assertEqual(self.said(), ["loading False", "hello"])
        states = [state for _, state in self.changes]
        self.assertEqual(states, [ProgramState.STARTING, ProgramState.RUNNING, ProgramState.FINISHED])
        (report,) = self.host.reports()
        self.assertEqual((report.rev, report.restarts, report.error, report.since), ("1-a", 0, None, 1_700_000_000.0))
        self.assertEqual(self.host.in_hand(), {"clock": Running("digest of 1-a", {})})

    def test_exit_codes(self) -> None:
        """sys.exit with nothing or 0 finishes a program, with anything else it has crashed."""
        for code, state in (("", ProgramState.FINISHED), ("0", ProgramState.FINISHED), ("3", ProgramState.BACKOFF)):
            self.host.start(a_program(f"import sys\ndef main():\n    sys.exit({code})\n", id=f"exits with {code}"))
            self.run_until(state, f"exits with {code}")

    def test_a_crash_is_told_and_tried_again(self) -> None:
        """The traceback has the document's own lines, and the pause doubles from one second on."""
        self.host.start(a_program("def main():\n    reading = 1 / 0\n"))
        self.run_until(ProgramState.BACKOFF)
        (report,) = self.host.reports()
        assert report.error is not None
        self.assertEqual(
            report.error.splitlines()[:3],
            [
                "Traceback (most recent call last):",
                '  File "clock@1-a/main.py", line 2, in main',
                "    reading = 1 / 0",
            ],
        )
        self.assertIn("ZeroDivisionError: division by zero", self.said())
        for restart, pause_s in enumerate((1.0, 2.0, 4.0), start=1):
            self.reactor.advance(pause_s - 0.25)
            self.assertIs(self.state(), ProgramState.BACKOFF)
            self.reactor.advance(0.25)
            self.assertIs(self.state(), ProgramState.STARTING)
            self.run_until(ProgramState.BACKOFF)
            self.assertEqual(self.host.reports()[0].restarts, restart)

    def test_a_new_revision_starts_at_once(self) -> None:
        """Neither the backoff nor the error of the revision before counts for it."""
        self.host.start(a_program("oops"))
        self.run_until(ProgramState.BACKOFF)
        self.host.start(a_program(WAITS, rev="2-b", time="from time import *"))
        self.run_until(ProgramState.BACKOFF)  # `time` is its own module now, and main has not imported it
        self.host.start(a_program("import time\n" + WAITS, rev="3-c"))
        self.run_until(ProgramState.RUNNING)
        (report,) = self.host.reports()
        self.assertEqual((report.rev, report.error, report.restarts), ("3-c", None, 0))

    def test_bad_programs_fail_alone(self) -> None:
        """Whatever is wrong with a program is its own error, and the one beside it runs."""
        self.host.start(a_program("import time\n" + WAITS, id="good"))
        bad = {
            "def main(:\n": "SyntaxError",
            "": "program 'bad': module main has no main()",
            "main = 7": "program 'bad': main in module main is no function, but int",
            "def main(x): pass": "TypeError: main() missing 1 required positional argument: 'x'",
            "x = '\0'": "null bytes",
            "x = '\ud800'": "UnicodeEncodeError",
            "x = " + "(" * 1000 + ")" * 1000: "too many nested parentheses",
            "import nothing_of_this_name": "ModuleNotFoundError: No module named 'nothing_of_this_name'",
            "def main():\n    raise KeyboardInterrupt": "KeyboardInterrupt",
            "def main():\n    main()": "RecursionError",
            # Python 3.10 calls it <unprintable E object>, later ones <exception str() failed>.
            "class E(Exception):\n    def __str__(self): raise E\ndef main(): raise E": "main.E: <",
        }
        for number, (code, error) in enumerate(bad.items()):
            with self.subTest(code=code[:30]):
                self.host.start(a_program(code, id="bad", rev=f"{number}-x"))
                self.run_until(ProgramState.BACKOFF, "bad")
                self.assertIn(error, self.host.reports()[0].error or "")
        self.host.start(Program("bad", "99-x", "bad", {"helper": ""}, digest="99"))
        self.run_until(ProgramState.BACKOFF, "bad")
        self.assertIn("neither code nor a module main", self.host.reports()[0].error or "")
        self.run_until(ProgramState.RUNNING, "good")

    def test_no_thread_to_be_had(self) -> None:
        """Where the system has no thread left, the program has crashed and is tried again."""

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threads, "_plain_start", refuse)
        self.host.start(a_program("def main(): pass"))
        self.assertIs(self.state(), ProgramState.BACKOFF)
        self.assertIn("can't start new thread", self.host.reports()[0].error or "")

    def test_no_thread_for_a_notification(self) -> None:
        """Where there is no thread to call a notification in, the log says so, and the program quits all the same."""
        code = "import time\ndef main():\n    register_quit_notification(print)\n    log('up')\n    time.sleep(3600)"
        self.host.start(a_program(code))
        self.reactor.until(lambda: "clock: up" in self.lines)

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threads, "_plain_start", refuse)
        self.host.stop("clock")
        self.reactor.until(lambda: self.state() is None)
        self.assertEqual(self.said(), ["up", "a quit notification could not be called: can't start new thread"])

    def test_a_minute_of_running_forgives(self) -> None:
        """A program that crashes after a minute of running begins anew with the shortest pause."""
        go = threading.Event()
        module = types.ModuleType("let_go")
        vars(module)["wait"] = go.wait
        sys.modules["let_go"] = module
        self.addCleanup(sys.modules.pop, "let_go")
        go.set()
        self.host.start(a_program("import let_go\ndef main():\n    let_go.wait()\n    1 / 0"))
        self.run_until(ProgramState.BACKOFF)
        self.reactor.advance(1)
        self.run_until(ProgramState.BACKOFF)
        go.clear()
        self.reactor.advance(2)
        self.run_until(ProgramState.RUNNING)
        self.reactor.advance(60)
        go.set()
        self.run_until(ProgramState.BACKOFF)
        self.reactor.advance(1)
        self.assertEqual(self.host.reports()[0].restarts, 3)
        self.run_until(ProgramState.BACKOFF)

    def test_threads_are_the_programs(self) -> None:
        """A program runs while a thread of it lives, and that thread's output and errors are its own."""
        self.host.start(
            a_program(
                "import threading\n"
                "go = threading.Event()\n"
                "register_quit_notification(go.set)\n"
                "def work():\n"
                "    print('working')\n"
                "    go.wait()\n"
                "    raise ValueError('thread')\n"
                "def main():\n"
                "    threading.Thread(target=work, name='worker').start()\n"
            )
        )
        self.reactor.until(lambda: "clock: working" in self.lines)
        self.assertIs(self.state(), ProgramState.RUNNING)
        self.host.stop("clock")
        self.run_until(None)
        said = self.said()
        self.assertIn("in thread worker: Traceback (most recent call last):", said)
        self.assertIn("ValueError: thread", said)

    def test_a_thread_that_fails_is_a_crash(self) -> None:
        """Where main() returned but a thread of it failed, the program has crashed."""
        self.host.start(
            a_program("import threading\ndef main():\n    threading.Thread(target=lambda: 1 / 0, name='w').start()\n")
        )
        self.run_until(ProgramState.BACKOFF)
        self.assertIn("in thread w: Traceback", self.host.reports()[0].error or "")

    def test_the_error_of_main_counts(self) -> None:
        """Where main() failed, what its threads fail with later is in the log, but is not the program's error."""
        self.host.start(
            a_program(
                "import threading\n"
                "failed = threading.Event()\n"
                "def work():\n    failed.wait()\n    raise ValueError('thread')\n"
                "def main():\n"
                "    threading.Thread(target=work).start()\n"
                "    threading.Timer(0.05, failed.set).start()\n"
                "    raise KeyError('main')\n"
            )
        )
        self.run_until(ProgramState.BACKOFF)
        self.assertTrue((self.host.reports()[0].error or "").endswith("KeyError: 'main'"))
        self.assertIn("ValueError: thread", self.said())

    def test_an_executor_left_behind(self) -> None:
        """A pool of threads that main() forgot to shut down does its work, and does not keep the program running."""
        self.host.start(
            a_program(
                "from concurrent.futures import ThreadPoolExecutor\n"
                "pool = ThreadPoolExecutor(2)\n"
                "def main():\n    pool.submit(print, 'one')\n    pool.submit(print, 'two')\n"
            )
        )
        self.run_until(ProgramState.FINISHED)
        self.assertEqual(sorted(self.said()), ["one", "two"])


class SavedAgain(HostCase):
    """Documents that are saved without a change."""

    def test_runs_on_under_the_new_revision(self) -> None:
        """The program runs on, and is reported under the revision that was saved last."""
        program = a_program(WAITS)
        self.host.saved(program)
        self.host.start(program)
        self.run_until(ProgramState.RUNNING)
        told = len(self.changes)
        for rev in ("1-a", "2-b", "2-b"):
            self.host.saved(evolve(program, rev=rev))
        self.assertEqual(([r.rev for r in self.host.reports()], len(self.changes)), (["2-b"], told + 1))
        self.host.saved(evolve(program, rev="3-c", digest="another"))
        self.assertEqual(self.host.reports()[0].rev, "2-b")

    def test_while_it_is_replaced(self) -> None:
        """What is about to start is known by the revision that was saved last, too."""
        self.host.start(a_program(WAITS))
        self.run_until(ProgramState.RUNNING)
        program = a_program(WAITS, rev="2-b")
        self.host.start(program)
        self.host.saved(evolve(program, rev="3-c"))
        self.host.saved(evolve(program, rev="4-d", digest="another"))
        self.run_until(ProgramState.RUNNING)
        self.assertEqual(self.host.reports()[0].rev, "3-c")


class Stopping(HostCase):
    """The four steps, each with a program that needs it."""

    def begin(self, code: str) -> None:
        """Run a program, as far as its main()."""
        self.host.start(a_program("import time, threading\n" + code))
        self.run_until(ProgramState.RUNNING)

    def replace_it(self) -> None:
        """Give the host a new revision of what runs."""
        self.host.start(a_program("def main(): print('new')", rev="2-b"))

    def test_ask(self) -> None:
        """A program that listens quits by its notification, and one registered after that is called at once."""
        self.begin(
            "quit = threading.Event()\n"
            "def main():\n"
            "    register_quit_notification(quit.set)\n"
            "    quit.wait()\n"
            "    late = threading.Event()\n"
            "    register_quit_notification(late.set)\n"
            "    late.wait()\n"
            "    print('quits', should_quit())\n"
        )
        self.replace_it()
        self.reactor.until(lambda: "clock: new" in self.lines)
        self.assertEqual(self.said(), ["quits True", "new"])

    def test_breeding_notifications(self) -> None:
        """Notifications that each register two more are called in a few threads, however many there are."""
        self.begin(
            "import threading, time\n"
            "most = 0\n"
            "def breed():\n"
            "    global most\n"
            "    most = max(most, sum('notification' in t.name for t in threading.enumerate()))\n"
            "    if not done.is_set():\n"
            "        time.sleep(0.001)\n"
            "        register_quit_notification(breed), register_quit_notification(breed)\n"
            "done = threading.Event()\n"
            "def main():\n"
            "    register_quit_notification(breed)\n"
            "    while not should_quit(): time.sleep(1)\n"
            "    while most < 16: time.sleep(0.01)\n"
            "    done.set()\n"
            "    log('most', most)\n"
        )
        self.host.stop("clock")
        self.run_until(None)
        self.assertEqual([line for line in self.lines if "most" in line], ["clock: most 16"])

    def test_bad_notifications(self) -> None:
        """A notification that raises or hangs keeps neither the reactor nor the other notifications."""
        self.begin(
            "quit = threading.Event()\n"
            "def bad(): raise ValueError('bad')\n"
            "def slow(): quit.wait()\n"
            "def main():\n"
            "    for n in range(40): register_quit_notification(bad)\n"
            "    register_quit_notification(slow)\n"
            "    register_quit_notification(quit.set)\n"
            "    quit.wait()\n"
        )
        self.host.stop("clock")
        self.run_until(None)
        self.assertEqual(self.said().count("ValueError: bad"), 40)

    def test_wake(self) -> None:
        """time.sleep returns when the program has to quit, however it was imported."""
        self.begin(
            "from time import sleep\ndef main():\n    time.sleep(1e10) if not should_quit() else 0\n    sleep(3600)\n"
        )
        self.replace_it()
        self.reactor.until(lambda: "clock: new" in self.lines)

    def test_timers_are_cancelled(self) -> None:
        """A threading.Timer that is not due yet does not hold its program."""
        self.begin("def main():\n    threading.Timer(3600, print).start()\n")
        self.replace_it()
        self.reactor.until(lambda: "clock: new" in self.lines)

    def test_coroutines_are_cancelled(self) -> None:
        """async def main() runs with asyncio, may clean up, and is cancelled when it has to quit."""
        self.begin(
            "import asyncio\n"
            "async def main():\n"
            "    print('async')\n"
            "    try:\n        await asyncio.sleep(3600)\n"
            "    finally:\n        print('cleaned up')\n"
        )
        self.reactor.until(lambda: "clock: async" in self.lines)
        self.replace_it()
        self.reactor.until(lambda: "clock: new" in self.lines)
        self.assertEqual(self.said(), ["async", "cleaned up", "new"])

    def test_raise(self) -> None:
        """The beginner's endless loop ends after five seconds, its threads included."""
        self.begin(
            "def loop():\n    while True: time.sleep(1)\n"
            "def main():\n    threading.Thread(target=loop).start()\n    loop()\n"
        )
        self.replace_it()
        self.reactor.advance(4.99)
        self.assertIs(self.state(), ProgramState.STOPPING)
        self.reactor.advance(0.01)
        self.reactor.until(lambda: "clock: new" in self.lines)
        self.assertEqual(self.said(), ["new"])

    def test_raise_again(self) -> None:
        """A bare except that swallows the exit once does not help it."""
        self.begin(
            "def main():\n"
            "    try:\n        while True: time.sleep(1)\n"
            "    except: print('swallowed')\n"
            "    while True: time.sleep(1)\n"
        )
        self.replace_it()
        self.reactor.advance(5)
        self.reactor.until(lambda: "clock: swallowed" in self.lines)
        self.reactor.advance(1)
        self.reactor.until(lambda: "clock: new" in self.lines)

    def test_replace(self) -> None:
        """A thread that is blocked for good: the daemon is told that it has to be replaced, and why."""
        free = threading.Event()
        stuck = types.ModuleType("stuck_in_c")
        vars(stuck)["wait"] = free.wait
        self.patch(sys, "modules", sys.modules)
        sys.modules["stuck_in_c"] = stuck
        self.addCleanup(sys.modules.pop, "stuck_in_c")
        self.begin("import stuck_in_c\ndef main():\n    stuck_in_c.wait()\n")
        self.replace_it()
        for _ in range(199):
            self.reactor.advance(0.1)
        self.assertEqual((self.reasons, self.host.stuck()), ([], ()))
        self.reactor.advance(0.11)
        self.assertEqual(self.reasons, ["program clock has not quit 20 s after it was asked to"])
        self.assertEqual(self.host.stuck(), ("clock",))
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        free.set()
        self.reactor.until(lambda: "clock: new" in self.lines)
        self.assertEqual(self.host.stuck(), ())

    def test_the_daemon_ends_with_a_stuck_program(self) -> None:
        """stopService fires after the quit timeout all the same, and names the program that held it."""
        free = threading.Event()
        self.host.start(a_program("def main():\n    wait()\n", id="held"))
        self.run_until(ProgramState.BACKOFF, "held")
        program = a_program("import held_in_c\ndef main():\n    held_in_c.wait()\n", id="held", rev="2-b")
        module = types.ModuleType("held_in_c")
        vars(module)["wait"] = free.wait
        sys.modules["held_in_c"] = module
        self.addCleanup(sys.modules.pop, "held_in_c")
        self.host.start(program)
        self.run_until(ProgramState.RUNNING, "held")
        done = self.host.stopService()
        self.reactor.advance(5.0)
        self.assertFalse(done.called)
        self.reactor.advance(15.0)
        self.assertTrue(done.called)
        self.assertEqual((self.host.stuck(), self.reasons), (("held",), []))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        free.set()
        self.run_until(None, "held")

    def test_a_finished_program_is_told(self) -> None:
        """What a program registered is called when it is stopped, also where its main() returned long before."""
        self.begin("def main():\n    register_quit_notification(lambda: print('switched off'))\n")
        self.run_until(ProgramState.FINISHED)
        self.host.stop("clock")
        self.run_until(None)
        self.assertEqual(self.said(), ["switched off"])

    def test_a_finished_program_that_changed_its_mind(self) -> None:
        """A notification that is removed after main() returned holds nothing."""
        self.begin("def main():\n    register_quit_notification(print)\n")
        self.run_until(ProgramState.FINISHED)
        keeper = self.host._keepers["clock"]
        assert keeper._run is not None
        keeper._run.quit.remove(print)
        keeper._run.quit.remove(print)
        self.host.stop("clock")
        self.assertIsNone(self.state())

    def test_stop_in_every_state(self) -> None:
        """A program that waits for its next start is gone at once; one that is unknown is no error."""
        self.host.start(a_program("oops"))
        self.run_until(ProgramState.BACKOFF)
        self.host.stop("clock")
        self.host.stop("clock")
        self.assertIsNone(self.state())
        self.assertEqual(
            (self.host.in_hand(), self.host.tail("clock"), self.host.dropped_lines("clock")), ({}, (0, ()), 0)
        )


class Many(HostCase):
    """Several programs and several edits."""

    def test_only_the_newest_of_many_edits_runs(self) -> None:
        """A thousand edits of a program that takes its time to quit start the last one alone."""
        self.host.start(a_program("import time\ndef main():\n    while True: time.sleep(1)\n"))
        self.run_until(ProgramState.RUNNING)
        for number in range(2, 1002):
            self.host.start(a_program(f"def main(): print({number})", rev=f"{number}-x"))
        self.assertEqual(self.host.in_hand(), {"clock": Running("digest of 1001-x", {})})
        self.reactor.advance(5)
        self.run_until(ProgramState.FINISHED)
        self.assertEqual(self.said(), ["1001"])

    def test_a_stop_wins_over_an_edit_before_it(self) -> None:
        """Edited and then deleted while it quits: nothing starts."""
        self.host.start(a_program("import time\n" + WAITS))
        self.run_until(ProgramState.RUNNING)
        self.host.start(a_program("def main(): print('new')", rev="2-b"))
        self.host.stop("clock")
        self.assertEqual(self.host.in_hand(), {})
        self.run_until(None)
        self.assertEqual(self.said(), [])

    def test_restart_all(self) -> None:
        """Every program begins again, those that had finished too."""
        self.host.start(a_program("import time\nprint('up')\n" + WAITS, id="a"))
        self.host.start(a_program("def main(): print('up')", id="b"))
        self.run_until(ProgramState.RUNNING, "a")
        self.run_until(ProgramState.FINISHED, "b")
        self.host.restart_all()
        self.reactor.until(lambda: self.said("a") == ["up", "up"] == self.said("b"))

    def test_restart_all_leaves_out_what_is_stopped(self) -> None:
        """What is just being stopped for good, or with all the others, does not begin again."""
        self.host.start(a_program("import time\nprint('up')\n" + WAITS, id="a"))
        self.host.start(a_program("import time\nprint('up')\n" + WAITS, id="b"))
        self.run_until(ProgramState.RUNNING, "a")
        self.run_until(ProgramState.RUNNING, "b")
        self.host.stop("a")
        self.host.restart_all()
        self.assertEqual(set(self.host.in_hand()), {"b"})
        self.reactor.until(lambda: self.said("b") == ["up", "up"])
        self.run_until(None, "a")
        done = self.host.quit_all(10.0)
        self.host.restart_all()
        self.reactor.until(lambda: done.called)
        self.assertEqual((self.successResultOf(done), self.said("a")), ((), ["up"]))

    def test_global_modules_that_were_asked_for(self) -> None:
        """in_hand says which global modules a program got, and which it missed."""
        self.global_modules["shared"] = GlobalModule("shared", "X = 1", "doc", "1-a", "digest of shared")
        self.host.start(
            a_program("import shared\ntry: import missing\nexcept ImportError: pass\ndef main(): log(shared.X)")
        )
        self.run_until(ProgramState.FINISHED)
        self.assertEqual(self.host.in_hand()["clock"].asked, {"shared": "digest of shared", "missing": None})
        self.assertEqual(self.host.tail("clock"), (0, ("1",)))

    def test_quit_all(self) -> None:
        """All programs have so long to quit, nothing starts any more, and what had finished is still known."""
        self.host.start(a_program("def main(): pass", id="done"))
        self.host.start(a_program("import time\ndef main():\n    while True: time.sleep(1)\n", id="slow"))
        self.host.start(a_program("import time\n" + WAITS, id="quick"))
        self.run_until(ProgramState.FINISHED, "done")
        self.run_until(ProgramState.RUNNING, "slow")
        self.run_until(ProgramState.RUNNING, "quick")
        left: Deferred[tuple[str, ...]] = self.host.quit_all(2.0)
        self.run_until(None, "quick")
        self.assertNoResult(left)
        self.reactor.advance(2.0)
        self.assertEqual(self.successResultOf(left), ("slow",))
        self.host.start(a_program("def main(): pass", id="late"))
        self.assertIsNone(self.state("late"))
        self.assertEqual(dict(self.host.finished), {"done": Running("digest of 1-a", {})})
        self.reactor.advance(3.0)
        self.run_until(None, "slow")


class Restarting(HostCase):
    """What the document says about the time after an end."""

    def given(self, code: str, restart: Restart, rev: str = "1-a") -> None:
        """Start a program with that rule."""
        self.host.start(evolve(a_program(code, rev=rev), restart=restart))

    def test_always(self) -> None:
        """A program that returned is started again too, with the same pauses; its error and its crashes are none."""
        self.given("def main(): print('up')", Restart.ALWAYS)
        for restart, pause_s in enumerate((1.0, 2.0, 4.0)):
            self.run_until(ProgramState.BACKOFF)
            (report,) = self.host.reports()
            self.assertEqual((report.restarts, report.error, self.host.failures("clock")), (restart, None, ()))
            self.assertEqual(
                self.said()[-1],
                f"(main() has returned; it starts again in {pause_s:g} s, or at once when its document changes)",
            )
            self.reactor.advance(pause_s - 0.25)
            self.assertIs(self.state(), ProgramState.BACKOFF)
            self.reactor.advance(0.25)
        self.run_until(ProgramState.BACKOFF)
        self.assertEqual(dict(self.host.finished), {})

    def test_always_is_told_before_it_begins_again(self) -> None:
        """What it registered for its end is called before its next start, and an error in it is a crash."""
        self.given("def main(): register_quit_notification(lambda: print('off', should_quit()))", Restart.ALWAYS)
        self.run_until(ProgramState.BACKOFF)
        self.assertEqual(self.said()[0], "off True")
        self.given("def main(): register_quit_notification(lambda: 1 / 0)", Restart.ALWAYS, rev="2-b")
        self.run_until(ProgramState.BACKOFF)
        self.assertIn("in a quit notification: ", self.host.reports()[0].error or "")

    def test_always_without_a_thread_for_a_notification(self) -> None:
        """Where there is no thread to tell it in, it has crashed, and is started again all the same."""
        code = "import let_go\ndef main():\n    register_quit_notification(print)\n    let_go.refuse_threads()\n"
        module = types.ModuleType("let_go")

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        vars(module)["refuse_threads"] = lambda: self.patch(threads, "_plain_start", refuse)
        sys.modules["let_go"] = module
        self.addCleanup(sys.modules.pop, "let_go")
        self.given(code, Restart.ALWAYS)
        self.run_until(ProgramState.BACKOFF)
        self.assertIn("a quit notification could not be called", self.host.reports()[0].error or "")

    def test_never(self) -> None:
        """A crash is the end until the document changes, and says so."""
        self.given(CRASHES, Restart.NEVER)
        self.run_until(ProgramState.CRASHED)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.said()[-1], "(crashed; it starts again when its document changes)")
        (running,) = self.host.finished.values()
        self.assertEqual((running.digest, (running.error or "")[-9:]), ("digest of 1-a", "no sensor"))
        self.assertEqual(self.host.in_hand(), {"clock": Running("digest of 1-a", {})})
        self.given("def main(): print('mended')", Restart.NEVER, rev="2-b")
        self.run_until(ProgramState.FINISHED)
        self.assertEqual(self.said()[-1], "mended")

    def test_failures(self) -> None:
        """The last ten crashes are kept, each with the 50 lines before it, over all revisions."""
        self.given("def main():\n    for n in range(60): print(n)\n    print('end', end='')\n    1 / 0", Restart.NEVER)
        self.run_until(ProgramState.CRASHED)
        (failure,) = self.host.failures("clock")
        self.assertEqual((failure.rev, failure.time), ("1-a", 1_700_000_000.0))
        self.assertEqual(failure.lines, (*map(str, range(11, 60)), "end"))
        self.assertIn("ZeroDivisionError", failure.error)
        for number in range(2, 13):
            self.reactor.advance(1)
            self.given(CRASHES, Restart.NEVER, rev=f"{number}-x")
            self.run_until(ProgramState.CRASHED)
        failures = self.host.failures("clock")
        self.assertEqual([failure.rev for failure in failures], [f"{number}-x" for number in range(3, 13)])
        self.assertEqual(failures[-1].time, 1_700_000_011.0)
        self.assertEqual(self.host.failures("unknown"), ())


class Stopped(HostCase):
    """A program whose document says that it is stopped is in hand, and does not run."""

    def save(self, rev: str, *, stopped: bool = False, code: str = WAITS) -> Program:
        """Bring a revision."""
        program = evolve(a_program("import time\n" + code, rev=rev), stopped=stopped, rollback=True)
        self.host.start(program)
        return program

    def test_stopped_and_started(self) -> None:
        """It quits as it would for any other revision, is reported with its revision, and starts at once."""
        self.save("1-a")
        self.run_until(ProgramState.RUNNING)
        self.changes.clear()
        self.save("2-b", stopped=True)
        self.run_until(ProgramState.STOPPED)
        self.assertEqual([state for _, state in self.changes], [ProgramState.STOPPING, ProgramState.STOPPED])
        (report,) = self.host.reports()
        self.assertEqual((report.rev, report.saved_rev, report.restarts, report.error), ("2-b", None, 0, None))
        self.assertEqual((self.host.in_hand(), self.host.finished), ({"clock": Running("digest of 2-b", {})}, {}))
        self.save("3-c")
        self.assertIs(self.state(), ProgramState.STARTING)
        self.run_until(ProgramState.RUNNING)

    def test_it_stays_stopped(self) -> None:
        """New to the host, at a reload, and in another revision, which is told of: it does not run."""
        self.save("1-a", stopped=True)
        self.assertEqual(self.changes, [("clock", ProgramState.STOPPED)])
        self.reactor.advance(3600)
        self.host.restart_all()
        self.changes.clear()
        self.save("2-b", stopped=True, code=CRASHES)
        self.assertEqual(self.changes, [("clock", ProgramState.STOPPED)])
        self.assertEqual((self.host.reports()[0].rev, self.host.failures("clock")), ("2-b", ()))
        self.host.stop("clock")
        self.assertEqual(self.host.reports(), [])

    def test_what_has_crashed_or_finished(self) -> None:
        """It is not started again by its pause, asks for no global module any more, and keeps its log and failures."""
        self.global_modules["g"] = GlobalModule("g", "", "lib", "1-a", "digest of g")
        self.save("1-a", code="import g\nprint('hello')\n" + CRASHES)
        self.run_until(ProgramState.BACKOFF)
        self.save("2-b", stopped=True)
        self.reactor.advance(3600)
        self.assertIs(self.state(), ProgramState.STOPPED)
        self.assertEqual(self.host.in_hand(), {"clock": Running("digest of 2-b", {})})
        self.assertIn("hello", self.host.tail("clock")[1])
        self.assertEqual([failure.rev for failure in self.host.failures("clock")], ["1-a"])
        self.save("3-c", code="def main():\n    pass\n")
        self.run_until(ProgramState.FINISHED)
        self.save("4-d", stopped=True)
        self.assertIs(self.state(), ProgramState.STOPPED)

    def test_it_can_still_be_rolled_back(self) -> None:
        """The revision that had run for a minute before it was stopped is where a rollback leads."""
        good = self.save("1-a")
        self.run_until(ProgramState.RUNNING)
        self.reactor.advance(60)
        self.save("2-b", stopped=True)
        self.run_until(ProgramState.STOPPED)
        self.assertEqual(self.host.before("clock"), good)
        self.save("3-c", code=CRASHES)
        self.assertEqual(self.host.before("clock"), good)


class RollingBack(HostCase):
    """A revision that crashes again and again gives way to the one before, where its document asks for it."""

    def save(self, code: str, rev: str, *, rollback: bool = True) -> Program:
        """Start a revision."""
        program = evolve(a_program("import time\n" + code, rev=rev), rollback=rollback)
        self.host.start(program)
        return program

    def prove(self, rev: str = "1-a") -> Program:
        """Run a revision for a minute."""
        program = self.save(WAITS, rev)
        self.run_until(ProgramState.RUNNING)
        self.reactor.advance(60)
        return program

    def strike(self, times: int = 3) -> None:
        """Let it crash so often, with the pauses between."""
        for number in range(times):
            self.run_until(ProgramState.BACKOFF if number < 2 else ProgramState.ROLLED_BACK)
            self.reactor.advance(2.0**number if number < 2 else 0)

    def test_rolled_back(self) -> None:
        """After the third crash the one before runs; the status says so, and the document counts as in hand."""
        good = self.prove()
        bad = self.save(CRASHES, "2-b")
        self.assertEqual(self.host.before("clock"), good)
        self.strike()
        (report,) = self.host.reports()
        self.assertEqual((report.state, report.rev, report.saved_rev), (ProgramState.ROLLED_BACK, "1-a", "2-b"))
        reason, *traceback = (report.error or "").splitlines()
        self.assertEqual(
            reason,
            "revision 2-b crashed 3 times within 60 s of its start: revision 1-a runs in its place, "
            "until the document changes",
        )
        self.assertEqual((traceback[0], traceback[-1]), ("Traceback (most recent call last):", "ValueError: no sensor"))
        self.assertIn(f"({reason})", self.said())
        self.assertEqual([failure.rev for failure in self.host.failures("clock")], ["2-b"] * 3)
        self.assertEqual(self.host.in_hand()["clock"].digest, bad.digest)
        self.assertEqual(self.host.before("clock"), good)
        self.reactor.advance(3600)
        self.assertIs(self.state(), ProgramState.ROLLED_BACK)

    def test_until_the_document_changes(self) -> None:
        """A restart of all leaves it rolled back; the next revision starts at once, and can be rolled back too."""
        self.prove()
        self.save(CRASHES, "2-b")
        self.strike()
        self.host.restart_all()
        self.assertIs(self.state(), ProgramState.STOPPING)
        self.run_until(ProgramState.ROLLED_BACK)
        self.assertIn("revision 2-b crashed", self.host.reports()[0].error or "")
        self.save(CRASHES, "3-c")
        self.strike()
        self.assertIn("revision 3-c crashed", self.host.reports()[0].error or "")
        self.save(WAITS, "4-d")
        self.run_until(ProgramState.RUNNING)
        (report,) = self.host.reports()
        self.assertEqual((report.rev, report.saved_rev, report.error), ("4-d", None, None))

    def test_not_rolled_back(self) -> None:
        """Without the wish, without a minute of the one before, or after a minute of its own, it is tried again."""
        self.save(WAITS, "1-a")
        self.run_until(ProgramState.RUNNING)
        self.reactor.advance(59)
        self.save(CRASHES, "2-b")
        self.strike(2)
        self.run_until(ProgramState.BACKOFF)
        self.prove("3-c")
        self.save(CRASHES, "4-d", rollback=False)
        self.strike(2)
        self.run_until(ProgramState.BACKOFF)
        self.assertEqual({failure.rev for failure in self.host.failures("clock")}, {"2-b", "4-d"})

    def test_a_minute_makes_it_the_one_to_go_back_to(self) -> None:
        """Once a revision has run for a minute the one before is needed no more, and whoever keeps it hears of that."""
        self.prove()
        second = self.save("log('second')\n" + WAITS, "2-b")
        self.run_until(ProgramState.RUNNING)
        self.assertEqual((self.host.before("clock") or second).rev, "1-a")
        self.changes.clear()
        self.reactor.advance(60)
        self.assertEqual(self.host.before("clock"), second)
        self.assertEqual(self.changes, [("clock", ProgramState.RUNNING)])
        self.save(CRASHES, "3-c")
        self.assertEqual(self.host.before("clock"), second)
        self.strike()
        self.assertEqual(self.host.reports()[0].rev, "2-b")

    def test_the_one_before_may_end_too(self) -> None:
        """What runs in place of the document's revision has its own crashes and its own rule; the reason stays."""
        module = types.ModuleType("let_go")
        go = threading.Event()
        vars(module).update(wait=go.wait)
        sys.modules["let_go"] = module
        self.addCleanup(sys.modules.pop, "let_go")
        self.save("import let_go\ndef main():\n    let_go.wait()\n    raise KeyError('its own')\n", "1-a")
        self.run_until(ProgramState.RUNNING)
        self.reactor.advance(60)
        go.set()
        self.run_until(ProgramState.BACKOFF)
        self.save(CRASHES, "2-b")
        self.strike(2)
        go.clear()
        self.run_until(ProgramState.ROLLED_BACK)
        go.set()
        self.run_until(ProgramState.BACKOFF)
        (report,) = self.host.reports()
        self.assertEqual((report.rev, report.restarts), ("1-a", 0))
        self.assertRegex(report.error or "", r"(?s)^revision 2-b crashed.*KeyError: 'its own'$")
        self.reactor.advance(1)
        self.run_until(ProgramState.BACKOFF)
        self.assertEqual(self.host.reports()[0].restarts, 1)

    def test_the_one_before_may_finish(self) -> None:
        """That is not taken for an end of the document's revision by the process that takes over."""
        self.prove()
        self.save(CRASHES, "2-b")
        self.strike()
        keeper = self.host._keepers["clock"]
        assert keeper._run is not None
        keeper._run.ask()
        self.run_until(ProgramState.FINISHED)
        self.assertEqual(dict(self.host.finished), {})
        self.assertIn("revision 2-b crashed 3 times", self.host.reports()[0].error or "")

    def test_global_modules(self) -> None:
        """Where a global module appears that the refused revision had asked for, that revision is tried again."""
        self.prove()
        bad = self.save("import sensors\n" + WAITS, "2-b")
        self.strike()
        self.assertEqual(self.host.in_hand()["clock"].asked, {"sensors": None, "time": None})
        self.global_modules["sensors"] = GlobalModule("sensors", "", "lib", "1-a", "digest of sensors")
        self.host.start(bad)
        self.run_until(ProgramState.RUNNING)
        self.assertEqual(self.host.reports()[0].rev, "2-b")
        self.assertEqual((self.host.before("clock") or bad).rev, "1-a")


class KeptBefore(HostCase):
    """A host that was given what an earlier process knew."""

    kept = types.MappingProxyType({id: a_program("import time\n" + WAITS, id=id) for id in ("clock", "gone")})

    def test_rolled_back_over_a_restart(self) -> None:
        """A revision that is new since then can be rolled back; what is stopped is forgotten."""
        self.assertEqual(self.host.before("clock"), self.kept["clock"])
        self.host.start(evolve(a_program(CRASHES, rev="2-b"), rollback=True))
        for pause_s in (1, 2):
            self.run_until(ProgramState.BACKOFF)
            self.reactor.advance(pause_s)
        self.run_until(ProgramState.ROLLED_BACK)
        self.assertEqual(self.host.reports()[0].rev, "1-a")
        self.host.stop("gone")
        self.assertIsNone(self.host.before("gone"))


class AfterExec(HostCase):
    """A host that takes over from the process before."""

    already = types.MappingProxyType(
        {id: Running("digest of 1-a", {"shared": "x"}) for id in ("same", "edited", "later")}
        | {"crashed": Running("digest of 1-a", {}, "ValueError: no sensor")}
    )

    def test_what_had_finished_is_not_run_again(self) -> None:
        """Finished programs stay so across the exec, unless their documents have changed."""
        self.host.start(a_program("def main(): print('again')", id="same"))
        self.host.start(a_program("def main(): print('again')", id="edited", rev="2-b"))
        self.run_until(ProgramState.FINISHED, "edited")
        self.assertIs(self.state("same"), ProgramState.FINISHED)
        self.assertEqual((self.said("same"), self.said("edited")), ([], ["again"]))
        self.assertEqual(self.host.in_hand()["same"], Running("digest of 1-a", {"shared": "x"}))
        self.assertEqual(set(self.host.finished), {"same", "edited", "later", "crashed"})
        self.assertEqual(self.host.finished["later"], Running("digest of 1-a", {"shared": "x"}))

    def test_what_had_crashed_for_good(self) -> None:
        """A program that is never started again stays crashed, with what is known of its error."""
        self.host.start(a_program("def main(): print('again')", id="crashed"))
        (report,) = self.host.reports()
        self.assertEqual((report.state, report.error), (ProgramState.CRASHED, "ValueError: no sensor"))
        self.assertEqual(self.host.finished["crashed"], self.already["crashed"])
        self.host.restart_all()
        self.run_until(ProgramState.FINISHED, "crashed")
