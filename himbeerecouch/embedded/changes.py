"""``_changes``: normal and long poll."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from himbeerecouch.embedded import jsontext
from himbeerecouch.embedded.call import Call, Stream
from himbeerecouch.embedded.databases import Room
from himbeerecouch.embedded.feeds import Filter, Poll, Row, ids_filter, selector_filter
from himbeerecouch.embedded.ledger import Stored
from himbeerecouch.embedded.refused import bad_request, not_implemented

CAP_S = 60.0
"""CouchDB ends every poll after this time."""
SLICE_ROWS = 200
SLICE_BYTES = 256 * 1024
"""So much is read before others get their turn."""
PIECE_CHARACTERS = 64 * 1024
"""Rows go out in pieces of this size: for client and server a piece costs as much as a small row does."""


@frozen
class Query:
    """What is asked of the feed."""

    filter: Filter
    since: int
    limit: int | None
    include_docs: bool
    all_leaves: bool
    longpoll: bool
    timeout_s: float
    heartbeat_s: float | None


def read_query(call: Call, room: Room) -> Query:
    """Read query string and body; ``Refused`` for what makes no sense or is not served."""
    arguments = call.arguments
    feed = arguments.get("feed", "normal")
    if feed not in ("normal", "longpoll"):
        if feed in ("continuous", "eventsource"):
            raise not_implemented(f"_changes?feed={feed}")
        raise bad_request("Supported `feed` types: normal, continuous, live, longpoll, eventsource")
    if call.flag("descending"):
        raise not_implemented("_changes?descending=true")
    style = arguments.get("style", "main_only")
    heartbeat = arguments.get("heartbeat")
    heartbeat_ms = 60_000 if heartbeat == "true" else call.count("heartbeat") if heartbeat != "false" else None
    if heartbeat_ms == 0:
        raise bad_request("The heartbeat value should be a positive integer (in milliseconds).")
    timeout_ms = call.count("timeout", int(CAP_S * 1000)) or 0
    return Query(
        filter=_read_filter(call),
        since=room.database.since(arguments.get("since", "0")),
        limit=call.count("limit"),
        include_docs=call.flag("include_docs"),
        all_leaves=style == "all_docs",
        longpoll=feed == "longpoll",
        timeout_s=min(timeout_ms / 1000, CAP_S),
        heartbeat_s=None if heartbeat_ms is None else heartbeat_ms / 1000,
    )


def _read_filter(call: Call) -> Filter:
    name = call.arguments.get("filter")
    body: Any = call.posted() if call.method == "POST" else {}
    if name is None:
        return Filter()
    if name == "_selector":
        if call.method != "POST":
            raise bad_request("`_selector` filter requires a POST with a selector.")
        return selector_filter(body.get("selector"))
    if name == "_doc_ids":
        return ids_filter(body.get("doc_ids", jsontext.read(call.arguments.get("doc_ids", "null"))))
    raise not_implemented(f"_changes?filter={name}")


class Writer:
    """Writes one answer of the feed."""

    def __init__(self, room: Room, query: Query, stream: Stream, clock: IReactorTime) -> None:
        self._room = room
        self._database = room.database
        self._query = query
        self._stream = stream
        self._clock = clock
        self._sent = 0
        self._begun = False
        """A row has been written; the next one begins with a comma."""
        self._last = query.since

    async def run(self) -> None:
        """Send what there is, wait where the feed is to wait, and end."""
        self._stream.write('{"results":[\n')
        await self._scan()
        if self._query.longpoll and not self._sent and not self._is_full() and not self._database.is_closed:
            self._stream.write("\n")
            await self._wait()
        if self._stream.is_lost:
            return
        pending = 0 if self._database.is_closed else self._database.behind(self._last)
        last = self._database.seq_text(self._last)
        self._stream.write(f'\n],\n"last_seq":"{last}","pending":{pending}}}\n')
        self._stream.finish()

    def _is_full(self) -> bool:
        return self._query.limit is not None and self._sent >= self._query.limit

    async def _scan(self) -> None:
        """Send the matching changes up to now, in slices, so that a long history does not keep others waiting."""
        while not self._stream.is_lost and not self._database.is_closed and not self._is_full():
            until = self._database.seq
            if self._last >= until:
                return
            rows = self._slice(until)
            await self._send(self._matching(rows))
            if not self._is_full():
                if not rows:
                    self._last = until
                await turn(self._clock)

    def _matching(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Give those that match, as many as are asked for, and count them."""
        for row in rows:
            if self._is_full():
                return
            self._last = row.stored.seq
            if self._matches(row.stored):
                self._sent += 1
                yield row

    def _slice(self, until: int) -> list[Row]:
        ids = self._query.filter.ids
        if ids is not None:
            return self._of_ids(ids, until)
        recent = self._room.feed.recent.find(self._query.filter.anchors, self._last, until)
        if recent is not None:
            return [Row(stored) for stored in taken(self._still(recent))]
        with_body = self._query.include_docs or self._query.filter.matches is not None
        return [Row(stored) for stored in taken(self._database.after_seq(self._last, until, with_body))]

    def _of_ids(self, ids: frozenset[str], until: int) -> list[Row]:
        recent = self._room.feed.recent.of_ids(ids, self._last, until)
        if recent is not None:
            return [Row(stored) for stored in self._still(recent)]
        found = (self._database.get(name) for name in ids)
        inside = (stored for stored in found if stored is not None and self._last < stored.seq <= until)
        return [Row(stored) for stored in sorted(inside, key=lambda stored: stored.seq)]

    def _still(self, changes: Sequence[tuple[int, str]]) -> Iterator[Stored]:
        """Read those of the changes that are the last ones of their documents."""
        for seq, identity in changes:
            stored = self._database.get(identity)
            if stored is not None and stored.seq == seq:
                yield stored

    def _matches(self, stored: Stored) -> bool:
        matches, ids = self._query.filter.matches, self._query.filter.ids
        if matches is None or ids is not None:
            return True
        return matches(stored.document())

    async def _send(self, rows: Iterable[Row]) -> None:
        """Send rows, many in one piece, and wait while the client does not keep up."""
        piece: list[str] = []
        size = 0
        for row in rows:
            revs: list[str] = []
            if self._query.all_leaves and not self._database.is_closed:
                revs = [leaf.rev for leaf in self._database.leaves(row.stored.id)]
            piece.append(row.text(self._database, self._query.include_docs, revs))
            size += len(piece[-1])
            if size >= PIECE_CHARACTERS:
                await self._write(piece)
                piece, size = [], 0
        if piece:
            await self._write(piece)

    async def _write(self, texts: Sequence[str]) -> None:
        comma, self._begun = ",\n" if self._begun else "", True
        await self._stream.send(comma + ",\n".join(texts))

    async def _wait(self) -> None:
        poll = Poll(self._query.filter)
        feed = self._room.feed
        feed.park(poll)
        self._stream.when_lost(lambda: feed.wake(poll, []))

        def over() -> None:
            # What is written but not yet committed must still be able to wake this poll: it would be skipped for good.
            self._database.commit()
            feed.wake(poll, [])

        stop = self._start_timer(over)
        rows = await poll.woken
        stop()
        if self._database.is_closed:
            return
        if rows:
            rows = rows[: self._query.limit]
            self._sent = len(rows)
            self._last = rows[-1].stored.seq
            await self._send(rows)
        else:
            self._last = max(self._last, self._database.seq)

    def _start_timer(self, over: Callable[[], None]) -> Callable[[], None]:
        """Start the timeout, or the heartbeat that takes its place, as in CouchDB; returns what ends it."""
        heartbeat_s = self._query.heartbeat_s
        if heartbeat_s is None:
            timer = self._clock.callLater(self._query.timeout_s, over)
            return lambda: timer.cancel() if timer.active() else None

        def beat() -> None:
            nonlocal timer
            self._stream.write("\n")
            timer = self._clock.callLater(heartbeat_s, beat)

        timer = self._clock.callLater(heartbeat_s, beat)
        return lambda: timer.cancel()  # noqa: PLW0108 the timer of that moment is meant


def taken(stored: Any) -> list[Stored]:
    """Read from an open query as much as one slice holds, and close it."""
    found: list[Stored] = []
    size_bytes = 0
    for one in stored:
        found.append(one)
        size_bytes += len(one.leaf.body)
        if len(found) >= SLICE_ROWS or size_bytes >= SLICE_BYTES:
            break
    stored.close()
    return found


def turn(clock: IReactorTime) -> Deferred[None]:
    """Let the reactor do something else first."""
    done: Deferred[None] = Deferred()
    clock.callLater(0, done.callback, None)
    return done


async def changes(call: Call, room: Room, clock: IReactorTime) -> None:
    """Answer a request for ``_changes``."""
    query = read_query(call, room)
    await Writer(room, query, call.stream(), clock).run()
