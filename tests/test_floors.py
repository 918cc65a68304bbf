"""The house: a module imports only from floors below its own, and the core touches nothing of the world."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import himbeerecouch

PACKAGE = Path(himbeerecouch.__file__).parent

FLOORS: tuple[tuple[str, ...], ...] = (
    # The core decides, and touches nothing of the world.
    (
        "commands.capture",
        "couch.address",
        "couch.clocks",
        "couch.gate",
        "errors",
        "model",
        "rfc3339",
        "status.pace",
        "status.places",
        "status.sizes",
        "version",
    ),
    (
        "boot.suspects",
        "commands.execution",
        "commands.record",
        "couch.answers",
        "couch.asks",
        "couch.portion",
        "couch.query",
        "discovery.listing",
        "discovery.wire",
        "documents",
        "plan",
        "programs.supervise",
        "fleet.deployments",
        "fleet.rights",
        "fleet.sources",
        "fleet.user",
        "status.failures",
        "status.logbook",
    ),
    (
        "boot.kept",
        "catalogue",
        "commands.memory",
        "couch.snapshot",
        "fleet.findings",
        "fleet.lenient",
        "programs.revisions",
        "status.heartbeat",
    ),
    ("couch.follower", "fleet.commands", "fleet.loglines", "fleet.roster"),
    ("fleet.outcomes",),
    # The shell acts: first what touches one thing of the world each ...
    (
        "commands.process",
        "commands.processes",
        "commands.work",
        "connections",
        "couch.fetch",
        "couch.login",
        "couch.message",
        "couch.transport",
        "discovery.netif",
        "discovery.sealing",
        "enrolment",
        "fleet.compiling",
        "fleet.guard",
        "identity",
        "led",
        "notify",
        "offspring",
        "programs.loader",
        "programs.output",
        "programs.quit",
        "programs.run",
        "programs.threads",
        "server_file",
        "source_tree",
        "status.documents",
        "status.health",
        "store",
        "unix",
    ),
    (
        "account",
        "boot.quarantine",
        "boot.shelf",
        "commands.answering",
        "commands.journal",
        "commands.orphans",
        "commands.spawn",
        "couch.session",
        "couch.writes",
        "fleet.desk",
        "fleet.syntax",
        "lights",
        "programs.attempt",
        "status.sources",
    ),
    (
        "commands.task",
        "couch.client",
        "fleet.logs",
        "fleet.names",
        "fleet.orders",
        "fleet.preparation",
        "fleet.saving",
        "fleet.waiting",
        "programs.keeper",
    ),
    ("commands.entry", "fleet.enrol", "fleet.heartbeats", "fleet.programs"),
    ("commands.executor",),
    # ... then the services ...
    ("commands.runner", "couch.changes", "discovery.ask", "discovery.responder", "programs.host", "status.service"),
    ("actions", "fleet.network", "node", "util"),
    # ... and the ways in.
    ("daemon", "demo_log", "discovery.receive"),
    ("", "demo", "probe_tap", "prog", "tap"),
)
"""Bottom first; packages without a floor here (TOP) stand on top of all of them."""

TOP = ("cli", "embedded", "web")

CORE = tuple(name for floor in FLOORS[:5] for name in floor)

WORLD = {"twisted", "treq", "logging", "time", "os", "pathlib", "socket", "random", "threading", "subprocess", "sys"}
"""What the core does not import: it is told what it needs to know."""


def imports(path: Path) -> Iterator[str]:
    """All modules that a file imports anywhere in it, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    """The name of a module within the package, dotted; empty for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class FloorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.floor_of = {name: number for number, names in enumerate(FLOORS) for name in names}
        every = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
        self.modules = {name: path for name, path in every.items() if name.partition(".")[0] not in TOP}

    def ours(self, imported: str) -> str | None:
        """The module of this package that a dotted name is of, None where it is another's."""
        top, _, name = imported.partition(".")
        while top == "himbeerecouch" and name and name not in self.modules and not name.startswith(TOP):
            name = name.rpartition(".")[0]
        return name if top == "himbeerecouch" else None

    def test_every_module_has_a_floor(self) -> None:
        """A new module is given its floor before it is used; the packages themselves hold nothing."""
        rooms = {name for name, path in self.modules.items() if name == "" or path.stem != "__init__"}
        self.assertEqual(rooms, set(self.floor_of))
        for name in self.modules.keys() - rooms:
            tree = ast.parse(self.modules[name].read_text(encoding="utf-8"))
            self.assertEqual([type(node) for node in tree.body], [ast.Expr], f"{name} holds more than its docstring")

    def test_imports_point_down(self) -> None:
        """A module imports only from floors below its own."""
        wrong = [
            f"{module} (floor {self.floor_of[module]}) imports {other}"
            for module in sorted(self.floor_of.keys() - {""})
            for other in map(self.ours, imports(self.modules[module]))
            if other is not None and self.floor_of.get(other, len(FLOORS)) >= self.floor_of[module]
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
