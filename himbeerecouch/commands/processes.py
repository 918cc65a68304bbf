"""The processes of this machine, as far as commands have to do with them: groups, births and marks, from ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from himbeerecouch.commands.record import Birth

MARK = "HIMBEERECOUCH_COMMAND"
"""The variable in a command's environment that holds its claim: by it a process is known whose number is not."""
PROC = Path("/proc")


@frozen
class Process:
    """One process, as ``/proc/<pid>/stat`` has it."""

    pid: int
    group: int
    session: int
    ticks: int
    lives: bool
    """It has not ended; otherwise it only waits for its parent to look."""


def processes(proc: Path = PROC) -> Iterator[Process]:
    """All that there are now."""
    for stat in proc.glob("[0-9]*/stat"):
        found = _process(stat)
        if found is not None:
            yield found


def birth_of(pid: int, proc: Path = PROC) -> Birth | None:
    """What tells this process from all others that ever bear its number; None where the kernel does not say."""
    found, boot = _process(proc / str(pid) / "stat"), boot_of(proc)
    return None if found is None or boot is None else Birth(pid, found.ticks, boot)


def boot_of(proc: Path = PROC) -> str | None:
    """Which boot of the machine this is."""
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def bears(pid: int, claim: str, proc: Path = PROC) -> bool:
    """Whether the process was started by the command with this claim; those of other users do not tell."""
    try:
        environment = (proc / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return os.fsencode(f"{MARK}={claim}") in environment.split(b"\0")


def group_lives(group: int, proc: Path = PROC) -> bool:
    """Whether a process that has not ended is in the process group; its ended leader does not count."""
    return any(process.group == group and process.lives for process in processes(proc))


def _process(stat: Path) -> Process | None:
    try:
        # proc(5): the name, in brackets, may hold anything; behind it state, parent, group, session, ...
        fields = stat.read_bytes().rpartition(b")")[2].split()
        return Process(
            pid=int(stat.parent.name),
            group=int(fields[2]),
            session=int(fields[3]),
            ticks=int(fields[19]),
            lives=fields[0] not in (b"Z", b"X"),
        )
    except (OSError, ValueError, IndexError):
        return None
