"""Asking one run of a program to quit: the flag, the notifications, and the sleep that wakes up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

Notification = Callable[[], object]

NAP_S: Final = 0.1
"""A sleep that begins after the program was asked to quit lasts at most this long: long enough that a loop around it
does not burn the processor, short enough for cleaning up."""


class Quit:
    """What one run of a program knows about having to quit.

    ``begin`` is called on the reactor thread, all else on any thread.  ``notify`` gets the notifications that are due;
    it must not run them in the calling thread, and guards each.
    """

    def __init__(self, notify: Callable[[Sequence[Notification]], None]) -> None:
        self._notify = notify
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._notifications: list[Notification] = []

    def should_quit(self) -> bool:
        """Whether the program has been asked to quit."""
        return self._asked.is_set()

    def awaited(self) -> bool:
        """Whether there is anything to be called when it has to quit."""
        return bool(self._notifications)

    def register(self, notification: Notification) -> None:
        """Have ``notification()`` called when the program has to quit; at once where that is so already."""
        if not callable(notification):
            raise TypeError(f"a quit notification is a function, not {type(notification).__name__}")
        with self._lock:
            if not self._asked.is_set():
                self._notifications.append(notification)
                return
        self._notify((notification,))

    def remove(self, notification: Notification) -> None:
        """Forget one registration of ``notification``; one that is not registered is no error."""
        with self._lock:
            if notification in self._notifications:
                self._notifications.remove(notification)

    def begin(self) -> None:
        """Ask the program to quit: the flag turns, sleepers wake, notifications go out.  Only once."""
        with self._lock:
            if self._asked.is_set():
                return
            self._asked.set()
            due, self._notifications = self._notifications, []
        if due:
            self._notify(due)

    def sleep(self, seconds: float) -> None:
        """Sleep as ``time.sleep`` does, and return early when the program is asked to quit."""
        if not seconds >= 0:  # what is no number is neither
            raise ValueError("sleep length must be non-negative")
        if self._asked.is_set():
            time.sleep(min(seconds, NAP_S))
        elif seconds == 0:
            time.sleep(0)
        else:
            self._asked.wait(min(seconds, threading.TIMEOUT_MAX))
