"""What was measured: samples side by side, their medians and spread, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from himbeerecouch.version import VERSION


class Spread(NamedTuple):
    """What some samples say together."""

    median: float
    low: float
    """A tenth of them is below."""
    high: float
    """A tenth of them is above."""
    p99: float
    number: int


def spread(values: Sequence[float]) -> Spread:
    """Sum up samples; of fewer than 100 the 99th percentile is the largest."""
    if not values:
        raise ValueError("nothing was measured")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], values[0], 1)
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    ordered = sorted(values)
    return Spread(
        statistics.median(ordered),
        tenths[0],
        tenths[-1],
        ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
        len(ordered),
    )


class Goal(NamedTuple):
    """What a figure has to be, and whether it is."""

    text: str
    met: bool


class Measurement(NamedTuple):
    """One figure of ours, and what stands beside it, measured in the same run."""

    name: str
    unit: str
    ours: Sequence[float]
    beside: Mapping[str, Sequence[float]]
    """What it is compared with, the floor first."""
    goals: Sequence[Goal] = ()
    missing: Mapping[str, str] = {}
    """What could not be measured, and why."""
    parts: Mapping[str, Sequence[float]] = {}
    """What ours consists of: a ratio would say nothing."""


def table(measurement: Measurement) -> str:
    """Give the lines of one measurement: each with its median, its spread, and the ratio of ours to it."""
    ours = spread(measurement.ours)
    lines = [f"{measurement.name} ({measurement.unit})", _line("himbeerecouch", ours, "")]
    for what, values in measurement.beside.items():
        its = spread(values)
        lines.append(_line(what, its, f"{ours.median / its.median:8.2f} x" if its.median else ""))
    lines += [_line(f"of it: {what}", spread(values), "") for what, values in measurement.parts.items()]
    lines += [f"  {what:44} not measured: {why}" for what, why in measurement.missing.items()]
    lines += [f"  {goal.text:60} {'met' if goal.met else 'MISSED'}" for goal in measurement.goals]
    return "\n".join(lines)


def _line(what: str, found: Spread, ratio: str) -> str:
    around = f"({found.low:.4g} .. {found.high:.4g}, p99 {found.p99:.4g}, n={found.number})" if found.number > 1 else ""
    return f"  {what:44} {found.median:10.4g}  {around:48} {ratio}".rstrip()


def as_json(measurement: Measurement) -> dict[str, Any]:
    """Give all of a measurement but the samples: a report is small enough to be kept."""
    return {
        "name": measurement.name,
        "unit": measurement.unit,
        "ours": figures(measurement.ours),
        "beside": {what: figures(values) for what, values in measurement.beside.items()},
        "parts": {what: figures(values) for what, values in measurement.parts.items()},
        "missing": dict(measurement.missing),
        "goals": [goal._asdict() for goal in measurement.goals],
    }


def figures(values: Sequence[float]) -> dict[str, float]:
    """Give what samples say together, as JSON."""
    return {name: float(f"{value:.5g}") for name, value in spread(values)._asdict().items()}


def circumstances() -> dict[str, Any]:
    """Give what was measured, when, and on what machine."""
    kernel = ".".join(platform.release().split(".")[:2])
    return {
        "himbeerecouch": VERSION,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": (
            f"{os.cpu_count()} processors ({platform.machine()}), Python {platform.python_version()}, Linux {kernel}"
        ),
    }


def added(file: Path, told: dict[str, Any], part: str, names: Sequence[str]) -> dict[str, Any]:
    """Give the report with what the file has besides, where that is of the same day, machine and version.

    ``part`` has what was measured, and ``names`` are the members that say which is which.
    """
    if not file.exists():
        return told
    there = json.loads(file.read_text())
    if any(there.get(name) != value for name, value in circumstances().items()):
        return told

    def which(measured: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(measured[name] for name in names)

    fresh = {which(measured): measured for measured in told[part]}
    kept = [fresh.pop(which(measured), measured) for measured in there[part]]
    return {**told, part: kept + list(fresh.values())}
