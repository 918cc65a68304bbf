"""Who this Pi is, for people and scripts on the Pi: the very MacID and password that its daemon logs in with."""

from __future__ import annotations

import errno
import time
from pathlib import Path

from himbeerecouch.account import ACCOUNT, Account
from himbeerecouch.errors import StateError, StateLocked
from himbeerecouch.identity import Identity, find_identity, read_password_file
from himbeerecouch.store import DEFAULT_STATE_DIR, StateFolder, lasting

__all__ = ["getmacid", "getpassword"]

_STARTING_S = 1.0
"""How long a daemon may take from its lock to its password."""


def getmacid(
    *, interface: str | None = None, mac_id: int | None = None, state_dir: str | Path = DEFAULT_STATE_DIR
) -> int:
    """The MacID of this Pi, whose decimal form is its CouchDB user name.

    Give what the daemon is given, where that is not the default.  For any thread, with or without a daemon;
    ``PermissionError`` where it may not be read ("run with sudo"), ``IdentityUnknown`` where nothing tells it.
    """
    identity = find_identity(interface=interface, mac_id=mac_id)
    if identity.fixed and identity.mac_id is not None:
        return identity.mac_id
    state = StateFolder.look(Path(state_dir), identity.folder)
    return _account(identity, state, state_dir).mac_id


def getpassword(
    *,
    interface: str | None = None,
    mac_id: int | None = None,
    state_dir: str | Path = DEFAULT_STATE_DIR,
    password_file: str | Path | None = None,
) -> str:
    """The password of this Pi: the one that its daemon logs in with, or will, once somebody has enrolled it.

    Give what the daemon is given, where that is not the default.  Makes the password where the daemon has never run.
    For any thread, with or without a daemon; ``PermissionError`` where it may not be read or made ("run with sudo").
    """
    if password_file is not None:
        return read_password_file(Path(password_file))
    identity = find_identity(interface=interface, mac_id=mac_id)
    folder = Path(state_dir)
    state = StateFolder.look(folder, identity.folder)
    if not lasting(folder) or _there(state, state_dir):
        return _account(identity, state, state_dir).password
    try:
        state = StateFolder.open(folder, identity.folder, strict=True, wait_s=0)
    except StateLocked:
        # A daemon has just been started: it makes the password right after it has taken the lock.
        deadline = time.monotonic() + _STARTING_S
        while not _there(state, state_dir) and time.monotonic() < deadline:
            time.sleep(0.02)
    except PermissionError as error:
        raise _sudo(state_dir) from error
    try:
        return _account(identity, state, state_dir).password
    finally:
        state.close()


def _there(state: StateFolder, state_dir: str | Path) -> bool:
    try:
        return state.read(ACCOUNT) is not None
    except StateError as error:
        raise _as_people_know_it(error, state_dir) from error


def _account(identity: Identity, state: StateFolder, state_dir: str | Path) -> Account:
    try:
        return Account(identity, state)
    except StateError as error:
        raise _as_people_know_it(error, state_dir) from error


def _as_people_know_it(error: StateError, state_dir: str | Path) -> Exception:
    return _sudo(state_dir) if isinstance(error.__cause__, PermissionError) else error


def _sudo(state_dir: str | Path) -> PermissionError:
    return PermissionError(
        errno.EACCES, "only the daemon's user may know the password of this Pi: run with sudo", str(state_dir)
    )
