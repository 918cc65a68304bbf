"""Compares what should run with what runs, and says what to do about it.  Pure, and always in the same order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

from attrs import field, frozen

from himbeerecouch.model import Exports, GlobalModule, Program, Running


@frozen
class Plan:
    """What to stop, and what to start; a program that runs and stands under ``start`` is replaced."""

    stop: tuple[str, ...]
    start: tuple[Program, ...]


def plan(
    wanted: Mapping[str, Program], running: Mapping[str, Running], global_modules: Mapping[str, GlobalModule]
) -> Plan:
    """Return the least that makes ``running`` what ``wanted`` says; both are by document id.

    A program is replaced when its own content differs, or a global module that it asked for does.
    """
    now = {name: module.digest for name, module in global_modules.items()}
    return Plan(
        stop=tuple(sorted(running.keys() - wanted.keys())),
        start=tuple(wanted[id] for id in sorted(wanted) if id not in running or _differs(wanted[id], running[id], now)),
    )


def _differs(program: Program, running: Running, now: Mapping[str, str]) -> bool:
    return program.digest != running.digest or any(now.get(name) != got for name, got in running.asked.items())


@frozen
class Merged:
    """The global modules that count, and what is wrong with the others."""

    modules: Mapping[str, GlobalModule] = field(hash=False)
    problems: Mapping[str, tuple[str, ...]] = field(hash=False)
    """Document id -> reasons."""


def merge(
    exports: Iterable[Exports],
    before: Mapping[str, GlobalModule],
    compile_error: Callable[[str, str], str | None],
) -> Merged:
    """Return the global modules of all documents: of two that export a name, the smallest id counts.

    A source that does not compile (``compile_error(source, name)`` says why) is not taken over: the one before stays.
    """
    modules: dict[str, GlobalModule] = {}
    problems: dict[str, list[str]] = {}
    for document in sorted(exports, key=lambda one: one.id):
        for name, source in sorted(document.modules.items()):
            if name in modules:
                winner = modules[name].document_id
                problems.setdefault(document.id, []).append(
                    f"global module {name!r} is exported by document {winner!r} too, and that one counts"
                )
                problems.setdefault(winner, []).append(
                    f"global module {name!r} is exported by document {document.id!r} too; this one counts"
                )
                continue
            digest = hashlib.sha256(source.encode()).hexdigest()
            old = before.get(name)
            if old is not None and old.digest == digest:
                modules[name] = GlobalModule(name, source, document.id, document.rev, digest)
                continue
            error = compile_error(source, name)
            if error is None:
                modules[name] = GlobalModule(name, source, document.id, document.rev, digest)
                continue
            stays = "the one before stays" if old is not None else "it can't be imported"
            problems.setdefault(document.id, []).append(f"global module {name!r} does not compile, {stays}: {error}")
            if old is not None:
                modules[name] = old
    return Merged(modules, {id: tuple(reasons) for id, reasons in problems.items()})
