"""Revisions of a document: who wins, what may follow what, and how a foreign history is taken in.

A document is its leaves, each with the hashes of its ancestors.  As in CouchDB the history of a leaf is cut after a
while (``KEPT``), so that a status document that is written for years stays small.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import field, frozen

from himbeerecouch.embedded.refused import bad_request, conflict

KEPT = 100
"""Revisions of history that a leaf keeps; CouchDB keeps 1000."""

_REV = re.compile(r"([1-9][0-9]{0,17})-([0-9A-Za-z]{1,64})")


@frozen
class Leaf:
    """One end of a document's history."""

    generation: int
    path: tuple[str, ...]
    """Hashes, the leaf's own first."""
    deleted: bool
    body: str = field(repr=False)
    """JSON text of the document without its underscore fields."""

    @property
    def rev(self) -> str:
        """The revision as clients know it."""
        return f"{self.generation}-{self.path[0]}"

    @property
    def revs(self) -> list[str]:
        """This revision and its known ancestors."""
        return [f"{self.generation - age}-{name}" for age, name in enumerate(self.path)]


def parse(rev: object) -> tuple[int, str]:
    """Split a revision into generation and hash; ``Refused`` (400) where it is none."""
    match = _REV.fullmatch(rev) if isinstance(rev, str) else None
    if match is None:
        raise bad_request("Invalid rev format")
    return int(match[1]), match[2]


def ranked(leaves: Iterable[Leaf]) -> list[Leaf]:
    """The leaves with the winner first: living before deleted, then the longest history, then the greatest hash."""
    return sorted(leaves, key=lambda leaf: (not leaf.deleted, leaf.generation, leaf.path[0]), reverse=True)


def _name(parent: str, deleted: bool, body: str) -> str:
    """The same edit of the same revision bears the same hash, on every server of this kind."""
    text = f"{parent}\n{deleted}\n{body}".encode("utf-8", "surrogatepass")
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def edit(leaves: Sequence[Leaf], rev: str | None, deleted: bool, body: str) -> tuple[Leaf, list[Leaf]]:
    """Put a new revision upon ``rev``; return it and the leaves there are then.

    Without ``rev`` only a document that does not exist, or is deleted, can be written.  Raises a conflict otherwise.
    """
    known = ranked(leaves)
    parent: Leaf | None
    if rev is None:
        parent = known[0] if known else None
        if parent is not None and not parent.deleted:
            raise conflict()
    else:
        parse(rev)
        parent = next((leaf for leaf in known if leaf.rev == rev), None)
        if parent is None:
            raise conflict()
    if parent is None:
        new = Leaf(1, (_name("", deleted, body),), deleted, body)
        return new, [new]
    name = _name(parent.rev, deleted, body)
    new = Leaf(parent.generation + 1, (name, *parent.path)[:KEPT], deleted, body)
    return new, ranked([new, *(leaf for leaf in known if leaf is not parent)])


def foreign_path(rev: str, revisions: Any) -> tuple[int, tuple[str, ...]]:
    """Read the history that came with a replicated document: ``_revisions``, or its ``_rev`` alone."""
    generation, name = parse(rev)
    if revisions is None:
        return generation, (name,)
    ids = revisions.get("ids") if isinstance(revisions, dict) else None
    if (
        not isinstance(ids, list)
        or not ids
        or not all(isinstance(part, str) for part in ids)
        or revisions.get("start") != generation
        or ids[0] != name
        or len(ids) > generation
    ):
        raise bad_request("Invalid _revisions")
    return generation, tuple(ids[:KEPT])


def merge(leaves: Sequence[Leaf], new: Leaf) -> list[Leaf] | None:
    """Take in a revision with its history, conflicts included; None where it is known already."""
    known = [*leaves]
    if any(new.rev in leaf.revs for leaf in known):
        return None
    ancestors = set(new.revs)
    return ranked([new, *(leaf for leaf in known if leaf.rev not in ancestors)])
