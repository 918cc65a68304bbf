"""How many rows are asked for at a time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.couch.portion import Portion


class PortionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.portion = Portion(200, 2000)

    def rows_after(self, *answers: tuple[int, float]) -> list[int]:
        """What is asked for after each answer of so many rows, which took so long."""
        asked = []
        for rows, took_s in answers:
            self.portion.answered(rows, took_s)
            asked.append(self.portion.rows)
        return asked

    def test_catching_up(self) -> None:
        """Full answers that come in quickly make it four times as large, up to the most; any other brings it back."""
        asked = self.rows_after((200, 0.1), (800, 1.0), (2000, 0.1), (1999, 0.1), (1, 0.1))
        self.assertEqual(asked, [800, 2000, 2000, 200, 200])

    def test_slow(self) -> None:
        """A full answer that takes longer brings it back: a slow Pi has other things to do in between."""
        self.assertEqual(self.rows_after((200, 0.1), (800, 1.1), (200, 1.1)), [800, 200, 200])

    def test_too_much(self) -> None:
        """Too much of a large portion is answered by the usual one, then by halves, and one row is the least."""
        self.rows_after((200, 0.1), (800, 0.1))
        asked = []
        for _ in range(9):
            self.portion.was_too_much()
            asked.append(self.portion.rows)
        self.assertEqual(asked, [200, 100, 50, 25, 12, 6, 3, 1, 1])

    def test_after_too_much(self) -> None:
        """From less than the usual each answer doubles it, whatever is in it, and no further than to the usual."""
        for _ in range(2):
            self.portion.was_too_much()
        self.assertEqual(self.rows_after((0, 20.0), (100, 0.1), (200, 0.1)), [100, 200, 800])
