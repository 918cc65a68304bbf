"""The processes that programs have started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import offspring

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(99)"


class OffspringTests(SynchronousTestCase):
    def child(self, *argv: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def test_descendants(self) -> None:
        """Children and theirs are found, and nobody else."""
        parent = self.child("sh", "-c", "sleep 99 & echo $!; wait")
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        found = offspring.descendants()
        self.assertLess(found.index(parent.pid), found.index(grandchild))
        self.assertNotIn(os.getpid(), found)
        offspring.end([grandchild])

    def test_odd_names(self) -> None:
        """A process may be called anything; what can't be read is passed over."""
        proc = Path(self.mktemp())
        for name, stat in (("5", f"5 (a) b) R {os.getpid()} 5"), ("6", "6 (c) S 5 6"), ("7", "nonsense"), ("x", "")):
            (proc / name).mkdir(parents=True)
            (proc / name / "stat").write_text(stat)
        (proc / "8").mkdir()
        self.assertEqual(offspring.descendants(proc), [5, 6])
        self.assertEqual(offspring.descendants(proc / "none"), [])

    def test_orphans(self) -> None:
        """What bears the mark of this Pi and is not of this process's family was left behind."""
        proc = Path(self.mktemp())
        for pid, name in ((5, "1234"), (6, "12345"), (os.getpid(), "1234")):
            (proc / str(pid)).mkdir(parents=True)
            (proc / str(pid) / "environ").write_bytes(f"A=1\0{offspring.MARK}={name}\0".encode())
        (proc / "7").mkdir()
        # What was forked has the environment of the daemon, from before the mark, and its open files.
        for pid, name in ((8, "1234"), (9, "12345")):
            (proc / str(pid) / "fd").mkdir(parents=True)
            (proc / str(pid) / "environ").write_bytes(b"A=1\0")
            (proc / str(pid) / "fd" / "3").symlink_to(f"/memfd:{offspring._label(name)} (deleted)")
        (proc / "9" / "fd" / "4").write_text("no link")
        self.assertEqual(sorted(offspring.orphans("1234", proc)), [5, 8])

    def test_mark(self) -> None:
        """The mark is inherited by what is started from then on, until it is taken back."""
        before = dict(os.environ)
        self.addCleanup(os.environ.pop, offspring.MARK, before.get(offspring.MARK))
        offspring.mark("77")
        offspring.mark("77")
        inherited = subprocess.run(["env"], capture_output=True, check=True).stdout
        self.assertIn(f"{offspring.MARK}=77".encode(), inherited.splitlines())
        links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        self.assertEqual(links.count(f"/memfd:{offspring._label('77')} (deleted)"), 1)
        offspring.unmark()
        offspring.unmark()
        self.assertNotIn(offspring.MARK, os.environ)

    def test_end(self) -> None:
        """One that listens is ended and reaped; one that does not is killed; one that is gone is no error."""
        kind, stubborn = self.child("sleep", "99"), self.child(sys.executable, "-c", STUBBORN)
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        offspring.end([kind.pid, stubborn.pid, 2**22 + 1], grace_s=0.1)
        self.assertEqual(stubborn.wait(5) in (-9, 0), True)
        self.assertRaises(ProcessLookupError, os.kill, kind.pid, 0)
        offspring.end([])
