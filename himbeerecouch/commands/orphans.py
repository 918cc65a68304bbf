"""Ends what a daemon that was killed has left running of its commands."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from himbeerecouch.commands.processes import PROC, bears, boot_of, processes
from himbeerecouch.commands.record import Record
from himbeerecouch.errors import CouchError

GRACE_S = 1.0
"""From TERM to KILL."""
GONE_S = 1.0
"""How long after KILL they are waited for."""
ASKED_S = 1.0
"""So long at most the server is asked, in all."""
_LOOK_S = 0.1

log = Logger()


def groups_of(record: Record, proc: Path = PROC) -> set[int]:
    """The process groups in which something of the command lives that was to end with it.

    The group that the daemon had made for it; where it was killed before it could note which one that is, all those
    that bear the command's mark, but those of the daemon itself: a command may have started this very daemon.
    """
    there = list(processes(proc))
    birth = record.birth
    if birth is None:
        own = os.getsid(0)
        return {p.group for p in there if p.lives and p.session != own and bears(p.pid, record.claim, proc)}
    if birth.boot != boot_of(proc):
        return set()
    members = [process for process in there if process.group == birth.pid == process.session]
    # The kernel gives a number anew only once nobody of its group is left: then it may be anybody's.
    ours = any(
        (process.pid, process.ticks) == (birth.pid, birth.ticks) or bears(process.pid, record.claim, proc)
        for process in members
    )
    return {birth.pid} if ours and any(process.lives for process in members) else set()


async def answered_unnoted(
    clock: Any, records: Sequence[Record], has_ended: Callable[[str], Coroutine[Any, Any, bool]]
) -> set[str]:
    """The claims of those that came to their end in the very moment before the daemon did.

    That is not noted down, but their answers are there: what they have left in the background is to be let alone.
    ``has_ended`` asks the server for one, by its id, and may raise CouchError; nobody waits for a server that is slow.
    """
    ended: set[str] = set()
    until_s = clock.seconds() + ASKED_S
    with contextlib.suppress(CouchError, TimeoutError):
        for record in records:
            if record.result is None and not record.settled:
                asking = Deferred.fromCoroutine(has_ended(record.id))
                if await asking.addTimeout(max(0.0, until_s - clock.seconds()), clock):
                    ended.add(record.claim)
    return ended


async def end_orphans(
    clock: Any,
    records: Sequence[Record],
    *,
    proc: Path = PROC,
    kill: Callable[[int, int], None] = os.killpg,
) -> None:
    """Ask all that is left of these commands to end, and kill it soon after; comes back when it is gone.

    One that hangs in the kernel, or belongs to another user, is given up.
    """

    def left() -> set[int]:
        return {group for record in records for group in groups_of(record, proc)}

    for number, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GONE_S)):
        groups = left()
        for group in sorted(groups):
            log.warn("process group {group} is left of a command: {signal}", group=group, signal=number.name)
            try:
                kill(group, number)
            except (ProcessLookupError, PermissionError) as error:
                log.warn("process group {group}: {error}", group=group, error=error)
        until_s = clock.seconds() + patience_s
        while groups and clock.seconds() < until_s:
            await deferLater(clock, _LOOK_S, lambda: None)
            groups = left()
