"""One run of one program: its modules, its threads, its way to quit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from himbeerecouch.model import GlobalModule, Program
from himbeerecouch.programs.loader import ModuleTree
from himbeerecouch.programs.output import Output, clean
from himbeerecouch.programs.quit import Notification, Quit
from himbeerecouch.programs.run import describe, run
from himbeerecouch.programs.threads import Family

NAME_LIMIT_CHARS: Final = 60
NOTIFICATION_THREADS: Final = 16
LINES_BEFORE: Final = 50
"""How many of the lines that a program printed before it failed are kept with the failure."""


def label(program: Program) -> str:
    """How the log calls a program: by its name, on one line, and not too long."""
    return clean(program.name, NAME_LIMIT_CHARS)


class Attempt:
    """One run of a program, from its loading to the end of its last thread.

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
        self.lines_before: tuple[str, ...] = ()
        """The last that the program had printed before that."""
        self._main_failed = False
        self._name = label(program)
        self._output = output
        self._loaded = loaded
        self.family = Family(name=self._name, write=output.write, failed=self._thread_failed, empty=empty)
        self._notifying = threading.Lock()
        """Held to change the next two."""
        self._due: deque[Notification] = deque()
        self._lanes = 0
        """How many threads call what is due."""
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
        if self._output.in_line():
            self._output.write("\n")
        if not self._main_failed:
            self.error = error
            self.lines_before = self._output.tail()[-LINES_BEFORE:]
        self._output.write(f"{error}\n")

    def _notify(self, notifications: Sequence[Notification]) -> None:
        # In a few threads only: one that registers others, which do the same, would else double their number for ever.
        with self._notifying:
            self._due.extend(notifications)
            fresh = min(NOTIFICATION_THREADS - self._lanes, len(self._due))
            self._lanes += fresh
        for _ in range(fresh):
            try:
                self.family.start(f"{self._name}: quit notification", self._call_due)
            except RuntimeError as error:
                with self._notifying:
                    self._lanes -= 1
                self._fail(f"a quit notification could not be called: {error}")

    def _call_due(self) -> None:
        while (notification := self._next_due()) is not None:
            try:
                notification()
            except Exception as error:  # noqa: BLE001 - one bad notification must not keep the next from being called
                self._fail(f"in a quit notification: {describe(error)}")
            except BaseException:
                with self._notifying:
                    self._lanes -= 1
                raise

    def _next_due(self) -> Notification | None:
        with self._notifying:
            if self._due:
                return self._due.popleft()
            # Under the same lock, so that one that is added right now has a thread.
            self._lanes -= 1
            return None
