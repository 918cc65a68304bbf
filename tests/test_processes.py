"""What ``/proc`` says of processes, whatever their names are and however soon they go."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.commands import processes
from himbeerecouch.commands.processes import MARK, Process
from himbeerecouch.commands.record import Birth


def add_process(
    proc: Path,
    pid: int,
    *,
    group: int = 0,
    session: int | None = None,
    ticks: int = 0,
    state: str = "S",
    name: str = "x",
    claim: str | None = None,
) -> None:
    """A process in a made-up ``/proc``: by itself the leader of a group and session of its own.

    Session 0 is the kernel's word for one that began outside of this pid namespace, as in a container.
    """
    folder = proc / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [1, group or pid, (group or pid) if session is None else session, *[0] * 15, ticks, 0]
    (folder / "stat").write_text(f"{pid} ({name}) {state} {' '.join(map(str, numbers))}")
    marks = [] if claim is None else [f"{MARK}={claim}"]
    (folder / "environ").write_bytes("\0".join(["HOME=/", *marks, ""]).encode())


class ProcessesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.proc = Path(self.mktemp())
        (self.proc / "sys/kernel/random").mkdir(parents=True)
        (self.proc / "sys/kernel/random/boot_id").write_text("boot-1\n")

    def test_processes(self) -> None:
        """A name may hold anything; what is gone or torn is left out; what has ended does not live."""
        add_process(self.proc, 5, ticks=70, name="a) b 7) S 0 5 5")
        add_process(self.proc, 6, group=5, ticks=80)
        add_process(self.proc, 7, state="Z")
        (self.proc / "8").mkdir()
        for pid, text in ((9, "9 (gone"), (10, ""), (11, "11 (x) S a b c")):
            add_process(self.proc, pid)
            (self.proc / str(pid) / "stat").write_text(text)
        self.assertEqual(
            sorted(processes.processes(self.proc), key=lambda process: process.pid),
            [
                Process(5, 5, 5, 70, lives=True),
                Process(6, 5, 5, 80, lives=True),
                Process(7, 7, 7, 0, lives=False),
            ],
        )
        self.assertEqual([processes.group_lives(group, self.proc) for group in (5, 6, 7)], [True, False, False])

    def test_birth(self) -> None:
        """A process is told from all that ever bear its number by when it was started, and in which boot."""
        add_process(self.proc, 5, ticks=70)
        self.assertEqual(processes.birth_of(5, self.proc), Birth(5, 70, "boot-1"))
        self.assertIsNone(processes.birth_of(6, self.proc))
        (self.proc / "sys/kernel/random/boot_id").unlink()
        self.assertIsNone(processes.birth_of(5, self.proc))

    def test_bears(self) -> None:
        """A mark is the whole of a variable, and that of a process which may not be looked at is not known."""
        add_process(self.proc, 5, claim="me-1")
        add_process(self.proc, 6)
        for pid, claim, bears in ((5, "me-1", True), (5, "me-", False), (5, "me-12", False), (6, "me-1", False)):
            self.assertIs(processes.bears(pid, claim, self.proc), bears)
        self.assertFalse(processes.bears(7, "me-1", self.proc))
