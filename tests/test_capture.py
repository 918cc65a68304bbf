"""Output is kept in bounded memory, and what is left out is said."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.commands.capture import Capture, marker


class CaptureTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """What fits is kept as it is, in whatever pieces it comes."""
        for text in ("", "a", "abcdefgh", "grüße"):
            data = text.encode()
            for size in (1, 2, 3, 100):
                with self.subTest(text=text, size=size):
                    capture = Capture(8)
                    for start in range(0, len(data), size):
                        capture.add(data[start : start + size])
                    self.assertEqual(capture.text(), (text, 0))

    def test_no_memory(self) -> None:
        """Where there is no memory for it, it is left out, and counted, and no error."""

        class Full(bytearray):
            def __iadd__(self, data: object, /) -> Full:
                raise MemoryError

            def __add__(self, data: object, /) -> bytearray:
                raise MemoryError

        capture = Capture(8)
        capture._head = Full(b"abc")
        self.assertEqual(capture.text(), (marker(3), 3))
        capture._head = Full(b"abc")
        capture.add(b"de")
        self.assertEqual(capture.text(), ("abc" + marker(5), 5))

    def test_middle_is_left_out(self) -> None:
        """Of what does not fit, the first and the last half are kept, in whatever pieces it comes."""
        data = bytes(range(97, 123))
        for size in (1, 3, 7, 26):
            with self.subTest(size=size):
                capture = Capture(8)
                for start in range(0, len(data), size):
                    capture.add(data[start : start + size])
                self.assertEqual(capture.text(), ("abcd" + marker(18) + "wxyz", 18))

    def test_characters_stay_whole(self) -> None:
        """A character that the cut would hit is left out as a whole, and counted."""
        for text, head, tail, dropped in (
            ("abcü" + "x" * 20 + "üabc", "abc", "abc", 22 + 2),
            ("äöü" * 9, "äö", "öü", 46),
            ("€€€€€€", "€", "€", 12),
            ("𝄞" * 5, "𝄞", "𝄞", 12),
        ):
            with self.subTest(text=text):
                capture = Capture(8)
                capture.add(text.encode())
                self.assertEqual(capture.text(), (head + marker(dropped) + tail, dropped))

    def test_no_text(self) -> None:
        """What is no UTF-8 is replaced, cut or not."""
        capture = Capture(8)
        capture.add(b"a\xffb")
        self.assertEqual(capture.text(), ("a\ufffdb", 0))
        capture.add(b"\x80" * 20)
        self.assertEqual(capture.text(), ("a\ufffdb\ufffd" + marker(18) + "\ufffd", 18))

    def test_bounded(self) -> None:
        """However much comes, what is kept is bounded."""
        capture = Capture(1024)
        for _ in range(1000):
            capture.add(b"x" * 4096)
            self.assertLess(len(capture._head) + len(capture._tail), 3 * 1024 + 4096)
        self.assertEqual(capture.text()[1], 4096 * 1000 - 1024)
