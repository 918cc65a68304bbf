"""The Pi's account at the server: its MacID and password, and how they last."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

from attrs import evolve, field, frozen
from twisted.logger import Logger

from himbeerecouch.errors import HimbeerecouchError, IdentityUnknown, PasswordFileError, StateError
from himbeerecouch.identity import Identity, legacy_password, read_password_file
from himbeerecouch.store import StateFolder

log = Logger()

ACCOUNT = "account.json"
"""The state file that holds it."""


@frozen
class _Kept:
    """What the state file holds."""

    mac_id: int | None = None
    """As at the first login."""
    enrolled: bool = False
    """A login has succeeded once."""
    password: str | None = field(default=None, repr=False)
    proven: bool = False
    """A login with ``password`` has succeeded once: it is never changed by itself."""
    next_password: str | None = field(default=None, repr=False)
    """A new one that may or may not have reached the server."""


class Account:
    """The Pi's account at the server: its MacID, and the passwords that it may log in with.

    Made once by the daemon, when the state folder is open, and used on the reactor thread.  ``password_file`` is the
    operator's, whose password overrides all others.  ``StateError`` where what is kept may not be read: going on
    with another password would only lock the account.
    """

    def __init__(
        self,
        identity: Identity,
        state: StateFolder,
        *,
        password_file: Path | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._state = state
        self._random_bytes = random_bytes
        self._password_file = password_file
        self._given = read_password_file(password_file) if password_file else None
        self._kept = self._read()
        mac_id = identity.mac_id if identity.fixed or not self._kept.mac_id else self._kept.mac_id
        if mac_id is None:
            raise IdentityUnknown("no network interface is there yet: this Pi does not know its MacID. Give --mac-id")
        if not identity.fixed and identity.mac_id not in (None, mac_id):
            log.warn(
                "the MacID stays {mac_id}, as it was at the first login, though the network interface now says "
                "{other}. Give --mac-id for another one",
                mac_id=mac_id,
                other=identity.mac_id,
            )
        self.mac_id: int = mac_id
        self.legacy = legacy_password(mac_id, identity.serial)
        if self._given is None:
            self._make_sure_of_a_password()
        self._warn_where_guessable()

    @property
    def username(self) -> str:
        """The name of the CouchDB user: the decimal MacID."""
        return str(self.mac_id)

    @property
    def password(self) -> str:
        """The password that this Pi is to be enrolled with, or is enrolled with."""
        return self._given or self._kept.password or self.legacy

    @property
    def enrolled(self) -> bool:
        """Whether a login has succeeded once."""
        return self._kept.enrolled

    @property
    def guessable(self) -> bool:
        """Whether the password is that of the old formula."""
        return self.password == self.legacy

    def passwords(self) -> tuple[str, ...]:
        """The passwords to log in with, in the order to try them in; never empty.

        Until one of them has worked once, the old formula comes first: a fleet that is upgraded goes on as it was.
        """
        if self._given is not None:
            return (self._given,)
        candidates = [self.password] if self._kept.proven else [self.legacy, self.password]
        if self._kept.next_password:
            candidates.append(self._kept.next_password)
        return tuple(dict.fromkeys(candidates))

    def look_again(self) -> bool:
        """Read the operator's password file again; True where it has another password by now.

        Where it can't be used, the one of before stays.
        """
        if self._password_file is None:
            return False
        try:
            before, self._given = self._given, read_password_file(self._password_file)
        except PasswordFileError:
            return False
        return self._given != before

    def accepted(self, password: str) -> None:
        """Keep what has just worked: the MacID, and the password, which from now on is never changed by itself.

        Called whenever a login has succeeded with a password for the first time.  Nothing is written where nothing
        differs; where the disk refuses, that is logged, and it counts until the daemon ends.
        """
        kept = evolve(self._kept, mac_id=self.mac_id, enrolled=True)
        if self._given is None:
            following = None if password == kept.next_password else kept.next_password
            kept = evolve(kept, password=password, proven=True, next_password=following)
        turned_guessable = not self.guessable
        try:
            self._store(kept)
        except StateError as error:
            self._kept = kept
            log.warn("{error}. What this Pi logs in with counts until the daemon ends", error=error)
        if turned_guessable:
            self._warn_where_guessable()

    def new_secret(self) -> str:
        """A new password, kept beside the one that is used until ``switch``; it is on the disk when this returns.

        For the action ``rotate``: set it in the Pi's own user document next, then ``switch``.  After an end in between,
        both are tried.  ``HimbeerecouchError`` where it could be lost, or is the operator's to choose.
        """
        if self._given is not None:
            raise HimbeerecouchError("the password comes from a password file: change it there and at the server")
        if not self._state.lasts:
            raise HimbeerecouchError("the state folder does not last: a new password would be lost at the next boot")
        secret = self._secret()
        self._store(evolve(self._kept, next_password=secret))
        return secret

    def switch(self) -> None:
        """Use the password of ``new_secret`` from now on: the server has it.  ``StateError`` where the disk refuses."""
        if self._kept.next_password:
            self._store(evolve(self._kept, password=self._kept.next_password, proven=True, next_password=None))

    def _make_sure_of_a_password(self) -> None:
        if self._kept.password is None and self._state.lasts:
            try:
                self._store(evolve(self._kept, password=self._secret(), proven=False))
            except StateError as error:
                log.warn("{error}", error=error)

    def _warn_where_guessable(self) -> None:
        if self._given is None and self.guessable:
            log.warn(
                "this Pi logs in with a password of the old formula, which can be guessed: {advice}",
                advice='save a command document with "action": "rotate" to give it a new one'
                if self._state.lasts
                else "give it a state folder on a disk that it may write (--state-dir), or a --password-file",
            )

    def _secret(self) -> str:
        return base64.urlsafe_b64encode(self._random_bytes(32)).decode("ascii").rstrip("=")

    def _read(self) -> _Kept:
        data = self._state.read(ACCOUNT)
        if data is None:
            return _Kept()
        kept = _parse(data)
        if kept is None:
            self._state.set_aside(ACCOUNT)
            log.warn("this Pi has lost its password: where it was enrolled, enrol it again")
            return _Kept()
        return kept

    def _store(self, kept: _Kept) -> None:
        if kept != self._kept:
            self._state.write(ACCOUNT, _render(kept))
            self._kept = kept


def _render(kept: _Kept) -> bytes:
    values = {
        "mac_id": kept.mac_id,
        "enrolled": kept.enrolled,
        "password": kept.password,
        "proven": kept.proven,
        "next_password": kept.next_password,
    }
    return json.dumps(values, indent=1).encode("ascii") + b"\n"


def _parse(data: bytes) -> _Kept | None:
    """What ``_render`` wrote; None for anything else, such as a file of zeros after a power cut."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return None
    kinds: dict[str, tuple[type, ...]] = {
        "mac_id": (int, type(None)),
        "enrolled": (bool,),
        "password": (str, type(None)),
        "proven": (bool,),
        "next_password": (str, type(None)),
    }
    if not isinstance(values, dict) or any(type(values.get(name)) not in kind for name, kind in kinds.items()):
        return None
    return _Kept(**{name: values[name] for name in kinds})
