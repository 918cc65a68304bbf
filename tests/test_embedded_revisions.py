"""Revisions: edits, conflicts, winners, foreign histories."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.embedded.refused import Refused
from himbeerecouch.embedded.revisions import KEPT, Leaf, edit, foreign_path, merge, parse, ranked


def leaf(rev: str, *ancestors: str, deleted: bool = False) -> Leaf:
    """A leaf by its revision and the hashes before it."""
    generation, name = parse(rev)
    return Leaf(generation, (name, *ancestors), deleted, "{}")


class EditTests(SynchronousTestCase):
    """Edits by users."""

    def test_chain(self) -> None:
        """Each edit stands upon the one before, and the same edit has the same name."""
        first, leaves = edit([], None, False, '{"a":1}')
        self.assertEqual(first.generation, 1)
        second, leaves = edit(leaves, first.rev, False, '{"a":2}')
        self.assertEqual(second.revs[1], first.rev)
        self.assertEqual(leaves, [second])
        again, _ = edit([first], first.rev, False, '{"a":2}')
        self.assertEqual(again.rev, second.rev)

    def test_conflicts(self) -> None:
        """Without the revision of a leaf a living document can't be written; one that is gone can."""
        first, leaves = edit([], None, False, "{}")
        for rev in (None, "1-abc", "2-" + first.path[0]):
            refused = self.assertRaises(Refused, edit, leaves, rev, False, "{}")
            self.assertEqual((refused.status, refused.error), (409, "conflict"))
        self.assertRaises(Refused, edit, [], first.rev, False, "{}")
        gone, leaves = edit(leaves, first.rev, True, "{}")
        self.assertTrue(gone.deleted)
        back, leaves = edit(leaves, None, False, "{}")
        self.assertEqual((back.generation, leaves), (3, [back]))

    def test_history_is_cut(self) -> None:
        """A document that is written for ever keeps a bounded history."""
        last, leaves = edit([], None, False, "{}")
        for _ in range(KEPT + 10):
            last, leaves = edit(leaves, last.rev, False, "{}")
        self.assertEqual((last.generation, len(last.path)), (KEPT + 11, KEPT))

    def test_malformed(self) -> None:
        """What is no revision is 400."""
        for rev in ("x", "0-a", "1-", "-a", 1, None, "1-a b", "01-a"):
            self.assertEqual(self.assertRaises(Refused, parse, rev).status, 400, rev)


class MergeTests(SynchronousTestCase):
    """Replicated revisions."""

    def test_winner(self) -> None:
        """The living goes before the deleted, then the longer history, then the greater hash."""
        self.assertEqual(
            [one.rev for one in ranked([leaf("2-a"), leaf("9-z", deleted=True), leaf("3-a"), leaf("3-b")])],
            ["3-b", "3-a", "2-a", "9-z"],
        )

    def test_merge(self) -> None:
        """A known revision changes nothing, a later one replaces its ancestor, another one stands beside."""
        known = leaf("2-b", "a")
        self.assertIsNone(merge([known], leaf("2-b", "a")))
        self.assertIsNone(merge([known], leaf("1-a")))
        self.assertEqual(merge([known], leaf("3-c", "b", "a")), [leaf("3-c", "b", "a")])
        self.assertEqual(merge([known], leaf("2-c", "a")), [leaf("2-c", "a"), known])

    def test_foreign_path(self) -> None:
        """A history is taken as it is told, or refused where it can't be one."""
        self.assertEqual(foreign_path("2-b", None), (2, ("b",)))
        self.assertEqual(foreign_path("2-b", {"start": 2, "ids": ["b", "a"]}), (2, ("b", "a")))
        wrong: list[Any] = [[], {"start": 3, "ids": ["b"]}, {"start": 2, "ids": ["c"]}, {"start": 2, "ids": []}]
        wrong += [{"start": 2, "ids": ["b", "a", "z"]}, {"start": 2, "ids": ["b", 1]}]
        for revisions in wrong:
            self.assertRaises(Refused, foreign_path, "2-b", revisions)
