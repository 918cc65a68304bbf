"""Running main(), and telling how it ended."""

from __future__ import annotations

import asyncio
import builtins
import sys
from collections.abc import Callable

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from himbeerecouch.errors import ProgramError
from himbeerecouch.programs.run import ERROR_LIMIT_CHARS, describe, run


class Running(SynchronousTestCase):
    """What run returns."""

    def run_it(self, main: Callable[[], object]) -> str | None:
        """Run main in this thread; a coroutine is asked to quit as soon as it can be."""
        return run(lambda: main, lambda: None, lambda quit: quit())

    def test_endings(self) -> None:
        """Only exceptions and exits with a code are failures."""
        table: list[tuple[Callable[[], object], str | None]] = [
            (lambda: 7, None),
            (sys.exit, None),
            (lambda: sys.exit(0), None),
            (lambda: sys.exit(2), "SystemExit: 2"),
            (lambda: int("x"), "ValueError: invalid literal for int() with base 10: 'x'"),
        ]
        for main, expected in table:
            error = self.run_it(main)
            self.assertEqual(error if error is None else error.splitlines()[-1], expected)

    def test_coroutines(self) -> None:
        """A coroutine is cancelled when it has to quit; one that cancels itself, or raises, has failed."""

        async def waits() -> None:
            await asyncio.sleep(3600)

        async def fails() -> None:
            raise ValueError("async")

        self.assertIsNone(self.run_it(waits))
        self.assertIn("ValueError: async", run(lambda: fails, lambda: None, lambda quit: None) or "")

        async def cancels() -> None:
            raise asyncio.CancelledError

        self.assertIn("CancelledError", run(lambda: cancels, lambda: None, lambda quit: None) or "")

    def test_a_late_quit(self) -> None:
        """Asking a coroutine to quit that has ended already is no error."""
        asked: list[Callable[[], None]] = []

        async def quick() -> None:
            asked[0]()
            await asyncio.sleep(0)

        async def quickest() -> None:
            asked[-1]()

        self.assertIsNone(run(lambda: quick, lambda: None, asked.append))
        self.assertIsNone(run(lambda: quickest, lambda: None, asked.append))
        for quit_now in asked:
            quit_now()


class Describing(SynchronousTestCase):
    """What the author of a program is shown."""

    def describe(self, main: Callable[[], object]) -> str:
        """What is said of a program with that main."""
        return run(lambda: main, lambda: None, lambda quit: None) or ""

    def test_no_frames_of_the_daemon(self) -> None:
        """The traceback begins in the program, in the exceptions behind it too, and is there once in a cycle."""

        def main() -> None:
            try:
                raise KeyError("first")
            except KeyError as first:
                second = ValueError("second")
                first.__cause__ = second
                raise second from first

        text = self.describe(main)
        self.assertIn("KeyError: 'first'", text)
        self.assertIn("ValueError: second", text)
        self.assertNotIn("run.py", text.replace("test_run.py", ""))

    def test_groups(self) -> None:
        """The exceptions of a group are shown too."""
        if sys.version_info < (3, 11):
            raise SkipTest("exception groups came with Python 3.11")
        error = describe(builtins.ExceptionGroup("group", [ValueError("inner")]))
        self.assertIn("ValueError: inner", error)

    def test_bounded(self) -> None:
        """A message of a megabyte is cut in the middle."""
        text = describe(ValueError("x" * 1_000_000))
        self.assertLess(len(text), ERROR_LIMIT_CHARS + 100)
        self.assertIn("characters left out", text)

    def test_what_cannot_be_shown(self) -> None:
        """An exception that can't even be formatted is named."""

        class Odd(Exception):
            @property
            def __cause__(self) -> None:  # type: ignore[override]
                raise RuntimeError

        self.assertEqual(describe(Odd()), "Odd (it can't be shown: RuntimeError)")

    def test_our_own(self) -> None:
        """What the daemon says of a program needs no traceback."""
        self.assertEqual(describe(ProgramError("no main()")), "no main()")
