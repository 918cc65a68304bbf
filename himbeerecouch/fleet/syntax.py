"""Whether Python takes the sources of a database: asked in a process of its own, whose size is bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.threads import deferToThreadPool

from himbeerecouch.fleet import compiling

WORKER = Path(compiling.__file__)
TIMEOUT_S = 120.0
MOST_DEATHS = 20
"""Sources at which the compiler may end its process before it is left alone."""


@frozen
class Complaint:
    """What Python has to say of one source."""

    line: int | None
    message: str
    text: str = ""
    """The line itself."""
    column: int | None = None
    """In characters, from 1."""
    warning: bool = False
    """It compiles all the same."""

    def __str__(self) -> str:
        """Say it in one line."""
        where = "" if self.line is None else f"line {self.line}: "
        return f"{where}{self.message}{f': {self.text}' if self.text else ''}"


async def check(reactor: Any, sources: Sequence[str]) -> list[Complaint | None]:
    """Compile each source, with the Python that runs this; None for each that it takes."""
    found = await findings(reactor, sources)
    return [next((each for each in said if not each.warning), None) for said in found]


async def findings(
    reactor: Any, sources: Sequence[str], *, timeout_s: float = TIMEOUT_S, most_deaths: int = MOST_DEATHS
) -> list[tuple[Complaint, ...]]:
    """Compile each source; give for each what the compiler warns of, then why it does not compile, if it doesn't.

    A process is given up after ``timeout_s``, with the source that it was at; after ``most_deaths``, no other follows.
    """
    found: list[tuple[Complaint, ...]] = await deferToThreadPool(
        reactor, reactor.getThreadPool(), _check, sources, timeout_s, most_deaths
    )
    return found


def _check(sources: Sequence[str], timeout_s: float, most_deaths: int) -> list[tuple[Complaint, ...]]:
    found: list[tuple[Complaint, ...]] = []
    for _ in range(most_deaths):
        found += _ask(sources[len(found) :], timeout_s)
        if len(found) == len(sources):
            return found
        found.append((Complaint(None, "the compiler can't cope with it, and ended"),))
        if len(found) == len(sources):
            return found
    return found + [(Complaint(None, "it was not compiled: too many before it have ended the compiler"),)] * (
        len(sources) - len(found)
    )


def _ask(sources: Sequence[str], timeout_s: float) -> list[tuple[Complaint, ...]]:
    """What one process says, as far as it comes."""
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, on a file of this package
            [sys.executable, "-I", str(WORKER)],
            input=json.dumps(list(sources)).encode("ascii"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
        written = done.stdout
    except subprocess.TimeoutExpired as expired:
        written = expired.stdout or b""
    lines = written.decode("ascii", "replace").split("\n")[:-1]
    return [tuple(Complaint(**each) for each in json.loads(line)) for line in lines]
