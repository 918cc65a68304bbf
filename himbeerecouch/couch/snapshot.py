"""Reads all documents of one Pi, page by page, without input and output of its own.  Pure.

A document that is too large for one answer stops nothing: the pages are halved down to that one, which is then left
out and reported.
"""

from __future__ import annotations

import enum

from himbeerecouch.couch import query
from himbeerecouch.couch.asks import Document, Find, GetDocument, Page
from himbeerecouch.errors import AnswerTooLarge, BadAnswer, BadRequest, CouchError, NotFound, TooSlow
from himbeerecouch.model import Row


class _Step(enum.Enum):
    """What is read next."""

    PAGE = enum.auto()
    ID = enum.auto()
    """A page of one document was too large: which one is it?"""
    DOCUMENT = enum.auto()
    """And is that one really too large?  Another may have come in between."""


class Snapshot:
    """All documents that a Pi has to know, as ``_find`` gives them."""

    def __init__(self, mac_id: int, limit: int) -> None:
        self._mac_id = mac_id
        self._most = limit
        self._limit = limit
        self.begin()

    def begin(self) -> None:
        """Read from the beginning; the size of a page stays what the last attempt has shown to work."""
        self._step = _Step.PAGE
        self._queries = list(query.snapshot(self._mac_id))
        self._rows: dict[str, Row] = {}
        self._bookmark: str | None = None
        self._bookmark_after: str | None = None
        self._use_index = True
        self._alone = ""

    @property
    def done(self) -> bool:
        """Everything has been read."""
        return not self._queries

    @property
    def rows(self) -> tuple[Row, ...]:
        """What has been read, each document once, and as it was read last."""
        return tuple(self._rows.values())

    def next(self) -> Find | GetDocument:
        """Say what to ask."""
        if self._step is _Step.DOCUMENT:
            return GetDocument(self._alone)
        wanted = self._queries[0]
        use_index = wanted.use_index if self._use_index else None
        if self._step is _Step.ID:
            return Find(wanted.selector, use_index, 1, self._bookmark, ids_only=True)
        return Find(wanted.selector, use_index, self._limit, self._bookmark, ids_only=False)

    def received(self, outcome: Page | Document) -> None:
        """Take in an answer to what ``next`` asked.

        Raises BadAnswer where there is no way to the next page: it would go on for ever, or be taken for all there is.
        """
        if isinstance(outcome, Document):
            self._rows[self._alone] = Row(self._alone, outcome.document)
            self._turn(self._bookmark_after)
        elif self._step is _Step.ID:
            self._identified(outcome)
        else:
            for document in outcome.documents:
                document_id = document.get("_id")
                if isinstance(document_id, str):
                    self._rows[document_id] = Row(document_id, document)
            self._turn(self._next_bookmark(outcome, self._limit))

    def failed(self, error: CouchError) -> bool:
        """Take in a failure; say whether to go on by ``next`` at once."""
        if self._step is _Step.DOCUMENT and isinstance(error, AnswerTooLarge | NotFound):
            if isinstance(error, AnswerTooLarge):
                self._rows[self._alone] = Row(self._alone, None, too_large=True)
            self._turn(self._bookmark_after)
            return True
        if self._use_index and self._step is not _Step.DOCUMENT and isinstance(error, BadRequest | NotFound):
            # Some servers refuse a query that names an index which is not there.
            self._use_index = False
            self._bookmark = None
            self._step = _Step.PAGE
            return True
        if self._step is _Step.PAGE and isinstance(error, AnswerTooLarge | TooSlow):
            if self._limit == 1 and isinstance(error, AnswerTooLarge):
                self._step = _Step.ID
            self._limit = max(1, self._limit // 2)
            return isinstance(error, AnswerTooLarge)
        return False

    def _identified(self, page: Page) -> None:
        found = page.documents[0].get("_id") if page.documents else None
        if isinstance(found, str):
            self._bookmark_after = self._next_bookmark(page, 1)
            self._alone = found
            self._step = _Step.DOCUMENT
        else:
            self._turn(None)  # it is gone, and there is no other after it

    def _next_bookmark(self, page: Page, limit: int) -> str | None:
        if len(page.documents) < limit:
            return None
        if page.bookmark is None or page.bookmark == self._bookmark:
            raise BadAnswer("_find gives no bookmark for the next page")
        return page.bookmark

    def _turn(self, bookmark: str | None) -> None:
        self._step = _Step.PAGE
        self._limit = min(self._limit * 2, self._most)
        self._bookmark = bookmark
        if bookmark is None:
            self._queries.pop(0)
