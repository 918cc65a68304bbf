"""The service that follows the database: asks what the follower says, and delivers rows to a listener.

All of it runs on the reactor's thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.logger import Logger

from himbeerecouch.couch.asks import (
    Ask,
    Delivery,
    Document,
    Find,
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
from himbeerecouch.couch.client import Couch
from himbeerecouch.couch.follower import ROUTINE, Follower
from himbeerecouch.errors import CouchError, Unavailable
from himbeerecouch.model import Row

REPEAT_S = 600.0
"""A failure that goes on is logged again after this time."""
HOLD_S = 0.05
"""So long at most the next poll waits for the answers of commands that the last one has brought."""

log = Logger()


class Listener(Protocol):
    """Whoever wants to know what the database says; called on the reactor's thread."""

    def snapshot(self, rows: Sequence[Row]) -> None:
        """Take all documents for this Pi, and all with global modules: what is not among them is gone."""

    def changed(self, rows: Sequence[Row]) -> None:
        """Take what changed; a row may come twice."""

    def ids_in_use(self) -> Collection[str]:
        """Give the documents whose end has to be told: those that run, and commands that are running."""

    def answering(self, rows: Sequence[Row]) -> Deferred[None] | None:
        """Give what fires once the commands of these rows are answered; None where that is not to be expected soon.

        It may be cancelled.
        """


class Changes(Service):
    """Follows ``database`` for one Pi, whatever happens to the server, until it is stopped.

    ``failing`` is called after each try that has failed and will be made again later: is it still the right server?
    """

    name = "changes"

    def __init__(
        self,
        couch: Couch,
        database: str,
        mac_id: int,
        listener: Listener,
        *,
        clock: Any,
        random: Callable[[], float],
        failing: Callable[[], None] = lambda: None,
        timing: Timing | None = None,
    ) -> None:
        self._couch = couch
        self._database = database
        self._listener = listener
        self._clock = clock
        self._random = random
        self._failing = failing
        self._follower = Follower(mac_id, timing)
        self._current: Deferred[Any] | None = None
        self._waiting = False
        self._interrupted = False
        self._delivered: Sequence[Row] = ()
        """Whoever took these rows, right now, may have something to send."""
        self._done: Deferred[None] = succeed(None)
        self._complaint = ""
        self._complained_at = 0.0

    def startService(self) -> None:
        """Begin to follow."""
        super().startService()
        self._couch.on_news.append(self._news)
        self._follower.resync("start")
        self._done = Deferred.fromCoroutine(self._run())
        self._done.addErrback(lambda failure: log.failure("the feed has ended; this should not happen", failure))

    def stopService(self) -> Deferred[None]:
        """Stop; fires when nothing is under way any more."""
        super().stopService()
        if self._news in self._couch.on_news:
            self._couch.on_news.remove(self._news)
        self._interrupt()
        return self._done

    def resync(self) -> None:
        """Read all there is afresh, now."""
        self._follower.resync()
        self._interrupt()

    async def _run(self) -> None:
        while self.running:
            self._interrupted = False
            if self._delivered:
                self._waiting = False
                self._current = Deferred.fromCoroutine(self._give_way())
            else:
                ask = self._follower.next(self._clock.seconds(), self._ids_in_use())
                self._waiting = isinstance(ask, Wait)
                self._current = Deferred.fromCoroutine(self._carry_out(ask))
            outcome: Outcome | None = None
            try:
                outcome = await self._current
            except CancelledError:
                pass  # somebody has ended it, and says by ``running`` and the follower what is next
            except CouchError as e:
                outcome = e
            except Exception as e:  # noqa: BLE001 - nothing is terminal: it is logged, and tried again later
                log.failure("{database}: a request failed in a way that is not foreseen", database=self._database)
                outcome = Unavailable("an error of our own", reason=repr(e))
            self._current = None
            if outcome is not None and not self._interrupted:
                self._received(outcome)

    async def _give_way(self) -> None:
        """Let go first what the rows have set off: to it each millisecond counts.

        A command is claimed and answered in the very database that is followed.  A poll that is out meanwhile brings
        back both, and costs this machine and the server more than most commands do; one that goes out after the answer
        brings back neither.  What takes longer than a moment is not waited for.
        """
        rows, self._delivered = self._delivered, ()
        answering = self._listener.answering(rows)
        if answering is not None:
            with contextlib.suppress(TimeoutError):
                await answering.addTimeout(HOLD_S, self._clock)
        # What is written in one turn of the reactor leaves in the next.
        await self._sleep(0.0)
        await self._sleep(0.0)

    async def _carry_out(self, ask: Ask) -> Outcome | None:
        couch, database = self._couch, self._database
        if isinstance(ask, Poll):
            return await couch.changes(
                database,
                since=ask.since,
                limit=ask.limit,
                timeout_s=ask.timeout_s,
                selector=ask.selector,
                include_docs=ask.include_docs,
            )
        if isinstance(ask, Find):
            documents, bookmark = await couch.find(
                database,
                ask.selector,
                use_index=ask.use_index,
                limit=ask.limit,
                bookmark=ask.bookmark,
                ids_only=ask.ids_only,
            )
            return Page(tuple(documents), bookmark)
        if isinstance(ask, GetDocument):
            return Document(await couch.get(database, ask.id))
        if isinstance(ask, GetInfo):
            return await couch.info(database)
        if isinstance(ask, GetServer):
            return Server(await couch.server_uuid())
        await self._sleep(ask.until - self._clock.seconds())
        return None

    def _sleep(self, wait_s: float) -> Deferred[None]:
        d: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._clock.callLater(max(0.0, wait_s), d.callback, None)
        return d

    def _received(self, outcome: Outcome) -> None:
        failures = self._follower.failures
        delivery = self._follower.received(self._clock.seconds(), outcome, self._random())
        if delivery is not None:
            self._deliver(delivery)
        # Some errors are no failures: an answer that was too large is asked for in smaller pieces.
        failed = self._follower.failures > failures
        self._report(outcome, failed)
        if failed:
            self._failing()

    def _deliver(self, delivery: Delivery) -> None:
        try:
            if delivery.resync is not None:
                if delivery.resync != ROUTINE:  # a log lies on a card, which an idle daemon does not wear out
                    log.info(
                        "{database}: read afresh, {count} documents ({reason})",
                        database=self._database,
                        count=len(delivery.rows),
                        reason=delivery.resync,
                    )
                self._listener.snapshot(delivery.rows)
            else:
                self._listener.changed(delivery.rows)
                self._delivered = delivery.rows
        except Exception:  # noqa: BLE001 - one bad row must not end the feed for all others
            log.failure("{database}: a change could not be handled; the feed goes on", database=self._database)
        self._follower.handled()

    def _ids_in_use(self) -> Collection[str]:
        try:
            return self._listener.ids_in_use()
        except Exception:  # noqa: BLE001 - as above
            log.failure("{database}: the documents in use are not known; the feed goes on", database=self._database)
            return ()

    def _report(self, outcome: Outcome, failed: bool) -> None:
        """Say what is wrong, once for each cause and then every ten minutes, and when it is well again."""
        now = self._clock.seconds()
        if failed and isinstance(outcome, CouchError):
            complaint = f"{type(outcome).__name__} {outcome.status} {outcome.reason}"
            if complaint != self._complaint or now - self._complained_at >= REPEAT_S:
                self._complaint, self._complained_at = complaint, now
                log.warn(
                    "{server}: {error}. {advice} Next try in {wait_s:.0f} s",
                    server=self._couch.url,
                    error=str(outcome).rstrip("."),
                    advice=" ".join((type(outcome).__doc__ or "").split()),
                    wait_s=max(0.0, self._follower.not_before - now),
                )
        elif self._complaint and self._follower.failures == 0:
            self._complaint = ""
            log.info("{server}: all is well again", server=self._couch.url)

    def _news(self, moved: bool) -> None:
        """What failed may work now; called by the client."""
        if moved:
            self._follower.look_again()
            self._interrupt()
        else:
            self._follower.hurry()
            if self._waiting:
                self._interrupt()

    def _interrupt(self) -> None:
        self._interrupted = True
        if self._current is not None:
            self._current.cancel()
