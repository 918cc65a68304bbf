"""Which revision of a program runs, and what follows when it ends.  Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from attrs import evolve, field, frozen

from himbeerecouch.model import Program, Restart

STRIKES: Final = 3
"""A revision that crashes so often in a row, each time within 60 s of its start, gives way to the one before."""


class Then(enum.Enum):
    """What follows when a program has ended."""

    REST = "it stays as it has ended"
    AGAIN = "it is started again, after a pause"
    FALL_BACK = "the revision before is started in its place"


@frozen
class Revisions:
    """The revisions of one program that matter, and how the one that runs has done so far."""

    saved: Program
    """What the document says."""
    runs: Program
    """``saved``; after a rollback the one before."""
    before: Program | None = None
    """Where a rollback leads: the last one that ran for 60 s, until ``runs`` has done so too."""
    proven: bool = False
    """``runs`` has run for 60 s at a stretch."""
    ends: int = 0
    """How often in a row it has ended sooner than that."""
    crashes: int = 0
    """How many of these were crashes, the last ones in a row."""
    asked: Mapping[str, str | None] = field(factory=dict, hash=False)
    """After a rollback: the names that ``saved`` asked for -> digest of the global module that it got, or None."""

    @property
    def rolled_back(self) -> bool:
        """Whether another revision runs than the document has."""
        return self.runs.digest != self.saved.digest

    @property
    def reserve(self) -> Program | None:
        """The last one known to have run for 60 s: where a rollback of the next revision would lead."""
        return self.runs if self.proven else self.before


def first(program: Program, before: Program | None = None) -> Revisions:
    """``program`` is new in the document; ``before`` is the last one known that ran for 60 s."""
    same = before is not None and before.digest == program.digest
    return Revisions(program, program, None if same else before, proven=same)


def begun(revisions: Revisions, program: Program, global_modules: Mapping[str, str]) -> Revisions:
    """``program`` is what the document says, and is to run from its beginning; ``global_modules`` are digests by name.

    After a rollback the one before runs on, until the document changes or a global module does that the document's
    revision had asked for: it may be mended by that.
    """
    if program.digest != revisions.saved.digest:
        return first(program, revisions.runs if revisions.proven else revisions.before)
    if not revisions.rolled_back:
        return evolve(revisions, saved=program, runs=program, ends=0, crashes=0)
    if any(global_modules.get(name) != got for name, got in revisions.asked.items()):
        return first(program, revisions.runs)
    return evolve(revisions, saved=program, ends=0, crashes=0)


def saved_again(revisions: Revisions, program: Program) -> Revisions:
    """The document has been saved as ``program``, which says the same under another revision."""
    runs = program if revisions.runs.digest == program.digest else revisions.runs
    return evolve(revisions, saved=program, runs=runs)


def has_run(revisions: Revisions, ran_s: float, *, proven_after_s: float) -> Revisions:
    """By now it has run for so long at a stretch."""
    if ran_s < proven_after_s:
        return revisions
    return evolve(revisions, before=None, proven=True, ends=0, crashes=0)


def ended(revisions: Revisions, ran_s: float, *, crashed: bool, proven_after_s: float) -> Revisions:
    """It has ended by itself, after so long."""
    known = has_run(revisions, ran_s, proven_after_s=proven_after_s)
    return evolve(known, ends=known.ends + 1, crashes=known.crashes + 1 if crashed else 0)


def then(revisions: Revisions, *, crashed: bool) -> Then:
    """What follows that end."""
    if crashed and revisions.runs.rollback and revisions.before is not None and revisions.crashes >= STRIKES:
        return Then.FALL_BACK
    if revisions.runs.restart is Restart.ALWAYS or (crashed and revisions.runs.restart is Restart.ON_FAILURE):
        return Then.AGAIN
    return Then.REST


def fallen_back(revisions: Revisions, asked: Mapping[str, str | None]) -> Revisions:
    """The one before runs in its place; ``asked`` is what ``saved`` asked for.  A ValueError where there is none."""
    if revisions.before is None:
        raise ValueError(f"program {revisions.saved.id!r} has no revision to fall back to")
    return Revisions(revisions.saved, revisions.before, proven=True, asked=asked)
