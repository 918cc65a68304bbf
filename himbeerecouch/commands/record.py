"""What is kept of one command on the disk, from before its start until its answer is stored.  Pure."""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict, evolve, frozen

from himbeerecouch.model import Command, CommandState, Json, Result

FORCED = frozenset({CommandState.TIMEOUT, CommandState.CANCELLED, CommandState.INTERRUPTED})
"""It was ended before its time: what is left of its group is to end as well."""
_ENCODER = json.JSONEncoder(ensure_ascii=False)
"""Not as ASCII, in which a text of any other language takes three times as much."""
_TASK = ("_id", "type", "cmd", "action")


@frozen
class Birth:
    """One process among all that ever bear its number."""

    pid: int
    ticks: int
    """When it was started, in the kernel's clock ticks since the boot."""
    boot: str
    """Which boot of the machine that was."""


@frozen
class Record:
    """One command: ``ended`` and ``settled`` make the next state of it."""

    number: int
    """In the order of their starts."""
    id: str
    rev: str
    """Of the document before it was claimed."""
    claim: str
    body: Json
    """Of the document, what says what is to be run; empty once it is settled."""
    started: float | None
    """Unix time by the server's clock."""
    birth: Birth | None = None
    """Of the leader of its group, as long as the group is not to outlive the daemon."""
    result: Result | None = None
    settled: bool = False
    """Its answer is stored, or nobody wants one any more."""

    @property
    def open_ended(self) -> bool:
        """Whether processes of it are to be ended, wherever they are found after the daemon's end."""
        return self.birth is not None or (self.result is None and not self.settled)

    def command(self) -> Command:
        """The command, as far as it takes to answer it."""
        return Command(
            id=self.id,
            rev=self.rev,
            argv=(),
            action=None,
            timeout_s=0.0,
            expires=None,
            cancel=False,
            claimed=True,
            body=self.body,
        )


def record_of(number: int, command: Command, claim: str, started: float | None) -> Record:
    """The record of a command that has been claimed and is about to be started."""
    task = {name: command.body[name] for name in _TASK if name in command.body}
    return Record(number, command.id, command.rev, claim, task, started)


def born(record: Record, birth: Birth | None) -> Record:
    """The record once its process runs."""
    return evolve(record, birth=birth)


def ended(record: Record, result: Result) -> Record:
    """The record once it is known how the command has ended."""
    return evolve(record, result=result, birth=record.birth if result.state in FORCED else None)


def settled(record: Record) -> Record:
    """What is kept of the record when its answer is stored: that it must not be run again."""
    return evolve(record, body={}, result=None, settled=True)


def render(record: Record) -> bytes:
    """The record as the text of a file."""
    # Not taken apart as a whole: that would look at each value of the document, on the way of each command.
    values = asdict(record, recurse=False)
    if record.birth is not None:
        values["birth"] = asdict(record.birth, recurse=False)
    if record.result is not None:
        values["result"] = {**asdict(record.result, recurse=False), "state": record.result.state.value}
    # A document may hold half a character, which is none of UTF-8's.
    return _ENCODER.encode(values).encode("utf-8", "surrogatepass") + b"\n"


def parse(data: bytes) -> Record | None:
    """What ``render`` wrote; None for anything else, such as a file of zeros after a power cut."""
    try:
        values = json.loads(data.decode("utf-8", "surrogatepass"))
        birth, result = values.pop("birth"), values.pop("result")
        return Record(
            **_checked(_RECORD, values),
            birth=None if birth is None else Birth(**_checked(_BIRTH, birth)),
            result=None if result is None else _result(result),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _result(values: Json) -> Result:
    return Result(CommandState(values.pop("state")), **_checked(_RESULT, values))


_NUMBER = (int, float, type(None))
_TEXT = (str, type(None))
_BIRTH: dict[str, tuple[type, ...]] = {"pid": (int,), "ticks": (int,), "boot": (str,)}
_RECORD: dict[str, tuple[type, ...]] = {
    "number": (int,),
    "id": (str,),
    "rev": (str,),
    "claim": (str,),
    "body": (dict,),
    "started": _NUMBER,
    "settled": (bool,),
}
_RESULT: dict[str, tuple[type, ...]] = {
    "stdout": _TEXT,
    "stderr": _TEXT,
    "reason": _TEXT,
    "exit_code": (int, type(None)),
    "signal": (int, type(None)),
    "started": _NUMBER,
    "finished": _NUMBER,
    "dropped_bytes": (int,),
}


def _checked(kinds: dict[str, tuple[type, ...]], values: Json) -> dict[str, Any]:
    """``values``, all of them and no others; ``ValueError`` where one is of another kind."""
    if values.keys() != kinds.keys() or any(type(values[name]) not in kind for name, kind in kinds.items()):
        raise ValueError("not what was written")
    return values
