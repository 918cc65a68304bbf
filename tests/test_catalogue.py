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
        """A program is known until its document is deleted or handed to another Pi."""
        for away in (Row("a", None, deleted=True), Row("a", None), row(type=8, code="x")):
            self.assertIsNone(self.catalogue.fold(row(type=MAC, code="x")))
            self.assertIsNone(self.catalogue.fold(row(type=MAC, code="y")))
            self.assertEqual(self.catalogue.programs["a"].modules, {"main": "y"})
            self.assertEqual(self.catalogue.fold(away), Gone("a"))
            self.assertEqual(self.catalogue.ids(), set())

    def test_parts(self) -> None:
        """One document may both run and export; what it no longer has is forgotten."""
        self.catalogue.fold(row(type=MAC, code="x", global_modules={"g": ""}))
        self.assertEqual((set(self.catalogue.programs), set(self.catalogue.exports)), ({"a"}, {"a"}))
        self.assertIsNone(self.catalogue.fold(row(type=MAC, global_modules={"g": ""})))
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
            self.assertIsNone(self.catalogue.fold(bad))
            self.assertEqual(set(self.catalogue.rejected), {"a"})
            self.assertEqual(self.catalogue.programs, {})
            self.assertEqual(self.catalogue.exports["a"].modules, {"g": "X"})
        self.catalogue.fold(row(type=MAC, code="x"))
        self.assertEqual((self.catalogue.rejected, self.catalogue.exports), ({}, {}))
