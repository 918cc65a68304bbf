"""The folder of an embedded server: its lock, its admin, its secret, its identity."""

from __future__ import annotations

import fcntl
import os
import secrets
import uuid
from pathlib import Path

from attrs import frozen

from himbeerecouch.errors import StateError, StateLocked


@frozen
class Login:
    """Name and password of the server's admin."""

    name: str
    password: str
    made: bool = False
    """It was made up just now: somebody has to be told where it stands."""


def parse_admin(text: str, source: str) -> Login:
    """Split ``NAME:PASSWORD``; ``StateError`` says what is wrong with it and where it was."""
    name, colon, password = text.strip().partition(":")
    if not name or not colon or not password:
        raise StateError(source, "the admin must be given as NAME:PASSWORD")
    return Login(name, password)


class Home:
    """An open data folder, which nobody else has open."""

    def __init__(self, folder: Path) -> None:
        """Open it, or make it (0700); ``StateLocked`` where another server runs on it, ``StateError`` else."""
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(str(folder), error.strerror or str(error)) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StateLocked(str(folder), "another embedded database runs on it; stop that one first") from None
        self.databases = folder / "databases"
        self.databases.mkdir(mode=0o700, exist_ok=True)
        self.admin_file = folder / "admin"

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def admin(self) -> Login:
        """Read the admin from ``admin``; where there is none make one up, readable by the owner only."""
        try:
            return parse_admin(self.admin_file.read_text(encoding="utf-8"), str(self.admin_file))
        except FileNotFoundError:
            made = Login("admin", secrets.token_urlsafe(18), made=True)
            _write(self.admin_file, f"{made.name}:{made.password}\n".encode())
            return made
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(str(self.admin_file), str(error)) from error

    def secret(self) -> bytes:
        """What the cookies are signed with."""
        return self._kept("secret", secrets.token_bytes(32))

    def uuid(self) -> str:
        """The server's uuid, as ``GET /`` shows it."""
        return self._kept("uuid", uuid.uuid4().hex.encode()).decode("ascii", "replace")

    def _kept(self, name: str, fresh: bytes) -> bytes:
        path = self.folder / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            _write(path, fresh)
            return fresh


def _write(path: Path, data: bytes) -> None:
    """Write a private file that is whole or not there."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
