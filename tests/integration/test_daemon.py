"""The documented promises, kept by the real ``twistd himbeerecouch``."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import prog
from himbeerecouch.offspring import orphans
from tests.integration.world import MAC_ID, PATH, TWISTD, Daemon, World, until

LOOP = """import time

def main():
    log('{0} runs')
    while not should_quit():
        time.sleep(60)
    log('{0} quits')
"""


FORKS = """
import multiprocessing, time

def child():
    print("a child prints", flush=True)
    time.sleep(777)

def main():
    fork = multiprocessing.get_context("fork")
    first, second = fork.Process(target=child), fork.Process(target=child)
    first.start()
    second.start()
    first.terminate()
    first.join()
    log("terminated", first.exitcode)
    log("pid", second.pid)
    while not should_quit():
        second.join(1)
"""


GOES_AWAY = """
import os, tempfile

def main():
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)
    log("nowhere now")
"""


LEAKS = """
import resource, time

resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
kept = []

def main():
    while not should_quit():
        try:
            kept.append(open("/dev/null"))
        except OSError:
            log("full")
            time.sleep(0.01)
"""


class ProgramTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)

    def test_life_of_a_program(self) -> None:
        """A saved document runs, a change replaces it, a deletion stops it, and nobody else is touched."""
        self.world.program("other", LOOP.format("other"))
        daemon = self.world.start(wait="other runs")
        self.world.program("blink", LOOP.format("first"))
        daemon.wait_for("first runs")
        self.world.program("blink", LOOP.format("second"))
        daemon.wait_for("second runs")
        daemon.wait_for("first quits")
        self.world.delete("blink")
        daemon.wait_for("second quits")
        self.world.program("other", LOOP.format("mine no more"), _rev=self.world.get("other")["_rev"])
        daemon.wait_for("mine no more runs")
        self.world.save("other", type=5, code="")
        daemon.wait_for("mine no more quits")
        self.assertEqual(len(daemon.lines("other runs")), 1)
        self.assertEqual(daemon.stop(), 0)

    def test_modules(self) -> None:
        """A program imports its own modules, and the global modules of a document for another Pi."""
        self.world.save("lib", type=5, global_modules={"sensors": "VALUE = 41\n"})
        daemon = self.world.start()
        self.world.save(
            "prog",
            type=str(MAC_ID),
            modules={
                "main": "import helper\nfrom sensors import VALUE\n\ndef main():\n    log('got', helper.plus(VALUE))\n",
                "helper": "def plus(value):\n    log('helping')\n    return value + 1\n",
            },
        )
        daemon.wait_for("got 42")
        daemon.wait_for("helping")
        self.world.program("alone", LOOP.format("alone"))
        daemon.wait_for("alone runs")
        self.world.save("lib", type=5, global_modules={"sensors": "VALUE = !\n"})
        daemon.wait_for("does not compile")
        self.world.save("lib", type=5, global_modules={"sensors": "VALUE = 99\n"})
        daemon.wait_for("got 100")
        self.assertEqual((len(daemon.lines("got ")), len(daemon.lines("alone runs"))), (2, 1))

    def test_crash(self) -> None:
        """A crash shows the document's own line, is started again later, and a new revision runs at once."""
        daemon = self.world.start()
        self.world.program("bad", "def main():\n    return 1 / 0  # my line\n")
        daemon.wait_for("1 / 0  # my line")
        daemon.wait_for("ZeroDivisionError", count=2)
        self.world.program("bad", "def main():\n    log('mended')\n")
        daemon.wait_for("mended")

    def test_nonsense(self) -> None:
        """Documents that are nonsense are named with the reason, and everything else goes on."""
        daemon = self.world.start()
        nonsense: dict[str, dict[str, object]] = {
            "syntax": {"code": "def main(:\n"},
            "no-main": {"code": "x = 1\n"},
            "not-callable": {"code": "main = 5\n"},
            "nul": {"code": "x = '\0'"},
            "list": {"modules": ["x"]},
            "no-string": {"modules": {"main": 5}},
            "bad-name": {"modules": {"main": "", "a-b": ""}},
            "large": {"code": "#" * (1024 * 1024 + 1)},
        }
        for id, members in nonsense.items():
            self.world.save(id, type=MAC_ID, **members)
        self.world.save("huge", type=MAC_ID, code="\n" * 7_900_000)
        self.world.save("other", type=True, code="def main():\n    log('never')\n")
        self.world.program("fine", "def main():\n    log('goes on')\n", modules={"os": "X = 1\n"})
        daemon.wait_for("goes on")
        for id in (*nonsense, "huge"):
            daemon.wait_for(id)
        self.assertEqual(daemon.lines("never"), [])

    def test_two_hundred_programs(self) -> None:
        """Two hundred programs run at once, and all of them quit."""
        self.world.couch.ask(
            "POST",
            f"{PATH}/_bulk_docs",
            {"docs": [{"_id": f"p{n:03}", "type": MAC_ID, "code": LOOP.format(f"p{n:03}")} for n in range(200)]},
        )
        daemon = self.world.start()
        daemon.wait_for(" runs", count=200)
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(len(daemon.lines(" quits")), 200)

    def test_many_edits(self) -> None:
        """Of a thousand quick edits the last one is what runs, and neither threads nor descriptors have piled up."""
        self.world.program("blink", LOOP.format("edit none"))
        daemon = self.world.start(wait="edit none runs")
        threads, descriptors = daemon.threads(), daemon.descriptors()
        rev = self.world.get("blink")["_rev"]
        for number in range(1000):
            rev = self.world.couch.ask(
                "PUT",
                f"{PATH}/blink",
                {"_rev": rev, "type": MAC_ID, "name": "blink", "code": LOOP.format(f"edit {number:03}")},
            )["rev"]
        daemon.wait_for("edit 999 runs")
        # What pools keep: the disk's thread, that of a program that ended while the next one began, two connections.
        until(lambda: daemon.threads() <= threads + 3, "threads nearly as before")
        until(lambda: daemon.descriptors() <= descriptors + 3, "descriptors nearly as before")
        self.assertEqual(self.world.command("alive", "true")["execution"]["state"], "done")


class CommandTests(SynchronousTestCase):
    def test_commands(self) -> None:
        """A command's output comes back in its document; one that can't be run says why."""
        world = World(self)
        daemon = world.start()
        until((world.state_dir / str(MAC_ID) / "started").exists, "the first snapshot")
        self.assertEqual(world.command("c1", "echo", "hello")["ret"], ["hello\n", ""])
        answered = world.command("c2", "sh", "-c", "echo oops >&2; exit 3")
        self.assertEqual((answered["ret"], answered["execution"]["exit_code"]), (["", "oops\n"], 3))
        nothing, reason = world.command("c3", "no-such-program")["ret"]
        self.assertIsNone(nothing)
        self.assertIn("no-such-program", reason)
        nothing, reason = world.command("c4", cmd="echo")["ret"]
        self.assertEqual((nothing, "list of strings" in reason), (None, True))
        self.assertIn("no LED", world.command("c5", action="identify")["ret"][0])
        self.assertEqual(daemon.stop(), 0)

    def test_old_commands(self) -> None:
        """What was inserted before the first start ever is not run: nobody wants last year's reboot."""
        world = World(self)
        world.save("old", type=f"{MAC_ID}_cmd", cmd=["touch", str(world.folder / "touched")])
        daemon = world.start()
        self.assertEqual(world.answered("old")["execution"]["state"], "expired")
        self.assertFalse((world.folder / "touched").exists())
        daemon.stop()
        world.save("while-down", type=f"{MAC_ID}_cmd", cmd=["echo", "now"])
        world.start()
        self.assertEqual(world.answered("while-down")["ret"], ["now\n", ""])

    def test_restart(self) -> None:
        """The action ``restart`` is answered, and the daemon starts afresh with the same pid; no other one ends it."""
        world = World(self)
        world.program("blink", LOOP.format("blink"))
        daemon = world.start(wait="blink runs")
        self.assertEqual(world.command("c", action="restart")["ret"], ["restarting", ""])
        daemon.wait_for("blink runs", count=2)
        neighbour = World(self, user=False)
        neighbour.start(wait="401")
        self.assertEqual(orphans(str(world.state_dir / str(MAC_ID))), [])
        self.assertEqual((daemon.stop(), len(daemon.lines("blink quits"))), (0, 2))

    def test_rotate(self) -> None:
        """The action ``rotate`` makes a new password that works from then on, also after a restart."""
        world = World(self, user=False)
        daemon = world.start(password=False)
        account = world.state_dir / str(MAC_ID) / "account.json"
        until(account.exists, "a password")
        world.make_user(json.loads(account.read_text())["password"])
        daemon.stop()
        before = json.loads(account.read_text())["password"]
        daemon = world.start(password=False)
        answered = world.command("c", action="rotate", expires="2100-01-01T00:00:00Z")
        self.assertEqual(answered["ret"], ["this Pi has a new password", ""])
        self.assertNotEqual(json.loads(account.read_text())["password"], before)
        self.assertEqual(world.command("c2", "echo", "x")["ret"], ["x\n", ""])
        daemon.stop()
        daemon = world.start(password=False)
        self.assertEqual(world.command("c3", "echo", "x")["ret"], ["x\n", ""])
        self.assertNotIn(before, daemon.log())


class EndingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)

    def test_signals(self) -> None:
        """SIGTERM and SIGINT end it with exit status 0, in little more time than the programs take."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.world.program("blink", LOOP.format(f"blink {number}"))
            daemon = self.world.start(wait=f"blink {number} runs")
            daemon.signal(number)
            self.assertEqual(daemon.wait(5), 0)
            self.assertEqual(len(daemon.lines(f"blink {number} quits")), 1)

    def test_waiting_for_an_absent_server(self) -> None:
        """It ends as quickly while it waits for a server that is not there."""
        self.world.server.kill()
        daemon = self.world.start(wait=self.world.server.url)
        self.assertEqual(daemon.stop(5), 0)

    def test_thread_that_never_returns(self) -> None:
        """With a program that can't be ended it ends all the same, names that program, and exits non-zero."""
        self.world.program("stuck", "import threading\n\ndef main():\n    log('in it')\n    threading.Event().wait()\n")
        daemon = self.world.start("--quit-timeout=2", wait="in it")
        self.assertNotIn(daemon.stop(20), (0, -signal.SIGTERM))
        self.assertIn("stuck", daemon.log())

    def test_replaces_itself(self) -> None:
        """A program that can't be ended gives way to its new revision, in the same process; what finished stays so."""
        self.world.program("once", "def main():\n    log('once and for all')\n")
        self.world.program("stuck", "import threading\n\ndef main():\n    log('in it')\n    threading.Event().wait()\n")
        self.world.program("other", LOOP.format("other"))
        daemon = self.world.start("--quit-timeout=2", wait="in it")
        daemon.wait_for("other runs")
        daemon.wait_for("once and for all")
        self.world.program("mover", GOES_AWAY)  # the last one: what measures coverage has to know where it is
        daemon.wait_for("nowhere now")
        time.sleep(0.3)  # until `once` and `mover` are known to have finished
        self.world.program("stuck", LOOP.format("unstuck"))
        daemon.wait_for("unstuck runs")
        daemon.wait_for("other runs", count=2)
        self.assertIsNone(daemon.process.poll())
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual((len(daemon.lines("once and for all")), len(daemon.lines("other quits"))), (1, 2))

    def test_reload_and_stacks(self) -> None:
        """SIGHUP restarts the programs; SIGUSR2 logs every thread's stack with its program."""
        self.world.program("blink", LOOP.format("blink"))
        daemon = self.world.start(wait="blink runs")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("blink runs", count=2)
        daemon.signal(signal.SIGUSR2)
        daemon.wait_for("of program 'blink'")
        daemon.wait_for("in main")

    def test_children_of_programs(self) -> None:
        """What a program has started ends with the daemon, also with one that was killed or replaces itself."""
        code = "import subprocess\n\ndef main():\n    log('pid', subprocess.Popen(['sleep', '777']).pid)\n"
        self.world.program("parent", code + "    __import__('threading').Event().wait()\n")
        daemon = self.world.start("--quit-timeout=1", wait="parent: pid")
        first = self.child(daemon)
        daemon.kill()
        daemon = self.world.start("--quit-timeout=1", wait="parent: pid")
        until(lambda: not first.exists(), "the end of what was left behind")
        second = self.child(daemon)
        self.world.program("parent", code)
        daemon.wait_for("parent: pid", count=2)
        self.assertFalse(second.exists())
        third = self.child(daemon)
        self.assertTrue(third.exists())
        self.assertEqual(daemon.stop(), 0)
        self.assertFalse(third.exists())

    def test_forked_children_of_programs(self) -> None:
        """A process that a program forks prints and ends like any other, and keeps no next daemon from starting."""
        self.world.program("parent", FORKS)
        daemon = self.world.start(wait="parent: pid")
        daemon.wait_for("a child prints")
        daemon.wait_for("parent: terminated -15")
        first = self.child(daemon)
        daemon.kill()
        self.assertTrue(first.exists())
        daemon = self.world.start(wait="parent: pid")
        until(lambda: not first.exists(), "the end of what was left behind")
        second = self.child(daemon)
        self.assertEqual(daemon.stop(), 0)
        self.assertFalse(second.exists())

    def child(self, daemon: Daemon) -> Path:
        """Where proc(5) shows the child whose pid the program has logged last."""
        return Path("/proc", daemon.lines("parent: pid")[-1].split()[-1])

    def test_relative_paths(self) -> None:
        """Paths of the command line stay what they were, wherever a program changes to."""
        self.world.program("mover", "import os\n\ndef main():\n    os.chdir('/')\n    log('moved')\n")
        daemon = self.world.start("--state-dir=here", "--server-file=server", wait="moved")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("moved", count=2)
        self.assertEqual(daemon.lines("can't be"), [])
        self.assertTrue((self.world.folder / "here" / str(MAC_ID)).is_dir())

    def test_second_daemon(self) -> None:
        """A second daemon of the same Pi on the same state directory ends at once and says why."""
        first = self.world.start()
        until((self.world.state_dir / str(MAC_ID) / "lock").exists, "the lock")
        second = self.world.start()
        self.assertNotEqual(second.wait(), 0)
        self.assertIn(str(first.pid), second.log())
        self.assertIsNone(first.process.poll())

    def test_background(self) -> None:
        """As a background daemon it has a pid file and a bounded log, also after it has replaced itself."""
        pid_file, log = self.world.folder / "pid", self.world.folder / "log"
        arguments = [*TWISTD, f"--pidfile={pid_file}", f"--logfile={log}", *self.world.arguments()]
        self.world.program("stuck", "import threading\n\ndef main():\n    log('in it')\n    threading.Event().wait()\n")
        daemon = Daemon(
            [*arguments, f"--password-file={self.world.password_file}", "--quit-timeout=2"], self.world.folder
        )
        self.assertEqual(daemon.wait(), 0)
        pid = int(pid_file.read_text())
        self.addCleanup(_kill, pid)
        until(lambda: log.exists() and "in it" in log.read_text(), "the program")
        second = self.world.start()
        self.assertNotEqual(second.wait(), 0)
        self.assertIn(f"(pid {pid})", second.log())
        self.world.program("stuck", LOOP.format("unstuck"))
        until(lambda: "unstuck runs" in log.read_text(), "the new revision")
        self.assertEqual(int(pid_file.read_text()), pid)
        os.kill(pid, signal.SIGTERM)
        until(lambda: not pid_file.exists() and not Path(f"/proc/{pid}").exists(), "the end")


class TroubleTests(SynchronousTestCase):
    """What is wrong is named, and once it is mended everything works without a restart."""

    def setUp(self) -> None:
        self.world = World(self, database=False, user=False)

    def test_everything_is_missing_at_first(self) -> None:
        """A wrong server file, no server, no user, no database: each is named, and mended while it runs."""
        self.world.server_file.write_text("")
        daemon = self.world.start(wait=str(self.world.server_file))
        self.assertIn("it is empty", daemon.log())
        self.world.server_file.write_text("http://127.0.0.1:1\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("127.0.0.1:1")
        # Only the file that can't be used at all is read again at times of its own: a server that fails is asked about.
        self.world.make_user()
        self.world.server_file.write_text(self.world.server.url)
        daemon.wait_for(f"{self.world.server.url}: database nedm/raspberries")
        self.world.make_database()
        self.world.program("blink", LOOP.format("blink"))
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("blink runs")

    def test_password_changes(self) -> None:
        """A password that is changed in the password file and at the server is taken over."""
        self.world.make_database()
        self.world.make_user()
        self.world.program("before", LOOP.format("before"))
        daemon = self.world.start(wait="before runs")
        self.world.password_file.write_text("another\n")
        self.world.make_user("another")
        self.world.program("wake", LOOP.format("wake"))  # ends the poll that is let in by the old password
        self.world.program("after", LOOP.format("after"))
        daemon.wait_for("after runs")

    def test_program_that_leaks_files(self) -> None:
        """Where a program has opened all that can be, the daemon replaces itself: so its mending comes to run."""
        self.world.make_database()
        self.world.make_user()
        self.world.program("leak", LEAKS)
        daemon = self.world.start("--quit-timeout=2", wait="full")
        self.world.server.kill()
        time.sleep(1)  # until the program has taken what the connection had
        self.world.server_up()
        self.world.program("leak", LOOP.format("mended"))
        daemon.wait_for("mended runs", within_s=60)
        self.assertEqual(len(daemon.lines("replaces itself")), 1)
        self.assertEqual(daemon.stop(), 0)

    def test_no_user_yet(self) -> None:
        """A Pi without a user says what to do; soon after a probe it tries again, and is in when the user is there."""
        from himbeerecouch.discovery import ask

        port = _free_udp_port()
        self.world.make_database()
        self.world.program("blink", LOOP.format("blink"))
        daemon = self.world.start("--discovery=enroll", f"--discovery-port={port}", password=False, wait="401")
        answer = until(
            lambda: [a for a in ask.probe(self.world.server.url, 1.0, port=port) if a.mac_id == MAC_ID], "an answer"
        )[0]
        assert answer.password is not None
        self.world.make_user(answer.password)
        daemon.wait_for("blink runs")
        answer = until(
            lambda: [a for a in ask.probe(self.world.server.url, 1.0, port=port) if a.mac_id == MAC_ID], "an answer"
        )[0]
        self.assertIsNone(answer.password)
        self.assertNotIn(
            json.loads((self.world.state_dir / str(MAC_ID) / "account.json").read_text())["password"], daemon.log()
        )


def _free_udp_port() -> int:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _kill(pid: int) -> None:
    import contextlib

    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class ProgTests(SynchronousTestCase):
    """``himbeerecouch.prog``, as supervisord and the init script use it."""

    def test_run(self) -> None:
        """``run`` blocks in the foreground, logs to stdout, and SIGTERM ends it with exit status 0."""
        world = World(self)
        code = f"import himbeerecouch.prog as p; p.run({str(world.folder / 'none')!r})"
        daemon = Daemon([TWISTD[0], "-c", code], world.folder)
        self.addCleanup(daemon.kill)
        daemon.wait_for("none")
        self.assertEqual(daemon.stop(5), 0)

    def test_run_daemon(self) -> None:
        """``run_daemon`` starts it in the background, reloads, restarts and stops it."""
        world = World(self)
        world.program("blink", LOOP.format("blink"))
        path = str(world.folder / "var")
        options = [*world.arguments()[2:], f"--password-file={world.password_file}"]

        def do(action: str) -> None:
            prog.run_daemon(action, str(world.server_file), path, *options)

        log = world.folder / "var" / "himbeerecouch.log"
        self.addCleanup(do, "stop")
        for action, runs in (("start", 1), ("reload", 2), ("restart", 3)):
            do(action)
            until(partial(self.has_run, log, runs), action)
        do("stop")
        self.assertEqual(log.read_text().count("blink quits"), 3)
        self.assertEqual([path.name for path in log.parent.iterdir()], ["himbeerecouch.log"])

    def has_run(self, log: Path, times: int) -> bool:
        """Whether the program has begun so often."""
        return log.exists() and log.read_text().count("blink runs") == times
