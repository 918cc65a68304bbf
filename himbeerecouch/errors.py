"""All errors of himbeerecouch, in one tree.

An error's docstring is what the operator is told; ``str()`` of an instance puts the facts into it.  The branches are
split by what the caller does next: try again, reject one thing and go on, or stop.
"""

from __future__ import annotations

from collections.abc import Sequence


class HimbeerecouchError(Exception):
    """Something in himbeerecouch went wrong."""


# --- the operator has to mend something; the daemon goes on and looks again -------------------------------------------


class ServerFileError(HimbeerecouchError):
    """The server file can't be used: put one line into it, the URL of the CouchDB server."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"server file {path}: {reason}. Put one line into it, the URL of the CouchDB server, "
            "such as http://server.name:5984"
        )


class CaFileError(HimbeerecouchError):
    """The file of --ca-file can't be used: give one with the PEM certificates of your own CA."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"CA file {path}: {reason}. Give one with the PEM certificates of your own CA")


class CredentialsFileError(HimbeerecouchError):
    """The operator's file of passwords can't be used: it has to be his own, and nobody else may read it."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"credentials file {path}: {reason}")


# --- one document is refused, all others go on -----------------------------------------------------------------------


class DocumentError(HimbeerecouchError):
    """A document can't be used: mend it and save it again."""

    def __init__(self, document_id: str, reason: str) -> None:
        self.document_id = document_id
        self.reason = reason
        super().__init__(f"document {document_id!r}: {reason}")


class ProgramError(HimbeerecouchError):
    """A program can't be started as it stands: it lacks its module main, or the function main() in it."""


# --- CouchDB ----------------------------------------------------------------------------------------------------------


class CouchError(HimbeerecouchError):
    """CouchDB did not do what it was asked to do."""

    def __init__(self, what: str, *, status: int | None = None, reason: str = "") -> None:
        self.what = what
        self.status = status
        self.reason = reason
        answer = f" ({status}{' ' + reason if reason else ''})" if status is not None else ""
        super().__init__(f"{what}{answer or (': ' + reason if reason else '')}")


class Unavailable(CouchError):
    """The server can't be reached, or does not answer as CouchDB does.  It is tried again, less and less often."""

    def __init__(
        self, what: str, *, status: int | None = None, reason: str = "", retry_after_s: float | None = None
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(what, status=status, reason=reason)


class Unreachable(Unavailable):
    """There is no connection to the server: is its address right, is it up, is the network?  Nothing was sent to it."""


class Untrusted(Unavailable):
    """The server's certificate is not trusted (expired, another host's, an unknown CA).  Nothing was sent to it."""


class BadAnswer(Unavailable):
    """The answer is incomplete, or is no CouchDB answer.  It is dropped, and the request is made again."""


class TooSlow(Unavailable):
    """The server did not answer in time.  It is tried again, asking for less at a time where that is possible."""


class AnswerTooLarge(CouchError):
    """The answer is larger than what is taken.  The caller asks for less at a time."""

    def __init__(self, what: str, *, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(what, reason=f"the answer has more than {limit_bytes} bytes")


class AnswerTooDeep(AnswerTooLarge):
    """The answer is nested too deeply, or has a number of thousands of digits.  The caller asks for less at a time."""

    def __init__(self, what: str, *, reason: str) -> None:
        self.limit_bytes = 0
        CouchError.__init__(self, what, reason=reason)


class LoginRefused(CouchError):
    """The server does not know this user with this password.  Enrol the Pi, or mend its password."""

    def __init__(
        self, what: str, *, status: int | None = None, reason: str = "", retry_after_s: float | None = None
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(what, status=status, reason=reason)


class LoginLocked(LoginRefused):
    """The server has locked the account after several wrong passwords.  It opens again by itself."""


class Forbidden(CouchError):
    """This user may not do that.  Add the Pi, or a role of it, to the database's _security."""


class NotFound(CouchError):
    """The database or the document does not exist."""


class Conflict(CouchError):
    """The document has been changed by somebody else in the meantime.  The caller reads it again."""


class BadRequest(CouchError):
    """The server did not understand the request: asking again in the same words won't help."""


# --- the fleet --------------------------------------------------------------------------------------------------------


class UnknownPi(HimbeerecouchError):
    """No Pi has that name.  Give its MacID, or a name that ``himbeerecouch name`` lists."""

    def __init__(self, text: str, near: Sequence[str] = ()) -> None:
        self.text = text
        self.near = tuple(near)
        meant = f". Did you mean {' or '.join(self.near)}?" if self.near else ". himbeerecouch name lists the names"
        super().__init__(f"no Pi is called {text!r:.80}{meant}")


class NameTaken(HimbeerecouchError):
    """Another Pi has that name.  Choose another one, or take it away from that one first."""

    def __init__(self, name: str, mac_id: int) -> None:
        self.name = name
        self.mac_id = mac_id
        super().__init__(
            f"the Pi {mac_id} is called {name}. To take the name away from it: himbeerecouch name {name} --remove"
        )


class NotAnAdmin(HimbeerecouchError):
    """Only an admin of the server may do that.  Log in as one."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        who = "Nobody is logged in" if name is None else f"{name} is none"
        super().__init__(f"this takes an admin of the CouchDB server. {who}: give an admin's name with --user")


class AlreadyEnrolled(HimbeerecouchError):
    """There is a user for this Pi.  It gets another password only where that is what is wanted."""

    def __init__(self, mac_id: int) -> None:
        self.mac_id = mac_id
        super().__init__(f"the Pi {mac_id} has a user already, and keeps its password")


class NotEnrolled(HimbeerecouchError):
    """There is no user for this Pi."""

    def __init__(self, mac_id: int) -> None:
        self.mac_id = mac_id
        super().__init__(f"the Pi {mac_id} is not enrolled: it has no user")


class NotSetUp(HimbeerecouchError):
    """The databases would not let a Pi in.  Run himbeerecouch setup."""

    def __init__(self, database: str, reason: str) -> None:
        self.database = database
        self.reason = reason
        super().__init__(f"the database {database} takes no Pi: {reason}. Run: himbeerecouch setup")


class UnknownProgram(HimbeerecouchError):
    """The Pi has no program of that name.  Give one that ``himbeerecouch status`` lists, or the ``_id``."""

    def __init__(self, mac_id: int, name: str, known: Sequence[str] = ()) -> None:
        self.mac_id = mac_id
        self.name = name
        self.known = tuple(known)
        has = f"it has {', '.join(self.known)}" if self.known else "it has none"
        super().__init__(f"Pi {mac_id} has no program {name!r:.80}: {has}")


class AmbiguousProgram(HimbeerecouchError):
    """Two programs of the Pi bear that name.  Give the ``_id`` of the one that is meant."""

    def __init__(self, mac_id: int, name: str, ids: Sequence[str]) -> None:
        self.mac_id = mac_id
        self.name = name
        self.ids = tuple(ids)
        super().__init__(f"Pi {mac_id} has several programs {name!r:.80}. Give the id in its place: {', '.join(ids)}")


class UnknownVersion(HimbeerecouchError):
    """The program has no such version.  Give one that ``himbeerecouch history`` lists."""

    def __init__(self, program_id: str, rev: str | None, matching: Sequence[str] = ()) -> None:
        self.program_id = program_id
        self.rev = rev
        self.matching = tuple(matching)
        if rev is None:
            super().__init__(f"program {program_id!r:.80} has no earlier version that says something else")
        elif matching:
            super().__init__(f"{rev!r:.80} may be several versions of {program_id!r:.80}: {', '.join(matching)}")
        else:
            super().__init__(f"program {program_id!r:.80} has no version {rev!r:.80}")


# --- discovery --------------------------------------------------------------------------------------------------------


class DatagramError(HimbeerecouchError):
    """A datagram is not one of discovery's.  It is dropped and counted."""


class NobodyAnswered(HimbeerecouchError):
    """No Pi that waits to be enrolled answered on this network."""

    def __init__(self, enrolled: tuple[int, ...] = ()) -> None:
        self.enrolled = enrolled
        also = f"; enrolled already: {', '.join(map(str, enrolled))}" if enrolled else ""
        super().__init__(f"no Raspberry Pi that waits to be enrolled answered{also}")


class NobodyAsked(HimbeerecouchError):
    """Nobody has looked for Pis on this network within the time given."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(f"nobody on this network has asked for Raspberry Pis within {timeout_s:g} s")


class SeveralAnswered(HimbeerecouchError):
    """More than one Pi waits to be enrolled, and it is not clear which one is meant."""

    def __init__(self, mac_ids: tuple[int, ...]) -> None:
        self.mac_ids = mac_ids
        super().__init__(
            f"several Raspberry Pis wait to be enrolled: {', '.join(map(str, mac_ids))}. "
            "Use himbeerecouch.probe() to have them all"
        )


class SeveralPasswords(HimbeerecouchError):
    """Two answers came for one MacID, with different passwords: somebody pretends to be that Pi."""

    def __init__(self, mac_id: int, addresses: tuple[str, ...]) -> None:
        self.mac_id = mac_id
        self.addresses = addresses
        super().__init__(
            f"several machines say that they are the Pi {mac_id}: {', '.join(addresses)}. "
            "Find out which it is, or give its password by --password-file"
        )


# --- the state folder -------------------------------------------------------------------------------------------------


class StateError(HimbeerecouchError):
    """The state folder can't be used."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"state folder {path}: {reason}")


class StateLocked(StateError):
    """Another daemon of this Pi runs on this state folder.  Stop that one first."""


# --- who this Pi is ---------------------------------------------------------------------------------------------------


class IdentityUnknown(HimbeerecouchError):
    """This machine has no network interface to take the MacID from.  Give --mac-id or --interface."""


class PasswordFileError(HimbeerecouchError):
    """The password file can't be used: put one line into it, the password of this Pi."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"password file {path}: {reason}. Put one line into it, the password of this Pi")
