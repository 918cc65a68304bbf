"""What is stopped and started, and which global modules count."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.model import Exports, GlobalModule, Program, Running
from himbeerecouch.plan import merge, plan


def program(id: str, digest: str = "1") -> Program:
    return Program(id, "1-a", id, {"main": ""}, digest)


def module(name: str, digest: str) -> GlobalModule:
    return GlobalModule(name, "", "lib", "1-a", digest)


class PlanTests(SynchronousTestCase):
    def check(
        self,
        wanted: list[Program],
        running: dict[str, Running],
        modules: list[GlobalModule],
        stop: list[str],
        start: list[str],
    ) -> None:
        found = plan({p.id: p for p in wanted}, running, {m.name: m for m in modules})
        self.assertEqual((list(found.stop), [p.id for p in found.start]), (stop, start))

    def test_nothing_differs(self) -> None:
        """Nothing happens when nothing differs, however often it is asked."""
        self.check([], {}, [], [], [])
        self.check([program("a")], {"a": Running("1", {"g": "5", "none": None})}, [module("g", "5")], [], [])

    def test_comes_goes_changes(self) -> None:
        """What is new starts, what vanished stops, what changed is replaced; in the order of the ids."""
        self.check([program("b"), program("a")], {}, [], [], ["a", "b"])
        self.check([], {"b": Running("1", {}), "a": Running("1", {})}, [], ["a", "b"], [])
        self.check([program("a", "2"), program("b")], {"a": Running("1", {}), "b": Running("1", {})}, [], [], ["a"])

    def test_global_modules(self) -> None:
        """Only those who asked for a name restart when a global module of that name changes, appears or goes."""
        both = [program("a"), program("b")]
        for asked, now in (("5", [module("g", "6")]), ("5", []), (None, [module("g", "6")])):
            self.check(both, {"a": Running("1", {"g": asked}), "b": Running("1", {"h": None})}, now, [], ["a"])


class MergeTests(SynchronousTestCase):
    def merged(self, *exports: Exports, before: dict[str, GlobalModule] | None = None) -> dict[str, tuple[str, str]]:
        def compile_error(source: str, name: str) -> str | None:
            self.compiled.append(name)
            return "line 1: no" if source.startswith("!") else None

        self.compiled: list[str] = []
        self.found = merge(exports, before or {}, compile_error)
        return {name: (found.document_id, found.source) for name, found in self.found.modules.items()}

    def test_all(self) -> None:
        """The modules of all documents count."""
        self.assertEqual(
            self.merged(Exports("b", "1-a", {"h": "H"}), Exports("a", "1-a", {"g": "G"})),
            {"g": ("a", "G"), "h": ("b", "H")},
        )
        self.assertEqual(self.found.problems, {})

    def test_smallest_id_wins(self) -> None:
        """Of two documents that export a name the smallest id counts, and both are told."""
        self.assertEqual(
            self.merged(Exports("b", "1-a", {"g": "B"}), Exports("a", "1-a", {"g": "A"})), {"g": ("a", "A")}
        )
        self.assertEqual(set(self.found.problems), {"a", "b"})
        self.assertIn("'a' too, and that one counts", self.found.problems["b"][0])
        self.assertIn("'b' too; this one counts", self.found.problems["a"][0])

    def test_does_not_compile(self) -> None:
        """A source that does not compile is not taken over: the one before stays, else there is none."""
        self.merged(Exports("a", "1-a", {"g": "G"}))
        before = dict(self.found.modules)
        self.assertEqual(self.merged(Exports("a", "2-b", {"g": "!"}), before=before), {"g": ("a", "G")})
        self.assertEqual(self.found.modules["g"].rev, "1-a")
        self.assertIn("the one before stays: line 1: no", self.found.problems["a"][0])
        self.assertEqual(self.merged(Exports("a", "2-b", {"g": "!"})), {})
        self.assertIn("can't be imported", self.found.problems["a"][0])

    def test_compiled_once(self) -> None:
        """A source that counts already is not compiled again."""
        self.merged(Exports("a", "1-a", {"g": "G"}))
        self.assertEqual(self.compiled, ["g"])
        self.assertEqual(
            self.merged(Exports("a", "2-b", {"g": "G"}), before=dict(self.found.modules)), {"g": ("a", "G")}
        )
        self.assertEqual((self.compiled, self.found.modules["g"].rev), ([], "2-b"))
