"""The house: a module imports only from floors below its own, and the core touches nothing of the world."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import himbeerecouch

PACKAGE = Path(himbeerecouch.__file__).parent

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "model", "rfc3339"),
    ("documents", "feed", "gate", "plan", "wire"),
    ("catalogue", "couch", "identity", "led", "loader", "output", "server_file", "store", "threads"),
    ("changes", "commands", "discovery", "host"),
    ("node",),
    ("tap",),
    ("", "ask", "prog", "probe_tap", "util"),
)
"""Bottom first; packages (embedded, cli, web) stand on top of all of them."""

CORE = (*FLOORS[0], *FLOORS[1], "catalogue")

WORLD = {"twisted", "treq", "logging", "time", "os", "pathlib", "socket", "random", "threading", "subprocess", "sys"}
"""What the core does not import: it is told what it needs to know."""


def imports(path: Path) -> Iterator[str]:
    """All modules that a file imports anywhere in it, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(name: str) -> str | None:
    """The module of this package that a dotted name is of, None where it is another's."""
    parts = name.split(".")
    return parts[1] if parts[0] == "himbeerecouch" and len(parts) > 1 else None


class FloorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.floor_of = {name: number for number, names in enumerate(FLOORS) for name in names}
        self.modules = {"" if path.stem == "__init__" else path.stem: path for path in sorted(PACKAGE.glob("*.py"))}

    def test_every_module_has_a_floor(self) -> None:
        """A new module is given its floor before it is used."""
        self.assertEqual(set(self.modules), set(self.floor_of))

    def test_imports_point_down(self) -> None:
        """A module imports only from floors below its own."""
        wrong = [
            f"{module} (floor {self.floor_of[module]}) imports {other}"
            for module, path in self.modules.items()
            for other in map(ours, imports(path))
            if other is not None and self.floor_of.get(other, len(FLOORS)) >= self.floor_of[module] and module != ""
        ]
        self.assertEqual(wrong, [])

    def test_core_touches_nothing(self) -> None:
        """The core imports no Twisted, no clock, no files, no environment, no logging."""
        wrong = [
            f"{module} imports {name}"
            for module in CORE
            for name in imports(self.modules[module])
            if name.split(".")[0] in WORLD
        ]
        self.assertEqual(wrong, [])

    def test_reactor_is_not_imported_at_the_top(self) -> None:
        """The reactor is imported inside the outermost function only, and handed down."""
        wrong = [
            path.name
            for path in PACKAGE.rglob("*.py")
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ImportFrom)
            and node.module == "twisted.internet"
            and any(alias.name == "reactor" for alias in node.names)
        ]
        self.assertEqual(wrong, [])

    def test_twisteds_own_files_are_not_overwritten(self) -> None:
        """Twisted's packages stay its own: no ``__init__.py`` beside the plugin."""
        root = PACKAGE.parent / "twisted"
        self.assertEqual(list(root.rglob("__init__.py")), [])
