"""What a command has written, in bounded memory: the first half and the last half, and how much was between."""

from __future__ import annotations

import codecs


class Capture:
    """Keeps at most ``limit_bytes`` of a stream; what is over that is counted and dropped from the middle."""

    def __init__(self, limit_bytes: int) -> None:
        self._half_bytes = limit_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped_bytes = 0

    def add(self, data: bytes) -> None:
        """Take what has been read next; where there is no memory for it, only count it."""
        try:
            self._add(data)
        except MemoryError:
            self._dropped_bytes += len(data)

    def _add(self, data: bytes) -> None:
        room = self._half_bytes - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Cutting at twice the length, not at each byte over it, moves every byte once at most.
        if len(self._tail) > 2 * self._half_bytes:
            self._cut()

    def text(self) -> tuple[str, int]:
        """The stream as text, and the number of bytes that are missing in it.

        What is no UTF-8 is replaced by U+FFFD.  Where bytes are missing, a line that says so stands in their place,
        and no character is cut in two by it.  Where there is no memory for it, all of it is missing: a command is to be
        answered all the same.
        """
        try:
            return self._text()
        except MemoryError:
            self._dropped_bytes += len(self._head) + len(self._tail)
            self._head, self._tail = bytearray(), bytearray()
            return marker(self._dropped_bytes), self._dropped_bytes

    def _text(self) -> tuple[str, int]:
        self._cut()
        if not self._dropped_bytes:
            return (self._head + self._tail).decode("utf-8", "replace"), 0
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        head = decoder.decode(self._head)
        cut_bytes = len(decoder.getstate()[0])
        start = 0
        while start < min(3, len(self._tail)) and self._tail[start] & 0xC0 == 0x80:
            start += 1
        dropped_bytes = self._dropped_bytes + cut_bytes + start
        tail = self._tail[start:].decode("utf-8", "replace")
        return f"{head}{marker(dropped_bytes)}{tail}", dropped_bytes

    def _cut(self) -> None:
        over = len(self._tail) - self._half_bytes
        if over > 0:
            del self._tail[:over]
            self._dropped_bytes += over


def marker(dropped_bytes: int) -> str:
    """The line that stands for bytes that are left out."""
    return f"\n[... {dropped_bytes} bytes left out ...]\n"
