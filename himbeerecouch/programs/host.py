"""The code host: runs the programs, each in threads of its own, and stops them when they have to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from himbeerecouch.model import Failure, GlobalModule, Program, Report, Running
from himbeerecouch.programs import threads
from himbeerecouch.programs.attempt import label
from himbeerecouch.programs.keeper import Keeper, Surroundings
from himbeerecouch.programs.output import Streams, Write
from himbeerecouch.programs.supervise import PROVEN_AFTER_S

log = Logger()


def to_log(program: Program, line: str) -> None:
    """Bring one line of a program to the daemon's log."""
    log.info("program {program}: {line}", program=label(program), line=line)


def _writer() -> Write | None:
    family = threads.current()
    return None if family is None else family.write


class Host(Service):
    """Runs programs, each in threads of its own.

    All of it is called on the reactor thread, between ``startService`` and the end of ``stopService``.
    ``global_modules`` is called on the programs' threads and returns a mapping that is replaced, never changed; it has
    to be the new one before ``in_hand`` is asked for what to restart.  ``changed`` gets the id of a program whenever
    its report is another one.  ``replace`` gets the reason why only another process can go on: a program's thread has
    not returned ``quit_timeout_s`` after it was asked to.  ``already_finished`` is what ``finished`` was in the process
    before: those are not run again.  ``before`` is what ``before()`` was there, by id.
    ``sink`` gets each line that a program prints, clean, and not too many.  ``now`` is
    the clock of the times in the reports.
    """

    name = "programs"

    def __init__(
        self,
        reactor: Any,
        *,
        global_modules: Callable[[], Mapping[str, GlobalModule]],
        replace: Callable[[str], None],
        changed: Callable[[str], None],
        quit_timeout_s: float = 20.0,
        raise_after_s: float = 5.0,
        proven_after_s: float = PROVEN_AFTER_S,
        already_finished: Mapping[str, Running] | None = None,
        before: Mapping[str, Program] | None = None,
        sink: Callable[[Program, str], None] = to_log,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self._replace = replace
        self._around = Surroundings(
            reactor=reactor,
            global_modules=global_modules,
            sink=sink,
            changed=changed,
            overdue=self._overdue,
            gone=self._gone,
            now=now,
            quit_timeout_s=quit_timeout_s,
            raise_after_s=raise_after_s,
            proven_after_s=proven_after_s,
        )
        self._keepers: dict[str, Keeper] = {}
        self._already_finished = dict(already_finished or {})
        self._before = dict(before or {})
        self._streams = Streams(_writer)
        self._quitting = False
        self._waiting: list[Deferred[tuple[str, ...]]] = []

    def startService(self) -> None:
        """Begin to own what programs start and print."""
        super().startService()
        self._quitting = False
        threads.install()
        self._streams.install()

    def stopService(self) -> Deferred[None]:
        """Have all programs quit.  Fires when their threads are gone, or, with some that don't return, after
        ``quit_timeout_s``; then ``stuck()`` names those, and only the end of the process ends them."""
        super().stopService()
        return self.quit_all(self._around.quit_timeout_s).addCallback(self._stopped)

    def start(self, program: Program) -> None:
        """Run ``program``, once what runs under its id has quit; of several given meanwhile the last one counts."""
        if self._quitting or not self.running:
            return
        ended = self._already_finished.pop(program.id, None)
        before = self._before.pop(program.id, None)
        keeper = self._keepers.get(program.id)
        if keeper is not None:
            keeper.start(program)
        elif ended is not None and ended.digest == program.digest:
            self._keepers[program.id] = Keeper(program, self._around, ended=ended, before=before)
            self._around.changed(program.id)
        else:
            keeper = self._keepers[program.id] = Keeper(program, self._around, before=before)
            keeper.start(program)

    def saved(self, program: Program) -> None:
        """The document of a program in hand is as ``program`` says now, which may be no more than another revision."""
        keeper = self._keepers.get(program.id)
        if keeper is not None:
            keeper.saved(program)

    def stop(self, program_id: str) -> None:
        """Have a program quit; one that does not run is no error."""
        self._already_finished.pop(program_id, None)
        self._before.pop(program_id, None)
        if program_id in self._keepers:
            self._keepers[program_id].stop()

    def restart_all(self) -> None:
        """Run every program from its beginning, those included that have finished."""
        if self._quitting:
            return
        for keeper in list(self._keepers.values()):
            if keeper.running() is not None:  # not one that is just being stopped for good
                keeper.start(keeper.newest)

    def in_hand(self) -> Mapping[str, Running]:
        """The programs in hand, as the plan needs to know them; not those that are being stopped for good."""
        found = {program_id: keeper.running() for program_id, keeper in sorted(self._keepers.items())}
        return {program_id: running for program_id, running in found.items() if running is not None}

    def reports(self) -> Sequence[Report]:
        """How each program is doing, in the order of their ids."""
        return [keeper.report() for _, keeper in sorted(self._keepers.items())]

    def failures(self, program_id: str) -> Sequence[Failure]:
        """The last crashes of a program, oldest first, over all its revisions; none of one that is unknown."""
        keeper = self._keepers.get(program_id)
        return () if keeper is None else tuple(keeper.failures)

    def before(self, program_id: str) -> Program | None:
        """The last revision that is known to have run for ``proven_after_s``, which may be the newest itself.

        A rollback leads there.  It is another one after a ``start``, and after a call of ``changed``; whoever keeps it
        on disk gives it to the next process.
        """
        keeper = self._keepers.get(program_id)
        return self._before.get(program_id) if keeper is None else keeper.before

    def tail(self, program_id: str) -> tuple[int, tuple[str, ...]]:
        """The last lines that a program has printed, over all its runs, and the number of the first of them.

        Lines are counted from 0; there are none of a program that is unknown.
        """
        keeper = self._keepers.get(program_id)
        return (0, ()) if keeper is None else keeper.output.numbered_tail()

    def dropped_lines(self, program_id: str) -> int:
        """How many lines of a program the log never saw, since it printed too fast."""
        keeper = self._keepers.get(program_id)
        return 0 if keeper is None else keeper.output.dropped_lines

    @property
    def finished(self) -> Mapping[str, Running]:
        """The programs that have ended, and are not started again, for the process that takes over; once all have to
        quit, as it was before."""
        if self._quitting:
            return self._already_finished
        now = {program_id: keeper.ended() for program_id, keeper in self._keepers.items()}
        return self._already_finished | {
            program_id: running for program_id, running in now.items() if running is not None
        }

    def stuck(self) -> tuple[str, ...]:
        """The names of the programs whose threads did not return by ``quit_timeout_s``."""
        return tuple(label(keeper.program) for _, keeper in sorted(self._keepers.items()) if keeper.overdue)

    def quit_all(self, timeout_s: float) -> Deferred[tuple[str, ...]]:
        """Have all programs quit, for good.  Fires with the names of those that have not after ``timeout_s``."""
        self._already_finished = dict(self.finished)
        self._quitting = True
        done: Deferred[tuple[str, ...]] = Deferred()
        self._waiting.append(done)
        for keeper in list(self._keepers.values()):
            keeper.stop()
        self._settle_all()
        if not done.called:
            # After the keepers' own timers, so that with the same timeout they are the first to say what is overdue.
            done.addBoth(_cancelled, self._reactor.callLater(timeout_s, self._settle, done))
        return done

    def _gone(self, keeper: Keeper) -> None:
        del self._keepers[keeper.program.id]
        self._around.changed(keeper.program.id)
        self._settle_all()

    def _overdue(self, keeper: Keeper) -> None:
        name = label(keeper.program)
        reason = f"program {name} has not quit {self._around.quit_timeout_s:g} s after it was asked to"
        log.error(
            "{reason}: its main() or a thread of it does not return, have it look at should_quit()", reason=reason
        )
        if self._quitting:
            self._settle_all()
        else:
            self._replace(reason)

    def _settle_all(self) -> None:
        if self._quitting and all(keeper.overdue for keeper in self._keepers.values()):
            for done in list(self._waiting):
                self._settle(done)

    def _settle(self, done: Deferred[tuple[str, ...]]) -> None:
        self._waiting.remove(done)
        done.callback(tuple(label(keeper.program) for _, keeper in sorted(self._keepers.items())))

    def _stopped(self, left: tuple[str, ...]) -> None:
        for keeper in self._keepers.values():
            keeper.abandon()
        self._streams.uninstall()
        threads.uninstall()


def _cancelled(result: tuple[str, ...], timer: Any) -> tuple[str, ...]:
    if timer.active():
        timer.cancel()
    return result
