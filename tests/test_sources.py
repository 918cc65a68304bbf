"""The sources of a program as files: tables."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.fleet.sources import files


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
