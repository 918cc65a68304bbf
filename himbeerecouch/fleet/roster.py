"""The Pis as their heartbeats tell, judged by the server's clock; what needs attention comes first.  Pure.

A heartbeat is what a Pi wrote: anything may stand in it, and nothing of it is to upset a table or a terminal.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve, field, frozen

from himbeerecouch import rfc3339
from himbeerecouch.fleet import lenient
from himbeerecouch.model import Json

MISSED_HEARTBEATS = 3
"""A Pi that has missed so many is offline."""
USUAL_INTERVAL_S = 30.0
LONGEST_INTERVAL_S = 600.0
"""The daemon's own longest; a heartbeat that claims a longer one would pass for alive for ever."""
HOT_C = 80.0
"""From here on a Pi slows itself down."""
LOW_DISK_BYTES = 50 * 1024 * 1024

_FAILED = frozenset({"crashed", "backoff", "rolled-back", "quarantined", "rejected"})


class Presence(enum.Enum):
    """Whether a Pi is there; tables show the value."""

    ONLINE = "online"
    OFFLINE = "offline"
    """It has missed its heartbeats: off, or without a network."""
    STOPPED = "stopped"
    """Its daemon was ended on purpose, and said so."""
    UNSEEN = "never seen"
    """It has a name, and no heartbeat."""


@frozen
class ProgramStatus:
    """One program of a Pi, as its last heartbeat had it."""

    id: str
    name: str
    rev: str
    saved_rev: str | None
    """The revision that was saved, where another one runs."""
    state: str
    since: float | None
    """Unix time, by the server's clock."""
    restarts: int
    error: str | None
    """The whole traceback, or why it does not run."""

    @property
    def failed(self) -> bool:
        """Whether somebody has to look at it."""
        return self.state in _FAILED

    @property
    def last_words(self) -> str:
        """The last line of its error: of a traceback, the exception."""
        lines = (self.error or "").strip().splitlines()
        return lines[-1].strip() if lines else ""


@frozen
class PiStatus:
    """One Pi.  What it says of itself is as old as ``seen``."""

    mac_id: int
    presence: Presence
    names: tuple[str, ...] = ()
    seen: float | None = None
    """When it was last heard of: Unix time, by the server's clock."""
    started: float | None = None
    booted: float | None = None
    ip: str = ""
    hostname: str = ""
    versions: Mapping[str, str] = field(factory=dict, hash=False)
    temperature_c: float | None = None
    under_voltage: bool = False
    disk_read_only: bool = False
    disk_free_bytes: float | None = None
    clock_offset_s: float = 0.0
    programs: tuple[ProgramStatus, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    """Documents that something is wrong with: id and reason."""
    rejected_left_out: int = 0

    @property
    def label(self) -> str:
        """What people call it."""
        return self.names[0] if self.names else str(self.mac_id)

    @property
    def failed(self) -> tuple[ProgramStatus, ...]:
        """Its programs that somebody has to look at."""
        return tuple(program for program in self.programs if program.failed)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What else is wrong with it, each in a few words."""
        found = []
        if self.under_voltage:
            found.append("under-voltage")
        if self.temperature_c is not None and self.temperature_c >= HOT_C:
            found.append("hot")
        if self.disk_free_bytes is not None and self.disk_free_bytes < LOW_DISK_BYTES:
            found.append("disk full")
        if self.disk_read_only:
            found.append("disk read-only")
        count = len(self.rejected) + self.rejected_left_out
        if count:
            found.append(f"{count} document{'s' if count > 1 else ''} rejected")
        return tuple(found)


def read(heartbeat: Json, now: float, names: Sequence[str] = ()) -> PiStatus | None:
    """What a heartbeat says at ``now``, the server's Unix time; None for a document that is no Pi's heartbeat."""
    id = heartbeat.get("_id")
    digits = id.removesuffix("_heartbeat") if isinstance(id, str) and id.endswith("_heartbeat") else ""
    # The id is what the guard lets only this very Pi write; what else the document says of who it is does not count.
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 15:
        return None
    health, versions = lenient.mapping(heartbeat.get("health")), lenient.mapping(heartbeat.get("versions"))
    seen = lenient.time(heartbeat.get("timestamp"))
    return PiStatus(
        mac_id=int(digits),
        presence=_presence(heartbeat, seen, now),
        names=tuple(sorted(names)),
        seen=seen,
        started=lenient.time(heartbeat.get("started")),
        booted=lenient.time(heartbeat.get("boot_time")),
        ip=lenient.text(heartbeat.get("ip")),
        hostname=lenient.text(heartbeat.get("hostname")),
        versions={
            lenient.text(name): lenient.text(version) for name, version in versions.items() if isinstance(version, str)
        },
        temperature_c=lenient.number(health.get("cpu_temperature_c")),
        under_voltage=health.get("under_voltage") is True,
        disk_read_only=health.get("disk_read_only") is True,
        disk_free_bytes=lenient.number(health.get("disk_free_bytes")),
        clock_offset_s=lenient.number(heartbeat.get("clock_offset_s")) or 0.0,
        programs=tuple(
            _program(id, entry)
            for id, entry in sorted(lenient.mapping(heartbeat.get("programs")).items())
            if isinstance(entry, dict)
        ),
        rejected=tuple(
            (lenient.text(entry.get("id")), lenient.text(entry.get("reason"), 1000))
            for entry in lenient.sequence(heartbeat.get("rejected"))
            if isinstance(entry, dict)
        ),
        rejected_left_out=max(0, lenient.integer(heartbeat.get("rejected_left_out")) or 0),
    )


def _presence(heartbeat: Json, seen: float | None, now: float) -> Presence:
    interval_s = lenient.number(heartbeat.get("interval_s")) or USUAL_INTERVAL_S
    good_for_s = MISSED_HEARTBEATS * min(max(interval_s, 1.0), LONGEST_INTERVAL_S)
    if heartbeat.get("state") == "stopped":
        return Presence.STOPPED
    # One from the future was written by a clock that is wrong: it would pass for alive until that time comes.
    return Presence.ONLINE if seen is not None and abs(now - seen) <= good_for_s else Presence.OFFLINE


def unseen(mac_id: int, names: Sequence[str]) -> PiStatus:
    """A Pi that was given a name, and has never written a heartbeat."""
    return PiStatus(mac_id, Presence.UNSEEN, tuple(sorted(names)))


def roster(heartbeats: Iterable[Json], names: Mapping[str, int], now: float) -> list[PiStatus]:
    """All Pis, what needs attention first; ``names`` is name -> MacID.  Of two heartbeats of a Pi the newer counts."""
    names_of: dict[int, list[str]] = {}
    for name, mac_id in names.items():
        names_of.setdefault(mac_id, []).append(name)
    found: dict[int, PiStatus] = {mac_id: unseen(mac_id, those) for mac_id, those in names_of.items()}
    for heartbeat in heartbeats:
        pi = read(heartbeat, now)
        if pi is not None and _newer(pi, found.get(pi.mac_id)):
            found[pi.mac_id] = evolve(pi, names=tuple(sorted(names_of.get(pi.mac_id, ()))))
    return sorted(found.values(), key=_urgency)


def _newer(pi: PiStatus, other: PiStatus | None) -> bool:
    return other is None or (pi.seen or 0.0) >= (other.seen or 0.0)


def _urgency(pi: PiStatus) -> tuple[int, float, str, int]:
    """Failed programs, then Pis that are gone, the last ones first, then what is odd, then what was stopped."""
    if pi.presence is Presence.ONLINE:
        rank = 0 if pi.failed else 2 if pi.warnings else 5
    else:
        rank = {Presence.OFFLINE: 1, Presence.UNSEEN: 3, Presence.STOPPED: 4}[pi.presence]
    return (
        rank,
        -(pi.seen or 0.0) if pi.presence is Presence.OFFLINE else 0.0,
        pi.names[0] if pi.names else "~",
        pi.mac_id,
    )


def as_json(pi: PiStatus) -> Json:
    """A Pi as ``--json`` shows it."""
    return {
        "mac_id": pi.mac_id,
        "names": list(pi.names),
        "presence": pi.presence.value,
        "seen": _shown(pi.seen),
        "started": _shown(pi.started),
        "boot_time": _shown(pi.booted),
        "ip": pi.ip or None,
        "hostname": pi.hostname or None,
        "versions": dict(pi.versions),
        "cpu_temperature_c": pi.temperature_c,
        "under_voltage": pi.under_voltage,
        "disk_read_only": pi.disk_read_only,
        "warnings": list(pi.warnings),
        "programs": [
            {
                "id": program.id,
                "name": program.name,
                "rev": program.rev,
                "saved_rev": program.saved_rev,
                "state": program.state,
                "since": _shown(program.since),
                "restarts": program.restarts,
                "error": program.error,
            }
            for program in pi.programs
        ],
        "rejected": [{"id": id, "reason": reason} for id, reason in pi.rejected],
        "rejected_left_out": pi.rejected_left_out,
    }


def span(seconds: float) -> str:
    """A time span in its largest unit, for tables: ``5 s``, ``12 min``, ``3 h``, ``40 d``."""
    for unit, size_s, below in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < size_s * below:
            return f"{max(0, int(seconds // size_s))} {unit}"
    return f"{int(seconds // 86400)} d"


def _program(id: str, entry: Json) -> ProgramStatus:
    return ProgramStatus(
        id=lenient.text(id, 1000),
        name=lenient.text(entry.get("name")) or lenient.text(id),
        rev=lenient.text(entry.get("rev")),
        saved_rev=lenient.text(entry.get("saved_rev")) or None,
        state=lenient.text(entry.get("state"), 20) or "unknown",
        since=lenient.time(entry.get("since")),
        restarts=lenient.integer(entry.get("restarts")) or 0,
        error=lenient.lines(entry.get("error")),
    )


def _shown(unix: float | None) -> str | None:
    return None if unix is None else rfc3339.render(unix)
