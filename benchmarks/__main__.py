"""How long a change takes, beside the floor of the same machine in the same run.  ``make bench``.

Everything runs on loopback: the embedded database, one real ``twistd himbeerecouch``, and this process, which saves
documents and hears from the programs by UDP.  All times are of the one monotonic clock of the machine.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from benchmarks.world import MAC_ID, TWISTD, World

Measured = TypeVar("Measured")

REPETITIONS = 50
WARM_UP = 5

PROGRAM = """
import time


def main():
    now = time.monotonic_ns()
    import socket
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"%d" % now, ("127.0.0.1", {port}))
{rest}
"""
IDLE = "    while not should_quit():\n        time.sleep(3600)\n"


class Latency(NamedTuple):
    """Three moments of the monotonic clock, in ns."""

    sent: int
    acknowledged: int
    seen: int

    def since_sent(self) -> float:
        """Milliseconds as the one who saves waits for them."""
        return (self.seen - self.sent) / 1e6

    def since_acknowledged(self) -> float:
        """Milliseconds without what the server takes to store the document."""
        return (self.seen - self.acknowledged) / 1e6


def main() -> int:
    """Measure everything; return 1 where a goal is missed."""
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        floor = _repeat(lambda n: _floor(world, n))
        deploy = _repeat(lambda n: _deploy(world, n))
        compile_ms = _median(_repeat(lambda _: _timed(lambda: compile(_source(1), "x", "exec"))))
        spawn = _repeat(lambda _: _timed(lambda: subprocess.run(["true"], check=True)))
        command = _repeat(lambda n: _command(world, n))
        world.stop_daemon()
        start = [_start(world) for _ in range(5)]
        memory = _memory(world)
    bare_memory = _bare_memory()
    deploy_ms, floor_ms = [one.since_sent() for one in deploy], [one.since_sent() for one in floor]
    rows = [
        ("document saved -> first line of main()", deploy_ms, "bare long poll wakes", floor_ms),
        (
            "the same, since the acknowledgement",
            [one.since_acknowledged() for one in deploy],
            "the same",
            [one.since_acknowledged() for one in floor],
        ),
        ("command inserted -> ret there", command, "bare spawn", spawn),
    ]
    print(f"median (and spread: 10 % .. 90 %) of {REPETITIONS}, in ms\n")
    for what, ours, beside, its in rows:
        print(f"{what:42} {_spread(ours)}   {beside:22} {_spread(its)}   ratio {_median(ours) / _median(its):.2f}")
    print(f"{'twistd -> first program runs':42} {_median(start):7.0f}")
    print(f"{'resident with five idle programs':42} {memory:7.1f} MB   bare twistd and treq {bare_memory:5.1f} MB")
    goals = [
        ("deploy <= 3 x floor + compile", _median(deploy_ms) <= 3 * _median(floor_ms) + compile_ms),
        ("command <= bare spawn + 15 ms", _median(command) <= _median(spawn) + 15),
        ("start <= 1.5 s", _median(start) <= 1500),
        ("memory <= bare + 8 MB", memory <= bare_memory + 8),
    ]
    print()
    for goal, met in goals:
        print(f"{goal:42} {'met' if met else 'MISSED'}")
    return 0 if all(met for _, met in goals) else 1


# --- what is measured -------------------------------------------------------------------------------------------------


def _floor(world: World, number: int) -> Latency:
    """From a save to the end of a bare long poll that waits for it: sockets alone."""
    since = world.couch.ask("GET", world.database)["update_seq"]
    selector = {"selector": {"type": f"floor-{number}"}}
    query = f"{world.database}/_changes?feed=longpoll&timeout=20000&since={since}&filter=_selector&include_docs=true"
    poll = world.connect()
    poll.send("POST", query, selector)
    time.sleep(0.02)  # the poll has to be parked before the write
    sent, acknowledged = world.save({"type": f"floor-{number}", "code": _source(1)})
    poll.receive()
    return Latency(sent, acknowledged, time.monotonic_ns())


def _deploy(world: World, number: int) -> Latency:
    """From the save of a new document to the first line of its ``main()``."""
    with _listener() as (port, heard):
        document = {"_id": f"deploy-{number}", "type": MAC_ID, "code": _source(port)}
        sent, acknowledged = world.save(document)
        return Latency(sent, acknowledged, heard())


def _command(world: World, number: int) -> float:
    """Milliseconds from a command's acknowledgement to its ``ret``, as another client's long poll sees it."""
    id = f"command-{number}"
    _, saved = world.save({"_id": id, "type": f"{MAC_ID}_cmd", "cmd": ["true"]})
    world.wait_for(id, lambda document: "ret" in document)
    return (time.monotonic_ns() - saved) / 1e6


def _start(world: World) -> float:
    """Milliseconds from the start of ``twistd`` to the first line of a program that is there already."""
    with _listener() as (port, heard):
        world.save({"_id": "start", "type": MAC_ID, "code": _source(port)}, replace=True)
        began = time.monotonic_ns()
        world.start_daemon()
        try:
            return (heard() - began) / 1e6
        finally:
            world.stop_daemon()
            world.delete("start")


def _memory(world: World) -> float:
    """Resident megabytes of the daemon with five idle programs."""
    with contextlib.ExitStack() as stack:
        for number in range(5):
            port, heard = stack.enter_context(_listener())
            world.save({"_id": f"idle-{number}", "type": MAC_ID, "code": _source(port, IDLE)})
            if number == 0:
                world.start_daemon()
            heard()
        time.sleep(2)
        return _resident(world.daemon_pid())


def _bare_memory() -> float:
    """Resident megabytes of a twistd that has imported treq and does nothing."""
    with tempfile.TemporaryDirectory() as folder:
        tac = Path(folder) / "bare.tac"
        tac.write_text(
            "import treq\nfrom twisted.application.service import Application\napplication = Application('x')\n"
        )
        process = subprocess.Popen([*TWISTD, "--logfile=/dev/null", "--python", str(tac)])
        try:
            time.sleep(3)
            return _resident(process.pid)
        finally:
            process.terminate()
            process.wait()


# --- how it is measured -----------------------------------------------------------------------------------------------


def _source(port: int, rest: str = "") -> str:
    return PROGRAM.format(port=port, rest=rest)


@contextlib.contextmanager
def _listener() -> Iterator[tuple[int, Callable[[], int]]]:
    """A UDP port, and a function that waits for the time that a program sends to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("127.0.0.1", 0))
        port.settimeout(30)
        yield port.getsockname()[1], lambda: int(port.recv(100))


def _timed(work: Callable[[], Any]) -> float:
    began = time.monotonic_ns()
    work()
    return (time.monotonic_ns() - began) / 1e6


def _repeat(measure: Callable[[int], Measured]) -> list[Measured]:
    return [measure(number) for number in range(WARM_UP + REPETITIONS)][WARM_UP:]


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _spread(values: list[float]) -> str:
    tenths = statistics.quantiles(values, n=10)
    return f"{_median(values):7.2f} ({tenths[0]:.2f} .. {tenths[-1]:.2f})"


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    sys.exit(main())
