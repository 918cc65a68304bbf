"""Shows what fleets of several sizes cost: a table for each place of the status, and a picture of the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.bars import Bar, short
from benchmarks.samples import Goal

OWN, SAME = "own database", "same database"
TITLES = {
    OWN: "The status in a database of its own",
    SAME: "For comparison, the status in the database that all follow",
}
REST = "the server's processor while nothing happens"
UNIT = "% of a core"
COLUMNS = {
    "at rest, %": "rest_cpu_percent",
    "a change, ms": "per_change_ms",
    "without, ms": "per_change_without_pis_ms",
    "a deploy, ms": "per_deploy_ms",
    "Pi's, ms": "pis_per_deploy_ms",
    "all run, s": "deploy_s",
    "back, s": "back_s",
    "server, MB": "server_mb",
    "a Pi, MB": "pi_mb",
    "load": "load",
}

MOST_AT_REST = {1000: 10.0}
"""Pis -> what they may take of a core while nothing happens."""

Fleet = Mapping[str, Any]


def goals(fleets: Sequence[Fleet]) -> list[Goal]:
    """Say what the figures have to be, and whether they are."""
    return [
        Goal(f"{_size(fleet)} Pis at rest take at most {most:g} % of a core", fleet["rest_cpu_percent"] <= most)
        for fleet in fleets
        if (most := MOST_AT_REST.get(fleet["pis"])) and fleet["status"] == OWN and "missing" not in fleet
    ]


def tables(fleets: Sequence[Fleet]) -> Iterator[str]:
    """Give the lines of the tables."""
    for place, title in TITLES.items():
        there = sorted((fleet for fleet in fleets if fleet["status"] == place), key=lambda fleet: fleet["pis"])
        if there:
            yield from _table(title, there)
            yield from (f"- Goal: {goal.text}: {'met' if goal.met else '**missed**'}.\n" for goal in goals(there))


def _table(title: str, fleets: Sequence[Fleet]) -> Iterator[str]:
    yield f".. list-table:: {title}"
    yield "   :header-rows: 1"
    yield ""
    yield from _row("Pis", *COLUMNS)
    for fleet in fleets:
        if "missing" not in fleet:
            yield from _row(_size(fleet), *(_cell(fleet.get(key)) for key in COLUMNS.values()))
    yield ""
    for fleet in fleets:
        if "missing" in fleet:
            yield f"- Of {_size(fleet)}: not measured ({fleet['missing']})"
            yield ""


def _row(*cells: str) -> Iterator[str]:
    for number, cell in enumerate(cells):
        yield f"   {' ' if number else '*'} - {cell}".rstrip()


def _cell(value: Any) -> str:
    """Write a figure, or the median of several with the slowest of them."""
    if isinstance(value, dict):
        return _plain(value["median"]) + (f" ({_plain(value['p99'])})" if value["number"] > 1 else "")
    return "" if value is None else _plain(value)


def _plain(value: float) -> str:
    """Write three digits of a figure at most: some are rounded to fewer already."""
    text = short(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _size(fleet: Fleet) -> str:
    return f"{fleet['pis']:,}"


def at_rest(fleets: Sequence[Fleet]) -> list[Bar]:
    """Give what the server takes at rest, as bars; what is too little to be measured has none."""
    named = [
        (f"{_size(fleet)} {'Pis' if fleet['pis'] > 1 else 'Pi'}" + ", one database" * (fleet["status"] == SAME), fleet)
        for fleet in fleets
    ]
    found = [(name, fleet["rest_cpu_percent"], fleet) for name, fleet in named if fleet.get("rest_cpu_percent")]
    return [Bar(name, value, value, value, ours=fleet["status"] == OWN) for name, value, fleet in found]
