"""Whose a thread is: every thread belongs to the program that started it, and so do that thread's own threads."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Final

from attrs import define

_families: dict[int, Family] = {}
"""By the identifier of the thread, for as long as it runs: the way that is short enough for every ``print``."""

_plain_start = threading.Thread.start
_installed = 0


def current() -> Family | None:
    """The family of the calling thread; None for the daemon's own threads."""
    return _families.get(threading.get_ident())


def owner_name(ident: int) -> str | None:
    """The name of the program that the thread ``ident`` belongs to; None for the daemon's own threads."""
    family = _families.get(ident)
    return None if family is None else family.name


def install() -> None:
    """From now on ``threading.Thread.start`` puts a new thread into the family of the one that starts it."""
    global _installed  # noqa: PLW0603 - there is one threading.Thread in the process, hence one count of who needs it wrapped
    _installed += 1
    threading.Thread.start = _start  # type: ignore[method-assign,assignment]


def uninstall() -> None:
    """Undo one ``install``; the last one gives ``Thread.start`` back as it was."""
    global _installed  # noqa: PLW0603 - see install
    _installed -= 1
    if _installed == 0:
        threading.Thread.start = _plain_start  # type: ignore[method-assign]


def forget() -> None:
    """No thread is any program's: called in a child that was forked, whose output nobody would take here."""
    _families.clear()


def _start(thread: threading.Thread) -> None:
    family = current()
    if family is None:
        _plain_start(thread)
    else:
        family.start_from_within(thread)


@define(eq=False)
class _Member:
    thread: threading.Thread
    ident: int | None = None
    """Set while it runs code of the program: only then may an exception be raised in it."""
    raised: bool = False
    """It has been told to exit."""
    shielded: bool = False
    """For now the exception has to wait: it is raised once this is over."""


class Family:
    """The threads of one run of a program.

    ``name`` is the program's, for people.  ``write`` takes what they print.  ``failed`` gets every exception that a
    thread did not catch, with the thread's name; ``empty`` is called whenever the last thread has left.  All three are
    called on the threads of the family.
    """

    def __init__(
        self,
        *,
        name: str = "",
        write: Callable[[str], object],
        failed: Callable[[str, BaseException], None],
        empty: Callable[[], None],
    ) -> None:
        self.name = name
        self.write = write
        self._failed = failed
        self._empty = empty
        self._lock = threading.Lock()
        self._members: dict[int, _Member] = {}
        self._left: list[threading.Thread] = []

    def __len__(self) -> int:
        """How many threads it has, those included that are about to begin."""
        return len(self._members)

    def start(self, name: str, function: Callable[[], object]) -> None:
        """Run ``function`` in a new thread of this family.  A RuntimeError where the system has no thread left."""
        self._start(threading.Thread(target=function, name=name, daemon=True))

    def run_here(self, function: Callable[[], object]) -> None:
        """Run ``function`` in the calling thread, as one of this family."""
        self._run(self._add(threading.current_thread()), function)

    def raise_exit(self) -> None:
        """Raise SystemExit in every thread, also in those about to begin; one that is blocked in C is not reached."""
        with self._lock:
            for member in self._members.values():
                member.raised = True
                if member.ident is not None and not member.shielded:
                    _raise_exit(member.ident)

    def release(self) -> None:
        """End what only waits to be used again: timers that are not due, and executors once nothing else is left."""
        with self._lock:
            threads = [member.thread for member in self._members.values()]
        for thread in threads:
            if isinstance(thread, threading.Timer):
                thread.cancel()
        _shut_executors(threads)

    def join(self, timeout_s: float = 1.0) -> None:
        """Wait for the threads that have left to be really gone: they have nothing to do any more but to end."""
        with self._lock:
            left, self._left = self._left, []
        for thread in left:
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def start_from_within(self, thread: threading.Thread) -> None:
        """Start a thread for one of this family's own.

        An exception raised from outside while the new thread comes to life would leave nobody who knows of it.  Hence
        it waits until then; and a thread that has been told to exit starts none any more.
        """
        ident = threading.get_ident()
        with self._lock:
            starter = next(member for member in self._members.values() if member.ident == ident)
            starter.shielded = True
        try:
            if not starter.raised:
                self._start(thread)
        finally:
            with self._lock:
                starter.shielded = False
        if starter.raised:
            raise SystemExit

    def _start(self, thread: threading.Thread) -> None:
        member = self._add(thread)
        # On the instance, not the class: subclasses have a run() of their own.
        thread.run = functools.partial(self._run, member, thread.run)  # type: ignore[method-assign]
        try:
            _plain_start(thread)
        except BaseException:
            vars(thread).pop("run", None)
            self._leave(member)
            raise

    def _add(self, thread: threading.Thread) -> _Member:
        member = _Member(thread)
        with self._lock:
            self._members[id(member)] = member
        return member

    def _run(self, member: _Member, function: Callable[[], object]) -> None:
        ident = threading.get_ident()
        before = _families.get(ident)
        _families[ident] = self
        # Twice, since an exception that is raised from outside can come at any instruction, but not again so soon.
        try:
            try:
                with self._lock:
                    member.ident = ident
                    late = member.raised
                if not late:
                    self._guarded(member.thread.name, function)
            finally:
                self._shield(member)
        finally:
            self._shield(member)
            vars(member.thread).pop("run", None)
            if before is None:
                _families.pop(ident, None)
            else:
                _families[ident] = before
            self._leave(member)

    def _guarded(self, name: str, function: Callable[[], object]) -> None:
        try:
            function()
        except SystemExit:  # ends a thread silently, as threading has it
            pass
        except BaseException as error:  # noqa: BLE001 - the top of a thread: whatever it is, it is the program's
            self._failed(name, error)

    def _shield(self, member: _Member) -> None:
        """Have no exception raised in the calling thread from now on, and let one arrive that was raised before.

        CPython could take it back instead, but 3.11 then never finds out that there is nothing left to raise.
        """
        try:
            with self._lock:
                member.ident = None
            for _ in range(3):
                pass
        except SystemExit:
            with self._lock:
                member.ident = None

    def _leave(self, member: _Member) -> None:
        with self._lock:
            self._members.pop(id(member), None)
            self._left = [thread for thread in self._left if thread.is_alive()]
            if member.thread.ident is not None:
                self._left.append(member.thread)
            rest = [other.thread for other in self._members.values()]
        if rest:
            _shut_executors(rest)
        else:
            self._empty()


class _NoticedError(BaseException):
    """Goes no further than the function that raises it in its own thread."""


def _raise_exit(ident: int) -> None:
    import ctypes  # only where a program has to be ended by force

    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    set_exception(ctypes.c_ulong(ident), ctypes.py_object(SystemExit))
    # Up to CPython 3.12 every thread is told that some thread has an exception to raise, and goes the slow way (or,
    # while it is traced, none at all) until one has raised it.  Where the one that is meant is blocked in C, that is
    # never.  So this thread raises one itself; the other finds its own when it comes back.
    try:
        set_exception(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(_NoticedError))
        for _ in range(3):
            pass
    except _NoticedError:
        pass


EXECUTORS: Final = "concurrent.futures.thread"


def _shut_executors(threads: list[threading.Thread]) -> None:
    """Let executors end, where ``threads`` are nothing but the workers of executors.

    The interpreter does the same at its end.  Work that they have accepted is still done.  What a worker works for is
    known to ``concurrent.futures`` alone, hence the look at its private names; where they are not as in the versions
    known, the workers count as threads like any other.
    """
    workers = getattr(sys.modules.get(EXECUTORS), "_threads_queues", {})
    if not all(thread in workers for thread in threads):
        return
    for thread in threads:
        reference = next(iter(getattr(thread, "_args", None) or ()), None)
        executor = reference() if callable(reference) else None
        if executor is not None:
            executor.shutdown(wait=False)
