"""The sources of a program as files: tables."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.fleet.sources import Problem, check, files


class FileTests(SynchronousTestCase):
    def test_files(self) -> None:
        """Each module has a file, a package its __init__.py, and global modules a folder."""
        document = {
            "code": "main",
            "modules": {"main": "not this", "a": "1", "a.b": "2", "c.d": "3"},
            "global_modules": {"a": "4", "g.h": "5"},
        }
        found = {"main.py": "main", "a/__init__.py": "1", "a/b.py": "2", "c/d.py": "3"}
        self.assertEqual(files(document), {**found, "global/a.py": "4", "global/g/h.py": "5"})
        self.assertEqual(files({"modules": {"main": "x"}, "code": None}), {"main.py": "x"})
        self.assertEqual(files({}), {})

    def test_no_files(self) -> None:
        """What would lie elsewhere, or nowhere, is refused with a reason."""
        table: list[tuple[dict[str, Any], str]] = [
            ({"modules": {"../x": ""}}, "'../x' can't be the name"),
            ({"modules": {"a..b": ""}}, "can't be the name"),
            ({"modules": {"global.x": ""}}, "can't be the name"),
            ({"modules": {"/etc/passwd": ""}}, "can't be the name"),
            ({"modules": ["x"]}, '"modules" are no modules'),
            ({"global_modules": {"x": 5}}, "'x' is no source"),
            ({"code": 5}, "'code' is no source"),
            ({"modules": {"a": "", "a.__init__": ""}}, "two of its modules would be a/__init__.py"),
        ]
        for document, reason in table:
            with self.assertRaisesRegex(ValueError, reason.replace("..", r"\.\.").replace("/x", "/x")):
                files(document)


class CheckTests(SynchronousTestCase):
    def test_problems(self) -> None:
        """Errors and warnings are told with their file and line; what compiles is not run."""
        document = {"code": "def main(:\n", "modules": {"a.b": "x = 1\nif x is 'y': pass\n", "c": "1 / 0\n"}}
        error, warning = sorted(check(document), key=lambda one: one.is_warning)
        self.assertEqual((error.file, error.line, error.is_warning), ("main.py", 1, False))
        self.assertTrue(str(error).startswith("main.py, line 1: SyntaxError: "), str(error))
        self.assertEqual((warning.file, warning.line, warning.is_warning), ("a/b.py", 2, True))
        self.assertEqual(check({"code": "import nothing_of_the_kind\n"}), [])

    def test_not_for_a_compiler(self) -> None:
        """What breaks the compiler in another way is an error too, without a line."""
        (problem,) = check({"code": "x = '\ud800'"})
        self.assertEqual((problem.line, problem.is_warning), (None, False))
        self.assertEqual(str(Problem("a.py", None, "why")), "a.py: why")
