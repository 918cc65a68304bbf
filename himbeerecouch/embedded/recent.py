"""The last changes of a database, found by their anchors.

Whoever follows the feed and has nearly caught up asks for what matters to him among the changes of the others.  With a
thousand Pis that write at the same time, reading all of those for each of them would be a million.  The same holds when
they all come back after the server was away: what was changed before anybody has asked is then read once, for all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice, takewhile

from himbeerecouch.embedded.anchors import PRESENT, Anchor, facts_of
from himbeerecouch.embedded.ledger import Change

MOST_CHANGES = 10_000
LOOK_BACK = 2_000
"""Documents that are read once for all followers, to know what they are about."""
LOOK_BACK_BYTES = 4 * 1024 * 1024
MOST_FIELDS = 16
"""Fields whose values are kept in mind; the daemons ask for three."""
MOST_FACTS = 50
LONG_CHARACTERS = 300
"""A change with more facts, or with longer ones, is taken to matter to everybody."""


Latest = Callable[[int, int], tuple[int, Sequence[Change]]]
"""Gets how many documents and how many bytes of them are wanted at most.  Gives the changes, in order, and the number
behind which these are all."""


class Recent:
    """The last changes, each with the facts about it that somebody has asked for."""

    def __init__(self, seq: int, latest: Latest) -> None:
        """``seq`` is the number of the last change before this begins; ``latest`` reads the last ones of all."""
        self._latest = latest
        self._looked_back: frozenset[str] = frozenset()
        """The fields that were known when the last changes were read."""
        self._begin(seq)

    def _begin(self, seq: int) -> None:
        """Know of no change up to ``seq``."""
        self._from = seq
        self._seq = seq
        self._known_from: dict[str, int] = {}
        """By field: the facts about it are known of all changes behind this one."""
        self._history: deque[tuple[int, str, Sequence[Anchor]]] = deque()
        self._ids: dict[int, str] = {}
        self._by_anchor: dict[Anchor, list[int]] = {}
        self._for_all: list[int] = []

    def add(self, changes: Iterable[Change]) -> None:
        """Take in what a commit has changed, in order."""
        for change in changes:
            seq, id = change.stored.seq, change.stored.id
            facts = list(islice(facts_of(dict(change.document), self._known_from), MOST_FACTS + 1))
            if len(facts) > MOST_FACTS or any(_is_long(value) for _, value in facts):
                facts = []
                self._for_all.append(seq)
            for fact in facts:
                self._by_anchor.setdefault(fact, []).append(seq)
            self._history.append((seq, id, facts))
            self._ids[seq] = id
            self._seq = seq
            if len(self._history) > MOST_CHANGES:
                self._forget()

    def _forget(self) -> None:
        """Let the oldest change go."""
        seq, _, facts = self._history.popleft()
        self._from = seq
        del self._ids[seq]
        if self._for_all and self._for_all[0] == seq:
            del self._for_all[0]
        for fact in facts:
            seqs = self._by_anchor[fact]
            del seqs[0]
            if not seqs:
                del self._by_anchor[fact]

    def find(self, anchors: frozenset[Anchor] | None, since: int, until: int) -> list[tuple[int, str]] | None:
        """Give number and id of every change behind ``since`` that may match, in order; ``until`` is the last of all.

        None where that is not known, and the whole history has to be read.  A document that has changed again since is
        there as often.
        """
        if anchors is None or until != self._seq:
            return None
        fields = {field for field, _ in anchors}
        for field in fields - self._known_from.keys():
            if len(self._known_from) < MOST_FIELDS:
                self._known_from[field] = self._seq
        is_news = not self._looked_back >= fields & self._known_from.keys()
        if is_news and until - since <= LOOK_BACK and not self._knows(fields, since):
            self._look_back()
        if not self._knows(fields, since):
            return None
        found = set(_behind(self._for_all, since))
        for anchor in anchors:
            found.update(_behind(self._by_anchor.get(anchor, ()), since))
        return [(seq, self._ids[seq]) for seq in sorted(found)]

    def _knows(self, fields: Collection[str], since: int) -> bool:
        """Whether the facts about these fields are known of all changes behind ``since``."""
        return since >= self._from and all(self._known_from.get(field, self._seq) <= since for field in fields)

    def _look_back(self) -> None:
        """Read the last changes, those included that came before anybody asked for what they are about."""
        self._looked_back = frozenset(self._known_from)
        begin, changes = self._latest(LOOK_BACK, LOOK_BACK_BYTES)
        self._begin(begin)
        self._known_from = dict.fromkeys(self._looked_back, begin)
        self.add(changes)

    def of_ids(self, ids: Collection[str], since: int, until: int) -> list[tuple[int, str]] | None:
        """Give number and id of every change of these documents behind ``since``, in order; ``until`` is the last one.

        None where that is not known, or where so much has changed that it is less work to ask for each document.
        """
        if until != self._seq or since < self._from or until - since > len(ids):
            return None
        behind = takewhile(lambda change: change[0] > since, reversed(self._history))
        return [(seq, id) for seq, id, _ in behind if id in ids][::-1]


def _is_long(value: object) -> bool:
    """Whether the key of a value is a long text."""
    return value != PRESENT and isinstance(value, tuple) and len(str(value[-1])) > LONG_CHARACTERS


def _behind(seqs: Sequence[int], since: int) -> Sequence[int]:
    return seqs[bisect_right(seqs, since) :]
