"""Old rows of the feed never start a command again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.commands.memory import ECHO_S, CommandMemory, newer
from himbeerecouch.model import Command


def command(id: str = "c", rev: str = "1-a", claim: str | None = None) -> Command:
    body = {"_id": id, "_rev": rev} | ({"execution": {"claim": claim}} if claim else {})
    return Command(id, rev, ("true",), None, 600.0, None, False, claim is not None, body)


class CommandMemoryTests(SynchronousTestCase):
    def test_echo(self) -> None:
        """For a minute, the row it began with and the row of its claim are known as old."""
        memory = CommandMemory()
        memory.settle("c", "1-a", "token", 100.0)
        for row, now_s, echo in (
            (command(), 100.0, True),
            (command(rev="2-b", claim="token"), 100.0 + ECHO_S, True),
            (command(rev="2-b", claim="other"), 100.0, False),
            (command(rev="3-c"), 100.0, False),
            (command(id="d"), 100.0, False),
            (command(), 100.1 + ECHO_S, False),
        ):
            with self.subTest(row=row, now_s=now_s):
                self.assertEqual(memory.is_echo(row, now_s), echo)

    def test_was_run(self) -> None:
        """The very revision that was in hand, and the claim that was made of it, are known for long."""
        memory = CommandMemory()
        memory.settle("c", "1-a", "token", 100.0)
        self.assertTrue(memory.was_run(command()))
        self.assertTrue(memory.was_run(command(rev="2-b", claim="token")))
        self.assertFalse(memory.was_run(command(rev="2-b", claim="other")))
        self.assertFalse(memory.was_run(command(rev="3-c")))
        self.assertFalse(memory.was_run(command(id="d")))

    def test_foreign(self) -> None:
        """What somebody else has claimed stays theirs, until the document is gone."""
        memory = CommandMemory()
        memory.leave("c")
        self.assertTrue(memory.is_foreign(command(claim="theirs")))
        self.assertFalse(memory.is_foreign(command()))
        memory.forget("c")
        self.assertFalse(memory.is_foreign(command(claim="theirs")))

    def test_bounded(self) -> None:
        """The oldest are forgotten first."""
        memory = CommandMemory(remembered=2)
        for id in ("a", "b", "a", "c"):
            memory.settle(id, "1-a", "token", 0.0)
            memory.leave(id)
        self.assertEqual([memory.was_run(command(id=id)) for id in "abc"], [True, False, True])
        self.assertEqual([memory.is_foreign(command(id=id, claim="t")) for id in "abc"], [True, False, True])

    def test_newer(self) -> None:
        """Revisions are ordered by the number in front."""
        for rev, than, later in (
            ("2-a", "1-b", True),
            ("10-a", "9-b", True),
            ("1-b", "1-a", False),
            ("1-a", "2-a", False),
            ("", "1-a", False),
            ("1-a", "", True),
        ):
            with self.subTest(rev=rev, than=than):
                self.assertEqual(newer(rev, than), later)
