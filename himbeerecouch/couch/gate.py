"""The gate that every request of the daemon to CouchDB passes, so that no password locks the account.

CouchDB locks a user for everyone behind the same address after five wrong logins in 300 s.  Hence at most four logins
in 300 s with a password that is not proven, one at a time; and once it is proven only so many requests at once that
a password which turns wrong costs four logins and not more.  Pure: the time and the random numbers come in.
"""

from __future__ import annotations

import contextlib
import enum
import math

from attrs import define, field, frozen

WINDOW_S = 300.0
"""CouchDB counts wrong logins over this time."""
LOGINS = 4
"""One fewer than what locks the account."""
BESIDES_POLL = 3
"""Requests at once beside the long poll, when the password is proven: together they are ``LOGINS``."""
REFUSED_S = 75.0
REFUSED_JITTER_S = 15.0
LOCKED_S = 300.0
LOCKED_JITTER_S = 30.0
RETRY_AFTER_MAX_S = 600.0
"""A server that asks for more is asked again after this time: nothing is terminal."""


class Verdict(enum.Enum):
    """What one request says about the login."""

    PROVEN = "the server knows this password"
    NEXT = "refused, and another password is at hand, to be tried at once"
    REFUSED = "refused, and no other password is at hand"
    LOCKED = "the account is locked for a time"
    NOTHING = "the server looked at no password, or the request never reached it"
    UNANSWERED = "it was sent, and nobody knows what the server made of it"


class Closed(enum.Enum):
    """Why the gate lets nobody through for a time."""

    REFUSED = "the password was refused"
    LOCKED = "the account is locked"
    ASKED = "the server asked to be left alone"
    LOGINS = "there were too many logins"


@frozen
class Ticket:
    """One request that is through the gate and not yet back."""

    poll: bool
    login_at: float | None
    """When it counts as a login with a password that is not proven; None where the password was proven."""


@frozen
class Wait:
    """The request stays outside for now."""

    wait_s: float
    """Infinite where it waits for another request to come back."""
    reason: Closed | None = None


@define
class Gate:
    """Lets requests to one server through, and keeps count."""

    proven: bool = False
    doubtful: bool = False
    """The last login was never answered: greet the server without a password before the next one is spent."""
    _not_before: float = -math.inf
    _reason: Closed = Closed.REFUSED
    _logins: list[float] = field(factory=list)
    _trying: int = 0
    """Logins that are under way."""
    _polls: int = 0
    _others: int = 0

    def admit(self, now: float, *, poll: bool = False) -> Ticket | Wait:
        """Let one request through, or say how long it has to stay outside.

        Whoever gets a ticket hands it back by ``back``, whatever happens.
        """
        closed = self.closed(now)
        if closed is not None:
            # The last login that there is may be under way just now: when it ends well, nobody has to stay outside.
            hopeful = closed.reason is Closed.LOGINS and self._trying > 0
            return Wait(math.inf) if hopeful else closed
        if self.proven:
            full = self._polls > 0 if poll else self._others >= BESIDES_POLL
        else:
            full = self._polls + self._others > 0
        if full:
            return Wait(math.inf)
        if not self.proven:
            self._logins.append(now)
            self._trying += 1
        if poll:
            self._polls += 1
        else:
            self._others += 1
        return Ticket(poll, None if self.proven else now)

    def closed(self, now: float) -> Wait | None:
        """Say how long nobody gets through, and why; None where the gate is open."""
        if now < self._not_before:
            return Wait(self._not_before - now, self._reason)
        self._logins = [at for at in self._logins if now - at < WINDOW_S]
        if self.proven or len(self._logins) < LOGINS:
            return None
        return Wait(self._logins[-LOGINS] + WINDOW_S - now, Closed.LOGINS)

    def back(
        self, ticket: Ticket, now: float, verdict: Verdict, *, random: float = 0.0, retry_after_s: float | None = None
    ) -> None:
        """Take the ticket back, and what its request found out; ``random`` is from [0, 1)."""
        if ticket.poll:
            self._polls -= 1
        else:
            self._others -= 1
        if ticket.login_at is not None:
            self._trying -= 1
        if ticket.login_at is not None and verdict in {Verdict.PROVEN, Verdict.NOTHING}:
            with contextlib.suppress(ValueError):  # it took so long that it counts no more
                self._logins.remove(ticket.login_at)
        elif ticket.login_at is None and verdict in {Verdict.NEXT, Verdict.REFUSED, Verdict.LOCKED}:
            self._logins.append(now)
        if verdict not in {Verdict.UNANSWERED, Verdict.NOTHING}:
            self.doubtful = False
        if verdict is Verdict.PROVEN:
            # A poll that was let in before the password turned wrong still ends well: it proves nothing any more.
            self.proven = self.proven or ticket.login_at is not None
        elif verdict in {Verdict.NEXT, Verdict.REFUSED, Verdict.LOCKED}:
            self.proven = False
        elif verdict is Verdict.UNANSWERED:
            self.doubtful = not self.proven
        if verdict is Verdict.REFUSED:
            self._close(now + REFUSED_S + random * REFUSED_JITTER_S, Closed.REFUSED)
        elif verdict is Verdict.LOCKED:
            self._close(now + LOCKED_S + random * LOCKED_JITTER_S, Closed.LOCKED)
        if retry_after_s is not None:
            self._close(now + min(max(retry_after_s, 0.0), RETRY_AFTER_MAX_S), Closed.ASKED)

    def greeted(self) -> None:
        """Take in that the server answers: one more login may be spent."""
        self.doubtful = False

    def hurry(self) -> None:
        """Open a gate that is closed for a refused password: somebody is creating the user right now.

        The four logins in 300 s stay, and so do a locked account and what the server asked for.
        """
        if self._reason is Closed.REFUSED:
            self._not_before = -math.inf

    def restart(self) -> None:
        """Begin anew with another password: it is not proven, and the logins that were made still count."""
        self.proven = False
        self.hurry()

    def _close(self, until: float, reason: Closed) -> None:
        if until > self._not_before:
            self._not_before = until
            self._reason = reason
