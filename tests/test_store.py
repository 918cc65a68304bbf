"""The state folder: locked, private, never torn, and honest about whether it lasts."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import cast
from unittest.mock import patch

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from himbeerecouch.errors import StateError, StateLocked
from himbeerecouch.store import StateFolder, file_system, lasting, until_boot

MOUNTINFO = """\
21 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw
22 21 0:20 / /run rw,nosuid shared:5 master:1 - tmpfs tmpfs rw,size=10%
23 21 0:22 / /var/lib\\040x rw - overlay overlay rw
24 21 0:23 / /srv rw - nfs4 host:/srv rw
25 21 0:24 / /srv rw - tmpfs none rw
26 21 0:25 / /mnt rw - ext4 /dev/sda1 rw
broken line
27 21 0:26 / /dash-dir rw opt - ext4 - rw
"""


class FileSystemTests(SynchronousTestCase):
    def test_file_system(self) -> None:
        """The mount with the longest place counts, and of two on one place the last."""
        for path, kind in (
            ("/", "ext4"),
            ("/var/lib/himbeerecouch", "ext4"),
            ("/run", "tmpfs"),
            ("/run/x/y", "tmpfs"),
            ("/runner", "ext4"),
            ("/var/lib x/y", "overlay"),
            ("/srv/a", "tmpfs"),
            ("/mnt/a", "ext4"),
            ("/dash-dir", "ext4"),
        ):
            with self.subTest(path=path):
                self.assertEqual(file_system(MOUNTINFO, path), kind)
        self.assertEqual(file_system("", "/"), "")


class StateFolderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dir = Path(self.mktemp()).absolute()
        self.mountinfo = Path(self.mktemp())
        self.mountinfo.write_text("1 0 0:1 / / rw - ext4 /dev/root rw\n")
        self.warnings: list[LogEvent] = []
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: LogEvent) -> None:
        if event["log_namespace"] == "himbeerecouch.store" and event["log_level"].name == "warn":
            self.warnings.append(event)

    def open(self, name: str = "pi", **options: bool) -> StateFolder:
        state = StateFolder.open(self.dir, name, wait_s=0.05, mountinfo=self.mountinfo, **options)
        self.addCleanup(state.close)
        return state

    def test_private(self) -> None:
        """The folder and all in it are for the daemon's user only, however they were made."""
        (self.dir / "pi").mkdir(parents=True, mode=0o755)
        state = self.open()
        state.write("secret", b"x")
        self.assertEqual((self.dir / "pi").stat().st_mode & 0o777, 0o700)
        self.assertEqual((self.dir / "pi" / "secret").stat().st_mode & 0o777, 0o600)
        self.assertTrue(state.lasts)
        self.assertEqual(self.warnings, [])

    def test_deleted_under_the_daemon(self) -> None:
        """A folder that somebody deletes is made again, locked as before, with the next thing that is to be kept."""
        state = self.open()
        state.write("lost", b"x")
        shutil.rmtree(self.dir)
        state.write("kept", b"y")
        self.assertEqual((state.read("lost"), state.read("kept")), (None, b"y"))
        self.assertEqual((self.dir / "pi").stat().st_mode & 0o777, 0o700)
        self.assertEqual(len(self.warnings), 1)
        self.assertRaises(StateLocked, self.open)

    def test_owner(self) -> None:
        """What root makes belongs to whom the state directory does, so that the daemon of that user can use it."""
        if os.geteuid() != 0:
            raise SkipTest("only root can make what belongs to others")
        self.dir.mkdir()
        os.chown(self.dir, 65534, 65534)
        state = self.open()
        state.write("secret", b"x")
        state.append("added", b"x")
        for path in (state.path, state.path / "secret", state.path / "added", state.path / "lock"):
            self.assertEqual((path.stat().st_uid, path.stat().st_gid), (65534, 65534))
        with patch.object(os, "geteuid", return_value=1000), patch.object(os, "chown", side_effect=PermissionError):
            state.write("secret", b"y")

    def test_reads_what_was_written(self) -> None:
        """What is written is there, also for the next start; what is deleted is not."""
        state = self.open()
        self.assertIsNone(state.read("a"))
        state.write("a", b"1")
        state.write("a", b"2")
        state.close()
        state.close()
        again = self.open()
        self.assertEqual(again.read("a"), b"2")
        again.delete("a")
        again.delete("a")
        self.assertIsNone(again.read("a"))
        self.assertEqual(sorted(path.name for path in again.path.iterdir()), ["lock"])

    def test_writes_only_what_differs(self) -> None:
        """A card is not worn out by what is there already."""
        state = self.open()
        state.write("a", b"1")
        before = (state.path / "a").stat()
        state.write("a", b"1")
        self.assertEqual((state.path / "a").stat().st_ino, before.st_ino)

    def test_names(self) -> None:
        """All that can be read has its name there, on the disk or in memory."""
        state = self.open()
        state.write("a", b"1")
        state.write("b", b"1")
        self.assertEqual(state.names(), {"lock", "a", "b"})
        look = StateFolder.look(self.dir, "pi")
        look.write("c", b"1")
        look.write("a", b"2")
        look.delete("b")
        self.assertEqual((look.names(), look.writable, state.writable), ({"lock", "a", "c"}, False, True))
        self.assertEqual(StateFolder.look(self.dir, "other").names(), frozenset())

    def test_until_boot(self) -> None:
        """Where the disk can't be written, a folder in memory outlives the daemon, and nobody else's is taken."""
        state = self.open()
        self.assertIs(until_boot(state), state)
        look = StateFolder.look(self.dir, "pi")
        good, foreign, file = (Path(self.mktemp()).absolute() for _ in range(3))
        file.write_text("")
        spare = until_boot(look, [file, good])
        spare.write("a", b"1")
        self.assertEqual(until_boot(look, [good]).read("a"), b"1")
        self.assertIsNone(until_boot(StateFolder.look(self.dir, "other"), [good]).read("a"))
        self.assertEqual((spare.lasts, spare.path.stat().st_mode & 0o777), (False, 0o700))
        foreign.mkdir()
        (foreign / spare.path.name).symlink_to(good)
        self.assertIs(until_boot(look, [foreign]), look)

    def test_synced_before_renamed(self) -> None:
        """The data is on the disk before the name is, and the folder after it."""
        state = self.open()
        calls: list[str] = []
        fsync, replace = os.fsync, Path.replace

        def synced(fd: int) -> None:
            calls.append(f"fsync {Path(f'/proc/self/fd/{fd}').readlink().name}")
            fsync(fd)

        def renamed(path: Path, to: Path) -> Path:
            calls.append(f"rename {path.name} {to.name}")
            return replace(path, to)

        self.patch(os, "fsync", synced)
        self.patch(Path, "replace", renamed)
        state.write("a", b"1")
        self.assertEqual(calls, ["fsync a.new", "rename a.new a", "fsync pi"])

    def test_not_synced(self) -> None:
        """What is not worth wearing out a card is not synced, and old or new all the same."""
        state = self.open()
        self.patch(os, "fsync", lambda _fd: self.fail("it is synced"))
        state.write("a", b"1", synced=False)
        self.assertEqual(state.read("a"), b"1")
        self.assertEqual(sorted(path.name for path in state.path.iterdir()), ["a", "lock"])

    def test_append(self) -> None:
        """What is added is on the disk, by one sync once the file is there, and by none where that is not asked for."""
        state = self.open()
        calls: list[str] = []
        for name in ("fsync", "fdatasync"):

            def synced(fd: int, name: str = name) -> None:
                calls.append(f"{name} {Path(f'/proc/self/fd/{fd}').readlink().name}")

            self.patch(os, name, synced)
        state.append("a", b"1")
        self.assertEqual(calls, ["fdatasync a", "fsync pi"])
        state.append("a", b"2")
        state.append("a", b"3", synced=False)
        self.assertEqual(calls[2:], ["fdatasync a"])
        self.assertEqual(state.read("a"), b"123")
        self.assertEqual((state.path / "a").stat().st_mode & 0o777, 0o600)

    def test_append_to_a_full_disk(self) -> None:
        """What does not fit as a whole is taken back, and the error says which file and why."""
        state = self.open()
        state.append("a", b"1")
        with patch.object(os, "fdatasync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            error = self.assertRaises(StateError, state.append, "a", b"2")
        self.assertIn("pi/a: can't be written: No space left on device", str(error))
        self.assertEqual(state.read("a"), b"1")

    def test_full_disk_keeps_the_old(self) -> None:
        """A write that fails leaves what was there, nothing beside it, and says which file and why."""
        state = self.open()
        state.write("a", b"1")
        with patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            error = self.assertRaises(StateError, state.write, "a", b"2")
        self.assertIn("pi/a: can't be written: No space left on device", str(error))
        self.assertEqual(state.read("a"), b"1")
        self.assertEqual(sorted(path.name for path in state.path.iterdir()), ["a", "lock"])

    def test_leftover_of_a_power_cut(self) -> None:
        """What a power cut left half-written is taken over by the next write."""
        state = self.open()
        (state.path / "a.new").write_bytes(b"half of a long")
        state.write("a", b"1")
        self.assertEqual(sorted(path.name for path in state.path.iterdir()), ["a", "lock"])
        self.assertEqual(state.read("a"), b"1")

    def test_set_aside(self) -> None:
        """What can't be understood is kept for people, under another name, with a warning."""
        state = self.open()
        state.write("a", b"garbage")
        state.set_aside("a")
        self.assertIsNone(state.read("a"))
        self.assertEqual((state.path / "a.bad").read_bytes(), b"garbage")
        self.assertEqual(len(self.warnings), 1)

    def test_errors_of_the_disk(self) -> None:
        """Whatever the disk refuses is a StateError that names the file."""
        state = self.open()
        (state.path / "folder").mkdir()
        for call in (lambda: state.read("folder"), lambda: state.delete("folder"), lambda: state.set_aside("missing")):
            self.assertIn(str(state.path), str(self.assertRaises(StateError, call)))

    def test_locked(self) -> None:
        """A second daemon of one Pi is told who runs; another Pi's folder is free."""
        self.open()
        error = self.assertRaises(StateLocked, self.open)
        self.assertIn(f"(pid {os.getpid()})", str(error))
        self.open("other")

    def test_lock_of_another_process(self) -> None:
        """The lock is the kernel's: it ends with the process that had it."""
        (self.dir / "pi").mkdir(parents=True)
        code = (
            "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(self.dir / "pi" / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            error = self.assertRaises(StateLocked, self.open)
            self.assertNotIn("pid", str(error))
            holder.kill()
        self.open()

    def test_signed(self) -> None:
        """Who has the lock may be another process by now, as after a fork; a disk that is full is no error."""
        state = self.open()
        self.patch(os, "getpid", lambda: 4_000_000)
        state.sign()
        self.assertIn("(pid 4000000)", str(self.assertRaises(StateLocked, self.open)))
        with patch.object(os, "pwrite", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            state.sign()
        state.close()
        state.sign()

    def test_lock_is_waited_for(self) -> None:
        """Somebody who has the lock for a moment only is waited for."""
        first = self.open()
        self.patch(time, "sleep", lambda _s: first.close())
        self.assertEqual(self.open().path, first.path)

    def test_no_locks(self) -> None:
        """A network file system that can't lock does not keep a Pi from starting."""
        for number, fails in ((errno.ENOLCK, False), (errno.EIO, True)):
            with patch.object(fcntl, "flock", side_effect=OSError(number, "no")):
                state = self.open()
            self.assertEqual(state.lasts, not fails)
            state.close()

    def test_memory(self) -> None:
        """Where nothing can be written, all is kept in memory, with one warning."""
        self.dir.write_text("a file where the folder should be")
        state = self.open()
        self.assertFalse(state.lasts)
        state.write("a", b"1")
        self.assertEqual(state.read("a"), b"1")
        for data in (b"1", b"2"):
            state.append("added", data)
        self.assertEqual(state.read("added"), b"12")
        state.write("b", b"2")
        state.delete("b")
        self.assertIsNone(state.read("b"))
        self.assertEqual(len(self.warnings), 1)
        state.set_aside("a")
        self.assertIsNone(state.read("a"))

    def test_read_only(self) -> None:
        """On a read-only disk what is there is read, what is new stays in memory, and the lock is still one."""
        state = self.open()
        state.write("a", b"1")
        state.close()
        os_open = os.open

        def read_only(path: str | Path, flags: int, mode: int = 0o777) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR):
                raise OSError(errno.EROFS, "Read-only file system")
            return os_open(path, flags, mode)

        self.patch(os, "open", read_only)
        state = self.open()
        self.assertEqual(state.read("a"), b"1")
        state.write("a", b"2")
        self.assertEqual(state.read("a"), b"2")
        self.assertFalse(state.lasts)
        self.assertRaises(StateLocked, self.open)

    def test_strict(self) -> None:
        """Who asks for the password is told that it may not, instead of getting another one."""
        with patch.object(Path, "mkdir", side_effect=PermissionError(errno.EACCES, "Permission denied")):
            self.assertRaises(PermissionError, self.open, strict=True)
            self.assertFalse(self.open(strict=False).lasts)
        with patch.object(Path, "mkdir", side_effect=OSError(errno.EROFS, "Read-only file system")):
            self.assertFalse(self.open(strict=True).lasts)

    def test_fleeting(self) -> None:
        """On a file system that a boot wipes, it is used all the same, and says once that it does not last."""
        for kind in ("tmpfs", "ramfs", "overlay"):
            self.mountinfo.write_text(f"1 0 0:1 / / rw - {kind} none rw\n")
            self.warnings.clear()
            state = self.open()
            self.assertFalse(state.lasts)
            state.write("a", kind.encode())
            self.assertEqual((state.path / "a").read_text(), kind)
            self.assertEqual(len(self.warnings), 1)
            state.close()

    def test_no_mountinfo(self) -> None:
        """Where the kernel does not tell, the disk is taken to last."""
        self.assertTrue(lasting(self.dir, self.dir / "missing"))

    def test_look(self) -> None:
        """Looking makes nothing, and locks nothing."""
        look = StateFolder.look(self.dir, "pi")
        self.assertIsNone(look.read("a"))
        self.assertFalse(self.dir.exists())
        self.open().write("a", b"1")
        self.assertEqual(look.read("a"), b"1")
        look.close()
