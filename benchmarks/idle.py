"""What a Pi does that has nothing to do: processor, disk, network and system calls of an idle daemon."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.latency import IDLE, source
from benchmarks.peers.beacon import beacon
from benchmarks.samples import Goal, Measurement
from benchmarks.start import SERVICE
from benchmarks.world import MAC_ID, TWISTD, World

PROGRAMS = 5
WINDOWS = 30
SETTLE_S = 65.0
"""After its first minute a daemon has written what it will write."""
GOAL_PERCENT = 0.05
COUNTED = {"raw_syscalls:sys_enter": "system calls", "net:net_dev_queue": "packets sent"}
"""The kernel's tracepoints, which perf counts without stopping anybody: the processor time stays what it is."""


class Used(NamedTuple):
    """What a process has used since its start."""

    processor_s: float
    written_bytes: float


def idle(world: World, seconds: float) -> Iterator[Measurement]:
    """Watch an idle daemon with five programs for so long, beside a bare twistd."""
    world.stop_daemon()
    window_s = seconds / WINDOWS
    with tempfile.TemporaryDirectory() as folder, beacon() as port:
        tac = Path(folder) / "bare.tac"
        tac.write_text(SERVICE)
        for number in range(PROGRAMS):
            world.save({"_id": f"calm-{number}", "type": MAC_ID, "code": source(port.source(number), IDLE)})
        world.start_daemon()
        counters: list[subprocess.Popen[str] | None] = []
        bare = subprocess.Popen([*TWISTD, "--logfile=/dev/null", "--python", str(tac)])
        try:
            port.heard_all(set(range(PROGRAMS)))
            time.sleep(SETTLE_S)
            pids = (world.daemon_pid(), bare.pid)
            counters += [_counting(pid, window_s) for pid in pids]
            used = [[_used(pid)] for pid in pids]
            for _ in range(WINDOWS):
                time.sleep(window_s)
                for pid, so_far in zip(pids, used, strict=True):
                    so_far.append(_used(pid))
        finally:
            counted = [_counted(counter) for counter in counters]
            bare.terminate()
            bare.wait()
            world.stop_daemon()
            for number in range(PROGRAMS):
                world.delete(f"calm-{number}")
    beside = "a bare twistd with treq"
    over = f"in each {window_s:.0f} s of {seconds:.0f} idle ones"
    ours, its = ([b.processor_s - a.processor_s for a, b in pairwise(so_far)] for so_far in used)
    percent = sum(ours) / seconds * 100
    goal = Goal(f"at most {GOAL_PERCENT} % of a core over all of them: {percent:.3f}", percent <= GOAL_PERCENT)
    in_ms = [[each * 1000 for each in one] for one in (ours, its)]
    yield Measurement(f"processor time {over}", "ms", in_ms[0], {beside: in_ms[1]}, [goal])
    ours, its = ([b.written_bytes - a.written_bytes for a, b in pairwise(so_far)] for so_far in used)
    yield Measurement(f"written to the disk {over}", "bytes", ours, {beside: its})
    for event, what in COUNTED.items():
        ours, its = (counts.get(event, []) for counts in counted)
        if ours and its:
            yield Measurement(f"{what} {over}", "number", ours, {beside: its})


def _used(pid: int) -> Used:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    nanoseconds = sum(int(task.read_text().split()[0]) for task in tasks)
    written = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.M)
    return Used(nanoseconds / 1e9, float(written[1]) if written else 0.0)


def _counting(pid: int, window_s: float) -> subprocess.Popen[str] | None:
    """Begin to count, window by window, with perf; None where it is not to be had."""
    if not shutil.which("perf"):
        return None
    argv = ["perf", "stat", "-x", ",", "-I", str(round(window_s * 1000)), "-e", ",".join(COUNTED), "-p", str(pid)]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)


def _counted(counter: subprocess.Popen[str] | None) -> dict[str, list[float]]:
    """End that, and give the counts of each event, window by window."""
    found: dict[str, list[float]] = {}
    if counter is not None:
        counter.send_signal(signal.SIGINT)
        for line in counter.communicate(timeout=30)[1].splitlines():
            row = re.match(r" *[\d.]+,(\d+|<not counted>),,([\w:]+),", line)
            if row is not None:  # what has not run meanwhile is not counted
                found.setdefault(row[2], []).append(float(row[1]) if row[1].isdigit() else 0.0)
    return {event: counts[:WINDOWS] for event, counts in found.items()}
