"""What programs print: bounded, escaped, and brought to the log at a rate that hurts nobody."""

from __future__ import annotations

import io
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LINE_LIMIT_CHARS: Final = 4_000
PENDING_LIMIT_CHARS: Final = 65_536
PENDING_LIMIT_LINES: Final = 1_000
TAIL_LIMIT_CHARS: Final = 16_384
TAIL_LIMIT_LINES: Final = 200
BURST_LINES: Final = 200
LINES_PER_S: Final = 50.0

_SUSPECT: Final = re.compile(r"[^\t -~]")


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def clean(text: str, limit_chars: int = LINE_LIMIT_CHARS) -> str:
    """``text`` on one line that is safe for a log or a terminal: control characters escaped, cut at the limit."""
    if len(text) > limit_chars:
        text = text[: limit_chars - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return _SUSPECT.sub(_escape, text)


class Timer(Protocol):
    """The part of a delayed call that is needed here."""

    def cancel(self) -> None:
        """Have it not happen."""


class ThreadReactor(Protocol):
    """The part of the reactor that is needed here."""

    def seconds(self) -> float:
        """Monotonic seconds."""

    def callLater(self, delay: float, callable: Callable[..., object], /) -> Any:
        """Call it in so many seconds."""

    def callFromThread(self, callable: Callable[..., object], /) -> object:
        """Call it on the reactor thread; may be called on any thread."""


class _Lines:
    """A deque of lines that is bounded in lines and in characters, the oldest go first.  Not locked."""

    def __init__(self, limit_lines: int, limit_chars: int) -> None:
        self._limit_lines = limit_lines
        self._limit_chars = limit_chars
        self._lines: deque[str] = deque()
        self._chars = 0

    def __len__(self) -> int:
        return len(self._lines)

    def append(self, line: str) -> int:
        """Take one more line; how many old ones had to go for it."""
        self._lines.append(line)
        self._chars += len(line)
        dropped = 0
        while len(self._lines) > self._limit_lines or self._chars > self._limit_chars:
            self.pop()
            dropped += 1
        return dropped

    def pop(self) -> str:
        line = self._lines.popleft()
        self._chars -= len(line)
        return line

    def all(self) -> tuple[str, ...]:
        return tuple(self._lines)


class Output:
    """What one program prints, over all its runs.

    ``write`` may be called on any thread, and never blocks on the log; all else is for the reactor thread.  ``sink``
    gets one clean line at a time, on the reactor thread: up to ``BURST_LINES`` at once, then ``LINES_PER_S``.  What
    comes faster than that and does not fit into the pending lines is dropped, oldest first, and counted.
    """

    def __init__(self, reactor: ThreadReactor, sink: Callable[[str], None]) -> None:
        self.dropped_lines = 0
        """Lines that the log never saw."""
        self._reactor = reactor
        self._sink = sink
        self._printed_lines = 0
        self._lock = threading.Lock()
        self._pending = _Lines(PENDING_LIMIT_LINES, PENDING_LIMIT_CHARS)
        self._tail = _Lines(TAIL_LIMIT_LINES, TAIL_LIMIT_CHARS)
        self._partial: dict[int, str] = {}
        self._told_lines = 0
        self._turn_is_due = False
        self._closed = False
        self._timer: Timer | None = None
        self._budget_lines = float(BURST_LINES)
        self._budget_at_s = reactor.seconds()

    def write(self, text: str) -> None:
        """Take a piece of output.  Lines are put together for each thread by itself, so that they don't mix."""
        dropped = 0
        if len(text) > PENDING_LIMIT_CHARS:
            kept = text[-PENDING_LIMIT_CHARS:]
            dropped = max(1, text.count("\n", 0, len(text) - len(kept)))
            text = kept
        ident = threading.get_ident()
        with self._lock:
            *lines, rest = (self._partial.pop(ident, "") + text).split("\n")
            while len(rest) > LINE_LIMIT_CHARS:
                lines.append(rest[:LINE_LIMIT_CHARS])
                rest = rest[LINE_LIMIT_CHARS:]
            if rest:
                self._partial[ident] = rest
            self.dropped_lines += dropped
            self._printed_lines += dropped
            wake = self._take(lines)
        if wake:
            self._reactor.callFromThread(self._turn)

    def in_line(self) -> bool:
        """Whether the calling thread has written a line that has no end yet."""
        return threading.get_ident() in self._partial

    def tail(self) -> tuple[str, ...]:
        """The last lines."""
        return self.numbered_tail()[1]

    def numbered_tail(self) -> tuple[int, tuple[str, ...]]:
        """The number of the first of the last lines, counted from 0, and these lines, for the status."""
        with self._lock:
            lines = self._tail.all()
            return self._printed_lines - len(lines), lines

    def flush(self) -> None:
        """Bring everything to the log now, also lines that have no end yet: a run of the program is over."""
        with self._lock:
            rest, self._partial = list(self._partial.values()), {}
            self._take(rest)
        self._cancel()
        self._deliver(len(self._pending))

    def close(self) -> None:
        """Flush; what is written from now on is dropped, and nothing stays scheduled."""
        self.flush()
        with self._lock:
            self._closed = True

    def _take(self, lines: Iterable[str]) -> bool:
        """Queue lines, with the lock held.  True where the reactor has to be woken for them."""
        for line in lines:
            for start in range(0, len(line) or 1, LINE_LIMIT_CHARS):
                piece = clean(line[start : start + LINE_LIMIT_CHARS].removesuffix("\r"), LINE_LIMIT_CHARS)
                self._tail.append(piece)
                self._printed_lines += 1
                self.dropped_lines += 1 if self._closed else self._pending.append(piece)
        if self._turn_is_due or self._closed or not self._pending:
            return False
        self._turn_is_due = True
        return True

    def _turn(self) -> None:
        self._timer = None
        if self._closed:
            return
        now_s = self._reactor.seconds()
        self._budget_lines = min(BURST_LINES, self._budget_lines + (now_s - self._budget_at_s) * LINES_PER_S)
        self._budget_at_s = now_s
        self._budget_lines -= self._deliver(int(self._budget_lines))
        with self._lock:
            self._turn_is_due = bool(self._pending)
        if self._turn_is_due:
            self._timer = self._reactor.callLater(1.0, self._turn)

    def _deliver(self, limit_lines: int) -> int:
        with self._lock:
            lines = [self._pending.pop() for _ in range(min(limit_lines, len(self._pending)))]
            dropped = self.dropped_lines - self._told_lines
            self._told_lines = self.dropped_lines
        if dropped:
            self._sink(f"({dropped} lines dropped: it prints faster than {LINES_PER_S:g} lines a second)")
        for line in lines:
            self._sink(line)
        return len(lines)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._turn_is_due = False


Write = Callable[[str], object]


class Streams:
    """Sends what is printed to the program that prints it, and leaves the daemon's own output alone.

    ``writer`` says, for the calling thread, where its program's output goes; None for the daemon's threads.  Several
    with the same one share what stands in for a stream: a thousand around each other would be too deep to call.
    """

    def __init__(self, writer: Callable[[], Write | None]) -> None:
        self._writer = writer
        self._ours: dict[str, _Stream] = {}

    def install(self) -> None:
        """Stand in for ``sys.stdout`` and ``sys.stderr``."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if not (isinstance(stream, _Stream) and stream.writer == self._writer):
                stream = _Stream(stream, self._writer)
                setattr(sys, name, stream)
            stream.users += 1
            self._ours[name] = stream

    def uninstall(self) -> None:
        """Give both back as they were; one that somebody else has replaced meanwhile stays."""
        for name, stream in self._ours.items():
            stream.users -= 1
            if stream.users == 0 and getattr(sys, name) is stream:
                setattr(sys, name, stream.daemons)
        self._ours.clear()


class _Stream:
    """One of the standard streams, as far as programs use it; the daemon's threads see the real one through it."""

    def __init__(self, daemons: Any, writer: Callable[[], Write | None]) -> None:
        self.daemons = daemons
        self.writer = writer
        self.users = 0

    def write(self, text: str) -> int:
        write = self.writer()
        if write is None:
            self.daemons.write(text)
        elif isinstance(text, str):
            write(text)
        else:
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self.writer() is None:
            self.daemons.flush()

    def close(self) -> None:
        if self.writer() is None:
            self.daemons.close()

    def isatty(self) -> bool:
        return self.writer() is None and bool(self.daemons.isatty())

    def fileno(self) -> int:
        if self.writer() is None:
            return int(self.daemons.fileno())
        raise io.UnsupportedOperation("the output of a program is a log, it has no file number")

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:
        return "utf-8" if self.writer() is not None else str(self.daemons.encoding)

    @property
    def buffer(self) -> Any:
        write = self.writer()
        return self.daemons.buffer if write is None else _Bytes(write)

    @property
    def errors(self) -> str | None:
        errors: str | None = "replace" if self.writer() is not None else self.daemons.errors
        return errors

    @property
    def line_buffering(self) -> bool:
        return self.writer() is not None or bool(self.daemons.line_buffering)

    def reconfigure(self, **options: Any) -> None:
        """Change nothing for a program: its log is UTF-8, and gets each line at once."""
        if self.writer() is None:
            self.daemons.reconfigure(**options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.daemons, name)


class _Bytes(io.BufferedIOBase):
    """``sys.stdout.buffer`` of a program; that may wrap it, in an ``io.TextIOWrapper`` for one."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        found = bytes(memoryview(data))
        self._write(found.decode("utf-8", "replace"))
        return len(found)
