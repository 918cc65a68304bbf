"""Who the daemon is to CouchDB: one user name, and the passwords that may be its."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence

from attrs import frozen
from twisted.logger import Logger

log = Logger()


@frozen
class Attempt:
    """One password, as it is used for one request."""

    password: str
    authorization: bytes
    turn: int
    """Which of all the passwords that ever were at hand."""

    def __repr__(self) -> str:
        """Never show the password."""
        return f"Attempt(turn={self.turn})"


class Login:
    """Tries its passwords in order until one is accepted.

    A password that is refused is left for the next one, and not tried again, unless it is the one that was accepted
    last: that one and the last one are tried for ever, in turn.
    ``accepted`` is called once with each password that a server took, on the reactor's thread.
    """

    def __init__(self, username: str, passwords: Sequence[str], accepted: Callable[[str], None]) -> None:
        self.username = username
        self.proven = False
        self.on_replaced: Callable[[], None] = lambda: None
        """Called when there are other passwords: the client sets it."""
        self._accepted = accepted
        self._last_accepted: str | None = None
        self._turn = 0
        self._position = 0
        self._use(passwords)

    def replace(self, passwords: Sequence[str], *, known: bool = False) -> None:
        """Use other passwords from now on, from the first one, at once.

        ``known``: the server has said that it has the first one, which does not have to be tried out.
        """
        self._use(passwords)
        if not known:
            self.on_replaced()

    def restart(self) -> None:
        """Begin again with the first password: it is another server."""
        self._use(self._passwords)

    def attempt(self) -> Attempt:
        """Give the password to use now."""
        password = self._passwords[self._position]
        credentials = b64encode(f"{self.username}:{password}".encode())
        return Attempt(password, b"Basic " + credentials, self._turn)

    def refused(self, attempt: Attempt) -> bool:
        """Take in a 401; say whether there is another password to try."""
        if attempt.turn != self._turn:
            return True  # an old one: there is another already
        self.proven = False
        if self._position + 1 == len(self._passwords):
            if self._last_accepted in self._passwords[:-1]:
                # The user may have been away for a while, as where the server was set up anew, and be back by now.
                self._position = self._passwords.index(self._last_accepted)
                self._turn += 1
            return False
        self._position += 1
        self._turn += 1
        return True

    def succeeded(self, attempt: Attempt) -> None:
        """Take in that the server knows this password."""
        if attempt.turn != self._turn:
            return
        self.proven = True
        if attempt.password != self._last_accepted:
            self._last_accepted = attempt.password
            try:
                self._accepted(attempt.password)
            except Exception:  # noqa: BLE001 - whatever it is, the daemon is logged in and goes on
                log.failure("the password that works could not be noted; it will be tried again after a restart")

    def _use(self, passwords: Sequence[str]) -> None:
        if not passwords:
            raise ValueError("a login needs a password")
        self._passwords = tuple(passwords)
        self._position = 0
        self._turn += 1
        self.proven = False
