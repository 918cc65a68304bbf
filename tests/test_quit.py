"""Asking a program to quit."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.programs.quit import Notification, Quit


def a_notification() -> None:
    """A notification."""


class QuitTests(SynchronousTestCase):
    """One Quit, and what it hands out."""

    def setUp(self) -> None:
        """A quit that writes down what is due."""
        self.due: list[Notification] = []
        self.quit = Quit(self.notify)

    def notify(self, notifications: Sequence[Notification]) -> None:
        """Take what is due."""
        self.due.extend(notifications)

    def test_notifications(self) -> None:
        """What is registered and not removed is due when it begins, once; what comes later at once."""
        self.quit.register(print)
        self.quit.register(a_notification)
        self.quit.remove(a_notification)
        self.quit.remove(a_notification)
        self.assertTrue(self.quit.awaited())
        self.assertFalse(self.quit.should_quit())
        self.quit.begin()
        self.quit.begin()
        self.assertTrue(self.quit.should_quit())
        self.assertEqual(self.due, [print])
        self.quit.register(a_notification)
        self.assertEqual(self.due, [print, a_notification])
        self.assertFalse(self.quit.awaited())

    def test_what_is_no_function(self) -> None:
        """Registering something that can't be called is the program's error, at once."""
        with self.assertRaises(TypeError):
            self.quit.register(7)  # type: ignore[arg-type]

    def test_sleep_wakes(self) -> None:
        """A sleep that is going on ends when the program is asked to quit, and those after it are short."""
        thread = threading.Thread(target=self.quit.sleep, args=(1e300,))
        thread.start()
        self.quit.begin()
        thread.join(5)
        self.assertFalse(thread.is_alive())
        began = time.monotonic()
        self.quit.sleep(3600)
        self.assertLess(time.monotonic() - began, 5)

    def test_sleep_as_ever(self) -> None:
        """Otherwise it sleeps as long as it is told, and refuses what time.sleep refuses."""
        self.quit.sleep(0)
        began = time.monotonic()
        self.quit.sleep(0.01)
        self.assertGreaterEqual(time.monotonic() - began, 0.009)
        for bad, error in ((-1, ValueError), (float("nan"), ValueError), ("1", TypeError)):
            with self.subTest(bad=bad), self.assertRaises(error):
                self.quit.sleep(bad)  # type: ignore[arg-type]
