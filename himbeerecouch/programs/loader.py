"""Sources become live modules: one private tree of modules for each run of a program.

The modules of a tree stand in ``sys.modules`` below a root package whose name is the program's own, so that all that
looks a module up by its ``__name__`` works: pickle, dataclasses, inspect, tracebacks.  What the program's code calls
``helper`` is mapped to ``<root>.helper`` by an ``__import__`` of its own.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.util
import linecache
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any, Final
from urllib.parse import quote

from attrs import frozen

from himbeerecouch.errors import ProgramError
from himbeerecouch.model import GlobalModule, Program

ROOT_PREFIX: Final = "himbeerecouch_program_"
NOT_COMPILABLE: Final = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


def compile_error(source: str, name: str) -> str | None:
    """Why ``source`` does not compile, in one line; None where it does.  Takes as long as compiling it."""
    try:
        compile(source, f"{name}.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else str(error.msg)
    except NOT_COMPILABLE as error:
        return f"{type(error).__name__}: {error}"
    return None


@frozen
class _Source:
    text: str
    file_name: str
    is_package: bool


class ModuleTree:
    """The modules of one run of ``program``.

    Made and closed on the reactor thread, used on the threads of the program.  ``global_modules`` is called on any of
    them, and returns a mapping that is replaced, never changed.  ``injected`` are the names that every module has
    before its first line; ``sleep`` takes the place of ``time.sleep``.
    """

    def __init__(
        self,
        program: Program,
        global_modules: Callable[[], Mapping[str, GlobalModule]],
        injected: Mapping[str, object],
        *,
        sleep: Callable[[float], None],
    ) -> None:
        self.asked: dict[str, str | None] = {}
        """Every name that the program asked for and does not have itself -> digest of the global module, or None."""
        self._program = program
        self._own = program.modules
        self._own_tops = {name.partition(".")[0] for name in program.modules}
        self._global_modules = global_modules
        self.injected = injected
        self.file_names: set[str] = set()
        self.builtins = {**vars(builtins), "__import__": self._import}
        self._thin = {
            "time": _thin(time, sleep=sleep),
            "importlib": _thin(importlib, import_module=self._import_module),
        }
        self.root = _finder.add(self)

    def main(self) -> Callable[[], Any]:
        """Load the module ``main`` and return its function ``main``.  Errors are the program's own."""
        if "main" not in self._own:
            raise ProgramError(f"program {self._program.name!r}: there is neither code nor a module main")
        module = importlib.import_module(f"{self.root}.main")
        try:
            main = vars(module)["main"]
        except KeyError:
            raise ProgramError(f"program {self._program.name!r}: module main has no main()") from None
        if not callable(main):
            kind = type(main).__name__
            raise ProgramError(f"program {self._program.name!r}: main in module main is no function, but {kind}")
        return main  # type: ignore[no-any-return]

    def close(self) -> None:
        """Take the modules away again: the run is over.  Functions that somebody still holds go on working."""
        _finder.remove(self)
        below = self.root + "."
        for name in [name for name in list(sys.modules) if name == self.root or name.startswith(below)]:
            del sys.modules[name]
        for file_name in self.file_names:
            linecache.cache.pop(file_name, None)

    def find(self, name: str) -> _Source | None:
        """The source of the module that the program knows as ``name``, its own before a global one."""
        if name.partition(".")[0] in self._own_tops:
            return _source(name, self._own.get(name), self._own, self._program.id, self._program.rev)
        found, modules = self._ask(name)
        if found is not None:
            return _source(name, found.source, modules, f"global {found.document_id}", found.rev)
        return _source(name, None, modules, "global", "package")

    def _ask(self, name: str) -> tuple[GlobalModule | None, Mapping[str, GlobalModule]]:
        # The mapping may be replaced at any moment by the reactor thread, which reads `asked` right after.  Looking a
        # second time once the answer is noted makes sure that one of the two sees the other.
        while True:
            modules = self._global_modules()
            found = modules.get(name)
            self.asked[name] = None if found is None else found.digest
            if self._global_modules().get(name) is found:
                return found, modules

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """``__import__`` as the program's modules see it."""
        try:
            if level or not isinstance(name, str):
                return builtins.__import__(name, globals, locals, fromlist or (), level)
            top = name.partition(".")[0]
            if not self._has(name, top):
                return self._pythons_own(name, top, fromlist or ())
            module = builtins.__import__(f"{self.root}.{name}", None, None, fromlist or ("__name__",), 0)
            return module if fromlist else sys.modules[f"{self.root}.{top}"]
        except ModuleNotFoundError as error:
            raise self._named_plainly(error) from None

    def _has(self, name: str, top: str) -> bool:
        if top in self._own_tops:
            return True
        end = name.find(".")
        while end >= 0:
            self._ask(name[:end])
            end = name.find(".", end + 1)
        _, modules = self._ask(name)
        return top in modules or _is_package(top, modules)

    def _pythons_own(self, name: str, top: str, fromlist: Sequence[str]) -> ModuleType:
        try:
            module = builtins.__import__(name, None, None, fromlist, 0)
        except ModuleNotFoundError:
            for item in fromlist:
                self._ask(f"{name}.{item}")
            raise
        # With a dotted name and a list of names it is the module itself that is wanted, not the one at the top.
        return module if fromlist and name != top else self._thin.get(top, module)

    def _import_module(self, name: str, package: str | None = None) -> ModuleType:
        """``importlib.import_module`` as the program's modules see it."""
        absolute = importlib.util.resolve_name(name, package)
        if absolute.startswith(self.root + "."):
            try:
                return importlib.import_module(absolute)
            except ModuleNotFoundError as error:
                raise self._named_plainly(error) from None
        return self._import(absolute, fromlist=("__name__",))

    def _named_plainly(self, error: ModuleNotFoundError) -> ModuleNotFoundError:
        below = self.root + "."
        if error.name == self.root:
            return ModuleNotFoundError("the program has ended: its modules can't be imported any more")
        if error.name is None or not error.name.startswith(below):
            return error
        return ModuleNotFoundError(str(error).replace(below, ""), name=error.name.removeprefix(below))


def _is_package(name: str, modules: Mapping[str, object]) -> bool:
    below = name + "."
    return any(other.startswith(below) for other in modules)


def _source(name: str, text: str | None, modules: Mapping[str, object], document_id: str, rev: str) -> _Source | None:
    is_package = _is_package(name, modules)
    if text is None and not is_package:
        return None
    # No real file has such a name, and linecache shows no lines of files that are named <like this>.
    where = quote(document_id, safe=" ", errors="replace")
    if len(where) > 100:
        where = f"{where[:80]}~{hashlib.sha256(document_id.encode('utf-8', 'replace')).hexdigest()[:12]}"
    last = "/__init__.py" if is_package else ".py"
    return _Source(text or "", f"{where}@{quote(rev, safe='')}/{name.replace('.', '/')}{last}", is_package)


def _thin(module: ModuleType, **instead: object) -> ModuleType:
    """A module that is ``module`` in all but the names that are given."""

    def fall_through(name: str) -> Any:
        return getattr(module, name)

    thin = ModuleType(module.__name__)
    vars(thin).update(vars(module), **instead)
    # What is loaded later, as importlib.util may be, is found too.
    vars(thin)["__getattr__"] = fall_through
    return thin


class _Loader:
    """Brings one module of a tree to life; also what inspect and linecache ask for its source."""

    def __init__(self, tree: ModuleTree, source: _Source) -> None:
        self._tree = tree
        self._source = source

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        namespace = vars(module)
        namespace["__file__"] = self._source.file_name
        namespace["__builtins__"] = self._tree.builtins
        namespace.update(self._tree.injected)
        self._tree.file_names.add(self._source.file_name)
        exec(self.get_code(module.__name__), namespace)  # noqa: S102 - running it is what the document is for

    def get_code(self, name: str) -> CodeType:
        return compile(self._source.text, self._source.file_name, "exec", dont_inherit=True)

    def get_source(self, name: str) -> str:
        return self._source.text

    def is_package(self, name: str) -> bool:
        return self._source.is_package


class _Finder:
    """The one finder on ``sys.meta_path`` that knows all trees; it is there while there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trees: dict[str, ModuleTree] = {}

    def add(self, tree: ModuleTree) -> str:
        # The same name in each run, also after a restart of the daemon: what a program has pickled it can read again.
        name = ROOT_PREFIX + hashlib.sha256(tree._program.id.encode("utf-8", "replace")).hexdigest()[:12]
        with self._lock:
            root = name
            number = 1
            while root in self._trees:
                number += 1
                root = f"{name}_{number}"
            if not self._trees:
                sys.meta_path.insert(0, self)
            self._trees[root] = tree
        package = ModuleType(root, f"The modules of program {tree._program.id!r}.")
        package.__path__ = []
        package.__spec__ = ModuleSpec(root, None, is_package=True)
        sys.modules[root] = package
        return root

    def remove(self, tree: ModuleTree) -> None:
        with self._lock:
            if self._trees.pop(tree.root, None) is not None and not self._trees:
                sys.meta_path.remove(self)

    def find_spec(self, full_name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        root, _, name = full_name.partition(".")
        tree = self._trees.get(root)
        source = tree.find(name) if tree is not None and name else None
        if tree is None or source is None:
            return None
        loader: Any = _Loader(tree, source)
        return ModuleSpec(full_name, loader, origin=source.file_name, is_package=source.is_package)


_finder: Final = _Finder()
