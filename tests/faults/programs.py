"""Faults 21 to 23, 27, 30 and 31: what programs do."""

from __future__ import annotations

import itertools
import re
import signal
import time

from tests.faults.stage import (
    KEPT_CONNECTIONS,
    LOOP,
    Stage,
    alive,
    check,
    exactly,
    forget_peak,
    own_threads,
    peak_mb,
    ready_for_commands,
    runs,
    took,
)
from tests.integration.world import MAC_ID, PATH, World, until


def crashes_at_once(stage: Stage) -> str:
    """Backoff; the others are untouched."""
    world = stage.world("other")
    daemon = world.start(wait="other runs")
    world.program("bad", "log('bad is loaded')\n\ndef main():\n    return 1 / 0\n")
    times: list[float] = []
    wanted = 3 if stage.brief else 5
    deadline = time.monotonic() + 60
    while len(times) < wanted and time.monotonic() < deadline:
        if len(daemon.lines("bad is loaded")) > len(times):
            times.append(time.monotonic())
        time.sleep(0.01)
    check(len(times) == wanted, f"it was started {len(times)} times in 60 s")
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(times)]
    for number, pause_s in enumerate(pauses_s):
        check(2**number - 0.2 <= pause_s <= 2**number + 1.5, f"the pauses are {pauses_s}")
    exactly(daemon, {"other runs": 1, "other quits": 0})
    world.program("bad", LOOP.format("mended"))
    mended_s = took(runs(daemon, "mended"), "the mended one", 2)
    alive(daemon)
    return f"pauses of {', '.join(f'{p:.1f}' for p in pauses_s)} s; mended, it runs after {mended_s:.2f} s"


def cannot_be_ended(stage: Stage) -> str:
    """A ``while True`` gives way within 6 s, and nobody else restarts; one blocked in C within 30 s, same pid."""
    world = stage.world("other")
    world.program("forever", "import time\n\ndef main():\n    log('forever runs')\n    while True: time.sleep(60)\n")
    daemon = world.start(wait="forever runs")
    daemon.wait_for("other runs")
    world.program("forever", LOOP.format("replaced"))
    loop_s = took(runs(daemon, "replaced"), "the new revision of the loop", 6)
    exactly(daemon, {"other runs": 1, "other quits": 0})
    if stage.brief:
        return f"the loop gave way after {loop_s:.1f} s"
    world.program("stuck", "import threading\n\ndef main():\n    log('stuck runs')\n    threading.Event().wait()\n")
    until(runs(daemon, "stuck"), "one that can't be ended")
    world.program("stuck", LOOP.format("unstuck"))
    stuck_s = took(runs(daemon, "unstuck"), "the new revision of what can't be ended", 30)
    alive(daemon)
    until(runs(daemon, "replaced", 2), "the others again", 30)
    check(daemon.stop() == 0, "it did not end well")
    return f"the loop gave way after {loop_s:.1f} s, what is blocked in C after {stuck_s:.1f} s, with the same pid"


FLOOD = """line = 'x' * 9999

def main():
    while not should_quit():
        print(line)
"""


def floods(stage: Stage) -> str:
    """Memory grows by less than 20 MB, what was dropped is counted."""
    world = stage.world("other")
    daemon = world.start(wait="other runs")
    ready_for_commands(world)
    world.command("warm", "echo", "x")
    before_mb = daemon.resident_mb()
    forget_peak(daemon.pid)
    world.program("flood", FLOOD)
    until(lambda: daemon.lines("xxxxxxxx"), "the flood")
    size = 100_000_000 if stage.brief else 1_000_000_000
    world.save("c", type=f"{MAC_ID}_cmd", cmd=["sh", "-c", f"yes 'a line' | head -c {size}"])
    document = world.answered("c", 120)
    time.sleep(1 if stage.brief else 5)
    world.program("other", LOOP.format("edited"))
    lag_s = took(runs(daemon, "edited"), "an edit under the flood", 10)
    world.delete("flood")
    grown_mb = peak_mb(daemon.pid) - before_mb
    dropped, kept = document["execution"]["dropped_bytes"], len(document["ret"][0].encode())
    check(dropped + kept >= size, f"dropped {dropped} and kept {kept} of {size} bytes")
    check(kept <= 1.1 * 1024 * 1024, f"kept {kept} bytes")
    until(lambda: daemon.lines("dropped"), "a line that counts what the program printed and nobody read", 20)
    counted = sum(int(n) for line in daemon.lines("dropped") for n in re.findall(r"([0-9]+) lines", line))
    check(counted > 1000, f"{counted} lines were counted as dropped: {daemon.lines('dropped')[:2]}")
    check(grown_mb < 20, f"memory grew by {grown_mb:.0f} MB")
    alive(daemon)
    return f"memory +{grown_mb:.0f} MB; {counted} lines and {dropped} bytes dropped; an edit took {lag_s:.2f} s"


COUNTS = """import time
from twisted.internet import reactor

def main():
    log('counts runs')
    reactor.callFromThread(reactor.callLater, 0.2, count)
    while not should_quit():
        time.sleep(60)

def count():
    log('delayed', len(reactor.getDelayedCalls()), 'calls')
"""
"""Programs share the process with the daemon: this one looks at its reactor."""


def reloads(stage: Stage) -> str:
    """1,000 reloads: threads, file descriptors, delayed calls as before; memory grows by less than 5 MB."""
    world = stage.world("other")
    world.program("counts", COUNTS)
    daemon = world.start(wait="calls")
    warm = 20
    wanted = warm + (50 if stage.brief else 1000)
    threads, files, before_mb = 0, 0, 0.0
    for number in range(2, wanted + 2):
        daemon.signal(signal.SIGHUP)
        until(runs(daemon, "other", number), f"reload {number}", 20)
        until(runs(daemon, "counts", number), f"reload {number}", 20)
        if number == warm:
            time.sleep(1)
            threads, files, before_mb = own_threads(daemon), daemon.descriptors(), daemon.resident_mb()
    time.sleep(1)
    until(lambda: own_threads(daemon) <= threads, f"{threads} threads, as before")
    until(lambda: daemon.descriptors() <= files + KEPT_CONNECTIONS, f"{files} files, as before")
    grown_mb = daemon.resident_mb() - before_mb
    check(grown_mb < 5, f"memory grew by {grown_mb:.1f} MB")
    counted = [int(n) for line in daemon.lines("delayed") for n in re.findall(r"delayed ([0-9]+) calls", line)]
    check(counted[-1] <= max(counted[:3]) + 2, f"delayed calls, from {counted[:3]} to {counted[-3:]}")
    alive(daemon)
    return (
        f"{wanted - warm} reloads: {threads} threads and {files} files as before, delayed calls "
        f"{counted[0]} -> {counted[-1]}, memory {grown_mb:+.1f} MB"
    )


def segfault_at_start(stage: Stage) -> str:
    """The daemon comes back, and after the third time runs everything but that one."""
    world = stage.world("other")
    world.program("bad", "import os\n\ndef main():\n    log('bad runs')\n    os.kill(os.getpid(), 11)\n")
    ends = 0
    began = time.monotonic()
    daemon = world.start()
    while not (daemon.process.poll() is None and runs(daemon, "other")() and daemon.lines("quarantine")):
        check(time.monotonic() - began < 60, f"after {ends} ends it is not well\n{daemon.log()[-3000:]}")
        if daemon.process.poll() is not None:
            ends += 1
            check(ends <= 3, "it was ended more than three times")
            daemon = world.start()
        time.sleep(0.05)
    time.sleep(3)
    alive(daemon)
    exactly(daemon, {"bad runs": 0, "other runs": 1})
    world.program("bad", LOOP.format("mended"))
    mended_s = took(runs(daemon, "mended"), "the mended one", 10)
    alive(daemon)
    return f"after {ends} ends everything runs but that one; mended, it runs after {mended_s:.2f} s"


def typo_in_a_global_module(stage: Stage) -> str:
    """Nobody restarts, the status says so."""
    world = stage.world("other")
    world.save("lib", type=5, global_modules={"sensors": "VALUE = 1\n"})
    world.program("user", "import sensors\n" + LOOP.format("user"))
    daemon = world.start(wait="user runs")
    world.save("lib", type=5, global_modules={"sensors": "VALUE = !\n"})
    daemon.wait_for("does not compile")
    said = until(lambda: _rejected(world, "lib"), "the status to say so", 40)
    exactly(daemon, {"user runs": 1, "user quits": 0, "other runs": 1, "other quits": 0})
    world.save("lib", type=5, global_modules={"sensors": "VALUE = 2\n"})
    until(runs(daemon, "user", 2), "the user of the mended module")
    exactly(daemon, {"other runs": 1})
    alive(daemon)
    return f"nobody restarted; the status says: {said[0]['reason']}"


def _rejected(world: World, id: str) -> list[dict[str, str]]:
    try:
        status = world.couch.ask("GET", f"{PATH}_status/{MAC_ID}_heartbeat")
    except OSError:  # there is none yet
        return []
    return [rejected for rejected in status["rejected"] if rejected["id"] == id]
