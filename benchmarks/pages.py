"""Writes the figures of a run into the documents: ``make bench-docs``.

``python -m benchmarks.pages REPORT PAGE`` replaces what stands in the page behind the line ``MARK``, and puts the
pictures beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    for name, measurement in _drawn(report):
        (page.parent / f"{page.stem}-{name}.svg").write_text(_picture(measurement), encoding="utf-8")


def _lines(report: dict[str, Any], stem: str) -> Iterator[str]:
    yield "The figures"
    yield "-----------"
    yield ""
    yield f"himbeerecouch {report['himbeerecouch']}, {report['date']}, on {report['machine']}:"
    yield ""
    for name, measurement in _drawn(report):
        yield f".. image:: {stem}-{name}.svg"
        yield f"   :alt: {_sentence(measurement)}"
        yield ""
    for measurement in report["measurements"]:
        yield from _table(measurement)


def _drawn(report: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    by_name = {measurement["name"]: measurement for measurement in report["measurements"]}
    for name, what in CHARTS.items():
        if what in by_name:
            yield name, by_name[what]


def _sentence(measurement: dict[str, Any]) -> str:
    figures = [f"{name} {short(found['median'])}" for name, found in _named(measurement)]
    return f"{measurement['name']}, in {measurement['unit']}: {', '.join(figures)}"


def _named(measurement: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    return [("himbeerecouch", measurement["ours"]), *measurement["beside"].items()]


def _picture(measurement: dict[str, Any]) -> str:
    bars = [Bar(name, found["median"], found["low"], found["high"]) for name, found in _named(measurement)]
    return chart(measurement["name"], measurement["unit"], [bars[0]._replace(ours=True), *bars[1:]])


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
