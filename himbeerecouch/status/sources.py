"""Where the status takes its facts from: the client's clock, the host, the node and the machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from himbeerecouch import rfc3339
from himbeerecouch.model import Failure, Json, ProgramState, Report
from himbeerecouch.status import heartbeat, logbook
from himbeerecouch.status.documents import StatusCouch
from himbeerecouch.status.heartbeat import Facts, Machine, Moment
from himbeerecouch.status.logbook import ProgramLog

_CRASHED = frozenset({ProgramState.CRASHED, ProgramState.BACKOFF, ProgramState.ROLLED_BACK})


class Couch(StatusCouch, Protocol):
    """What of the CouchDB client is needed here."""

    on_news: list[Callable[[bool], None]]

    def server_time(self) -> float:
        """Unix time by the server's clock."""
        ...

    @property
    def server_offset_s(self) -> float:
        """The server's clock minus this machine's."""
        ...

    @property
    def local_address(self) -> str | None:
        """The address of this machine that the server is talked to from."""
        ...


class Programs(Protocol):
    """What the host tells of the programs that it has in hand."""

    def failures(self, program_id: str, /) -> Sequence[Failure]:
        """Its last crashes, oldest first."""
        ...

    def tail(self, program_id: str, /) -> tuple[int, tuple[str, ...]]:
        """The number of the first of the last lines that it printed, and these lines."""
        ...

    def dropped_lines(self, program_id: str, /) -> int:
        """How many lines the log never saw."""
        ...


class Overview(Protocol):
    """What the node tells of the documents."""

    def reports(self) -> Sequence[Report]:
        """How each program is doing, those included that are not started."""
        ...

    @property
    def rejected(self) -> Mapping[str, str]:
        """Every document with something wrong in it: id -> reason."""
        ...

    @property
    def refused_programs(self) -> Mapping[str, str]:
        """Those of them that are programs for this Pi: id -> revision."""
        ...


class Sources:
    """Asks all of them when a document is to be written.  ``clock`` is the one that the reports' times are of."""

    def __init__(
        self,
        clock: Any,
        couch: Couch,
        mac_id: int,
        *,
        programs: Programs,
        overview: Callable[[], Overview],
        machine: Callable[[], Machine],
    ) -> None:
        self.heartbeat_id = heartbeat.document_id(mac_id)
        self.log_id = logbook.document_id(mac_id)
        self.crashed = False
        """Whether a program has crashed since this was last made false."""
        self._clock = clock
        self._couch = couch
        self._mac_id = mac_id
        self._programs = programs
        self._overview = overview
        self._machine = machine
        self._started = clock.seconds()
        self._crashes: set[tuple[str, float]] = set()

    def heartbeat(self, interval_s: float, *, stopped: bool = False) -> Json:
        """The heartbeat as it has to be now; the next one comes after ``interval_s`` at the latest."""
        overview = self._overview()
        reports = overview.reports()
        crashes = {(report.id, report.since) for report in reports if report.state in _CRASHED}
        self.crashed = self.crashed or not crashes <= self._crashes
        self._crashes = crashes
        moment = Moment(self._couch.server_time(), self._clock.seconds(), self._couch.server_offset_s)
        facts = Facts(
            machine=self._machine(),
            started=self._started,
            ip=self._couch.local_address,
            reports=reports,
            failures={report.id: self._programs.failures(report.id) for report in reports},
            rejected=overview.rejected,
            refused=overview.refused_programs,
            interval_s=interval_s,
            stopped=stopped,
        )
        return heartbeat.render(self._mac_id, moment, facts)

    def log(self, fresh: Collection[str]) -> Json:
        """The log document; where there is no room for all programs, those of ``fresh`` come first."""
        logs = [
            self._log_of(report)
            for report in sorted(self._overview().reports(), key=lambda report: report.id not in fresh)
        ]
        timestamp = rfc3339.render(self._couch.server_time())
        return logbook.render(self._mac_id, timestamp, [log for log in logs if log.lines])

    def _log_of(self, report: Report) -> ProgramLog:
        first_line, lines = self._programs.tail(report.id)
        return ProgramLog(report.id, report.name, lines, self._programs.dropped_lines(report.id), first_line)
