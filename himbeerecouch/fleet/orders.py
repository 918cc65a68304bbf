"""Gives commands to Pis, and waits for the answers of all of them with one long poll.

All of it runs on the reactor's thread, and raises CouchError where the server does not do as it is asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import uuid4

from attrs import field, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from himbeerecouch.errors import AnswerTooLarge, Forbidden, Unavailable, Unreachable
from himbeerecouch.fleet.commands import Order, Outcome, answered, document_id, read
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.model import Json, Row

BULK = 500
"""Documents in one request."""
ROWS = 100
"""Answers in one request: each may have megabytes."""
LONGEST_PAUSE_S = 10.0
GATHER_S = 0.02
GATHER_EACH_S = 0.0002
"""What comes within this time is fetched together, and more of it where more is to come."""
CANCEL_ATTEMPTS = 5
"""The Pi writes its claim at about the same time; whoever comes in between more often is a stranger."""


@frozen
class Given:
    """Commands that were given together."""

    since: object
    """Where to follow the database from, to see their answers."""
    waiting: Mapping[str, int] = field(hash=False)
    """Document id -> MacID."""
    refused: Mapping[int, Outcome] = field(factory=dict, hash=False)
    """What the database did not take: by MacID."""


async def give(
    desk: Desk, mac_ids: Iterable[int], order: Order, *, unique: Callable[[], str] = lambda: uuid4().hex
) -> Given:
    """Ask these Pis.  Raises Forbidden where none of the commands may be written."""
    database = desk.database
    since = (await desk.info(database)).update_seq
    ids = {document_id(mac_id, unique()): mac_id for mac_id in mac_ids}
    documents = [order.document(mac_id, id, desk.server_time()) for id, mac_id in ids.items()]
    try:
        told = await _store(desk, documents)
    except CancelledError:
        # It may have been stored all the same.
        await cancel(desk, ids)
        raise
    refused = {
        mac_id: Outcome(id, "refused", reason=f"{result['error']}: {result.get('reason', '')}")
        for (id, mac_id), result in zip(ids.items(), told, strict=False)
        if "error" in result
    }
    if refused and len(refused) == len(ids) and told[0]["error"] == "forbidden":
        raise Forbidden(f"commands in {database}", status=403, reason=str(told[0].get("reason", "")))
    return Given(since, {id: mac_id for id, mac_id in ids.items() if mac_id not in refused}, refused)


async def _store(desk: Desk, documents: Sequence[Json]) -> list[Json]:
    told: list[Json] = []
    for start in range(0, len(documents), BULK):
        part = documents[start : start + BULK]
        try:
            told += await desk.bulk(desk.database, part)
        except Unreachable:
            raise
        except Unavailable:
            # Whether it was stored before the connection was lost is not known, and it may run by now: look.
            ids = [str(document["_id"]) for document in part]
            rows = await desk.all_docs(desk.database, keys=ids, include_docs=False)
            if all("error" in row for row in rows):
                raise
            told += rows
    return told


async def outcomes(
    desk: Desk,
    given: Given,
    heard: Callable[[int, Outcome], None],
    troubled: Callable[[Unavailable | None], None] = lambda error: None,
) -> None:
    """Wait until each of the commands has an answer; ``heard`` gets the MacID and the outcome, as they come.

    A server that is away is waited for: ``troubled`` gets why, and None when all is well again.  Cancel it to stop
    waiting.
    """
    reactor = desk.reactor
    pending, since, limit, failures = dict(given.waiting), given.since, ROWS, 0

    def take(rows: Iterable[Row]) -> None:
        for row in rows:
            outcome = read(row)
            if outcome is not None and row.id in pending:
                heard(pending.pop(row.id), outcome)

    while pending:
        asked_at = reactor.seconds()
        try:
            if failures:
                # It may be another copy of the database by now, in which the feed begins elsewhere.
                since = (await desk.info(desk.database)).update_seq
                take(await _look(desk, list(pending)))
                if not pending:
                    troubled(None)
                    return
            batch = await desk.changes(desk.database, since=since, selector=answered(list(pending)), limit=limit)
        except AnswerTooLarge:
            if limit == 1:
                raise
            limit //= 2
            continue
        except Unavailable as error:
            failures += 1
            troubled(error)
            await deferLater(reactor, random.uniform(0.2, min(LONGEST_PAUSE_S, 2.0**failures)))  # noqa: S311 - jitter
            continue
        if failures:
            failures = 0
            troubled(None)
        since = batch.last_seq
        take(batch.rows)
        if pending:
            quick = not batch.rows and reactor.seconds() - asked_at < 1.0
            await deferLater(reactor, 1.0 if quick else GATHER_S + GATHER_EACH_S * len(pending))


async def _look(desk: Desk, ids: Sequence[str]) -> list[Row]:
    """The documents as they are now, as rows of the feed would have them."""
    found = []
    for row in await desk.all_docs(desk.database, keys=ids):
        document = row.get("doc")
        found.append(Row(str(row.get("id") or row.get("key")), document, deleted=not isinstance(document, dict)))
    return found


async def unclaimed(desk: Desk, ids: Iterable[str]) -> list[str]:
    """Give those of these commands that no Pi has begun or answered."""
    return [
        row.id
        for row in await _look(desk, list(ids))
        if row.document is not None and "ret" not in row.document and "execution" not in row.document
    ]


async def cancel(desk: Desk, ids: Iterable[str]) -> None:
    """Have these commands ended, or never started, where they have no answer yet.  The Pis answer that themselves."""
    left = list(ids)
    for _ in range(CANCEL_ATTEMPTS):
        documents = [
            {**row.document, "cancel": True}
            for row in await _look(desk, left)
            if row.document is not None and "ret" not in row.document and row.document.get("cancel") is not True
        ]
        told = await desk.bulk(desk.database, documents)
        # In between the Pi may have claimed it: then it is to be asked of that revision.
        left = [str(result.get("id")) for result in told if result.get("error") == "conflict"]
        if not left:
            return
