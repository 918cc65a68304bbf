"""Keeping one program as it should be: started, started again, stopped in four steps, and rolled back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import evolve, frozen

from himbeerecouch.model import Failure, GlobalModule, Program, ProgramState, Report, Restart, Running
from himbeerecouch.programs import revisions
from himbeerecouch.programs.attempt import Attempt
from himbeerecouch.programs.output import Output
from himbeerecouch.programs.revisions import STRIKES, Revisions, Then
from himbeerecouch.programs.supervise import Event, after, pause_s

FAILURES_KEPT: Final = 10
RAISE_EVERY_S: Final = 1.0


@frozen
class Surroundings:
    """What a keeper needs of the world; all of it is called on the reactor thread, but for ``global_modules``."""

    reactor: Any
    global_modules: Callable[[], Mapping[str, GlobalModule]]
    sink: Callable[[Program, str], None]
    """Gets every line for the log."""
    changed: Callable[[str], None]
    """Gets the id whenever the state is another one."""
    overdue: Callable[[Keeper], None]
    """Gets the keeper of a program whose threads have not returned by ``quit_timeout_s``."""
    gone: Callable[[Keeper], None]
    """Gets the keeper of a program that was stopped, once nothing of it is left."""
    now: Callable[[], float]
    """Unix time, for the reports alone."""
    quit_timeout_s: float
    raise_after_s: float
    proven_after_s: float
    """So long a run makes a revision one to go back to, and its pauses begin anew."""


class Keeper:
    """Keeps one program, from its first ``start`` on.  All of it is for the reactor thread.

    ``ended`` is what an earlier process knew of it: it has ended, and is not run again.  ``before`` is the last
    revision of it known to have run for long.
    """

    def __init__(
        self, program: Program, around: Surroundings, *, ended: Running | None = None, before: Program | None = None
    ) -> None:
        self.overdue = False
        """Whether it was asked to quit, and has threads that have not returned in time."""
        self._error = None if ended is None else ended.error
        self.state = ProgramState.FINISHED if self._error is None else ProgramState.CRASHED
        self.failures: deque[Failure] = deque(maxlen=FAILURES_KEPT)
        """The last ones, of whatever revision."""
        self._around = around
        self._revisions = revisions.first(program, before)
        self._since = around.now()
        self._rolled_back: str | None = None
        self._restarts = 0
        self._asked: Mapping[str, str | None] = {} if ended is None else ended.asked
        self._run: Attempt | None = None
        self._running_since_s: float | None = None
        self._next: Program | None = None
        self._timers: list[Any] = []
        self.output = Output(around.reactor, lambda line: around.sink(self.program, line))

    @property
    def program(self) -> Program:
        """The revision that runs, or that ran last."""
        return self._revisions.runs

    @property
    def newest(self) -> Program:
        """What the document says."""
        return self._next or self._revisions.saved

    @property
    def before(self) -> Program | None:
        """The last revision that is known to have run for long, which may be the newest itself."""
        known = self._revisions if self._next is None else self._begun(self._next)
        return known.reserve

    def start(self, program: Program) -> None:
        """Have ``program`` run from its beginning, once what runs of it has quit; of several the last one counts."""
        if self._run is None:
            self._begin(program)
        else:
            self._next = program
            self._ask(self._run)

    def saved(self, program: Program) -> None:
        """The document is as ``program`` says; where that is what it said, it runs on under the new revision."""
        if self._next is not None:
            if self._next.digest == program.digest:
                self._next = program
        elif self._revisions.saved.digest == program.digest and self._revisions.saved.rev != program.rev:
            self._revisions = revisions.saved_again(self._revisions, program)
            self._around.changed(program.id)

    def stop(self) -> None:
        """Have it quit, and not start again."""
        self._next = None
        if self._run is None:
            self._leave()
        else:
            self._ask(self._run)

    def abandon(self) -> None:
        """Wait no longer for threads that don't return: the process is about to end."""
        self.overdue = True
        self._set_timers()
        self.output.close()

    def running(self) -> Running | None:
        """What the plan has to know; None where it is being stopped for good."""
        if self.state is ProgramState.STOPPING:
            return None if self._next is None else Running(self._next.digest, {})
        asked = self._asked if self._run is None else self._run.tree.asked
        return Running(self._revisions.saved.digest, {**self._revisions.asked, **asked})

    def ended(self) -> Running | None:
        """What a later process has to know where it has ended, and is not to be started again."""
        running = self.running()
        at_rest = self.state in (ProgramState.FINISHED, ProgramState.CRASHED)
        # After a rollback it is not the document's revision that has ended.
        if running is None or not at_rest or self._revisions.rolled_back:
            return None
        return evolve(running, error=self._error if self.state is ProgramState.CRASHED else None)

    def report(self) -> Report:
        """How it is doing."""
        program = self.program
        return Report(
            program.id,
            program.name,
            program.rev,
            self.state,
            self._since,
            self._restarts,
            "\n".join(filter(None, (self._rolled_back, self._error))) or None,
            None if self.newest.rev == program.rev else self.newest.rev,
        )

    # --- starting -----------------------------------------------------------------------------------------------------

    def _enter(self, event: Event) -> None:
        state = after(self.state, event)
        if state is not self.state:
            self.state = state
            self._since = self._around.now()
            self._around.changed(self.program.id)

    def _begun(self, program: Program) -> Revisions:
        now = {name: module.digest for name, module in self._around.global_modules().items()}
        return revisions.begun(self._revisions, program, now)

    def _begin(self, program: Program) -> None:
        self._revisions = self._begun(program)
        self._error = None
        if not self._revisions.rolled_back:
            self._rolled_back = None
        self._restarts = 0
        if self.program.stopped:
            self._rest()
        else:
            self._start_run()

    def _rest(self) -> None:
        self._set_timers()
        self._running_since_s = None
        self._asked = {}
        if self.state is ProgramState.STOPPED:
            self._around.changed(self.program.id)  # it is another revision
        self._enter(Event.REST)

    def _start_again(self) -> None:
        self._restarts += 1
        self._start_run()

    def _start_run(self) -> None:
        from_thread = self._around.reactor.callFromThread
        self._set_timers()
        self._running_since_s = None
        self._run = run = Attempt(
            self.program,
            self._around.global_modules,
            self.output,
            loaded=lambda: from_thread(self._loaded, run),
            empty=lambda: from_thread(self._empty, run),
        )
        self._enter(Event.START)
        if not run.start():
            self._empty(run)

    def _loaded(self, run: Attempt) -> None:
        if run is self._run and self.state is ProgramState.STARTING:
            self._running_since_s = self._around.reactor.seconds()
            self._enter(Event.FELL_BACK if self._revisions.rolled_back else Event.LOADED)
            if self._revisions.before is not None or (self.program.rollback and not self._revisions.proven):
                self._set_timers(self._around.reactor.callLater(self._around.proven_after_s, self._prove))

    def _prove(self) -> None:
        self._look_how_long_it_ran()
        self._around.changed(self.program.id)

    def _look_how_long_it_ran(self) -> None:
        self._revisions = revisions.has_run(self._revisions, self._ran_s(), proven_after_s=self._around.proven_after_s)

    def _ran_s(self) -> float:
        return 0.0 if self._running_since_s is None else self._around.reactor.seconds() - self._running_since_s

    # --- ending by itself ---------------------------------------------------------------------------------------------

    def _empty(self, run: Attempt) -> None:
        if run is not self._run or run.family or self.state is ProgramState.FINISHED:
            return
        run.family.join()
        self.output.flush()
        if self.state is ProgramState.STOPPING:
            self._quit(run)
        elif run.error is None and self.program.restart is Restart.ALWAYS and run.quit.awaited():
            self._let_go(run)
        else:
            self._ended(run, run.error)

    def _let_go(self, run: Attempt) -> None:
        """Have what it registered for its end called before it begins again; then it has ended."""
        run.ask()
        if not run.family:
            self._empty(run)

    def _ended(self, run: Attempt, error: str | None) -> None:
        crashed = error is not None
        self._asked = dict(run.tree.asked)
        self._revisions = revisions.ended(
            self._revisions, self._ran_s(), crashed=crashed, proven_after_s=self._around.proven_after_s
        )
        self._running_since_s = None
        step = revisions.then(self._revisions, crashed=crashed)
        # What it registered for its end is called when that comes: when it is stopped or replaced.
        if crashed or step is Then.AGAIN or not run.quit.awaited():
            self._close(run)
        self._set_timers()
        if error is None:
            self._enter(Event.RETURNED)
        else:
            self._error = error
            self.failures.append(Failure(self.program.rev, self._around.now(), error, run.lines_before))
            self._enter(Event.FAILED)
        self._carry_out(step, "crashed" if crashed else "main() has returned")

    def _carry_out(self, step: Then, what: str) -> None:
        if step is Then.FALL_BACK:
            self._fall_back()
        elif step is Then.AGAIN:
            pause = pause_s(self._revisions.ends)
            self._say(f"{what}; it starts again in {pause:g} s, or at once when its document changes")
            self._enter(Event.WAIT)
            self._set_timers(self._around.reactor.callLater(pause, self._start_again))
        elif self.state is ProgramState.CRASHED:
            self._say(f"{what}; it starts again when its document changes")

    def _fall_back(self) -> None:
        bad = self.program.rev
        self._revisions = revisions.fallen_back(self._revisions, self._asked)
        self._rolled_back = (
            f"revision {bad} crashed {STRIKES} times within {self._around.proven_after_s:g} s of its start: "
            f"revision {self.program.rev} runs in its place, until the document changes"
        )
        self._say(self._rolled_back)
        self._restarts = 0
        self._start_run()

    def _say(self, what: str) -> None:
        self._around.sink(self.program, f"({what})")

    # --- being stopped ------------------------------------------------------------------------------------------------

    def _ask(self, run: Attempt) -> None:
        if self.state is ProgramState.STOPPING:
            return
        self._look_how_long_it_ran()
        self._running_since_s = None
        reactor = self._around.reactor
        self._enter(Event.STOP)
        self._set_timers(
            reactor.callLater(self._around.raise_after_s, self._raise, run),
            reactor.callLater(self._around.quit_timeout_s, self._say_overdue),
        )
        run.ask()
        if not run.family:
            self._empty(run)

    def _raise(self, run: Attempt) -> None:
        run.family.raise_exit()
        run.family.release()
        # A bare except in a loop swallows it: the next one may come at a better moment.
        self._timers[0] = self._around.reactor.callLater(RAISE_EVERY_S, self._raise, run)

    def _say_overdue(self) -> None:
        self.overdue = True
        self._around.overdue(self)

    def _quit(self, run: Attempt) -> None:
        self._close(run)
        self.overdue = False
        program, self._next = self._next, None
        if program is None:
            self._leave()
        else:
            self._begin(program)

    def _close(self, run: Attempt) -> None:
        run.tree.close()
        self._run = None

    def _leave(self) -> None:
        self._set_timers()
        self.output.close()
        self._around.gone(self)

    def _set_timers(self, *timers: Any) -> None:
        """These are all that is to happen later; what was to happen no more does."""
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._timers = list(timers)
