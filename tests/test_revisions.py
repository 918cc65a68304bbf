"""Which revision of a program runs, by tables."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.model import Program, Restart
from himbeerecouch.programs.revisions import (
    Revisions,
    Then,
    begun,
    ended,
    fallen_back,
    first,
    has_run,
    saved_again,
    then,
)


def a_program(digest: str, rev: str = "", *, restart: Restart = Restart.ON_FAILURE, rollback: bool = True) -> Program:
    """A program whose content is told by its digest."""
    return Program("clock", rev or f"1-{digest}", "clock", {}, digest, restart=restart, rollback=rollback)


A, B, C = a_program("a"), a_program("b"), a_program("c")
BACK_TO_A = Revisions(B, A, proven=True, asked={"lib": "1", "none": None})
"""B was rolled back to A."""


class SavedAgain(SynchronousTestCase):
    """The document was saved and says the same."""

    def test_known_by_the_new_revision(self) -> None:
        """What runs is known by it; after a rollback only what the document has."""
        a_again, b_again = evolve(A, rev="5-a"), evolve(B, rev="5-b")
        self.assertEqual(saved_again(Revisions(A, A, ends=2), a_again), Revisions(a_again, a_again, ends=2))
        self.assertEqual(saved_again(BACK_TO_A, b_again), evolve(BACK_TO_A, saved=b_again))


class Beginning(SynchronousTestCase):
    """A revision is to run from its beginning."""

    def test_first(self) -> None:
        """Of a document that is new to this process another may know which revision ran for long, this one included."""
        self.assertEqual(first(A), Revisions(A, A))
        self.assertEqual(first(B, A), Revisions(B, B, before=A))
        self.assertEqual(first(A, evolve(A, rev="0-a")), Revisions(A, A, proven=True))

    def test_begun(self) -> None:
        """A change keeps what ran for long as the one before; the same again only begins to count anew."""
        a_again, b_again = evolve(A, rev="5-a"), evolve(B, rev="5-b")
        same = {"lib": "1"}
        table = {
            "never ran for long": (Revisions(A, A, ends=2, crashes=2), B, same, Revisions(B, B)),
            "ran for long": (Revisions(A, A, proven=True, ends=1), B, same, Revisions(B, B, before=A)),
            "two quick edits": (Revisions(B, B, before=A, crashes=1), C, same, Revisions(C, C, before=A)),
            "taken back": (Revisions(B, B, before=A), a_again, same, Revisions(a_again, a_again, proven=True)),
            "the same": (
                Revisions(B, B, before=A, ends=3, crashes=2),
                b_again,
                same,
                Revisions(b_again, b_again, before=A),
            ),
            "the same, ran for long": (
                Revisions(A, A, proven=True, ends=9),
                a_again,
                same,
                Revisions(a_again, a_again, proven=True),
            ),
            "rolled back": (evolve(BACK_TO_A, ends=2), b_again, same, evolve(BACK_TO_A, saved=b_again)),
            "rolled back, and then an edit": (BACK_TO_A, C, same, Revisions(C, C, before=A)),
            "rolled back, and then taken back": (BACK_TO_A, A, same, Revisions(A, A, proven=True)),
            "rolled back, and its module changes": (BACK_TO_A, B, {"lib": "2"}, Revisions(B, B, before=A)),
            "rolled back, and its module is there": (BACK_TO_A, B, {**same, "none": "0"}, Revisions(B, B, before=A)),
            "rolled back, and its module goes": (BACK_TO_A, B, {}, Revisions(B, B, before=A)),
            "rolled back, and another module": (BACK_TO_A, B, {**same, "other": "9"}, BACK_TO_A),
        }
        for case, (revisions, program, global_modules, expected) in table.items():
            with self.subTest(case):
                self.assertEqual(begun(revisions, program, global_modules), expected)

    def test_reserve(self) -> None:
        """What another process has to know is the last revision that ran for a minute, be it the document's or not."""
        table = {
            Revisions(A, A): (False, None),
            Revisions(A, A, proven=True): (False, A),
            Revisions(B, B, before=A): (False, A),
            BACK_TO_A: (True, A),
        }
        for revisions, expected in table.items():
            self.assertEqual((revisions.rolled_back, revisions.reserve), expected)


class Ending(SynchronousTestCase):
    """A run has come to its end."""

    def test_has_run(self) -> None:
        """After 60 s a revision is one to go back to, and needs the one before it no more."""
        before = Revisions(B, B, before=A, ends=2, crashes=1)
        self.assertEqual(has_run(before, 59.9, proven_after_s=60), before)
        self.assertEqual(has_run(before, 60.0, proven_after_s=60), Revisions(B, B, proven=True))

    def test_counts(self) -> None:
        """Ends count in a row, and crashes among them; a long run begins anew, and what it has proven stays."""
        table = (
            ((0, 0, False), 1.0, True, (1, 1, False)),
            ((2, 2, False), 59.9, True, (3, 3, False)),
            ((2, 2, False), 1.0, False, (3, 0, False)),
            ((2, 2, False), 60.0, True, (1, 1, True)),
            ((5, 0, True), 60.0, False, (1, 0, True)),
            ((5, 5, True), 1.0, True, (6, 6, True)),
        )
        for (ends, crashes, proven), ran_s, crashed, expected in table:
            revisions = Revisions(A, A, ends=ends, crashes=crashes, proven=proven)
            after = ended(revisions, ran_s, crashed=crashed, proven_after_s=60.0)
            self.assertEqual((after.ends, after.crashes, after.proven), expected)

    def test_restart(self) -> None:
        """The document says whether a crash, or a return too, is followed by another start."""
        table = {
            (Restart.ALWAYS, True): Then.AGAIN,
            (Restart.ALWAYS, False): Then.AGAIN,
            (Restart.ON_FAILURE, True): Then.AGAIN,
            (Restart.ON_FAILURE, False): Then.REST,
            (Restart.NEVER, True): Then.REST,
            (Restart.NEVER, False): Then.REST,
        }
        for (restart, crashed), expected in table.items():
            program = a_program("a", restart=restart)
            self.assertIs(then(Revisions(program, program, crashes=9), crashed=crashed), expected, (restart, crashed))

    def test_rollback(self) -> None:
        """Three crashes in a row, a document that asks for it, and one to go back to: nothing less is a rollback."""
        stubborn = a_program("b", rollback=False)
        table = {
            Revisions(B, B, before=A, crashes=3): Then.FALL_BACK,
            Revisions(B, B, before=A, crashes=2): Then.AGAIN,
            Revisions(B, B, crashes=3): Then.AGAIN,
            Revisions(B, B, crashes=3, proven=True): Then.AGAIN,
            Revisions(stubborn, stubborn, before=A, crashes=3): Then.AGAIN,
            evolve(BACK_TO_A, crashes=3): Then.AGAIN,
        }
        for revisions, expected in table.items():
            self.assertIs(then(revisions, crashed=True), expected, revisions)
        self.assertIs(then(Revisions(B, B, before=A, crashes=3), crashed=False), Then.REST)

    def test_fallen_back(self) -> None:
        """The one before runs, with nothing further to go back to; without one it is an error that says so."""
        self.assertEqual(fallen_back(Revisions(B, B, before=A, crashes=3), BACK_TO_A.asked), BACK_TO_A)
        with self.assertRaisesRegex(ValueError, "'clock' has no revision"):
            fallen_back(Revisions(A, A), {})
