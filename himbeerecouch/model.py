"""The values that himbeerecouch passes around: frozen, and without behaviour beyond themselves."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

Json = dict[str, Any]
"""A JSON object as it came off the wire; nothing in it is trusted before ``documents.read`` has looked at it."""


# --- the feed ---------------------------------------------------------------------------------------------------------


@frozen
class DatabaseInfo:
    """What ``GET /db`` says that the follower needs."""

    update_seq: object
    """Opaque: a string, a number or a list.  Handed back as ``since``."""
    instance_start_time: str


@frozen
class Row:
    """One row of ``_changes``."""

    id: str
    document: Json | None
    """None where the document is gone, or is not known because it is too large."""
    deleted: bool = False
    too_large: bool = False
    """The document alone exceeds what is read in one answer: it is to be reported as rejected."""


@frozen
class Batch:
    """One complete answer of ``_changes``."""

    rows: tuple[Row, ...]
    last_seq: object


# --- what documents say -----------------------------------------------------------------------------------------------


class Restart(enum.Enum):
    """When a program that has ended is started again; documents say the value."""

    ALWAYS = "always"
    """Also when its ``main()`` has returned."""
    ON_FAILURE = "on-failure"
    NEVER = "never"


@frozen
class Program:
    """A program document that is for this Pi and has something to run."""

    id: str
    rev: str
    name: str
    """As the document gives it, else the id.  For people only: two programs may bear the same."""
    modules: Mapping[str, str] = field(hash=False)
    """Source by dotted module name, ``main`` included."""
    digest: str
    """Of the whole document but ``_rev``: the program restarts when it changes."""
    offline: bool = True
    """May run from disk before the server has answered."""
    restart: Restart = Restart.ON_FAILURE
    rollback: bool = False
    """Gives way to the revision before it where it crashes again and again from its start."""
    stopped: bool = False
    """Is not run: somebody has stopped it, and may start it again."""
    body: Json = field(factory=dict, eq=False, repr=False)
    """The whole document, as it is kept on disk."""


@frozen
class Exports:
    """The global modules of one document, which all programs of the database may import."""

    id: str
    rev: str
    modules: Mapping[str, str] = field(hash=False)


class Action(enum.Enum):
    """What a command document may ask for in place of ``cmd``."""

    IDENTIFY = "identify"
    RESTART = "restart"
    ROTATE = "rotate"


@frozen
class Command:
    """A command document for this Pi that has not been answered."""

    id: str
    rev: str
    argv: tuple[str, ...]
    """Empty where ``action`` is set."""
    action: Action | None
    timeout_s: float
    expires: float | None
    """Unix time by the server's clock, after which it is not started; None: never expires."""
    cancel: bool
    claimed: bool
    """It bears an ``execution`` already: somebody has claimed it."""
    body: Json = field(hash=False, repr=False)
    """The whole document, to be written back with ``execution`` and ``ret`` added."""


@frozen
class Reading:
    """All that one document means to this Pi.  Each part is None where the document has nothing of it."""

    program: Program | None = None
    exports: Exports | None = None
    command: Command | None = None
    watched_until: float | None = None
    """Somebody looks at this Pi's log until then: Unix time by the server's clock."""


# --- global modules, as they count ------------------------------------------------------------------------------------


@frozen
class GlobalModule:
    """One global module as it counts now."""

    name: str
    source: str = field(repr=False)
    document_id: str
    rev: str
    digest: str
    """Of the source alone."""


# --- programs that run ------------------------------------------------------------------------------------------------


class ProgramState(enum.Enum):
    """What a program is doing; the status shows the value."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    CRASHED = "crashed"
    BACKOFF = "backoff"
    ROLLED_BACK = "rolled-back"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"
    STOPPED = "stopped"


@frozen
class Running:
    """A program that the host has in hand, as the plan needs to know it."""

    digest: str
    asked: Mapping[str, str | None] = field(hash=False)
    """Every module name that it asked for and did not have itself -> digest of the global module that it got, None
    where there was no global module of that name."""
    error: str | None = None
    """What it crashed with, where it is not to be started again."""


@frozen
class Report:
    """How one program is doing."""

    id: str
    name: str
    rev: str
    state: ProgramState
    since: float
    """When ``state`` began, by the clock that the host was given."""
    restarts: int
    error: str | None
    """The last failure's traceback, or why it does not run."""
    saved_rev: str | None = None
    """The revision that the document has, where it is another than ``rev``: the one before runs, or still does."""


@frozen
class Failure:
    """One crash of a program."""

    rev: str
    time: float
    """By the clock that the host was given."""
    error: str
    """The traceback."""
    lines: tuple[str, ...]
    """The last that it had printed before, oldest first."""


# --- commands ---------------------------------------------------------------------------------------------------------


class CommandState(enum.Enum):
    """``execution.state`` of a command document."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    INTERRUPTED = "interrupted"
    REJECTED = "rejected"


@frozen
class Result:
    """How a command ended."""

    state: CommandState
    stdout: str | None
    """None where it could not be run; then ``reason`` says why."""
    stderr: str | None
    reason: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    started: float | None = None
    """Unix time by the server's clock."""
    finished: float | None = None
    dropped_bytes: int = 0


# --- discovery --------------------------------------------------------------------------------------------------------


@frozen
class Answer:
    """What a Pi answered to a probe."""

    mac_id: int
    password: str | None = field(repr=False)
    """None where the Pi is enrolled."""
    address: str = ""
    sealed: bool = False
    """Whether the password was sealed on its way: then nobody else on the network has read it."""
