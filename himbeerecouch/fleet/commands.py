"""Commands from the operator's side: the documents that ask for them, and what their answers mean.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from himbeerecouch import rfc3339
from himbeerecouch.errors import HimbeerecouchError
from himbeerecouch.fleet import lenient
from himbeerecouch.model import Action, CommandState, Json, Row

TIMED_OUT = 124
"""As ``timeout`` (coreutils) has it."""
INTERRUPTED = 130
"""128 + SIGINT, as a shell has it."""
UNABLE = 255
"""As ``ssh`` has it: not the command failed, but whatever should have run it."""


@frozen
class Order:
    """What a Pi is asked to do: either ``argv`` or ``action``."""

    argv: tuple[str, ...] = ()
    action: Action | None = None
    timeout_s: float | None = None
    """None: the Pi's own 600 s."""
    expires: float | None = None
    """Unix time by the server's clock, after which it is not started any more."""
    by: str | None = None
    """The user who asks."""

    def document(self, mac_id: int, id: str, at: float) -> Json:
        """The document that asks the Pi ``mac_id``; ``at`` is the server's Unix time."""
        asked: Json = {"_id": id, "type": f"{mac_id}_cmd"}
        asked |= {"cmd": list(self.argv)} if self.action is None else {"action": self.action.value}
        if self.timeout_s is not None:
            asked["timeout"] = self.timeout_s
        if self.expires is not None:
            asked["expires"] = rfc3339.render(self.expires)
        return asked | {"by": self.by, "at": rfc3339.render(at)}


def document_id(mac_id: int, unique: str) -> str:
    """The ``_id`` of a command that the tool gives; ``unique`` is 32 hexadecimal digits."""
    return f"{mac_id}_cmd:{unique}"


@frozen
class Outcome:
    """How a command ended."""

    id: str
    state: str
    """As in ``execution``; ``deleted`` where somebody has deleted the document before it had an answer."""
    stdout: str | None = None
    """None where it could not be run; then ``reason`` says why."""
    stderr: str = ""
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    started: float | None = None
    finished: float | None = None
    dropped_bytes: int = 0
    document: Json = field(factory=dict, eq=False, repr=False)

    @property
    def good(self) -> bool:
        """Whether it did what was asked."""
        return self.exit_status == 0

    @property
    def exit_status(self) -> int:
        """The exit status that stands for it."""
        known = {
            CommandState.DONE.value: 0,
            CommandState.TIMEOUT.value: TIMED_OUT,
            CommandState.CANCELLED.value: INTERRUPTED,
        }
        if self.state == CommandState.FAILED.value and self.stdout is not None:
            return 128 + self.signal if self.signal is not None else self.exit_code or 1
        return known.get(self.state, UNABLE)

    @property
    def words(self) -> str:
        """The same in a few words, for a table."""
        if self.reason:
            return self.reason
        if self.state == CommandState.FAILED.value:
            return f"signal {self.signal}" if self.signal is not None else f"exit status {self.exit_code}"
        return self.state

    @property
    def took_s(self) -> float | None:
        """How long it ran."""
        return None if self.started is None or self.finished is None else max(0.0, self.finished - self.started)


def read(row: Row) -> Outcome | None:
    """How the command of a row of the feed ended; None while it has not."""
    document = row.document
    if row.deleted:
        return Outcome(row.id, "deleted", reason="its document was deleted before it had an answer")
    if document is None or "ret" not in document:
        return None
    ret, execution = document["ret"], lenient.mapping(document.get("execution"))
    stdout, stderr = ret if isinstance(ret, list) and len(ret) == 2 else (None, "its answer makes no sense")
    unable = not isinstance(stdout, str)
    said = stderr if isinstance(stderr, str) else ""
    return Outcome(
        id=row.id,
        # An answer of an older daemon, or one written by hand, has nothing but ``ret``.
        state=str(execution.get("state") or (CommandState.REJECTED if unable else CommandState.DONE).value),
        stdout=None if unable else stdout,
        stderr="" if unable else said,
        reason=said if unable else "",
        exit_code=lenient.integer(execution.get("exit_code")),
        signal=lenient.integer(execution.get("signal")),
        started=lenient.time(execution.get("started")),
        finished=lenient.time(execution.get("finished")),
        dropped_bytes=lenient.integer(execution.get("dropped_bytes")) or 0,
        document=document,
    )


def answered(ids: Sequence[str]) -> Json:
    """The selector of the feed for these documents, once they have an answer or are gone."""
    these = {"_id": {"$in": list(ids)}}
    return {"$or": [{**these, "ret": {"$exists": True}}, {**these, "_deleted": True}]}


def as_json(mac_id: int, outcome: Outcome) -> Json:
    """An outcome as ``--json`` shows it."""
    return {
        "mac_id": mac_id,
        "id": outcome.id,
        "state": outcome.state,
        "exit_status": outcome.exit_status,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "stdout": outcome.stdout,
        "stderr": outcome.stderr,
        "reason": outcome.reason or None,
        "took_s": outcome.took_s,
        "dropped_bytes": outcome.dropped_bytes,
    }


# --- what the operator types ------------------------------------------------------------------------------------------


class BadTime(HimbeerecouchError):
    """A time is neither a number of seconds nor RFC 3339."""


def expiry(text: str, now: float) -> float:
    """The Unix time that ``--expires`` means: so many seconds from ``now``, or an RFC 3339 time.  Raises BadTime."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            return rfc3339.parse(text)
        except ValueError:
            raise BadTime(f"{text!r} is neither a number of seconds nor a time such as 2026-05-01T12:00:00Z") from None
    if not 0 < seconds < 1e9:
        raise BadTime(f"{text!r} is no number of seconds above 0")
    return now + seconds
