"""Whether sources compile, and where they don't."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.web import api
from himbeerecouch.web.syntax import check


class CheckTests(SynchronousTestCase):
    def test_good(self) -> None:
        """What compiles has no errors, whatever it would do when it runs."""
        self.assertEqual(check({"main": "import nothing_like_that\n1 / 0\n", "helper": "", "ä": "x = 'ä'"}), [])

    def test_errors(self) -> None:
        """The first error of each module is told with its place; columns count characters, from 1."""
        for source, line, column in (
            ("def f(:\n", 1, 7),
            ("x = 1\nif x\n    pass\n", 2, 5),
            ("äöü = )\n", 1, 7),
            ("if x:\n\ty\n        z\n", 3, None),
            ("return 1\n", 1, 1),
            ("a\0b", 1, None),
            ("x = '\ud800'", 1, None),
        ):
            (found,) = check({"main": source})
            self.assertEqual((found["module"], found["line"]), ("main", line), source)
            if column is not None:
                self.assertEqual(found["column"], column, source)
            self.assertTrue(found["message"])
            self.assertNotIn("warning", found)

    def test_warnings(self) -> None:
        """What the compiler only warns of is marked, and does not hide an error after it."""
        found = check({"main": "if x is 1:\n    pass\n", "other": "x is 1\ndef f(:\n"})
        first = found[0]
        self.assertEqual((first["module"], first["line"], first.get("warning")), ("main", 1, True))
        self.assertEqual([each for each in found if each["module"] == "other"][-1]["line"], 2)


class ProcessTests(SynchronousTestCase):
    def test_same(self) -> None:
        """In a process of its own the same is found."""
        modules = {"main": "x = 1\ndef f(:\n", "warns": "x is 1\n", "good": "", "odd": "x = '\ud800'"}
        self.assertEqual(api.check(modules), json.loads(json.dumps(check(modules))))

    def test_breaking(self) -> None:
        """A source that breaks the compiler is told as such, and the others are looked at all the same."""
        self.patch(api, "CHECK_S", 10.0)
        deep = "x = " + "-" * 500_000 + "1"
        found = api.check({"deep": deep, "main": "def f(:\n"})
        self.assertEqual([each["module"] for each in found], ["deep", "main"])
        self.assertEqual(found[1]["line"], 1)

    def test_too_slow(self) -> None:
        """What takes longer than there is time for is told as such."""
        self.patch(api, "CHECK_S", 0.0)
        found = api.check({"main": "", "other": ""})
        self.assertEqual([each["module"] for each in found], ["main", "other"])
        self.assertIn("within its limits", found[0]["message"])
