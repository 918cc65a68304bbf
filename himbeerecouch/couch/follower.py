"""The follower of a database, without its input and output: what to ask next, and what an answer means.

In the way of h11: ``Follower.next`` says what to ask, ``Follower.received`` takes the answer in and may give rows to
deliver, and ``Follower.handled`` confirms that they were.  Pure: the time (seconds of any clock that only goes
forward) and the random numbers come in.

The rules come from CouchDB: the sequence is read before the snapshot and followed from there, so nothing is lost in
between; a sequence is opaque; an answer counts only when it is whole; and nothing is terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import Any

from himbeerecouch.couch import query
from himbeerecouch.couch.asks import (
    Ask,
    Delivery,
    Document,
    GetDocument,
    GetInfo,
    GetServer,
    Outcome,
    Page,
    Poll,
    Server,
    Timing,
    Wait,
)
from himbeerecouch.couch.portion import Portion
from himbeerecouch.couch.snapshot import Snapshot
from himbeerecouch.errors import (
    AnswerTooLarge,
    BadAnswer,
    BadRequest,
    CouchError,
    Forbidden,
    LoginRefused,
    NotFound,
    TooSlow,
    Unavailable,
)
from himbeerecouch.model import Batch, DatabaseInfo, Row

REFUSED_S = 75.0
REFUSED_JITTER_S = 15.0
ROUTINE = "time has passed"
"""Why all is read afresh where nothing has given reason to."""


class Phase(Enum):
    """What the follower is about."""

    INFO = auto()
    SERVER = auto()
    SNAPSHOT = auto()
    POLL = auto()
    POLL_ID = auto()
    """A poll for one row was too large: which document is it?"""
    POLL_DOCUMENT = auto()
    """And is that one really too large?  Another may have come in between."""


class Follower:
    """Follows one database for one Pi."""

    def __init__(self, mac_id: int, timing: Timing | None = None) -> None:
        self._mac_id = mac_id
        self._timing = timing or Timing()
        self._phase = Phase.INFO
        self._resync: str | None = "start"
        self._since: object = None
        self._since_next: object = None
        self._info: DatabaseInfo | None = None
        self._uuid = ""
        self._snapshot = Snapshot(mac_id, self._timing.limit)
        self._portion = Portion(self._timing.limit, self._timing.most_rows)
        self._alone = ""
        self._asked_at = 0.0
        self._synced_at = 0.0
        self._failures = 0
        self._not_before = float("-inf")

    @property
    def phase(self) -> Phase:
        """What is asked next."""
        return self._phase

    @property
    def since(self) -> object:
        """The sequence up to which everything has been delivered; None before the first snapshot."""
        return self._since

    @property
    def failures(self) -> int:
        """How many requests failed since the last good poll."""
        return self._failures

    @property
    def not_before(self) -> float:
        """When the next request may go out."""
        return self._not_before

    def resync(self, reason: str = "it was asked for") -> None:
        """Read all there is afresh, at once."""
        self._resync = self._resync or reason
        self.look_again()

    def look_again(self) -> None:
        """Look at the database before anything else, at once: it may be another one."""
        self._phase = Phase.INFO
        self.hurry()

    def hurry(self) -> None:
        """End a wait: there is reason to believe that the next request will do better."""
        self._not_before = float("-inf")

    def next(self, now: float, ids_in_use: Collection[str]) -> Ask:
        """Say what to ask; ``ids_in_use`` are the documents whose end or change of address has to be told."""
        if now < self._not_before:
            return Wait(self._not_before)
        if self._phase is Phase.POLL and now - self._synced_at >= self._timing.resync_s:
            self.resync(ROUTINE)
        self._asked_at = now
        if self._phase in _PLAIN:
            return _PLAIN[self._phase]
        if self._phase is Phase.SNAPSHOT:
            return self._snapshot.next()
        if self._phase is Phase.POLL_DOCUMENT:
            return GetDocument(self._alone)
        selector = query.feed(self._mac_id, ids_in_use)
        if self._phase is Phase.POLL_ID:
            return Poll(self._since, 1, None, selector, include_docs=False)
        return Poll(self._since, self._portion.rows, self._timing.poll_timeout_s, selector, include_docs=True)

    def received(self, now: float, outcome: Outcome, random: float) -> Delivery | None:
        """Take in how the last request ended; ``random`` is from [0, 1).

        Raises ValueError, and changes nothing, for an answer to something that was not asked.
        """
        if isinstance(outcome, CouchError):
            return self._failed(now, outcome, random)
        kinds, fold = _FOLD[self._phase]
        if not isinstance(outcome, kinds):
            raise ValueError(f"{type(outcome).__name__} is no answer in the phase {self._phase.name}")
        try:
            return fold(self, now, outcome, random)
        except CouchError as error:
            return self._failed(now, error, random)

    def handled(self) -> None:
        """Confirm that the last delivery was handled: only now the sequence moves."""
        self._since = self._since_next

    # --- what an answer means -----------------------------------------------------------------------------------------

    def _fold_info(self, _now: float, info: DatabaseInfo, _random: float) -> None:
        if self._info is not None and info.instance_start_time != self._info.instance_start_time:
            self._resync = self._resync or "the database was created again"
        elif _is_behind(info.update_seq, self._since):
            self._resync = self._resync or "the database was restored from an older copy"
        self._info = info
        self._phase = Phase.SERVER

    def _fold_server(self, _now: float, server: Server, _random: float) -> None:
        if server.uuid and self._uuid and server.uuid != self._uuid:
            self._resync = self._resync or "it is another server"
        self._uuid = server.uuid or self._uuid
        if self._resync is None:
            self._phase = Phase.POLL
        else:
            self._snapshot.begin()
            self._phase = Phase.SNAPSHOT

    def _fold_snapshot(self, now: float, outcome: Page | Document, _random: float) -> Delivery | None:
        self._snapshot.received(outcome)
        return self._snapshot_read(now)

    def _snapshot_read(self, now: float) -> Delivery | None:
        if not self._snapshot.done or self._info is None:
            return None
        delivery = Delivery(self._snapshot.rows, self._resync)
        self._snapshot.begin()  # keeps no document in memory
        self._resync = None
        self._synced_at = now
        self._since_next = self._info.update_seq
        self._phase = Phase.POLL
        return delivery

    def _fold_batch(self, now: float, batch: Batch, random: float) -> Delivery | None:
        at_once = now - self._asked_at < self._timing.poll_timeout_s / 2
        if (not batch.rows and at_once) or (batch.rows and batch.last_seq == self._since):
            # A server in maintenance mode answers an empty 200 a thousand times a second, and so does one whose
            # database is being deleted; one that gives the same rows for ever is no better.
            self._retry(now, BadAnswer("_changes ended at once, and with nothing new"), random)
        else:
            self._polled_well(len(batch.rows), now - self._asked_at)
        return self._deliver(batch.rows, batch.last_seq)

    def _fold_batch_id(self, _now: float, batch: Batch, _random: float) -> Delivery | None:
        if not batch.rows or batch.rows[0].deleted:
            self._polled_well()
            return self._deliver(batch.rows, batch.last_seq)
        self._since_next = batch.last_seq
        self._alone = batch.rows[0].id
        self._phase = Phase.POLL_DOCUMENT
        return None

    def _fold_document(self, _now: float, found: Document, _random: float) -> Delivery | None:
        return self._deliver_alone(Row(self._alone, found.document))

    def _deliver_alone(self, row: Row) -> Delivery | None:
        self._polled_well()
        return self._deliver((row,), self._since_next)

    def _deliver(self, rows: tuple[Row, ...], last_seq: object) -> Delivery | None:
        self._since_next = last_seq
        if rows:
            return Delivery(rows)
        self.handled()
        return None

    def _polled_well(self, rows: int = 0, took_s: float = 0.0) -> None:
        self._phase = Phase.POLL
        self._failures = 0
        self._portion.answered(rows, took_s)

    # --- what a failure means -----------------------------------------------------------------------------------------

    def _failed(self, now: float, error: CouchError, random: float) -> Delivery | None:
        if self._phase is Phase.SNAPSHOT and self._snapshot.failed(error):
            return self._snapshot_read(now)
        if self._phase is Phase.POLL_DOCUMENT and isinstance(error, AnswerTooLarge):
            return self._deliver_alone(Row(self._alone, None, too_large=True))
        if self._phase is Phase.POLL_DOCUMENT and isinstance(error, NotFound):
            return self._deliver_alone(Row(self._alone, None, deleted=True))
        if self._phase is Phase.SERVER and isinstance(error, _NO_UUID):
            self._fold_server(now, Server(""), random)
        elif self._phase is Phase.POLL and isinstance(error, AnswerTooLarge):
            if self._portion.rows == 1:
                self._phase = Phase.POLL_ID
            self._portion.was_too_much()
        else:
            if isinstance(error, TooSlow):
                self._portion.was_too_much()
            self._retry(now, error, random)
        return None

    def _retry(self, now: float, error: CouchError, random: float) -> None:
        if isinstance(error, NotFound):
            self._resync = self._resync or "the database was missing"
        elif isinstance(error, BadRequest):
            self._resync = self._resync or "the server did not understand"
        # After a failure the database is looked at first: it may be another one by now.
        self._phase = Phase.INFO
        self._not_before = max(now, self._asked_at + self._wait_s(error, random))
        if isinstance(error, Unavailable | LoginRefused) and error.retry_after_s is not None:
            self._not_before = max(self._not_before, now + error.retry_after_s)
        self._failures += 1

    def _wait_s(self, error: CouchError, random: float) -> float:
        """Give how long after the request that failed the next one goes out.

        From its start, not its end: a request that hung for half a minute has waited already.
        """
        if isinstance(error, LoginRefused):
            return REFUSED_S + random * REFUSED_JITTER_S if error.retry_after_s is None else 0.0
        if isinstance(error, NotFound | Forbidden):
            return self._timing.missing_s * (1 + random)
        return random * min(self._timing.backoff_s, 2.0 ** min(self._failures, 30))


_NO_UUID = (NotFound, Forbidden, BadRequest, BadAnswer, AnswerTooLarge)
"""Where a proxy hides the server's front page, its uuid is not known, and nothing else is amiss."""

_PLAIN: dict[Phase, Ask] = {Phase.INFO: GetInfo(), Phase.SERVER: GetServer()}

_Fold = Callable[[Follower, float, Any, float], Delivery | None]
_FOLD: dict[Phase, tuple[tuple[type, ...], _Fold]] = {
    Phase.INFO: ((DatabaseInfo,), Follower._fold_info),
    Phase.SERVER: ((Server,), Follower._fold_server),
    Phase.SNAPSHOT: ((Page, Document), Follower._fold_snapshot),
    Phase.POLL: ((Batch,), Follower._fold_batch),
    Phase.POLL_ID: ((Batch,), Follower._fold_batch_id),
    Phase.POLL_DOCUMENT: ((Document,), Follower._fold_document),
}


def _is_behind(update_seq: object, since: object) -> bool:
    """Say whether the number in front of ``update_seq`` is below that of ``since``, where both have one."""
    numbers = _number(update_seq), _number(since)
    return numbers[0] is not None and numbers[1] is not None and numbers[0] < numbers[1]


def _number(seq: object) -> int | None:
    if isinstance(seq, list) and seq:
        seq = seq[0]
    if isinstance(seq, int) and not isinstance(seq, bool):
        return seq
    found = re.match(r"[0-9]{1,18}", seq) if isinstance(seq, str) else None
    return None if found is None else int(found[0])
