"""Keeping one program as it should be: started, started again after a crash, and stopped in four steps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from himbeerecouch.model import GlobalModule, Program, ProgramState, Report, Running
from himbeerecouch.programs.loader import ModuleTree
from himbeerecouch.programs.output import Output, clean
from himbeerecouch.programs.quit import Notification, Quit
from himbeerecouch.programs.run import describe, run
from himbeerecouch.programs.supervise import Event, after, failures_after, pause_s
from himbeerecouch.programs.threads import Family

NAME_LIMIT_CHARS: Final = 60
NOTIFICATION_THREADS: Final = 16
RAISE_EVERY_S: Final = 1.0


def label(program: Program) -> str:
    """How the log calls a program: by its name, on one line, and not too long."""
    return clean(program.name, NAME_LIMIT_CHARS)


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


class Run:
    """One run of one program: its modules, its threads, its way to quit.

    ``loaded`` and ``empty`` are called on the program's threads: before ``main()`` is, and when the last thread leaves.
    """

    def __init__(
        self,
        program: Program,
        global_modules: Callable[[], Mapping[str, GlobalModule]],
        output: Output,
        *,
        loaded: Callable[[], None],
        empty: Callable[[], None],
    ) -> None:
        self.error: str | None = None
        """What main(), else the last of the threads, failed with."""
        self._main_failed = False
        self._name = label(program)
        self._output = output
        self._loaded = loaded
        self.family = Family(name=self._name, write=output.write, failed=self._thread_failed, empty=empty)
        self.quit = Quit(self._notify)
        injected = {
            "log": self._log,
            "should_quit": self.quit.should_quit,
            "register_quit_notification": self.quit.register,
            "remove_quit_notification": self.quit.remove,
        }
        self.tree = ModuleTree(program, global_modules, injected, sleep=self.quit.sleep)

    def start(self) -> bool:
        """Begin, in a thread of its own; where there is none to be had, False, and that is the run's error."""
        try:
            self.family.start(self._name, self._main)
        except RuntimeError as error:
            self._fail(f"it could not be started: {error}")
            return False
        return True

    def ask(self) -> None:
        """Ask it to quit, and wake what sleeps or only waits."""
        self.quit.begin()
        self.family.release()

    def _main(self) -> None:
        error = run(self.tree.main, self._loaded, self.quit.register)
        if error is not None:
            self._fail(error)
            self._main_failed = True

    def _log(self, *values: object) -> None:
        """Write the values into the program's log, as print does."""
        self._output.write(" ".join(map(str, values)) + "\n")

    def _thread_failed(self, name: str, error: BaseException) -> None:
        self._fail(f"in thread {clean(name, NAME_LIMIT_CHARS)}: {describe(error)}")

    def _fail(self, error: str) -> None:
        if not self._main_failed:
            self.error = error
        self._output.write(f"\n{error}\n" if self._output.in_line() else f"{error}\n")

    def _notify(self, notifications: Sequence[Notification]) -> None:
        for number in range(min(NOTIFICATION_THREADS, len(notifications))):
            lane = notifications[number::NOTIFICATION_THREADS]
            try:
                self.family.start(f"{self._name}: quit notification", functools.partial(self._call, lane))
            except RuntimeError as error:
                self._fail(f"a quit notification could not be called: {error}")

    def _call(self, notifications: Sequence[Notification]) -> None:
        for notification in notifications:
            try:
                notification()
            except Exception as error:  # noqa: BLE001 - one bad notification must not keep the next from being called
                self._fail(f"in a quit notification: {describe(error)}")


class Keeper:
    """Keeps one program, from its first ``start`` on.  All of it is for the reactor thread.  ``finished`` is what
    an earlier process knew of it: it has finished, and is not run again."""

    def __init__(self, program: Program, around: Surroundings, *, finished: Running | None = None) -> None:
        self.program = program
        self.state = ProgramState.FINISHED
        self.overdue = False
        """Whether it was asked to quit, and has threads that have not returned in time."""
        self._around = around
        self._since = around.now()
        self._error: str | None = None
        self._restarts = 0
        self._failures = 0
        self._asked: Mapping[str, str | None] = {} if finished is None else finished.asked
        self._run: Run | None = None
        self._running_since_s: float | None = None
        self._next: Program | None = None
        self._timers: list[Any] = []
        self.output = Output(around.reactor, lambda line: around.sink(self.program, line))

    @property
    def newest(self) -> Program:
        """The revision that runs, or is to run as soon as the one before has quit."""
        return self._next or self.program

    def start(self, program: Program) -> None:
        """Have ``program`` run from its beginning, once what runs of it has quit; of several the last one counts."""
        if self._run is None:
            self._begin(program)
        else:
            self._next = program
            self._ask(self._run)

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
        self._cancel()
        self.output.close()

    def running(self) -> Running | None:
        """What the plan has to know; None where it is being stopped for good."""
        if self.state is ProgramState.STOPPING:
            return None if self._next is None else Running(self._next.digest, {})
        return Running(self.program.digest, dict(self._asked if self._run is None else self._run.tree.asked))

    def report(self) -> Report:
        """How it is doing."""
        program = self.program
        return Report(program.id, program.name, program.rev, self.state, self._since, self._restarts, self._error)

    def _enter(self, event: Event) -> None:
        state = after(self.state, event)
        if state is not self.state:
            self.state = state
            self._since = self._around.now()
            self._around.changed(self.program.id)

    def _begin(self, program: Program) -> None:
        self._cancel()
        self.program = program
        self._error = None
        self._restarts = self._failures = 0
        self._start_run()

    def _start_again(self) -> None:
        self._timers.clear()
        self._restarts += 1
        self._start_run()

    def _start_run(self) -> None:
        from_thread = self._around.reactor.callFromThread
        self._running_since_s = None
        self._run = run = Run(
            self.program,
            self._around.global_modules,
            self.output,
            loaded=lambda: from_thread(self._loaded, run),
            empty=lambda: from_thread(self._empty, run),
        )
        self._enter(Event.START)
        if not run.start():
            self._empty(run)

    def _loaded(self, run: Run) -> None:
        if run is self._run and self.state is ProgramState.STARTING:
            self._running_since_s = self._around.reactor.seconds()
            self._enter(Event.LOADED)

    def _empty(self, run: Run) -> None:
        if run is not self._run or run.family or self.state is ProgramState.FINISHED:
            return
        run.family.join()
        self.output.flush()
        if self.state is ProgramState.STOPPING:
            self._quit(run)
        elif run.error is None:
            self._asked = dict(run.tree.asked)
            # What it registered for its end is called when that comes: when it is stopped or replaced.
            if not run.quit.awaited():
                self._close(run)
            self._enter(Event.RETURNED)
        else:
            self._crashed(run, run.error)

    def _crashed(self, run: Run, error: str) -> None:
        now_s = self._around.reactor.seconds()
        ran_s = 0.0 if self._running_since_s is None else now_s - self._running_since_s
        self._asked = dict(run.tree.asked)
        self._close(run)
        self._error = error
        self._failures = failures_after(self._failures, ran_s=ran_s)
        pause = pause_s(self._failures)
        self._enter(Event.FAILED)
        self._around.sink(
            self.program, f"(crashed; it starts again in {pause:g} s, or at once when its document changes)"
        )
        self._enter(Event.WAIT)
        self._timers = [self._around.reactor.callLater(pause, self._start_again)]

    def _ask(self, run: Run) -> None:
        if self.state is ProgramState.STOPPING:
            return
        reactor = self._around.reactor
        self._enter(Event.STOP)
        self._timers = [
            reactor.callLater(self._around.raise_after_s, self._raise, run),
            reactor.callLater(self._around.quit_timeout_s, self._say_overdue),
        ]
        run.ask()
        if not run.family:
            self._empty(run)

    def _raise(self, run: Run) -> None:
        run.family.raise_exit()
        run.family.release()
        # A bare except in a loop swallows it: the next one may come at a better moment.
        self._timers[0] = self._around.reactor.callLater(RAISE_EVERY_S, self._raise, run)

    def _say_overdue(self) -> None:
        self.overdue = True
        self._around.overdue(self)

    def _quit(self, run: Run) -> None:
        self._cancel()
        self._close(run)
        self.overdue = False
        program, self._next = self._next, None
        if program is None:
            self._leave()
        else:
            self._begin(program)

    def _close(self, run: Run) -> None:
        run.tree.close()
        self._run = None

    def _leave(self) -> None:
        self._cancel()
        self.output.close()
        self._around.gone(self)

    def _cancel(self) -> None:
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._timers = []
