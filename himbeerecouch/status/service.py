"""The service that keeps the database told how this Pi is.

All of it runs on the reactor's thread.  It writes nothing to the disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from himbeerecouch.errors import CouchError, Forbidden, LoginRefused, NotFound, Unavailable
from himbeerecouch.model import Json
from himbeerecouch.status.documents import StatusDocuments
from himbeerecouch.status.pace import FALLBACK, HEARTBEAT, LOG, WATCHED_LOG, Pace, Rate
from himbeerecouch.status.places import Place, Places
from himbeerecouch.status.sources import Couch, Sources

FAREWELL_S = 1.0
REPEAT_S = 600.0
"""What goes on being wrong is logged again after this time."""
LONGEST_SLEEP_S = 3600.0

_RATES: Mapping[Place, Rate] = {Place.OWN: HEARTBEAT, Place.CODE: FALLBACK}

log = Logger()


class Status(Service):
    """Writes the heartbeat and the log document of one Pi, whatever happens to the server, until it is stopped."""

    name = "status"

    def __init__(
        self,
        clock: Any,
        couch: Couch,
        database: str,
        sources: Sources,
        *,
        random: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._couch = couch
        self._databases = {Place.OWN: f"{database}_status", Place.CODE: database}
        self._sources = sources
        self._random = random
        self._documents = StatusDocuments(couch)
        self._places = Places()
        self._heartbeat = Pace()
        self._log = Pace()
        self._stored_in: Place | None = None
        """Where the heartbeat is; None where the last attempt failed, or there was none."""
        self._told: Place | None = Place.OWN
        """Where the log says that it is; None where it says that it can't be written anywhere."""
        self._why: dict[Place, str] = {}
        """Why a place was refused last."""
        self._complaint = ("", -math.inf)
        self._printed: dict[str, None] = {}
        """The programs with new lines, in the order of their first."""
        self._watched_until: float | None = None
        self._current: Deferred[Any] | None = None
        self._alarm: Any = None
        self._done: Deferred[None] = succeed(None)

    # --- its life -----------------------------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self._couch.on_news.append(self._news)
        self.changed()
        self._done = Deferred.fromCoroutine(self._run())
        self._done.addErrback(lambda failure: log.failure("the status has ended; this should not happen", failure))

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._news in self._couch.on_news:
            self._couch.on_news.remove(self._news)
        if self._current is not None:
            self._current.cancel()
        return self._done

    async def farewell(self, timeout_s: float = FAREWELL_S) -> None:
        """Say that the daemon ends, where the server takes that within ``timeout_s``; after ``stopService``."""
        place = self._stored_in
        if place is None:
            return
        last = Deferred.fromCoroutine(
            self._documents.store(
                self._databases[place],
                self._sources.heartbeat_id,
                lambda: self._sources.heartbeat(_RATES[place].period_s, stopped=True),
            )
        )
        timer = self._clock.callLater(timeout_s, last.cancel)
        try:
            await last
        except (CouchError, CancelledError) as error:
            log.info("the last heartbeat could not be written: {error}", error=error or "the server is too slow")
        finally:
            if timer.active():
                timer.cancel()

    # --- what it is told ----------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Something is not any more as the last heartbeat said."""
        self._note(self._heartbeat)

    def printed(self, program_id: str) -> None:
        """A program has printed a line."""
        self._printed[program_id] = None
        self._note(self._log)

    def watched(self, until: float | None) -> None:
        """Somebody looks at the log until then, by the server's clock; None: nobody does."""
        if until != self._watched_until:
            self._watched_until = until
            self._wake()

    def hurry(self) -> None:
        """The server has just answered: what waits for it is tried now."""
        self._heartbeat.hurry()
        self._log.hurry()
        self._wake()

    def look_again(self) -> None:
        """The database has been read afresh: a status database that was missing may be there by now."""
        self._places.open()
        self._wake()

    def _news(self, moved: bool) -> None:
        if moved:
            self._documents.forget()
            self._stored_in = None
            self._heartbeat.changed(self._clock.seconds())
            self._places.open()
        self.hurry()

    def _note(self, pace: Pace) -> None:
        known = pace.pending
        pace.changed(self._clock.seconds())
        if not known:
            self._wake()

    # --- when to do what ----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while self.running:
            at, work = self._next()
            wait_s = at - self._clock.seconds()
            self._current = self._sleep(wait_s) if wait_s > 0 else Deferred.fromCoroutine(work())
            try:
                await self._current
            except CancelledError:
                pass  # it is being stopped
            except Exception:  # noqa: BLE001 - nothing is terminal: it is logged, and tried again later
                log.failure("the status could not be written, in a way that is not foreseen")
                self._failed(self._heartbeat, None)
                self._failed(self._log, None)
        self._current = None

    def _next(self) -> tuple[float, Callable[[], Coroutine[Any, Any, None]]]:
        """When there is something to do next, and what."""
        now = self._clock.seconds()
        place = self._places.pick(now)
        if place is None:
            return self._places.next_opening(), partial(self._beat, Place.OWN)
        at = self._heartbeat.due(_RATES[place])
        if place is Place.OWN and self._stored_in is Place.CODE:
            at = self._heartbeat.not_before
        elif place is Place.CODE:
            at = max(min(at, self._places.opens_at(Place.OWN)), self._heartbeat.not_before)
        log_at = self._log.due(self._log_rate()) if self._stored_in is Place.OWN else math.inf
        return (log_at, self._write_log) if log_at < at else (at, partial(self._beat, place))

    def _log_rate(self) -> Rate:
        watched = self._watched_until is not None and self._couch.server_time() < self._watched_until
        return WATCHED_LOG if watched or self._sources.crashed else LOG

    def _sleep(self, wait_s: float) -> Deferred[None]:
        woken: Deferred[None] = Deferred(lambda _: alarm.cancel())
        alarm = self._alarm = self._clock.callLater(min(wait_s, LONGEST_SLEEP_S), woken.callback, None)
        return woken

    def _wake(self) -> None:
        # Only in the reactor's next turn: whoever calls has other things to do first, such as to start programs.
        if self._alarm is not None and self._alarm.active():
            self._alarm.reset(0)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _beat(self, place: Place) -> None:
        version = 0

        def render() -> Json:
            nonlocal version
            version = self._heartbeat.version
            return self._sources.heartbeat(_RATES[place].period_s)

        try:
            await self._documents.store(self._databases[place], self._sources.heartbeat_id, render)
        except (NotFound, Forbidden) as error:
            self._refused(place, error)
        except CouchError as error:
            self._stored_in = None
            self._failed(self._heartbeat, error)
        else:
            self._heartbeat.written(self._clock.seconds(), version, _RATES[place], self._random())
            self._stored_in = place
            self._tell(place)

    async def _write_log(self) -> None:
        version = 0

        def render() -> Json:
            nonlocal version
            version = self._log.version
            fresh, self._printed = self._printed, {}
            return self._sources.log(fresh)

        rate = self._log_rate()
        try:
            await self._documents.store(self._databases[Place.OWN], self._sources.log_id, render)
        except (NotFound, Forbidden) as error:
            self._stored_in = None
            self._refused(Place.OWN, error)
        except CouchError as error:
            self._failed(self._log, error)
        else:
            self._log.written(self._clock.seconds(), version, rate, self._random())
            self._sources.crashed = False

    # --- what went wrong ----------------------------------------------------------------------------------------------

    def _refused(self, place: Place, error: CouchError) -> None:
        """Go to the other place, and say so where there is none left; the same is not said twice."""
        now = self._clock.seconds()
        self._places.refused(place, now, self._random())
        self._why[place] = str(error)
        if self._places.pick(now) is None:
            self._stored_in = None
            self._tell(None)

    def _tell(self, place: Place | None) -> None:
        if place is self._told:
            return
        self._told = place
        own, code = self._databases[Place.OWN], self._databases[Place.CODE]
        if place is Place.OWN:
            log.info("the status goes into {own} from now on", own=own)
        elif place is Place.CODE:
            log.warn(
                "the status goes into {code}, on changes and every {minutes:.0f} minutes only, and without the logs: "
                "{why}. Create {own}, and make this Pi a member of it",
                code=code,
                minutes=FALLBACK.period_s / 60,
                why=self._why[Place.OWN],
                own=own,
            )
        else:
            log.warn(
                "the status can't be written, and all else goes on: {why}; {other}. Create {own}, and make this Pi a "
                "member of it",
                why=self._why[Place.OWN],
                other=self._why[Place.CODE],
                own=own,
            )

    def _failed(self, pace: Pace, error: CouchError | None) -> None:
        """Try again later.  That a server is away is said by the feed; what else is wrong, here."""
        now = self._clock.seconds()
        retry_after_s: float | None = getattr(error, "retry_after_s", None)
        # After a refused login it is our own gate that says when; it opens as soon as another request got through.
        asked = retry_after_s is not None and not isinstance(error, LoginRefused)
        pace.failed(now, self._random(), retry_after_s, asked=asked)
        if error is None or isinstance(error, Unavailable | LoginRefused):
            return
        complaint, at = self._complaint
        if str(error) != complaint or now - at >= REPEAT_S:
            self._complaint = (str(error), now)
            log.warn("the status could not be written, and is tried again: {error}", error=error)
