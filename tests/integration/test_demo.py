"""The demo, used as a newcomer uses it: it is started, its lines are pasted into a shell, and Ctrl-C ends it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from himbeerecouch.demo_log import readable
from tests.integration.world import MAC_ID, ROOT, environment, until

STARTED = "Below is what the daemon logs"


class Demo:
    """A demo that runs, and what it has printed."""

    def __init__(self, test: SynchronousTestCase, *arguments: str) -> None:
        self.folder = Path(test.mktemp()).absolute()
        (self.folder / "tmp").mkdir(parents=True)
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "himbeerecouch.demo", *arguments],
                cwd=ROOT,
                env={**environment(), "TMPDIR": str(self.folder / "tmp")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        test.addCleanup(self.kill)

    def output(self) -> str:
        """All that it has printed so far."""
        return (self.folder / "output").read_text()

    def lines(self) -> list[str]:
        """The lines that it wants to be pasted into a shell: those that are set in."""
        return [line.strip() for line in self.output().splitlines() if line.startswith("    ")]

    def processes(self) -> dict[int, str]:
        """What runs of it beside the demo itself: the command lines, which all name its temporary folder."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.folder) in command:
                found[int(path.parent.name)] = command
        return found

    def wait_for(self, text: str, within_s: float = 180.0) -> None:
        """Wait until it has printed ``text``."""
        try:
            until(lambda: text in self.output() or self.process.poll() is not None, text, within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None
        if text not in self.output():
            raise AssertionError(f"the demo ended with {self.process.returncode}, without {text!r}\n{self.output()}")

    def end(self, number: signal.Signals) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def kill(self) -> None:
        """End all of it, also where the test has failed in the midst."""
        for pid in ([self.process.pid] if self.process.poll() is None else []) + list(self.processes()):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def paste(lines: str) -> subprocess.CompletedProcess[str]:
    """Have a shell read these lines, and stop at the first that fails."""
    return subprocess.run(
        ["bash", "-eu"],
        input=lines,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class DemoTests(SynchronousTestCase):
    timeout = 600

    def assert_all_gone(self, demo: Demo) -> None:
        """No process and no file is left."""
        self.assertEqual(demo.processes(), {})
        self.assertEqual(list((demo.folder / "tmp").iterdir()), [])

    def test_as_a_newcomer(self) -> None:
        """The lines that it prints change a program and run a command, and Ctrl-C ends all of it."""
        if shutil.which("bash") is None:
            raise SkipTest("there is no bash to paste the printed lines into")
        demo = Demo(self)
        demo.wait_for(STARTED)
        demo.wait_for("clock: it is ")
        demo.wait_for("KeyError: 'humidity'")
        self.assertEqual(len(demo.processes()), 3)
        steps = [demo.output().index(f"\n{number}. ") for number in range(1, 6)]
        self.assertEqual(steps, sorted(steps))
        self.assertLess(demo.output().index(STARTED), demo.output().index("program "), "the log is to come last")

        lines = demo.lines()
        # A person reads before typing; until then the Pi has told the database what the program had printed.
        log = "\n".join([*lines[:2], *(line for line in lines if " logs " in line)])
        until(lambda: paste(log).returncode == 0, "the log of the program that crashes", 60.0)
        typed = "\n".join(lines)
        pasted = paste(typed)
        self.assertEqual(pasted.returncode, 0, f"{typed}\n{pasted.stdout}\n{pasted.stderr}")
        demo.wait_for("changed: it is")
        self.assertIn(os.uname().release, pasted.stdout)
        self.assertIn("KeyError: 'humidity'", pasted.stdout)

        printed = re.search(r"(http://\S+)/   as the user (\w+), with the password (\w+)", demo.output())
        assert printed is not None
        page, user, password = printed.groups()
        login = json.dumps({"name": user, "password": password}).encode()
        headers = {"Content-Type": "application/json", "Origin": page}
        request = urllib.request.Request(f"{page}/couch/_session", data=login, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as session:
            self.assertEqual(json.load(session)["roles"], ["_admin"])
        with urllib.request.urlopen(page, timeout=30) as index:
            self.assertIn("<title>himbeerecouch</title>", index.read().decode())

        self.assertEqual(demo.end(signal.SIGINT), 0, demo.output())
        self.assertTrue(demo.output().endswith("\nall ended\n"), demo.output())
        self.assert_all_gone(demo)

    def test_other_ends(self) -> None:
        """A closed terminal ends all of it as well, also in the midst of its start."""
        demo = Demo(self, "examples")
        demo.wait_for("2. ")
        self.assertEqual(demo.end(signal.SIGHUP), 0, demo.output())
        self.assert_all_gone(demo)

    def test_daemon_that_ends(self) -> None:
        """When the daemon ends by itself the demo says so, and ends with another exit status than 0."""
        demo = Demo(self, "examples")
        demo.wait_for(STARTED)
        (daemon,) = (pid for pid, command in demo.processes().items() if f"--mac-id={MAC_ID}" in command)
        os.kill(daemon, signal.SIGKILL)
        self.assertEqual(demo.process.wait(60), 1, demo.output())
        self.assertIn("the daemon has ended by itself", demo.output())
        self.assert_all_gone(demo)

    def test_no_examples(self) -> None:
        """A folder that is not there is named, and nothing is started."""
        demo = Demo(self, "nowhere")
        self.assertEqual(demo.process.wait(60), 2)
        self.assertIn("nowhere: there is no such folder", demo.output())


class ReadableTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """Of a line of the log a person sees the time and the words, and nothing of what is twistd's own."""
        for line, shown in (
            ("2026-05-01T12:00:00+0000 [himbeerecouch.node#info] words", "12:00:00  words"),
            ("2026-05-01T12:00:00-0130 [himbeerecouch.node#warn] oh [x]", "12:00:00  warning: oh [x]"),
            ("2026-05-01T12:00:00+0000 [himbeerecouch.node#error] no", "12:00:00  error: no"),
            ("2026-05-01T12:00:00+0000 [himbeerecouch.node#critical] no", "12:00:00  error: no"),
            ("2026-05-01T12:00:00+0000 [twisted.internet.base#info] Main loop terminated.", None),
            ("2026-05-01T12:00:00+0000 [-] Discovery starting on 53000", None),
            ("  a traceback", "            a traceback"),
        ):
            self.assertEqual(readable(line), shown, line)
