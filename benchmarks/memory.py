"""What the daemon keeps in memory, with no program and with many, beside what others do."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.latency import IDLE, or_say, source
from benchmarks.peers import appdaemon, salt
from benchmarks.peers.beacon import beacon
from benchmarks.samples import Goal, Measurement, spread
from benchmarks.start import SERVICE
from benchmarks.world import MAC_ID, TWISTD, World

PROGRAMS = (0, 1, 10, 100)
REST_S = 3.0
"""What a process is given to come to rest."""
PEERS: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[int]]] = {
    "salt-minion": salt.running_minion,
    "AppDaemon, one app": appdaemon.running_app,
}
"""Each gives the pid of its process."""


def kept(kind: str, programs: int) -> str:
    """Name a measurement: what is kept with so many programs."""
    return f"{kind} memory with {programs} idle program{'' if programs == 1 else 's'}"


def memory(world: World, repetitions: int, *, full: bool, programs: Sequence[int] = PROGRAMS) -> Iterator[Measurement]:
    """Measure resident and proportional megabytes."""
    world.stop_daemon()
    bare = [_bare() for _ in range(repetitions)]
    beside: dict[str, list[tuple[float, float]]] = {"a bare twistd with treq": bare}
    missing: dict[str, str] = {}
    if full:
        for name, start in PEERS.items():
            with or_say(missing, name):
                beside[name] = [_peer(start) for _ in range(repetitions)]
    medians: dict[int, float] = {}
    for count in programs:
        ours = [_ours(world, count) for _ in range(repetitions)]
        resident = [each[0] for each in ours]
        medians[count] = spread(resident).median
        goals = []
        if count == 0:
            limit = spread([each[0] for each in bare]).median + 5
            goals = [Goal(f"at most a bare twistd and 5 MB: {limit:.1f}", spread(resident).median <= limit)]
        elif count == programs[-1]:
            further = (spread(resident).median - medians[1]) / (count - 1)
            goals = [Goal(f"at most 0.15 MB for each further program: {further:.3f}", further <= 0.15)]
        for index, kind in ((0, "resident"), (1, "proportional")):
            yield Measurement(
                kept(kind, count),
                "MB",
                [each[index] for each in ours],
                {name: [each[index] for each in values] for name, values in beside.items()},
                goals if index == 0 else (),
                missing,
            )


def _peer(start: Callable[[Path], contextlib.AbstractContextManager[int]]) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as pid:
        time.sleep(REST_S)
        return tree_megabytes(pid)


def _ours(world: World, count: int) -> tuple[float, float]:
    ids = [f"idle-{number}" for number in range(count)]
    with beacon() as port:
        for number, id in enumerate(ids):
            world.save({"_id": id, "type": MAC_ID, "code": source(port.source(number), IDLE)})
        world.start_daemon()
        try:
            port.heard_all(set(range(count)))
            time.sleep(REST_S)
            return megabytes(world.daemon_pid())
        finally:
            world.stop_daemon()
            for id in ids:
                world.delete(id)


def _bare() -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        tac = Path(folder) / "bare.tac"
        tac.write_text(SERVICE)
        process = subprocess.Popen([*TWISTD, "--logfile=/dev/null", "--python", str(tac)])
        try:
            time.sleep(REST_S)
            return megabytes(process.pid)
        finally:
            process.terminate()
            process.wait()


def megabytes(pid: int) -> tuple[float, float]:
    """Give what is resident of a process, and its share where pages are shared with others."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) * 1024 / 1e6
    return found["Rss"], found["Pss"]


def tree_megabytes(pid: int) -> tuple[float, float]:
    """Give the same for a process with all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    resident, proportional = megabytes(pid)
    for child in children:
        with contextlib.suppress(OSError):
            more = tree_megabytes(int(child))
            resident, proportional = resident + more[0], proportional + more[1]
    return resident, proportional
