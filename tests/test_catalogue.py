"""The feed's rows, folded into what is in use."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.catalogue import Catalogue, Gone, Refusal
from himbeerecouch.model import Command, Row

MAC = 7


def row(id: str = "a", **members: Any) -> Row:
    return Row(id, {"_id": id, "_rev": "1-x", **members})


class CatalogueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.catalogue = Catalogue(MAC, 100)

    def test_program_comes_changes_and_goes(self) -> None:
        """A program is known until its document is deleted or handed to another Pi; as a command it is gone."""
        for away in (Row("a", None, deleted=True), Row("a", None), row(type=8, code="x")):
            self.assertEqual(self.catalogue.fold(row(type=MAC, code="x")), Gone("a"))
            self.assertEqual(self.catalogue.fold(row(type=MAC, code="y")), Gone("a"))
            self.assertEqual(self.catalogue.programs["a"].modules, {"main": "y"})
            self.assertEqual(self.catalogue.fold(away), Gone("a"))
            self.assertEqual(self.catalogue.ids(), set())

    def test_parts(self) -> None:
        """One document may both run and export; what it no longer has is forgotten."""
        self.catalogue.fold(row(type=MAC, code="x", global_modules={"g": ""}))
        self.assertEqual((set(self.catalogue.programs), set(self.catalogue.exports)), ({"a"}, {"a"}))
        self.assertEqual(self.catalogue.fold(row(type=MAC, global_modules={"g": ""})), Gone("a"))
        self.assertEqual((set(self.catalogue.programs), set(self.catalogue.exports)), (set(), {"a"}))

    def test_command(self) -> None:
        """A command is handed on, and is gone once it has an answer."""
        found = self.catalogue.fold(row(type="7_cmd", cmd=["true"]))
        assert isinstance(found, Command)
        self.assertEqual(found.argv, ("true",))
        self.assertEqual(self.catalogue.fold(row(type="7_cmd", cmd=["true"], ret=["", ""])), Gone("a"))

    def test_refused_command(self) -> None:
        """A command that can't be run is handed on with the reason; a program that became one stops."""
        self.catalogue.fold(row(type=MAC, code="x"))
        found = self.catalogue.fold(row(type="7_cmd", cmd="true"))
        assert isinstance(found, Refusal)
        self.assertIn("list of strings", found.reason)
        self.assertEqual(self.catalogue.ids(), set())

    def test_rejected(self) -> None:
        """A rejected document does not run, is reported, and keeps what it exported before."""
        self.catalogue.fold(row(type=MAC, code="x", global_modules={"g": "X"}))
        for bad in (row(type=MAC, code=5, global_modules={"g": "Y"}), Row("a", None, too_large=True)):
            self.assertEqual(self.catalogue.fold(bad), Gone("a"))
            self.assertEqual(set(self.catalogue.rejected), {"a"})
            self.assertEqual(self.catalogue.programs, {})
            self.assertEqual(self.catalogue.exports["a"].modules, {"g": "X"})
        self.catalogue.fold(row(type=MAC, code="x"))
        self.assertEqual((self.catalogue.rejected, self.catalogue.exports), ({}, {}))

    def test_refused_programs(self) -> None:
        """Of the rejected documents those that are programs for this Pi are known with their revisions."""
        self.catalogue.fold(row("a", type=MAC, code=5))
        self.catalogue.fold(row("b", type=8, global_modules=5))
        self.assertEqual((set(self.catalogue.rejected), self.catalogue.refused_programs), ({"a", "b"}, {"a": "1-x"}))
        self.catalogue.fold(Row("a", None, too_large=True))
        self.assertEqual((set(self.catalogue.rejected), self.catalogue.refused_programs), ({"a", "b"}, {}))
        self.catalogue.fold(row("a", type=MAC, code=5))
        self.catalogue.fold(row("a", type=MAC, code="x"))
        self.assertEqual(self.catalogue.refused_programs, {})

    def test_watches(self) -> None:
        """The log is watched until the latest time that a document names, as long as that document is there."""
        self.assertIsNone(self.catalogue.watched_until)
        self.catalogue.fold(row("7_watch", type="7_watch", until="1970-01-01T00:01:00Z"))
        self.catalogue.fold(row("other", type="7_watch", until="1970-01-01T00:02:00Z"))
        self.assertEqual((self.catalogue.watched_until, self.catalogue.ids()), (120.0, {"7_watch", "other"}))
        self.catalogue.fold(Row("other", None, deleted=True))
        self.assertEqual(self.catalogue.watched_until, 60.0)
        self.catalogue.fold(row("7_watch", type="7_watch", until="soon"))
        self.assertEqual((self.catalogue.watched_until, set(self.catalogue.rejected)), (None, {"7_watch"}))
        self.assertEqual(self.catalogue.fold(row("7_watch", type="7_watch")), Gone("7_watch"))
