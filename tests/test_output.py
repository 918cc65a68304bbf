"""What programs print, on its way to the log."""

from __future__ import annotations

import io
import sys
import threading

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.programs.output import (
    BURST_LINES,
    LINE_LIMIT_CHARS,
    PENDING_LIMIT_CHARS,
    PENDING_LIMIT_LINES,
    TAIL_LIMIT_LINES,
    Output,
    Streams,
    Write,
    clean,
)
from tests.threadclock import ThreadClock


class Cleaning(SynchronousTestCase):
    """Lines that are safe."""

    def test_clean(self) -> None:
        """Control characters and lone surrogates are escaped, letters of all scripts and tabs stay."""
        table = {
            "plain\ttext": "plain\ttext",
            "Gr\u00fc\u00dfe \u4f60\u597d": "Gr\u00fc\u00dfe \u4f60\u597d",
            "\x1b[2J\r\x00": "\\x1b[2J\\r\\x00",
            "a\nb": "a\\nb",
            "\ud800\u202e": "\\ud800\\u202e",
        }
        for text, expected in table.items():
            self.assertEqual(clean(text), expected)
        self.assertEqual(clean("x" * 11, 10), "x" * 9 + "\N{HORIZONTAL ELLIPSIS}")


class OutputTests(SynchronousTestCase):
    """One program's output on a clock."""

    def setUp(self) -> None:
        """An output, and the lines that reach the log."""
        self.reactor = ThreadClock()
        self.lines: list[str] = []
        self.output = Output(self.reactor, self.lines.append)
        self.addCleanup(lambda: self.assertEqual(self.reactor.getDelayedCalls(), []))
        self.addCleanup(self.output.close)

    def test_lines(self) -> None:
        """Pieces become lines, and lines reach the log on the reactor's thread, in order."""
        for piece in ("one ", "line\nanother\r\n", "\n", "no end"):
            self.output.write(piece)
        self.assertEqual(self.lines, [])
        self.assertTrue(self.output.in_line())
        self.reactor.turn()
        self.assertEqual(self.lines, ["one line", "another", ""])
        self.output.flush()
        self.assertEqual(self.lines[3:], ["no end"])
        self.assertFalse(self.output.in_line())
        self.assertEqual(self.output.tail(), tuple(self.lines))

    def test_threads_do_not_mix(self) -> None:
        """Two threads that print at the same time get lines of their own."""
        self.output.write("mine ")
        thread = threading.Thread(target=self.output.write, args=("theirs\n",))
        thread.start()
        thread.join()
        self.output.write("too\n")
        self.reactor.turn()
        self.assertEqual(self.lines, ["theirs", "mine too"])

    def test_rate(self) -> None:
        """A burst goes through at once, what follows comes at its rate, and the log is told what was dropped."""
        for number in range(PENDING_LIMIT_LINES + 10):
            self.output.write(f"{number}\n")
        self.reactor.turn()
        self.assertEqual(len(self.lines), 1 + BURST_LINES)
        self.assertIn("10 lines dropped", self.lines[0])
        self.assertEqual((self.lines[1], self.output.dropped_lines), ("10", 10))
        self.output.write("later\n")
        self.reactor.turn()
        self.assertEqual(len(self.lines), 1 + BURST_LINES)
        self.reactor.advance(1)
        self.assertEqual(len(self.lines), 1 + BURST_LINES + 50)
        self.reactor.advance(60)
        self.reactor.advance(60)
        self.reactor.advance(60)
        self.reactor.advance(60)
        self.reactor.advance(60)
        self.assertEqual(self.lines[-1], "later")
        self.assertEqual(len(self.output.tail()), TAIL_LIMIT_LINES)

    def test_numbers(self) -> None:
        """Whoever reads the last lines knows how many there were before: those that nothing was kept of, too."""
        self.assertEqual(self.output.numbered_tail(), (0, ()))
        self.output.write("a\nb\nhalf")
        self.assertEqual(self.output.numbered_tail(), (0, ("a", "b")))
        for number in range(TAIL_LIMIT_LINES):
            self.output.write(f"{number}\n")
        first, lines = self.output.numbered_tail()
        self.assertEqual((first, lines[0], len(lines)), (2, "half0", TAIL_LIMIT_LINES))
        self.output.write("x\n" * PENDING_LIMIT_CHARS)
        first, lines = self.output.numbered_tail()
        self.assertEqual(first + len(lines), 2 + TAIL_LIMIT_LINES + PENDING_LIMIT_CHARS)

    def test_flush_in_between(self) -> None:
        """A flush brings all that waits, and takes the timer with it."""
        for number in range(BURST_LINES + 10):
            self.output.write(f"{number}\n")
        self.reactor.turn()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.output.flush()
        self.assertEqual((self.lines[-1], self.reactor.getDelayedCalls()), (str(BURST_LINES + 9), []))

    def test_long_lines(self) -> None:
        """A line that never ends comes in pieces, and one that is larger than all that is kept loses its beginning."""
        self.output.write("x" * (2 * LINE_LIMIT_CHARS + 1))
        self.reactor.turn()
        self.assertEqual([len(line) for line in self.lines], [LINE_LIMIT_CHARS, LINE_LIMIT_CHARS])
        self.output.write("\n")
        self.output.write("y" * (2 * LINE_LIMIT_CHARS) + "\n")
        self.reactor.turn()
        self.assertEqual([len(line) for line in self.lines[2:]], [1, LINE_LIMIT_CHARS, LINE_LIMIT_CHARS])
        self.output.write("a\n" * PENDING_LIMIT_CHARS)
        self.assertEqual(self.output.dropped_lines, PENDING_LIMIT_CHARS - PENDING_LIMIT_LINES)

    def test_after_the_end(self) -> None:
        """What is written after the close is dropped and wakes nobody."""
        self.output.write("before\n")
        self.output.close()
        self.output.write("after\n")
        self.reactor.turn()
        self.assertEqual((self.lines, self.output.dropped_lines), (["before"], 1))


class StreamsTests(SynchronousTestCase):
    """sys.stdout and sys.stderr, with a program behind them or not."""

    def setUp(self) -> None:
        """Streams over ones that the test can read."""
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.program: list[str] = []
        self.writer: Write | None = None
        self.streams = Streams(lambda: self.writer)
        self.streams.install()

    def test_routing(self) -> None:
        """A program's prints are its own, everybody else's go where they went before."""
        print("daemon")
        sys.stdout.flush()
        self.writer = self.program.append
        print("program", file=sys.stderr)
        sys.stdout.writelines(["a", "b"])
        sys.stdout.buffer.write(b"bytes \xff")
        sys.stdout.buffer.flush()
        sys.stdout.flush()
        self.assertEqual((self.out.getvalue(), self.err.getvalue()), ("daemon\n", ""))
        self.assertEqual("".join(self.program), "program\nabbytes \N{REPLACEMENT CHARACTER}")
        self.streams.uninstall()
        self.assertIs(sys.stdout, self.out)
        self.assertIs(sys.stderr, self.err)

    def test_many(self) -> None:
        """However many stand in for the streams together, a print goes through one, and the last gives them back."""
        others = [Streams(self.streams._writer) for _ in range(2000)]
        for streams in others:
            streams.install()
        print("daemon")
        self.streams.uninstall()
        for streams in others:
            self.assertIsNot(sys.stdout, self.out)
            streams.uninstall()
            streams.uninstall()
        self.assertEqual(self.out.getvalue(), "daemon\n")
        self.assertIs(sys.stdout, self.out)
        self.assertIs(sys.stderr, self.err)

    def test_what_a_program_sees(self) -> None:
        """A text stream that is no terminal and no file, and that it can't take away from the daemon."""
        self.writer = self.program.append
        self.assertEqual((sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.writable()), (False, "utf-8", True))
        self.assertRaises(io.UnsupportedOperation, sys.stdout.fileno)
        self.assertRaises(TypeError, sys.stdout.write, b"bytes")
        sys.stdout.close()
        self.assertFalse(self.out.closed)

    def test_programs_that_wrap_their_output(self) -> None:
        """It may be wrapped and set up in the usual ways; all of it still goes to the log."""
        self.writer = self.program.append
        sys.stdout.reconfigure(encoding="latin-1", line_buffering=True)  # type: ignore[union-attr]
        with io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", line_buffering=True) as wrapped:
            print("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", file=wrapped)
        sys.stdout.buffer.writelines([b"a", memoryview(b"b")])
        self.assertRaises(TypeError, sys.stdout.buffer.write, "text")
        self.assertEqual("".join(self.program), "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n\nab")
        self.assertEqual((sys.stdout.errors, getattr(sys.stdout, "line_buffering")), ("replace", True))  # noqa: B009
        self.writer = None
        self.assertIs(sys.stdout.errors, self.out.errors)
        self.assertEqual(getattr(sys.stdout, "line_buffering"), self.out.line_buffering)  # noqa: B009
        self.assertRaises(AttributeError, getattr(sys.stdout, "reconfigure"), encoding="latin-1")  # noqa: B009

    def test_what_the_daemon_sees(self) -> None:
        """The real stream."""
        self.assertEqual((sys.stdout.isatty(), sys.stdout.encoding), (False, "None"))
        self.assertRaises(io.UnsupportedOperation, sys.stdout.fileno)
        self.assertRaises(AttributeError, lambda: sys.stdout.buffer)
        self.assertEqual(getattr(sys.stdout, "getvalue")(), "")  # noqa: B009 - a name that only the stream behind has
        sys.stderr.close()
        self.assertTrue(self.err.closed)

    def test_somebody_else_in_between(self) -> None:
        """A stream that was replaced after ours stays."""
        other = io.StringIO()
        sys.stdout = other
        self.streams.uninstall()
        self.assertIs(sys.stdout, other)
