"""What a Pi does that has nothing to do: processor, disk, network and system calls of an idle daemon."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.latency import IDLE, source
from benchmarks.peers.beacon import beacon
from benchmarks.samples import Goal, Measurement
from benchmarks.start import SERVICE
from benchmarks.world import MAC_ID, TWISTD, World

PROGRAMS = 5
SETTLE_S = 65.0
"""After its first minute a daemon has written what it will write."""
GOAL_PERCENT = 0.05


def idle(world: World, seconds: float) -> Iterator[Measurement]:
    """Watch an idle daemon with five programs for so long, beside a bare twistd."""
    world.stop_daemon()
    with tempfile.TemporaryDirectory() as folder, beacon() as port:
        tac = Path(folder) / "bare.tac"
        tac.write_text(SERVICE)
        for number in range(PROGRAMS):
            world.save({"_id": f"calm-{number}", "type": MAC_ID, "code": source(port.source(number), IDLE)})
        world.start_daemon()
        bare = subprocess.Popen([*TWISTD, "--logfile=/dev/null", "--python", str(tac)])
        try:
            port.heard_all(set(range(PROGRAMS)))
            time.sleep(SETTLE_S)
            pid = world.daemon_pid()
            before, its_before = _used(pid), _used(bare.pid)
            time.sleep(seconds)
            after, its_after = _used(pid), _used(bare.pid)
            calls = _system_calls(pid, min(seconds, 60.0))
        finally:
            bare.terminate()
            bare.wait()
            world.stop_daemon()
            world.couch = world.connect()  # by now the server has closed the connection that nobody used
            for number in range(PROGRAMS):
                world.delete(f"calm-{number}")
    percent, its_percent = ((b[0] - a[0]) / seconds * 100 for a, b in ((before, after), (its_before, its_after)))
    goal = Goal(f"at most {GOAL_PERCENT} % of a core", percent <= GOAL_PERCENT)
    beside = "a bare twistd with treq"
    over = f"over {seconds:.0f} s"
    yield Measurement(f"processor of an idle daemon {over}", "% of a core", [percent], {beside: [its_percent]}, [goal])
    written, its_written = after[1] - before[1], its_after[1] - its_before[1]
    yield Measurement(f"written to the disk {over}", "bytes", [written], {beside: [its_written]})
    for name, what in (("total", "system calls"), ("sendto", "of them sends to the network")):
        if calls:
            yield Measurement(f"{what}, a minute", "calls", [calls.get(name, 0.0)], {})


def _used(pid: int) -> tuple[float, float]:
    """Give the seconds of processor time, and the bytes that went to the disk."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    nanoseconds = sum(int(task.read_text().split()[0]) for task in tasks)
    written = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.M)
    return nanoseconds / 1e9, float(written[1]) if written else 0.0


def _system_calls(pid: int, seconds: float) -> dict[str, float]:
    """Count them by name, as many as there are in a minute, with strace; nothing where it is not to be had."""
    if not shutil.which("strace"):
        return {}
    tracer = subprocess.Popen(["strace", "-f", "-c", "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    tracer.send_signal(signal.SIGINT)
    told = tracer.communicate(timeout=30)[1]
    rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", told, re.M)
    return {name: int(calls) / seconds * 60 for calls, name in rows}
