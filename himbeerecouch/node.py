"""Ties the services together: the feed says what is wanted, the host and the commands make it so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from himbeerecouch.boot.kept import Entry
from himbeerecouch.boot.quarantine import Quarantine
from himbeerecouch.boot.shelf import Shelf
from himbeerecouch.catalogue import Catalogue, Gone, Refusal
from himbeerecouch.commands.runner import Commands
from himbeerecouch.couch.changes import Changes
from himbeerecouch.couch.client import Couch
from himbeerecouch.errors import ServerFileError
from himbeerecouch.model import Command, GlobalModule, Report, Row
from himbeerecouch.plan import merge, plan
from himbeerecouch.programs.host import Host
from himbeerecouch.status.service import Status

SERVER_FILE_RETRY_S = 20.0
KNOWN_ERRORS = 8
"""Of so many global modules it is remembered why they do not compile."""
REPEAT_S = 600.0
"""What goes on being wrong with the server file is logged again after this time."""

log = Logger()


class Node(MultiService):
    """One Pi: what its database says is what runs on it.

    ``read_server_file`` returns the URL of the server or raises ServerFileError; ``changes`` makes the follower, given
    this node as its listener.  ``stale`` says that commands which stand in the first snapshot are too old to be run;
    then ``settled`` is called once that snapshot has been dealt with.  ``restored`` is what runs until there is one.
    All of it in the reactor's thread.
    """

    def __init__(
        self,
        *,
        clock: IReactorTime,
        read_server_file: Callable[[], str],
        couch: Couch,
        changes: Callable[[Node], Changes],
        host: Host,
        commands: Commands,
        status: Status,
        catalogue: Catalogue,
        shelf: Shelf,
        restored: Sequence[Entry],
        quarantine: Quarantine,
        compile_error: Callable[[str, str], str | None],
        stale: bool = False,
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._read_server_file = read_server_file
        self._couch = couch
        self._host = host
        self._commands = commands
        self._status = status
        self._catalogue = catalogue
        self._shelf = shelf
        self._restored = restored
        self._quarantine = quarantine
        # One that does not compile is asked about with each row of the feed, and on a small Pi that may take seconds.
        self._compile_error = lru_cache(KNOWN_ERRORS)(compile_error)
        self._stale = stale
        self._settled = settled
        self._global_modules: Mapping[str, GlobalModule] = {}
        self._told: Mapping[str, str] = {}
        self._retry: IDelayedCall | None = None
        self._complaint = ("", 0.0)
        self._changes = changes(self)
        for service in (shelf, quarantine, host, commands, status):
            service.setServiceParent(self)

    @property
    def global_modules(self) -> Mapping[str, GlobalModule]:
        """The global modules that count now, by name.  Replaced as a whole, never changed: any thread may read it."""
        return self._global_modules

    def reports(self) -> Sequence[Report]:
        """How each program is doing, those included that are not started, in the order of their ids."""
        return sorted((*self._host.reports(), *self._quarantine.reports()), key=lambda report: report.id)

    @property
    def rejected(self) -> Mapping[str, str]:
        """Every document that something is wrong with, by its id, with the reason; for the status."""
        return self._told

    @property
    def refused_programs(self) -> Mapping[str, str]:
        """Those of them that are programs for this Pi and don't run at all: id -> revision; for the status."""
        return self._catalogue.refused_programs

    # --- its life -----------------------------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self._restore()
        self._find_server()

    def stopService(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._forget_retry()
        # The commands still write their answers while they stop, and once the programs have quit, the status says
        # that the daemon ends: the client goes last.
        programs = maybeDeferred(self._host.disownServiceParent)
        others = super().stopService()
        await programs
        await self._status.farewell()
        await others
        await self._couch.close()

    async def stop_following(self) -> None:
        """Take no more changes; all else goes on."""
        self._forget_retry()
        if self._changes.parent is not None:
            await self._changes.disownServiceParent()

    def _forget_retry(self) -> None:
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None

    def reload(self) -> None:
        """Read the server file again, and restart all programs."""
        log.info("reading the server file again, and restarting the programs")
        self._complaint = ("", 0.0)  # who asks is to be told
        self._find_server()
        self._host.restart_all()

    def look_for_server(self) -> None:
        """Go to another server where the server file names one by now; called when the one of before fails.

        Where the file can't be used, the one of before stays.
        """
        try:
            self._couch.move(self._read_server_file())
        except ServerFileError:
            return

    def _restore(self) -> None:
        """Run what ran last: the feed will say what has changed since."""
        for entry in self._restored:
            if entry.program is not None:
                self._catalogue.programs[entry.program.id] = entry.program
            if entry.exports is not None:
                self._catalogue.exports[entry.exports.id] = entry.exports
        self._merge()
        self.reconcile()

    def _find_server(self) -> None:
        self._forget_retry()
        try:
            url = self._read_server_file()
        except ServerFileError as error:
            self._complain(error)
            self._retry = self._clock.callLater(SERVER_FILE_RETRY_S, self._find_server)
            return
        self._complaint = ("", 0.0)
        self._couch.move(url)
        if self._changes.parent is None:
            self._changes.setServiceParent(self)
        else:
            self._changes.resync()

    def _complain(self, error: ServerFileError) -> None:
        """Log it where it is new, and then every ten minutes: a log that grows for nothing wears out a card."""
        complaint, at = self._complaint
        if str(error) != complaint or self._clock.seconds() - at >= REPEAT_S:
            self._complaint = (str(error), self._clock.seconds())
            log.error("{error}; it is read again every {retry_s:.0f} s", error=error, retry_s=SERVER_FILE_RETRY_S)

    def program_changed(self, id: str) -> None:
        """A program is in another state: the status tells it, and it may have become one to go back to."""
        self._status.changed()
        good = self._host.before(id)
        if good is not None:
            self._shelf.keep_good(good)

    # --- the feed's listener ------------------------------------------------------------------------------------------

    def ids_in_use(self) -> set[str]:
        """The documents whose every change the feed must tell of."""
        return self._catalogue.ids() | set(self._commands.in_use())

    def answering(self, rows: Sequence[Row]) -> Deferred[None] | None:
        """What fires once the commands of these rows are answered; None where that is not to be expected soon."""
        return self._commands.answering(row.id for row in rows)

    def snapshot(self, rows: Sequence[Row]) -> None:
        """These are all the documents there are for this Pi: what is not among them is gone."""
        there = {row.id for row in rows}
        vanished = (Row(id, None, deleted=True) for id in sorted(self.ids_in_use() - there))
        self._status.look_again()
        self._fold((*vanished, *rows), stale=self._stale)
        self._take_effect()
        if self._stale:
            self._stale = False
            self._settled()

    def changed(self, rows: Sequence[Row]) -> None:
        """These documents have changed, in this order."""
        before = self._catalogue.changes
        self._fold(rows, stale=False)
        if self._catalogue.changes != before:
            self._take_effect()

    def _fold(self, rows: Iterable[Row], *, stale: bool) -> None:
        # The server answers: what could not be stored there may be now.
        self._commands.hurry()
        self._status.hurry()
        for row in rows:
            news = self._catalogue.fold(row)
            if isinstance(news, Command):
                self._commands.submit(news, stale=stale)
            elif isinstance(news, Refusal):
                self._commands.refuse(news.document, news.reason)
            elif isinstance(news, Gone):
                self._commands.gone(news.id)
        self._status.watched(self._catalogue.watched_until)

    def _take_effect(self) -> None:
        """Have that run, and be kept on the disk, which is in the catalogue now."""
        self._merge()
        self._quarantine.learn(self._catalogue.programs, self._global_modules)
        self.reconcile()
        self._shelf.keep(self._catalogue.programs.values(), self._global_modules.values(), self._host.before)

    def _merge(self) -> None:
        merged = merge(self._catalogue.exports.values(), self._global_modules, self._compile_error)
        self._global_modules = merged.modules
        self._tell(merged.problems)

    def reconcile(self) -> None:
        """Have that run which is wanted, and may run; called whenever either has changed."""
        wanted = self._quarantine.allowed(self._catalogue.programs, self._global_modules)
        step = plan(wanted, self._host.in_hand(), self._global_modules)
        for id in step.stop:
            self._host.stop(id)
        for program in self._catalogue.programs.values():
            # Saved without a change it runs on, but under its new revision: somebody may wait for just that one.
            self._host.saved(program)
        self._quarantine.starting((one for one in step.start if not one.stopped), self._global_modules)
        for program in step.start:
            self._host.start(program)

    def _tell(self, problems: Mapping[str, tuple[str, ...]]) -> None:
        """Log each document that is refused, once."""
        wrong = {id: "; ".join(reasons) for id, reasons in problems.items()} | self._catalogue.rejected
        for id, reason in wrong.items():
            if self._told.get(id) != reason:
                log.error("document {id!r}: {reason}. Mend it and save it again", id=id, reason=reason)
        if wrong != self._told:
            self._told = wrong
            self._status.changed()
