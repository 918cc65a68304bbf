"""Last known good: what runs is on disk, so that the programs start at a boot before the server has answered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from himbeerecouch.boot.kept import Entry, entries, file_name, is_file_name, render, with_good
from himbeerecouch.errors import StateError
from himbeerecouch.model import GlobalModule, Program
from himbeerecouch.store import StateFolder

SETTLE_S = 1.0
"""What changes again within this time is written once: a card wears out by being written."""
RETRY_S = 300.0
"""A disk that took nothing is tried again after this time."""

log = Logger()


class Shelf(Service):
    """Keeps what runs in the state folder, one file a document, and writes one only when it changed.

    All of it is called on the reactor thread, and the disk is written in a thread that ``in_thread`` gives, one file
    after the other.  ``parse`` is that of ``kept``, for this Pi.  Where the disk refuses, all goes on, and the file is
    the old one still; that is logged once.
    """

    name = "shelf"

    def __init__(
        self,
        state: StateFolder,
        parse: Callable[[bytes], Entry | None],
        *,
        clock: Any,
        in_thread: Callable[[Callable[[], None]], Deferred[None]],
    ) -> None:
        self._state = state
        self._parse = parse
        self._clock = clock
        self._in_thread = in_thread
        self._on_disk: dict[str, Entry | None] = {}
        """By file name; None where a file is there that can't be read."""
        self._wanted: dict[str, Entry] = {}
        self._refused: set[str] = set()
        """What the disk did not take in this round."""
        self._failing = False
        """The disk did not take all in the last round, and the next one is far off."""
        self._timer: Any = None
        self._writing: Deferred[Any] | None = None
        self._lock = threading.Lock()
        """Held while the disk is changed."""
        self._closed = False

    def load(self) -> tuple[Entry, ...]:
        """All that was kept; called once, before ``keep``.  What can't be understood is set aside."""
        for name in sorted(filter(is_file_name, self._state.names())):
            try:
                self._load(name)
            except StateError as error:
                self._on_disk[name] = None
                log.warn("{error}: what is in it waits for the server", error=error)
        self._wanted = {name: entry for name, entry in self._on_disk.items() if entry is not None}
        return tuple(self._wanted.values())

    def _load(self, name: str) -> None:
        data = self._state.read(name)
        entry = None if data is None else self._parse(data)
        if entry is None:
            self._state.set_aside(name)
        else:
            self._on_disk[name] = entry

    def keep(
        self,
        programs: Iterable[Program],
        global_modules: Iterable[GlobalModule],
        good: Callable[[str], Program | None],
    ) -> None:
        """Have this on disk soon, and nothing else.  Nothing is written where it is there already."""
        if self.running and self._state.writable:
            self._wanted = entries(programs, global_modules, good)
            self._write_soon()

    def keep_good(self, good: Program) -> None:
        """Have this on disk soon as the revision of its program to go back to."""
        name = file_name(good.id)
        if name in self._wanted and self.running and self._state.writable:
            self._wanted[name] = with_good(self._wanted[name], good)
            self._write_soon()

    def _write_soon(self) -> None:
        if self._writing is not None:
            return  # the next one follows by itself
        if self._timer is None and self._differing():
            self._timer = self._clock.callLater(SETTLE_S, self._write_next)
        elif self._timer is not None and self._failing and not self._refused:
            self._timer.reset(SETTLE_S)  # what is new may be smaller, or there may be room again

    def stopService(self) -> None:
        """Write what is not written yet."""
        super().stopService()
        self.close()

    def close(self) -> None:
        """Write what is not written yet, now, and nothing after that.  Idempotent."""
        with self._lock:
            self._closed = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._timer is None and self._writing is None:
            return
        self._timer = None
        self._refused.clear()
        while name := self._next():
            try:
                self._carry_out(name, self._wanted.get(name))
            except StateError as error:
                self._refuse(name, error)
            else:
                self._has(name, self._wanted.get(name))

    def _write_next(self) -> None:
        """Write one file, in a thread: a card may be slow."""
        self._timer = None
        name = self._next()
        if name is not None:
            entry = self._wanted.get(name)
            self._writing = self._in_thread(lambda: self._put(name, entry))
            self._writing.addCallbacks(
                lambda _: self._has(name, entry), lambda failure: self._refuse(name, failure.value)
            )
            self._writing.addCallback(self._written)
            return
        self._failing = bool(self._refused)
        self._refused.clear()
        if self._failing:
            self._timer = self._clock.callLater(RETRY_S, self._write_next)

    def _written(self, _: object) -> None:
        if not self._closed:
            self._writing = None
            self._write_next()

    def _put(self, name: str, entry: Entry | None) -> None:
        """Carry out one change of the disk; called in a thread."""
        with self._lock:
            if not self._closed:
                self._carry_out(name, entry)

    def _carry_out(self, name: str, entry: Entry | None) -> None:
        if entry is None:
            self._state.delete(name)
        else:
            self._state.write(name, render(entry))

    def _has(self, name: str, entry: Entry | None) -> None:
        if entry is None:
            self._on_disk.pop(name, None)
        else:
            self._on_disk[name] = entry

    def _refuse(self, name: str, error: BaseException | None) -> None:
        if not (self._failing or self._refused):
            log.warn("{error}. All goes on; after a boot it is the older revision that starts first", error=error)
        self._refused.add(name)

    def _next(self) -> str | None:
        return min(self._differing() - self._refused, default=None)

    def _differing(self) -> set[str]:
        wanted, on_disk = self._wanted, self._on_disk
        same = {name for name in wanted.keys() & on_disk.keys() if wanted[name] == on_disk[name]}
        return (wanted.keys() | on_disk.keys()) - same
