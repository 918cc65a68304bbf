"""Python files become a program document."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.source_tree import read_program


class ReadProgramTests(SynchronousTestCase):
    def tree(self, **files: str) -> Path:
        folder = Path(self.mktemp()) / "tree"
        for name, source in files.items():
            path = folder / name.replace("__slash__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".py").write_text(source, encoding="utf-8")
        return folder

    def test_file(self) -> None:
        """A file is ``code``, and its name that of the program."""
        folder = self.tree(blink="x = 'ü'")
        self.assertEqual(read_program(folder / "blink.py", 5), {"type": 5, "name": "blink", "code": "x = 'ü'"})

    def test_folder(self) -> None:
        """A folder is ``main.py`` and its modules, packages included; ``global/`` has the global modules."""
        folder = self.tree(
            main="m", helper="h", pkg__slash____init__="p", pkg__slash__sub="s", global__slash__sensors="g"
        )
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "main.py").write_text("never")
        self.assertEqual(
            read_program(folder, 5),
            {
                "type": 5,
                "name": "tree",
                "code": "m",
                "modules": {"helper": "h", "pkg": "p", "pkg.sub": "s"},
                "global_modules": {"sensors": "g"},
            },
        )

    def test_hidden(self) -> None:
        """What editors and tools keep in hidden files and folders is no module."""
        folder = self.tree(**{"main": "m", ".venv__slash__lib__slash__six": "x", ".hidden": "x"})
        (folder / ".#main.py").symlink_to("nobody@nowhere.1234")
        self.assertEqual(read_program(folder, 5), {"type": 5, "name": "tree", "code": "m"})

    def test_no_file(self) -> None:
        """What only has the name of a file is no module; nobody would ever write to a FIFO that is read."""
        folder = self.tree(main="m")
        os.mkfifo(folder / "fifo.py")
        (folder / "folder.py").mkdir()
        self.assertEqual(read_program(folder, 5), {"type": 5, "name": "tree", "code": "m"})
        (folder / "gone.py").symlink_to("nowhere")
        self.assertRaises(FileNotFoundError, read_program, folder, 5)

    def test_no_text(self) -> None:
        """Of all files, the one that is no UTF-8 is named."""
        folder = self.tree(main="m", helper="")
        (folder / "helper.py").write_bytes(b"\xff")
        error = self.assertRaises(UnicodeDecodeError, read_program, folder, 5)
        self.assertIn(str(folder / "helper.py"), str(error))

    def test_byte_order_mark(self) -> None:
        """The mark that some editors begin a file with is none of the source; line ends are those of Python."""
        folder = self.tree(blink="")
        (folder / "blink.py").write_bytes(b"\xef\xbb\xbfx = 1\r\n")
        self.assertEqual(read_program(folder / "blink.py", 5)["code"], "x = 1\n")

    def test_global_modules_alone(self) -> None:
        """A folder without ``main.py`` makes a document that runs nothing."""
        self.assertEqual(
            read_program(self.tree(global__slash__a="A"), 5), {"type": 5, "name": "tree", "global_modules": {"a": "A"}}
        )
