"""What himbeerecouch costs, beside what it could cost at best and beside what people use instead: ``make bench``.

Everything runs on loopback: the embedded database, one real ``twistd himbeerecouch``, and this process, which saves
documents and hears from the programs by UDP.  All times are of the one monotonic clock of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.follower import follower, lost
from benchmarks.idle import idle
from benchmarks.latency import latency
from benchmarks.memory import memory
from benchmarks.samples import Measurement, added, as_json, circumstances, table
from benchmarks.start import start
from benchmarks.world import World

Part = Callable[[World], Iterator[Measurement]]
QUICK: dict[str, Part] = {
    "latency": lambda world: latency(world, 50, full=False),
    "start": lambda world: start(world, 5, full=False),
    "memory": lambda world: memory(world, 1, full=False, programs=(0, 1, 10)),
    "follower": lambda world: follower(world, 5, (10_000,), full=False),
}
"""Two minutes, and nothing to install."""
FULL: dict[str, Part] = {
    "latency": lambda world: latency(world, 50, full=True),
    "start": lambda world: start(world, 30, full=True),
    "memory": lambda world: memory(world, 30, full=True),
    "follower": lambda world: follower(world, 30, (10_000,), full=True),
    "large": lambda world: follower(world, 30, (100_000,), full=True),
    "lost": lambda world: lost(world, 100),
    "idle": lambda world: idle(world, 600.0),
}
"""All of it: what people use instead is installed first, each into a folder of its own."""


def main(argv: list[str]) -> int:
    """Measure, print, and write it down; return 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"some of: {' '.join(FULL)}")
    parser.add_argument("--full", action="store_true", help="with all that people use instead; takes an hour")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures there, beside those of the same day"
    )
    options = parser.parse_args(argv)
    parts = FULL if options.full else QUICK
    # What is installed has its bytecode: a daemon that compiles itself at each start is nobody's.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    measured: list[Measurement] = []
    for name in options.parts or parts:
        if name not in parts:
            parser.error(f"there is no {name} here: {' '.join(parts)}")
        with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
            for measurement in parts[name](world):
                print(table(measurement) + "\n", flush=True)
                measured.append(measurement)
                if options.json is not None:  # each time: an hour is long, and what ends it early takes nothing away
                    options.json.write_text(
                        json.dumps(added(options.json, report(measured), "measurements", ("name",)), indent=1) + "\n"
                    )
    missed = [f"{one.name}: {goal.text}" for one in measured for goal in one.goals if not goal.met]
    print("\n".join(["missed:", *missed]) if missed else "every goal is met", flush=True)
    return 1 if missed else 0


def report(measured: list[Measurement]) -> dict[str, Any]:
    """Give all that was measured, and where."""
    return {**circumstances(), "measurements": [as_json(each) for each in measured]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
