"""The state folder of this very Pi: locked, private, and written so that a power cut never tears a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from twisted.logger import Logger

from himbeerecouch.errors import StateError, StateLocked

log = Logger()

DEFAULT_STATE_DIR = Path("/var/lib/himbeerecouch")
LOCK = "lock"

# What is kept on these is gone after a boot, or with the container.
_FLEETING = frozenset({"tmpfs", "ramfs", "rootfs", "overlay", "overlayfs", "aufs", "unionfs", "devtmpfs"})
# Some network file systems can't lock; one daemon on them is better than none.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})


def file_system(mountinfo: str, path: str) -> str:
    """The type of the file system that ``path`` is on, by the text of ``/proc/<pid>/mountinfo``; "" where it is silent.

    ``path`` is absolute and without symbolic links.  The format is the one of proc(5): blanks in a path stand as
    three octal digits, and of two mounts on one place the last one counts.
    """
    longest, found = -1, ""
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if "-" not in fields[6:-1]:
            continue
        place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = place in ("/", path) or path.startswith(place + "/")
        if inside and len(place) >= longest:
            longest, found = len(place), fields[fields.index("-", 6) + 1]
    return found


def lasting(folder: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether what is written to ``folder``, which need not exist yet, is still there after a boot."""
    try:
        text = mountinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return file_system(text, str(folder.resolve())) not in _FLEETING


class StateFolder:
    """Small files by name, in a folder that only one daemon has at a time; what is written is never torn.

    Called on the reactor thread; nothing in it takes longer than the disk does.  Where the disk may not be written,
    what is written is kept in memory instead, and ``lasts`` is False.
    """

    def __init__(self, path: Path, *, lasts: bool, in_memory: bool = False, lock_fd: int = -1) -> None:
        """Use ``open`` or ``look``."""
        self.path = path
        self.lasts = lasts
        self._lock_fd = lock_fd
        self._memory: dict[str, bytes | None] | None = {} if in_memory else None

    @classmethod
    def open(
        cls,
        state_dir: Path,
        name: str,
        *,
        strict: bool = False,
        wait_s: float = 1.0,
        mountinfo: Path = Path("/proc/self/mountinfo"),
    ) -> StateFolder:
        """Make the folder ``name`` in ``state_dir`` where there is none, and lock it; warns once where it won't last.

        The daemon calls this before its reactor runs.  A lock that somebody else has is waited for up to ``wait_s``
        seconds, since asking for the password takes it for a moment; then ``StateLocked``.  With ``strict`` a folder
        that this user may not write is a ``PermissionError``, otherwise it is kept in memory.
        """
        path = state_dir / name
        try:
            state_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
            _hand_over(path, state_dir)
            if path.stat().st_mode & 0o077:
                path.chmod(0o700)
            lock_fd = _lock(path, wait_s)
        except OSError as error:
            if strict and isinstance(error, PermissionError):
                raise
            log.warn(
                "state folder {path} can't be written ({reason}): all state is kept in memory, and is forgotten when "
                "the daemon ends. Make it writable, or name another one by --state-dir",
                path=str(path),
                reason=error.strerror,
            )
            return cls(path, lasts=False, in_memory=True, lock_fd=_lock_as_it_is(path, wait_s))
        lasts = lasting(path, mountinfo)
        if not lasts:
            log.warn(
                "state folder {path} is on a file system that does not last: what is kept in it is forgotten at the "
                "next boot. Name one on a disk by --state-dir",
                path=str(path),
            )
        return cls(path, lasts=lasts, lock_fd=lock_fd)

    @classmethod
    def look(cls, state_dir: Path, name: str) -> StateFolder:
        """The folder as it is, for reading only: without a lock, nothing is made, and nothing lasts."""
        return cls(state_dir / name, lasts=False, in_memory=True)

    def read(self, name: str) -> bytes | None:
        """What was last written as ``name``; None where there is nothing.  ``StateError`` where it can't be read."""
        if self._memory is not None and name in self._memory:
            return self._memory[name]
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StateError(str(self.path / name), f"can't be read: {error.strerror}") from error

    @property
    def writable(self) -> bool:
        """Whether what is written outlives this process."""
        return self._memory is None

    def names(self) -> frozenset[str]:
        """The names of all that can be read; none where the folder itself can't be."""
        try:
            found = frozenset(os.listdir(self.path))  # noqa: PTH208 - names are what is wanted
        except OSError:
            found = frozenset()
        memory = self._memory or {}
        return (found - memory.keys()) | {name for name, data in memory.items() if data is not None}

    def write(self, name: str, data: bytes, *, synced: bool = True) -> None:
        """Keep ``data`` as ``name``, on the disk when this returns; writes nothing where it is there already.

        ``StateError`` where the disk does not take it; what was there before is there still.  Without ``synced`` it
        outlives the daemon, whatever ends that, but not always a power cut: for what is not worth wearing out a card.
        """
        if self._memory is not None:
            self._memory[name] = data
            return
        if self.read(name) == data:
            return
        # Always the same name beside it, so that a power cut leaves at most one, which the next write takes over.
        fresh = self.path / f"{name}.new"
        try:
            self._make_again()
            try:
                _write_through(fresh, data, synced)
                fresh.replace(self.path / name)
            except OSError:
                fresh.unlink(missing_ok=True)
                raise
            if synced:
                self._settle()
        except OSError as error:
            raise StateError(str(self.path / name), f"can't be written: {error.strerror}") from error

    def append(self, name: str, data: bytes, *, synced: bool = True) -> None:
        """Add ``data`` to the end of ``name``, on the disk when this returns: one sync, where ``write`` takes two.

        ``StateError`` where the disk does not take it; what was there before is there still, and so may be a part of
        ``data``, as after a power cut.  Without ``synced`` as for ``write``.
        """
        if self._memory is not None:
            self._memory[name] = (self.read(name) or b"") + data
            return
        try:
            self._make_again()
            if _add(self.path / name, data, synced) and synced:
                self._settle()
        except OSError as error:
            raise StateError(str(self.path / name), f"can't be written: {error.strerror}") from error

    def delete(self, name: str) -> None:
        """Forget ``name``; nothing happens where it is not there.  ``StateError`` where the disk refuses."""
        if self._memory is not None:
            self._memory[name] = None
            return
        try:
            (self.path / name).unlink()
            self._settle()
        except FileNotFoundError:
            return
        except OSError as error:
            raise StateError(str(self.path / name), f"can't be deleted: {error.strerror}") from error

    def set_aside(self, name: str) -> None:
        """Rename what can't be understood to ``name.bad``, for people to look at, and log that."""
        bad = self.path / f"{name}.bad"
        log.warn(
            "state file {path} can't be understood: it is set aside as {bad}",
            path=str(self.path / name),
            bad=bad.name,
        )
        if self._memory is not None:
            self._memory[name] = None
            return
        try:
            (self.path / name).replace(bad)
            self._settle()
        except OSError as error:
            raise StateError(str(self.path / name), f"can't be renamed: {error.strerror}") from error

    def sign(self) -> None:
        """Name this very process as the one that has the lock: it was another one before it went to the background."""
        if self._lock_fd >= 0 and self._memory is None:
            try:
                _sign(self._lock_fd)
            except OSError as error:
                log.warn("{path}: {error}", path=str(self.path / LOCK), error=error)

    def close(self) -> None:
        """Give the lock back.  Idempotent."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _make_again(self) -> None:
        """Have the folder again, and its lock, where somebody has deleted it under the daemon."""
        if self._lock_fd < 0 or self.path.exists():
            return
        self.path.mkdir(mode=0o700, parents=True)
        _hand_over(self.path, self.path.parent)
        lost, self._lock_fd = self._lock_fd, _lock(self.path, 0)
        os.close(lost)
        log.warn("state folder {path} was deleted: what was in it is lost", path=str(self.path))

    def _settle(self) -> None:
        # A rename is on the disk only when the folder that it happened in has been synced too.
        folder_fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)


IN_MEMORY = (Path("/run/himbeerecouch"), Path("/dev/shm"))  # noqa: S108 - only a folder of our own user is taken


def until_boot(state: StateFolder, places: Sequence[Path] = IN_MEMORY) -> StateFolder:
    """``state`` where it outlives the daemon, else a folder of its own that lasts until the next boot, else ``state``.

    ``places``, on file systems in memory, are tried in this order.
    """
    if state.writable:
        return state
    name = f"himbeerecouch-{os.geteuid()}-{hashlib.sha256(bytes(state.path)).hexdigest()[:16]}"
    for place in places:
        path = place / name
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and os.access(path, os.W_OK):
                return StateFolder(path, lasts=False)
        except OSError:
            continue
    return state


def _hand_over(path: int | Path, like: Path) -> None:
    """Give what root makes to whom the folder belongs to: root may ask for the password of another user's daemon."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _write_through(path: Path, data: bytes, synced: bool) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        _hand_over(file.fileno(), path.parent)
        file.write(data)
        file.flush()
        if synced:
            os.fsync(file.fileno())


def _add(path: Path, data: bytes, synced: bool) -> bool:
    """Add to a file, and say whether there was none."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "ab", buffering=0) as file:
        before_bytes = os.fstat(file.fileno()).st_size
        if before_bytes == 0:
            _hand_over(file.fileno(), path.parent)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            if synced:
                os.fdatasync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(before_bytes)
            raise
    return before_bytes == 0


def _lock(path: Path, wait_s: float) -> int:
    """Lock the folder; the descriptor that holds the lock.  Writing the pid into it also shows a full disk."""
    lock_fd = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        _take(lock_fd, path, wait_s)
        _hand_over(lock_fd, path)
        _sign(lock_fd)
    except BaseException:
        os.close(lock_fd)
        raise
    return lock_fd


def _sign(lock_fd: int) -> None:
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, b"%d\n" % os.getpid(), 0)


def _lock_as_it_is(path: Path, wait_s: float) -> int:
    """Lock a folder that can't be written, by the lock file that may be in it; -1 where there is none."""
    try:
        lock_fd = os.open(path / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return -1
    try:
        _take(lock_fd, path, wait_s)
    except OSError:
        os.close(lock_fd)
        return -1
    except StateLocked:
        os.close(lock_fd)
        raise
    return lock_fd


def _take(lock_fd: int, path: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            holder = os.pread(lock_fd, 20, 0).strip()
            named = f" (pid {int(holder)})" if holder.isdigit() else ""
            raise StateLocked(str(path), f"another daemon of this Pi{named} runs on it. Stop that one first") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return
