"""Who waits for changes of one database, and who of them a commit wakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from himbeerecouch.embedded import collate, jsontext
from himbeerecouch.embedded.anchors import Anchor, Moorings, anchors_of
from himbeerecouch.embedded.ledger import Change, Stored
from himbeerecouch.embedded.recent import Recent
from himbeerecouch.embedded.refused import Refused, bad_request
from himbeerecouch.embedded.selector import compile_selector
from himbeerecouch.embedded.storage import Database

log = Logger()


@frozen
class Filter:
    """Which changes a feed is about."""

    matches: Callable[[Mapping[str, Any]], bool] | None = None
    """None: all of them."""
    anchors: frozenset[Anchor] | None = None
    ids: frozenset[str] | None = None
    """Where the documents are given by id, these."""


def selector_filter(selector: Any) -> Filter:
    """``filter=_selector``."""
    try:
        compiled = compile_selector(selector)
    except Refused as error:
        # The feed calls every mistake in a selector a bad request, whatever _find calls it.
        raise bad_request(error.reason) from None
    return Filter(compiled.matches, anchors_of(selector))


def ids_filter(ids: Any) -> Filter:
    """``filter=_doc_ids``."""
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
        raise bad_request("`doc_ids` filter parameter is not a list.")
    wanted = frozenset(ids)
    anchors = frozenset(("_id", collate.key(name)) for name in wanted)
    return Filter(lambda document: document["_id"] in wanted, anchors, wanted)


@define(eq=False)
class Row:
    """One changed document; its text is made once for all feeds that it goes to."""

    stored: Stored
    _document_text: str | None = field(default=None, init=False)

    @property
    def document_text(self) -> str:
        """The document, as ``include_docs`` shows it."""
        if self._document_text is None:
            self._document_text = self.stored.text()
        return self._document_text

    def text(self, database: Database, include_docs: bool, revs: Sequence[str] = ()) -> str:
        """The row of ``_changes``; ``revs`` where all leaves are to be listed."""
        leaf = self.stored.leaf
        listed = ",".join(f'{{"rev":"{rev}"}}' for rev in (revs or (leaf.rev,)))
        return (
            f'{{"seq":"{database.seq_text(self.stored.seq)}","id":{jsontext.write(self.stored.id)},'
            f'"changes":[{listed}]'
            + (',"deleted":true' if leaf.deleted else "")
            + (f',"doc":{self.document_text}' if include_docs else "")
            + "}"
        )


@define(eq=False)
class Poll:
    """A feed that waits for the next matching change."""

    filter: Filter
    woken: Deferred[list[Row]] = field(factory=Deferred)
    """Fires with the rows of one commit that match; with none where the wait is over."""


class Feed:
    """The parked polls of one database."""

    def __init__(self, database: Database) -> None:
        self._parked: Moorings[Poll] = Moorings()
        self._polls: dict[Poll, None] = {}
        self.recent = Recent(database.seq, database.latest)
        database.changed.append(self._commit)
        database.closed.append(self.release)

    def park(self, poll: Poll) -> None:
        """Let a poll wait."""
        self._parked.add(poll, poll.filter.anchors)
        self._polls[poll] = None

    def wake(self, poll: Poll, rows: list[Row]) -> None:
        """End the wait of a poll; nothing happens where it has ended."""
        if poll in self._polls:
            self._leave(poll)
            poll.woken.callback(rows)

    def _leave(self, poll: Poll) -> None:
        del self._polls[poll]
        self._parked.remove(poll, poll.filter.anchors)

    def release(self) -> None:
        """End all waits: the database is gone, or the server ends."""
        for poll in list(self._polls):
            self.wake(poll, [])

    def __len__(self) -> int:
        return len(self._polls)

    def _commit(self, changes: Sequence[Change]) -> None:
        """Wake the polls that the changes matter to.  Called by the database after each commit."""
        self.recent.add(changes)
        hits: dict[Poll, list[Row]] = {}
        for change in changes:
            document = dict(change.document)
            row = Row(change.stored)
            for poll in self._parked.candidates(document):
                if self._matches(poll, document):
                    hits.setdefault(poll, []).append(row)
        # All of them first: behind an answer the next request of its connection may be waiting, which is served on the
        # spot, and commits.  Who is still parked then would be woken by that, and never hear of this.
        for poll in hits:
            self._leave(poll)
        for poll, rows in hits.items():
            poll.woken.callback(rows)

    def _matches(self, poll: Poll, document: Mapping[str, Any]) -> bool:
        """Whether a change matters to a poll; where that can't be told it does, so that none of the others loses it."""
        try:
            return poll.filter.matches is None or poll.filter.matches(document)
        except Exception:  # noqa: BLE001 - whatever it is, the others' changes go on
            log.failure("a selector could not be applied; this is a mistake in himbeerecouch")
            return True
