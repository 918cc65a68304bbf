"""Modules of programs: whose is found, under which name, and what is left of it."""

from __future__ import annotations

import gc
import linecache
import os
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.errors import ProgramError
from himbeerecouch.model import GlobalModule, Program
from himbeerecouch.programs.loader import ModuleTree, compile_error


def a_program(modules: Mapping[str, str], id: str = "clock", rev: str = "1-a") -> Program:
    """A program with these modules."""
    return Program(id, rev, id, modules, digest=rev)


class LoaderCase(SynchronousTestCase):
    """Trees of modules that are closed when the test is over."""

    def setUp(self) -> None:
        """No global modules, and an empty log."""
        self.globals: dict[str, GlobalModule] = {}
        self.log: list[object] = []
        self.slept: list[float] = []
        self.before = (set(sys.modules), list(sys.meta_path))
        self.addCleanup(self.nothing_is_left)

    def nothing_is_left(self) -> None:
        """No module and no finder of a program remains."""
        left = [name for name in sys.modules if name.startswith("himbeerecouch_program_")]
        self.assertEqual((left, sys.meta_path), ([], self.before[1]))

    def tree(self, *, id: str = "clock", rev: str = "1-a", **modules: str) -> ModuleTree:
        """A tree of a program with these modules; a double underscore in a name stands for a dot."""
        named = {name.replace("__", "."): source for name, source in modules.items()}
        tree = ModuleTree(
            a_program(named, id, rev), lambda: self.globals, {"log": self.log.append}, sleep=self.slept.append
        )
        self.addCleanup(tree.close)
        return tree

    def main_of(self, **modules: str) -> Any:
        """What main() of such a program returns."""
        return self.tree(**modules).main()()

    def add_global(self, name: str, source: str, digest: str = "digest") -> None:
        """Export a global module."""
        self.globals = self.globals | {name: GlobalModule(name, source, "lib", "4-d", digest)}


class Names(LoaderCase):
    """Which module an import finds."""

    def test_tables_of_imports(self) -> None:
        """The document's modules come first, then the global ones, then Python's own."""
        self.add_global("shared", "NAME = 'global shared'\nimport helper\nHELP = helper.NAME")
        self.add_global("helper", "NAME = 'global helper'")
        self.add_global("tools.deep.file", "from . import other\nNAME = 'deep ' + other.NAME")
        self.add_global("tools.deep.other", "NAME = 'other'")
        own = {
            "helper": "NAME = 'own helper'",
            "pkg": "NAME = 'pkg'",
            "pkg__a": "from .b import B",
            "pkg__b": "B = 'b'",
        }
        table = {
            "import helper; got = helper.NAME": "own helper",
            "import helper as h; got = h.NAME": "own helper",
            "from helper import NAME as got": "own helper",
            "from helper import *; got = NAME": "own helper",
            "from . import helper; got = helper.NAME": "own helper",
            "from .helper import NAME as got": "own helper",
            "import shared; got = shared.NAME": "global shared",
            "import shared; got = shared.HELP": "own helper",
            "from . import shared; got = shared.NAME": "global shared",
            "import pkg.a; got = pkg.a.B + pkg.NAME": "bpkg",
            "import pkg.a as a; got = a.B": "b",
            "from pkg import a; got = a.B": "b",
            "from pkg.a import B as got": "b",
            "import tools.deep.file; got = tools.deep.file.NAME": "deep other",
            "from tools.deep import file; got = file.NAME": "deep other",
            "import os.path; got = os.path.sep": os.path.sep,
            "import os.path as p; got = p.sep": os.path.sep,
            "from os.path import sep as got": os.path.sep,
            "from os import path; got = path.sep": os.path.sep,
            "import importlib; got = importlib.import_module('helper').NAME": "own helper",
            "import importlib; got = importlib.import_module('shared').NAME": "global shared",
            "import importlib; got = importlib.import_module('pkg.a').B": "b",
            "import importlib; got = importlib.import_module('.a', 'pkg').B": "b",
            "import importlib, pkg; got = importlib.import_module('.a', pkg.__name__).B": "b",
            "import importlib; got = importlib.import_module('os.path').sep": os.path.sep,
            "from importlib import import_module as i; got = i('time').sleep.__name__": "append",
            "import importlib.util as u; got = u.resolve_name('a', None)": "a",
            "import importlib.util; got = importlib.util.resolve_name('a', None)": "a",
            "got = __import__('helper').NAME": "own helper",
            "def f():\n    import helper\n    return helper.NAME\ngot = f()": "own helper",
            "got = eval('__import__(\"helper\").NAME', {})": "own helper",
        }
        for code, expected in table.items():
            with self.subTest(code=code):
                tree = self.tree(main=f"{code}\ndef main(): return got", **own)
                self.assertEqual(tree.main()(), expected)
                tree.close()

    def test_what_is_not_there(self) -> None:
        """The error names the module as the program does."""
        table = {
            "import nowhere_at_all": "No module named 'nowhere_at_all'",
            "import helper.nope": "No module named 'helper.nope'; 'helper' is not a package",
            "from pkg.nope import x": "No module named 'pkg.nope'",
            "from .nope import x": "No module named 'nope'",
            "import importlib; importlib.import_module('pkg.nope')": "No module named 'pkg.nope'",
            "import importlib; importlib.import_module('.nope', __package__)": "No module named 'nope'",
        }
        for code, expected in table.items():
            with self.subTest(code=code):
                tree = self.tree(main=code, helper="", pkg__a="")
                error = self.assertRaises(ModuleNotFoundError, tree.main)
                self.assertEqual(str(error), expected)
                tree.close()

    def test_a_module_called_os(self) -> None:
        """It shadows Python's for the modules of its program, and for nobody else."""
        tree = self.tree(main="import os, shutil\ndef main(): return os.NAME, shutil.os.sep", os="NAME = 'mine'")
        self.assertEqual(tree.main()(), ("mine", os.sep))
        self.assertEqual(self.main_of(id="other", main="import os\ndef main(): return os.sep"), os.sep)

    def test_two_programs(self) -> None:
        """Two programs with modules of one name have each their own, also of a global one."""
        self.add_global("shared", "seen = []")
        code = "import helper, shared\ndef main():\n    shared.seen.append(helper.NAME)\n    return shared.seen"
        one = self.tree(id="one", main=code, helper="NAME = 1")
        two = self.tree(id="two", main=code, helper="NAME = 2")
        self.assertEqual((one.main()(), two.main()()), ([1], [2]))

    def test_circular_imports(self) -> None:
        """Two modules may import each other, as everywhere in Python."""
        modules = {
            "a": "import b\nNAME = 'a'\ndef f(): return b.NAME",
            "b": "import a\nNAME = 'b'\ndef f(): return a.NAME",
        }
        self.assertEqual(self.main_of(main="import a, b\ndef main(): return a.f() + b.f()", **modules), "ba")

    def test_what_was_asked_for(self) -> None:
        """Every name that the document does not have is noted, with what was found of it."""
        self.add_global("shared", "import inner", "d1")
        self.add_global("inner", "", "d2")
        self.add_global("unused", "", "d3")
        tree = self.tree(
            main="import helper, shared, os.path\nfor name in ('missing.part', 'gone'):\n"
            "    try: __import__(name, fromlist=('x',))\n    except ImportError: pass\n"
            "def main():\n    import later",
            helper="",
        )
        main = tree.main()
        self.assertEqual(
            tree.asked,
            {
                "shared": "d1",
                "inner": "d2",
                "os": None,
                "os.path": None,
                "missing": None,
                "missing.part": None,
                "missing.part.x": None,
                "gone": None,
                "gone.x": None,
            },
        )
        self.add_global("later", "", "d4")
        main()
        self.assertEqual(tree.asked["later"], "d4")

    def test_replaced_while_it_is_asked_for(self) -> None:
        """When the global modules change in the very moment, either the new one is got or the old one is noted."""
        self.add_global("shared", "X = 'old'", "old")
        looks: list[int] = []

        def look() -> Mapping[str, GlobalModule]:
            looks.append(1)
            if len(looks) == 2:
                self.add_global("shared", "X = 'new'", "new")
            return self.globals

        tree = ModuleTree(a_program({"main": "import shared\ndef main(): return shared.X"}), look, {}, sleep=time.sleep)
        self.addCleanup(tree.close)
        self.assertEqual((tree.main()(), tree.asked), ("new", {"shared": "new"}))


class Modules(LoaderCase):
    """What modules look like from inside."""

    def test_injected_names_and_sleep(self) -> None:
        """log and the others are there before the first line of every module, and time.sleep is the program's."""
        self.add_global("shared", "log('shared')")
        self.main_of(
            main="log('main')\nimport helper, shared, time\nfrom time import sleep\n"
            "def main():\n    sleep(1)\n    time.sleep(2)\n    time.monotonic()\n    assert __name__ != '__main__'",
            helper="log('helper')",
        )
        self.assertEqual((self.log, self.slept), (["main", "helper", "shared"], [1, 2]))
        self.assertIsNot(time.sleep, self.slept.append)

    def test_python_finds_its_way(self) -> None:
        """pickle, dataclasses, inspect, typing and namedtuple work as in any module, helpers in packages included."""
        result = self.main_of(
            main="import inspect, pickle, typing\nfrom pkg.data import Point\n"
            "def main():\n"
            "    point = pickle.loads(pickle.dumps(Point(1)))\n"
            "    hints = typing.get_type_hints(Point)\n"
            "    return point == Point(1), inspect.getsource(main), hints, inspect.getsource(Point)\n",
            pkg__data="from __future__ import annotations\nfrom dataclasses import dataclass\n"
            "@dataclass\nclass Point:\n    x: int\n",
        )
        self.assertTrue(result[0])
        self.assertIn("def main():\n    point =", result[1])
        self.assertEqual(result[2], {"x": int})
        self.assertIn("class Point:\n    x: int\n", result[3])

    def test_what_is_pickled_in_one_run_is_read_in_the_next(self) -> None:
        """The modules of a program have the same names in each of its runs."""
        modules = {"main": "class A: pass\na = A()\ndef main(): return a"}
        first = self.tree(**modules)
        data = pickle.dumps(first.main()())
        first.close()
        second = self.tree(rev="2-b", **modules)
        second.main()
        self.assertEqual(type(pickle.loads(data)).__name__, "A")
        self.assertEqual(second.root, first.root)

    def test_two_runs_at_once(self) -> None:
        """Two trees of one program have nothing in common."""
        one, two = self.tree(main="def main(): return __name__"), self.tree(main="def main(): return __name__")
        self.assertNotEqual(one.main()(), two.main()())

    def test_reload(self) -> None:
        """importlib.reload runs a module again."""
        self.main_of(main="import importlib, helper\ndef main(): importlib.reload(helper)", helper="log('again')")
        self.assertEqual(self.log, ["again", "again"])

    def test_file_names(self) -> None:
        """They tell document, revision and module, and no document can make one that is odd."""
        long = "x" * 500
        for id, start in (("a/b\n<c>", "a%2Fb%0A%3Cc%3E@1-a/"), (long, "x" * 80 + "~"), ("\ud800", "%3F@")):
            with self.subTest(id=id):
                tree = self.tree(id=id, main="def main(): return __file__")
                self.assertTrue(tree.main()().startswith(start))
        self.add_global("shared.part", "NAME = __file__")
        name = self.main_of(main="import shared.part\ndef main(): return shared.part.NAME, shared.__file__")
        self.assertEqual(name, ("global lib@4-d/shared/part.py", "global@package/shared/__init__.py"))

    def test_lines_of_the_document(self) -> None:
        """linecache has them while the run lasts, and not longer."""
        tree = self.tree(main="def main():\n    return __file__, globals()")
        name, namespace = tree.main()()
        self.assertEqual(linecache.getline(name, 1, namespace), "def main():\n")
        tree.close()
        self.assertNotIn(name, linecache.cache)

    def test_after_the_end(self) -> None:
        """A function that somebody still holds works, but for importing modules of the program anew."""
        tree = self.tree(
            main="import os\ndef main():\n    import json\n    return os.sep\ndef late(): import helper", helper=""
        )
        main = tree.main()
        late: Callable[[], object] = vars(sys.modules[main.__module__])["late"]
        tree.close()
        tree.close()
        self.assertEqual(main(), os.sep)
        self.assertIn("the program has ended", str(self.assertRaises(ModuleNotFoundError, late)))

    def test_no_main(self) -> None:
        """What is wrong with main is said in words."""
        table = {
            "module main has no main()": {"main": ""},
            "main in module main is no function, but str": {"main": "main = 'x'"},
            "there is neither code nor a module main": {"helper": ""},
        }
        for expected, modules in table.items():
            tree = self.tree(**modules)
            self.assertIn(expected, str(self.assertRaises(ProgramError, tree.main)))
            tree.close()

    def test_a_thousand_reloads(self) -> None:
        """Nothing piles up: not in sys.modules, not in linecache, no objects."""

        def reload(number: int) -> None:
            tree = self.tree(
                main="import helper, time\ndef main(): helper.f()", helper="def f(): 1/0", rev=f"{number}-x"
            )
            self.assertRaises(ZeroDivisionError, tree.main())
            tree.close()

        reload(0)
        self._cleanups.clear()
        gc.collect()
        before = len(gc.get_objects()), len(linecache.cache), len(sys.modules)
        for number in range(1, 1001):
            reload(number)
            self._cleanups.clear()
        gc.collect()
        after = len(gc.get_objects()), len(linecache.cache), len(sys.modules)
        self.assertLess(after[0] - before[0], 500)
        self.assertEqual(after[1:], before[1:])
        self.nothing_is_left()


class Compiling(SynchronousTestCase):
    """Whether a global module is worth having."""

    def test_compile_error(self) -> None:
        """None for what compiles, else one line that says what is wrong."""
        table = {
            "x = 1": None,
            "import nothing_of_this_name": None,
            "x = (": "line 1: '(' was never closed",
            "def f():\nreturn 1": "line 2: expected an indented block after function definition on line 1",
            "x = '\ud800'": "UnicodeEncodeError: ",
        }
        for source, expected in table.items():
            error = compile_error(source, "shared")
            self.assertEqual(error if error is None else error[: len(expected or "")], expected)
        self.assertIn("null bytes", compile_error("\0", "shared") or "")
