"""What a start costs: seconds to the first program, the imports, and instructions, which repeat where seconds don't."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.latency import source
from benchmarks.peers.beacon import beacon
from benchmarks.samples import Goal, Measurement, spread
from benchmarks.world import MAC_ID, TWISTD, World

GOAL_MS = 500
SERVICE = "import treq\nfrom twisted.application.service import Application\napplication = Application('x')\n"
"""A twistd that has imported what every Twisted program with an HTTP client has, and does nothing."""
TOP = 8


def start(world: World, repetitions: int, *, full: bool) -> Iterator[Measurement]:
    """Measure starts of the daemon whose program is there already, beside a bare twistd's."""
    world.stop_daemon()
    ours, bare = [], []
    for _ in range(repetitions):
        ours.append(_start(world))
        bare.append(_bare_start())
    goal = Goal(f"at most {GOAL_MS} ms", spread(ours).median <= GOAL_MS)
    yield Measurement("twistd -> first program runs", "ms", ours, {"a bare twistd with treq": bare}, [goal])
    yield _imports(repetitions)
    if full and shutil.which("valgrind"):
        yield Measurement(
            "instructions until all is imported",
            "million",
            [instructions("import himbeerecouch.tap")],
            {"treq alone": [instructions("import treq")], "a bare Python": [instructions("pass")]},
        )


def _imports(repetitions: int) -> Measurement:
    ours, treq = [], []
    for _ in range(repetitions):
        ours.append(imported("himbeerecouch.tap"))
        treq.append(sum(imported("treq").values()))
    modules = {name: [one.get(name, 0.0) for one in ours] for name in ours[0]}
    slowest = sorted(modules, key=lambda name: -spread(modules[name]).median)[:TOP]
    return Measurement(
        "importing all that the daemon needs",
        "ms",
        [sum(one.values()) for one in ours],
        {"treq alone": treq},
        parts={name: modules[name] for name in slowest},
    )


def _start(world: World) -> float:
    """Milliseconds from the start of ``twistd`` to the first line of a program that is there already."""
    with beacon() as port:
        world.save({"_id": "start", "type": MAC_ID, "code": source(port.source(1))}, replace=True)
        began = time.monotonic_ns()
        world.start_daemon()
        try:
            return (port.heard(1) - began) / 1e6
        finally:
            world.stop_daemon()
            world.delete("start")


def _bare_start() -> float:
    """Milliseconds until a twistd has imported treq and runs its reactor."""
    with tempfile.TemporaryDirectory() as folder, beacon() as port:
        tac = Path(folder) / "bare.tac"
        first = "".join(f"    {line}\n" for line in port.source(1).splitlines())
        tac.write_text(
            f"{SERVICE}def main():\n{first}\nfrom twisted.internet import reactor\nreactor.callWhenRunning(main)\n"
        )
        began = time.monotonic_ns()
        process = subprocess.Popen([*TWISTD, "--logfile=/dev/null", "--python", str(tac)])
        try:
            return (port.heard(1) - began) / 1e6
        finally:
            process.terminate()
            process.wait()


def imported(module: str) -> dict[str, float]:
    """Give the milliseconds that each module takes by itself when ``module`` is imported."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"], capture_output=True, text=True, check=True
    )
    rows = re.findall(r"import time: +(\d+) \| +\d+ \| +(\S+)", told.stderr)
    return {name: int(us) / 1000 for us, name in rows}


def instructions(code: str) -> float:
    """Give the millions of instructions that a Python with ``code`` executes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable, "-c", code]
        subprocess.run(argv, capture_output=True, check=True, timeout=600)
        found = re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M)
    if found is None:
        raise ValueError("callgrind does not say how many instructions there were")
    return int(found[1]) / 1e6
