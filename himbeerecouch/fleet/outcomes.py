"""How a program that was saved is doing, judged by what its Pi reports.  Pure."""

from __future__ import annotations

import enum

from attrs import frozen

from himbeerecouch import rfc3339
from himbeerecouch.fleet.deployments import generation
from himbeerecouch.model import Json, ProgramState

RUN_S = 1.0
"""A program that has run for so long runs."""
CLOCKS_S = 1.0
"""How far the server's clock may be off, as it is known here and on the Pi."""
MISSED = 3
"""A Pi whose last so many heartbeats are missing is offline."""


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


@frozen
class Sight:
    """A heartbeat as it was seen here."""

    heartbeat: Json | None
    """None where the Pi has never written one."""
    server_time: float
    """Unix time by the server's clock."""
    running_for_s: float
    """For how long that revision has been seen running here."""


def silence(heartbeat: Json | None, server_time: float) -> str | None:
    """Say why nothing can be expected of a Pi now; None where it is online."""
    if heartbeat is None:
        return "it has never reported: is it enrolled, and switched on?"
    timestamp = heartbeat.get("timestamp")
    if heartbeat.get("state") == "stopped":
        return f"its daemon was stopped at {timestamp}"
    interval_s = heartbeat.get("interval_s")
    try:
        age_s = server_time - rfc3339.parse(timestamp if isinstance(timestamp, str) else "")
    except ValueError:
        return "its heartbeat has no time in it"
    if not isinstance(interval_s, int | float) or age_s > MISSED * interval_s:
        return f"its last heartbeat is of {timestamp}"
    return None


def program_of(heartbeat: Json | None, program_id: str) -> Json:
    """Give what a heartbeat has of one program; empty where it has nothing."""
    programs = (heartbeat or {}).get("programs")
    entry = programs.get(program_id) if isinstance(programs, dict) else None
    return entry if isinstance(entry, dict) else {}


def judge(sight: Sight, program_id: str, rev: str) -> Verdict | Wait:
    """Say what has become of the revision ``rev`` of a program."""
    heartbeat, entry = sight.heartbeat, program_of(sight.heartbeat, program_id)
    silent = silence(heartbeat, sight.server_time)
    if silent is not None:
        return Verdict(Outcome.OFFLINE, silent)
    runs, saved = entry.get("rev"), entry.get("saved_rev")
    for other in (runs, saved):
        if isinstance(other, str) and generation(other) > generation(rev):
            return Verdict(Outcome.REPLACED, f"somebody has saved revision {other} meanwhile")
    error = str(entry.get("error") or "")
    state = entry.get("state")
    if saved == rev and state != ProgramState.STOPPING.value:
        return Verdict(Outcome.ROLLED_BACK, error)
    if runs != rev:
        reason = "" if entry else rejection(heartbeat, program_id)
        return Wait(
            None, reason or (f"it is {state}, still with revision {runs}" if entry else "it is not told of yet")
        )
    return _of_this_revision(sight, state, error, rejection(heartbeat, program_id))


def _of_this_revision(sight: Sight, state: object, error: str, reason: str) -> Verdict | Wait:
    if state == ProgramState.RUNNING.value:
        entry_wait_s = RUN_S - sight.running_for_s
        return Verdict(Outcome.RUNNING) if entry_wait_s <= 0 else Wait(entry_wait_s, "it has just begun to run")
    if state == ProgramState.FINISHED.value or (state == ProgramState.BACKOFF.value and not error):
        return Verdict(Outcome.FINISHED)
    verdicts = {
        ProgramState.CRASHED.value: Verdict(Outcome.CRASHED, error),
        ProgramState.BACKOFF.value: Verdict(Outcome.CRASHED, error),
        ProgramState.QUARANTINED.value: Verdict(Outcome.QUARANTINED, error),
        ProgramState.REJECTED.value: Verdict(Outcome.REJECTED, reason or error),
        ProgramState.STOPPED.value: Verdict(Outcome.STOPPED),
    }
    return verdicts.get(str(state)) or Wait(None, f"it is {state}")


def judge_removal(sight: Sight, program_id: str) -> Verdict | Wait:
    """Say whether a program that was removed has ended."""
    silent = silence(sight.heartbeat, sight.server_time)
    if silent is not None:
        return Verdict(Outcome.OFFLINE, silent)
    entry = program_of(sight.heartbeat, program_id)
    return Wait(None, f"it is {entry.get('state')}") if entry else Verdict(Outcome.REMOVED)


def running_for_s(heartbeat: Json | None, program_id: str, rev: str, server_time: float) -> float:
    """For how long that revision has been running, at the least, by its Pi's own word; 0 where it does not run."""
    entry = program_of(heartbeat, program_id)
    since = entry.get("since")
    if entry.get("state") != ProgramState.RUNNING.value or entry.get("rev") != rev or not isinstance(since, str):
        return 0.0
    try:
        return max(0.0, server_time - rfc3339.parse(since) - CLOCKS_S)
    except ValueError:
        return 0.0


def rejection(heartbeat: Json | None, document_id: str) -> str:
    """Give why a Pi rejects a document; empty where it does not."""
    rejected = (heartbeat or {}).get("rejected")
    for each in rejected if isinstance(rejected, list) else []:
        if isinstance(each, dict) and each.get("id") == document_id:
            return str(each.get("reason") or "")
    return ""
