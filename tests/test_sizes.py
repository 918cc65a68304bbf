"""How large things are as JSON, and how they are cut."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.status.sizes import CUT, cut, size_bytes, text


class SizesTests(SynchronousTestCase):
    def test_size(self) -> None:
        """A value is as large as it is in the body of a request: all of it ASCII."""
        for value, size in (("", 2), ("abc", 5), ("ä", 8), ("\n", 4), ([1, 2], 6), ({"a": None}, 11)):
            self.assertEqual(size_bytes(value), size, value)

    def test_text(self) -> None:
        """Half a character, which CouchDB refuses, is written as an escape; all else stays."""
        self.assertEqual(text("a\ud800b\0ü\N{GRINNING FACE}"), "a\\ud800b\0ü\N{GRINNING FACE}")

    def test_cut(self) -> None:
        """What is too large keeps its beginning and its end, and is never larger than the limit."""
        self.assertEqual(cut("short", 7), "short")
        for whole in ("x" * 1000, "ä" * 1000, "\0\n" * 500, "a" * 500 + "\N{GRINNING FACE}" * 500, "\ud800" * 300):
            for limit_bytes in (30, 31, 100, 999):
                shown = cut(whole, limit_bytes)
                self.assertLessEqual(size_bytes(shown), limit_bytes, (whole[:3], limit_bytes))
                head, tail = shown.split(CUT)
                self.assertTrue(text(whole).startswith(head) and text(whole).endswith(tail))
        self.assertEqual(cut("x" * 90 + "y" * 90, 60), "x" * 18 + CUT + "y" * 18)
        self.assertEqual(cut("x" * 90, 3), CUT)
