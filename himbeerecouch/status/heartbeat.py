"""The heartbeat: one document that says how the Pi and its programs are.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from himbeerecouch import rfc3339
from himbeerecouch.model import Failure, Json, ProgramState, Report
from himbeerecouch.status import failures
from himbeerecouch.status.sizes import cut, text

ERROR_BYTES = 16 * 1024
ERRORS_BYTES = 64 * 1024
"""Of all programs together; each may have its share of it, and ``LEAST_BYTES`` in any case."""
REASON_BYTES = 1024
REASONS_BYTES = 64 * 1024
LEAST_BYTES = 200
REJECTED_LIMIT = 500

_ALIVE = frozenset({ProgramState.STARTING, ProgramState.RUNNING, ProgramState.STOPPING, ProgramState.ROLLED_BACK})


@frozen
class Machine:
    """What this machine tells of itself; None stands for what can't be read here."""

    hostname: str
    versions: Mapping[str, str | None] = field(hash=False)
    uptime_s: float | None
    """Since it booted."""
    health: Mapping[str, object] = field(hash=False)


@frozen
class Moment:
    """Now, by two clocks: times that were noted by the one are told by the other."""

    server_time: float
    """Unix time by the server's clock."""
    seconds: float
    """By the clock that only goes forward, which the reports are made with."""
    offset_s: float
    """The server's clock minus this machine's."""

    def text(self, seconds: float | None = None) -> str:
        """That time in RFC 3339, by the server's clock; now where none is given."""
        return rfc3339.render(self.server_time - (0.0 if seconds is None else self.seconds - seconds))


@frozen
class Facts:
    """All that a heartbeat tells."""

    machine: Machine
    started: float
    """When the daemon was started, by the clock of the reports."""
    ip: str | None
    reports: Sequence[Report]
    failures: Mapping[str, Sequence[Failure]] = field(hash=False)
    """Program id -> its last ones, oldest first."""
    rejected: Mapping[str, str] = field(hash=False)
    """Document id -> reason."""
    refused: Mapping[str, str] = field(hash=False)
    """Of those, the program documents for this Pi: id -> revision."""
    interval_s: float
    """The next heartbeat comes after this time at the latest."""
    stopped: bool = False
    """It is the last one: the daemon ends."""


def document_id(mac_id: int) -> str:
    """The ``_id`` of this Pi's heartbeat."""
    return f"{mac_id}_heartbeat"


def render(mac_id: int, moment: Moment, facts: Facts) -> Json:
    """The whole document, without its revision."""
    machine = facts.machine
    booted = None if machine.uptime_s is None else moment.text(moment.seconds - machine.uptime_s)
    rejected = sorted(facts.rejected.items())
    return {
        "_id": document_id(mac_id),
        "type": "heartbeat",
        "mac_id": mac_id,
        "state": "stopped" if facts.stopped else "running",
        "timestamp": moment.text(),
        "interval_s": facts.interval_s,
        "ip": facts.ip,
        "hostname": text(machine.hostname),
        "versions": dict(machine.versions),
        "boot_time": booted,
        "started": moment.text(facts.started),
        "clock_offset_s": round(moment.offset_s, 1),
        "health": dict(machine.health),
        "running_ids": [text(report.id) for report in facts.reports if report.state in _ALIVE and not facts.stopped],
        "programs": _programs(moment, facts),
        "rejected": list(_rejected(rejected[:REJECTED_LIMIT])),
        "rejected_left_out": max(0, len(rejected) - REJECTED_LIMIT),
    }


def _programs(moment: Moment, facts: Facts) -> Json:
    limit_bytes = _share(ERRORS_BYTES, ERROR_BYTES, sum(report.error is not None for report in facts.reports))
    failed = failures.render(facts.failures, moment.text)
    refused: Json = {
        text(id): {
            "name": text(id),
            "rev": rev,
            "saved_rev": None,
            "state": ProgramState.REJECTED.value,
            "since": None,
            "restarts": 0,
            "error": cut(facts.rejected.get(id, ""), LEAST_BYTES),
            "failures": [],
        }
        for id, rev in sorted(facts.refused.items())[:REJECTED_LIMIT]
    }
    return refused | {
        text(report.id): {
            "name": text(report.name),
            "rev": report.rev,
            "saved_rev": report.saved_rev,
            "state": report.state.value,
            "since": moment.text(report.since),
            "restarts": report.restarts,
            "error": None if report.error is None else cut(report.error, limit_bytes),
            "failures": failed.get(report.id, []),
        }
        for report in facts.reports
    }


def _rejected(reasons: Sequence[tuple[str, str]]) -> Iterable[Json]:
    limit_bytes = _share(REASONS_BYTES, REASON_BYTES, len(reasons))
    return ({"id": text(id), "reason": cut(reason, limit_bytes)} for id, reason in reasons)


def _share(all_bytes: int, most_bytes: int, count: int) -> int:
    """The room of each, where ``count`` share it."""
    return max(LEAST_BYTES, min(most_bytes, all_bytes // max(1, count)))
