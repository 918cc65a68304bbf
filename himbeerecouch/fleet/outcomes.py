"""How a program that was saved is doing, judged by what its Pi reports.  Pure."""

from __future__ import annotations

import enum

from attrs import frozen

from himbeerecouch import rfc3339
from himbeerecouch.fleet import lenient
from himbeerecouch.fleet.deployments import generation
from himbeerecouch.fleet.roster import PiStatus, Presence, ProgramStatus
from himbeerecouch.model import ProgramState

RUN_S = 1.0
"""A program that has run for so long runs."""
CLOCKS_S = 1.0
"""How far the server's clock may be off, as it is known here and on the Pi."""


class Outcome(enum.Enum):
    """What has become of a program that was saved, or was stopped or removed."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    REMOVED = "removed"
    NOTHING = "nothing to run"
    CRASHED = "crashed"
    ROLLED_BACK = "rolled back"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"
    REPLACED = "replaced"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


@frozen
class Verdict:
    """An outcome, and what there is to say about it."""

    outcome: Outcome
    text: str = ""
    """Why: for people, a traceback in it where there is one."""


@frozen
class Wait:
    """Nothing is certain yet: look again when there is another heartbeat, or after so many seconds."""

    seconds: float | None
    why: str


def silence(pi: PiStatus) -> str | None:
    """Say why nothing can be expected of a Pi now; None where it is online."""
    seen = "never" if pi.seen is None else rfc3339.render(pi.seen)
    return {
        Presence.ONLINE: None,
        Presence.OFFLINE: f"it was last heard of at {seen}",
        Presence.STOPPED: f"its daemon was stopped at {seen}",
        Presence.UNSEEN: "it has never reported: is it enrolled, and switched on?",
    }[pi.presence]


def program_of(pi: PiStatus, program_id: str) -> ProgramStatus | None:
    """Give what a Pi has told of one program; None where it has told nothing."""
    shown = lenient.text(program_id, 1000)
    return next((program for program in pi.programs if program.id == shown), None)


def judge(pi: PiStatus, program_id: str, rev: str, *, running_for_s: float) -> Verdict | Wait:
    """Say what has become of the revision ``rev`` of a program, which is known to have been running for so long."""
    silent = silence(pi)
    if silent is not None:
        return Verdict(Outcome.OFFLINE, silent)
    program, reason = program_of(pi, program_id), _rejection(pi, program_id)
    if program is None:
        return Wait(None, reason or "it is not told of yet")
    return _of_another_revision(program, rev) or _of_this_revision(program, reason, running_for_s)


def _of_another_revision(program: ProgramStatus, rev: str) -> Verdict | Wait | None:
    for other in (program.rev, program.saved_rev):
        if other is not None and generation(other) > generation(rev):
            return Verdict(Outcome.REPLACED, f"somebody has saved revision {other} meanwhile")
    if program.saved_rev == rev and program.state != ProgramState.STOPPING.value:
        return Verdict(Outcome.ROLLED_BACK, program.error or "")
    if program.rev != rev:
        return Wait(None, f"it is {program.state}, still with revision {program.rev}")
    return None


def _of_this_revision(program: ProgramStatus, reason: str, running_for_s: float) -> Verdict | Wait:
    if program.state == ProgramState.RUNNING.value:
        left_s = RUN_S - running_for_s
        return Verdict(Outcome.RUNNING) if left_s <= 0 else Wait(left_s, "it has just begun to run")
    error = program.error or ""
    outcomes = {
        ProgramState.FINISHED.value: Verdict(Outcome.FINISHED),
        ProgramState.CRASHED.value: Verdict(Outcome.CRASHED, error),
        # Without an error main() has returned, and is called again and again.
        ProgramState.BACKOFF.value: Verdict(Outcome.CRASHED, error) if error else Verdict(Outcome.FINISHED),
        ProgramState.QUARANTINED.value: Verdict(Outcome.QUARANTINED, error),
        ProgramState.REJECTED.value: Verdict(Outcome.REJECTED, reason or error),
        ProgramState.STOPPED.value: Verdict(Outcome.STOPPED),
    }
    return outcomes.get(program.state) or Wait(None, f"it is {program.state}")


def judge_removal(pi: PiStatus, program_id: str) -> Verdict | Wait:
    """Say whether a program that was removed has ended."""
    silent = silence(pi)
    if silent is not None:
        return Verdict(Outcome.OFFLINE, silent)
    program = program_of(pi, program_id)
    return Verdict(Outcome.REMOVED) if program is None else Wait(None, f"it is {program.state}")


def running_for_s(pi: PiStatus, program_id: str, rev: str, server_time: float) -> float:
    """For how long that revision has been running, at the least, by its Pi's own word; 0 where it does not run."""
    program = program_of(pi, program_id)
    if not runs(program, rev) or program is None or program.since is None:
        return 0.0
    return max(0.0, server_time - program.since - CLOCKS_S)


def runs(program: ProgramStatus | None, rev: str) -> bool:
    """Whether that very revision runs."""
    return program is not None and program.rev == rev and program.state == ProgramState.RUNNING.value


def _rejection(pi: PiStatus, document_id: str) -> str:
    """Why a Pi rejects a document; empty where it does not."""
    shown = lenient.text(document_id)
    return next((reason for id, reason in pi.rejected if id == shown), "")
