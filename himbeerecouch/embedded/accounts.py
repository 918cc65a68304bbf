"""Logins: who a request comes from, by Basic authentication or by a session's cookie."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from himbeerecouch.embedded import passwords
from himbeerecouch.embedded.refused import Refused
from himbeerecouch.embedded.security import ADMIN_ROLE, User

LOCK_AFTER = 5
"""Wrong passwords of one account from one address before it is locked there."""
LOCK_S = 300.0
SESSION_S = 600
"""How long a session's cookie is good for."""
MOST_ADDRESSES = 10_000
"""Failures that are remembered at the same time."""

Fields = Mapping[str, Any]


@frozen
class Admin:
    """The server's admin, as the command line or the file has it."""

    name: str
    fields: Fields
    """As in a user document, the password derived."""


@define
class _Failures:
    count: int
    since_s: float


class Accounts:
    """All who can log in."""

    def __init__(
        self,
        admin: Admin,
        user_fields: Callable[[str], Fields | None],
        *,
        secret: bytes,
        clock_s: Callable[[], float],
        wall_s: Callable[[], float],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        """``user_fields`` reads a user document by name; ``clock_s`` is monotonic, ``wall_s`` Unix time.

        ``in_thread`` runs a slow function off the reactor's thread; ``secret`` signs the cookies.
        """
        self._admin = admin
        self._user_fields = user_fields
        self._secret = secret
        self._clock_s = clock_s
        self._wall_s = wall_s
        self._in_thread = in_thread
        self._failures: dict[tuple[str, str, str], _Failures] = {}
        self._proven: dict[str, bytes] = {}
        self._verifying: dict[bytes, list[Deferred[bool]]] = {}
        """Who waits for a password that is being checked."""
        # The memory of a login that was right must not be of use to whoever reads it: only keyed hashes are kept.
        self._memory_key = secrets.token_bytes(32)

    def _fields_of(self, name: str) -> Fields | None:
        return self._admin.fields if name == self._admin.name else self._user_fields(name)

    def _user(self, name: str, fields: Fields, authenticated: str) -> User:
        roles = (ADMIN_ROLE,) if name == self._admin.name else tuple(fields.get("roles", ()))
        return User(name, roles, authenticated)

    async def log_in(self, name: str, password: str, address: str, authenticated: str = "default") -> User:
        """Return the user, or raise ``Refused``: 401, or 403 while the account is locked for this address."""
        fields = self._fields_of(name)
        if fields is None:
            raise _wrong()
        who = (address, name, str(fields.get("salt")))
        if self._locked(who):
            reason = "Account is temporarily locked due to multiple authentication failures"
            raise Refused(403, "forbidden", reason)
        proof = self._proof(password, fields)
        known = self._proven.get(name)
        if known is None or not hmac.compare_digest(known, proof):
            if not await self._verified(password, fields, proof):
                self._fail(who)
                raise _wrong()
            self._proven[name] = proof
        return self._user(name, fields, authenticated)

    async def _verified(self, password: str, fields: Fields, proof: bytes) -> bool:
        """Check a password; who asks for the same one meanwhile gets the same answer.

        After a start all Pis log in, and wait for each other.  Those that have waited too long ask again, which would
        make all wait longer still, until they may ask no more: another login could lock their accounts.
        """
        waiting = self._verifying.get(proof)
        if waiting is not None:
            other: Deferred[bool] = Deferred()
            waiting.append(other)
            return await other
        waiting = self._verifying[proof] = []
        try:
            right: bool = await self._in_thread(passwords.verify, password, fields)
        except BaseException:
            failure = Failure()
            for other in waiting:
                other.errback(failure)
            raise
        finally:
            del self._verifying[proof]
        for other in waiting:
            other.callback(right)
        return right

    def _proof(self, password: str, fields: Fields) -> bytes:
        """A keyed hash of the password and of what it was checked against: another password document, another hash."""
        text = f"{fields.get('salt')}\n{fields.get('derived_key')}\n{password}"
        # Each request has one: BLAKE2, which takes a key by itself, is faster than HMAC.
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._memory_key, digest_size=32).digest()

    def _locked(self, who: tuple[str, str, str]) -> bool:
        failures = self._failures.get(who)
        if failures is None:
            return False
        if self._clock_s() - failures.since_s >= LOCK_S:
            del self._failures[who]
            return False
        return failures.count >= LOCK_AFTER

    def _fail(self, who: tuple[str, str, str]) -> None:
        failures = self._failures.setdefault(who, _Failures(0, self._clock_s()))
        failures.count += 1
        if len(self._failures) > MOST_ADDRESSES:
            del self._failures[next(iter(self._failures))]

    # --- sessions -----------------------------------------------------------------------------------------------------

    def cookie(self, name: str) -> str:
        """Make the ``AuthSession`` value of a user who has logged in."""
        fields = self._fields_of(name)
        if fields is None:
            raise _wrong()
        stem = f"{name}:{int(self._wall_s()):X}"
        return base64.urlsafe_b64encode(stem.encode() + b":" + self._sign(stem, fields)).decode().rstrip("=")

    def resume(self, cookie: str) -> tuple[User, float] | None:
        """Return the user of a cookie and the cookie's age in seconds; None for one that is not good any more."""
        try:
            raw = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
            name_part, time_part, signature = raw.split(b":", 2)
            name, made_s = name_part.decode(), int(time_part, 16)
        except (ValueError, binascii.Error):
            return None
        fields = self._fields_of(name)
        age_s = self._wall_s() - made_s
        if fields is None or not -1 <= age_s < SESSION_S:
            return None
        if not hmac.compare_digest(signature, self._sign(f"{name}:{made_s:X}", fields)):
            return None
        return self._user(name, fields, "cookie"), age_s

    def _sign(self, stem: str, fields: Fields) -> bytes:
        """The salt is a part of the key: a new password ends all sessions."""
        return hmac.digest(self._secret + str(fields.get("salt")).encode(), stem.encode(), hashlib.sha256)


def _wrong() -> Refused:
    return Refused(401, "unauthorized", "Name or password is incorrect.")


def read_basic(header: str) -> tuple[str, str] | None:
    """Return name and password of an ``Authorization: Basic`` header; None where it is another scheme."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        raise Refused(400, "bad_request", "Authorization header has invalid base64 value") from None
    return (name, password) if colon else None
