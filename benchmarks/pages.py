"""Writes the figures of a run into the documents: ``make bench-docs``.

``python -m benchmarks.pages REPORT PAGE`` replaces what stands in the page behind the line ``MARK``, and puts the
pictures beside it.  The report is one of ``make bench-full`` or of ``make bench-fleet``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import fleets
from benchmarks.bars import Bar, chart, short
from benchmarks.follower import followed
from benchmarks.latency import ANSWERED, DEPLOYED
from benchmarks.memory import kept

MARK = ".. Behind this line all is written by make bench-docs.\n"
CHARTS = {
    "deploy": DEPLOYED,
    "command": ANSWERED,
    "memory": kept("resident", 1),
    "rows": followed(10_000),
}
"""Name of the picture -> the measurement that it shows."""


def write(report: dict[str, Any], page: Path) -> None:
    """Write the figures into the page, and the pictures beside it."""
    head, mark, _ = page.read_text(encoding="utf-8").partition(MARK)
    if not mark:
        raise ValueError(f"{page} has no line {MARK!r}")
    page.write_text(head + mark + "\n" + "\n".join(_lines(report, page.stem)), encoding="utf-8")
    for name, (title, unit, bars) in _pictures(report).items():
        (page.parent / f"{page.stem}-{name}.svg").write_text(chart(title, unit, bars), encoding="utf-8")


def _lines(report: dict[str, Any], stem: str) -> Iterator[str]:
    yield "The figures"
    yield "-----------"
    yield ""
    yield f"himbeerecouch {report['himbeerecouch']}, {report['date']}, on {report['machine']}:"
    yield ""
    for name, (title, unit, bars) in _pictures(report).items():
        figures = ", ".join(f"{bar.name} {short(bar.median)}" for bar in bars)
        yield f".. image:: {stem}-{name}.svg"
        yield f"   :alt: {title}, in {unit}: {figures}"
        yield ""
    for measurement in report.get("measurements", ()):
        yield from _table(measurement)
    yield from fleets.tables(report.get("fleets", ()))


def _pictures(report: dict[str, Any]) -> dict[str, tuple[str, str, list[Bar]]]:
    """Name of each picture -> its title, unit and bars."""
    by_name = {measurement["name"]: measurement for measurement in report.get("measurements", ())}
    found = {
        name: (what, by_name[what]["unit"], _bars(by_name[what])) for name, what in CHARTS.items() if what in by_name
    }
    at_rest = fleets.at_rest(report.get("fleets", ()))
    return found | ({"rest": (fleets.REST, fleets.UNIT, at_rest)} if at_rest else {})


def _named(measurement: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    return [("himbeerecouch", measurement["ours"]), *measurement["beside"].items()]


def _bars(measurement: dict[str, Any]) -> list[Bar]:
    bars = [Bar(name, found["median"], found["low"], found["high"]) for name, found in _named(measurement)]
    return [bars[0]._replace(ours=True), *bars[1:]]


def _table(measurement: dict[str, Any]) -> Iterator[str]:
    yield f".. list-table:: {measurement['name']} ({measurement['unit']})"
    yield "   :header-rows: 1"
    yield "   :widths: 46 12 20 12 6 12"
    yield ""
    yield from _row("", "median", "10 % .. 90 %", "p99", "n", "ratio")
    ours = measurement["ours"]["median"]
    for name, found in _named(measurement):
        ratio = f"{ours / found['median']:.2f}" if found["median"] and found is not measurement["ours"] else ""
        yield from _row(name, *_figures(found), ratio)
    for name, found in measurement["parts"].items():
        yield from _row(f"of it: ``{name}``", *_figures(found), "")
    for name, why in measurement["missing"].items():
        yield from _row(f"{name}: not measured ({why})", "", "", "", "", "")
    yield ""
    for goal in measurement["goals"]:
        yield f"- Goal: {goal['text']}: {'met' if goal['met'] else '**missed**'}."
    if measurement["goals"]:
        yield ""


def _figures(found: dict[str, float]) -> tuple[str, str, str, str]:
    if found["number"] == 1:
        return short(found["median"]), "", "", "1"
    return (
        short(found["median"]),
        f"{short(found['low'])} .. {short(found['high'])}",
        short(found["p99"]),
        f"{found['number']:.0f}",
    )


def _row(first: str, *others: str) -> Iterator[str]:
    yield f"   * - {first}".rstrip()
    yield from (f"     - {other}".rstrip() for other in others)


def main(argv: list[str]) -> int:
    """Write the page that the command line names."""
    report, page = (Path(name) for name in argv)
    write(json.loads(report.read_text(encoding="utf-8")), page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
