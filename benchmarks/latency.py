"""How long a change takes: a program that is saved, and a command that is inserted."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers import appdaemon, nodered, salt, supervisord, watchmedo
from benchmarks.peers.beacon import beacon
from benchmarks.peers.folders import NotThere
from benchmarks.samples import Goal, Measurement, spread
from benchmarks.world import MAC_ID, World

DEPLOYED = "document saved -> first line of main()"
ANSWERED = "command sent -> answer in its document"
REPLACED = "program saved again while it runs -> first line of the new main()"
WARM_UP = 5
AT_ONCE = 100
SALT_ROUNDS = 3
"""A hundred jobs at once take salt most of a minute: it starts a process of Python for each."""
SETTLE_S = 5.0
"""By then the heartbeat has told of the last program, and what is kept of it is on the disk."""
PROGRAM = """

def main():
{first}"""
IDLE = "    while not should_quit():\n        time.sleep(3600)\n"
REPLACING = ("supervisord: write, stop, start", "watchmedo auto-restart", "AppDaemon: app reloaded")
"""Of the peers, those where something runs that has to end first."""
PEERS: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[Callable[[int], float]]]] = {
    "Node-RED: POST /flows": nodered.deploying,
    "supervisord: write, stop, start": supervisord.deploying,
    "watchmedo auto-restart": watchmedo.deploying,
    "AppDaemon: app reloaded": appdaemon.deploying,
}


class Latency(NamedTuple):
    """Milliseconds."""

    since_sent: float
    since_acknowledged: float


def latency(world: World, repetitions: int, *, full: bool) -> Iterator[Measurement]:
    """Measure deploying and commands, each beside its floor; with ``full`` beside what people use instead, too."""
    deploys: list[Latency] = []
    again: list[Latency] = []
    floors: list[Latency] = []
    for number in range(WARM_UP + repetitions):  # alternately: what else the machine does meets both
        floors.append(_floor(world, number))
        deploys.append(_deploy(world, number))
        again.append(_deploy_again(world, number))
    ours, floor = [d.since_sent for d in deploys[WARM_UP:]], [f.since_sent for f in floors[WARM_UP:]]
    beside = {"bare long poll, compile and exec": floor}
    missing: dict[str, str] = {}
    time.sleep(SETTLE_S)
    command: list[Latency] = []
    spawned: list[float] = []
    for number in range(WARM_UP + repetitions):
        spawned.append(_timed(_spawn))
        command.append(_command(world, number))
    commands = {"a bare spawn": spawned[WARM_UP:]}
    jobs: dict[str, list[float]] = {}
    jobs_at_once: dict[str, list[float]] = {}
    if full:
        for name, start in PEERS.items():
            with tempfile.TemporaryDirectory() as folder, or_say(missing, name), start(Path(folder)) as deploy:
                beside[name] = [deploy(number) for number in range(1, repetitions + 1)]
        with tempfile.TemporaryDirectory() as folder, or_say(missing, "salt"), salt.minion(Path(folder)) as minion:
            beside["salt: a job with the source"] = [minion.deploy(number) for number in range(1, repetitions + 1)]
            jobs["salt: a job"] = [minion.command(number) for number in range(repetitions)]
            jobs_at_once[f"salt: {AT_ONCE} jobs"] = [minion.commands(AT_ONCE) for _ in range(SALT_ROUNDS)]
    yield Measurement(DEPLOYED, "ms", ours, beside, _deploy_goals(ours, beside), missing)
    theirs = {name: samples for name, samples in beside.items() if name in REPLACING}
    replaced = [d.since_sent for d in again[WARM_UP:]]
    yield Measurement(REPLACED, "ms", replaced, {"a program that is new": ours, **theirs})
    yield Measurement(
        "document acknowledged -> first line of main()",
        "ms",
        [d.since_acknowledged for d in deploys[WARM_UP:]],
        {"bare long poll, compile and exec": [f.since_acknowledged for f in floors[WARM_UP:]]},
    )
    acknowledged = [c.since_acknowledged for c in command[WARM_UP:]]
    bare = spread(commands["a bare spawn"]).median
    goal = Goal(f"at most a bare spawn and 8 ms: {bare + 8:.1f}", spread(acknowledged).median <= bare + 8)
    salted = {name: why for name, why in missing.items() if name == "salt"}
    yield Measurement("command acknowledged -> answer in its document", "ms", acknowledged, commands, [goal])
    sent = [c.since_sent for c in command[WARM_UP:]]
    yield Measurement(ANSWERED, "ms", sent, {**commands, **jobs}, missing=salted)
    rounds = 30 if full else 5
    ours_at_once, spawned_at_once = [], []
    for number in range(rounds):
        ours_at_once.append(_commands(world, number))
        spawned_at_once.append(_timed(_spawns))
    yield Measurement(
        f"{AT_ONCE} commands at once, until all are answered",
        "ms",
        ours_at_once,
        {f"{AT_ONCE} bare spawns, eight at a time": spawned_at_once, **jobs_at_once},
        missing=salted,
    )


def _deploy_goals(ours: list[float], beside: Mapping[str, list[float]]) -> list[Goal]:
    mine, floor = spread(ours), spread(next(iter(beside.values())))
    goals = [
        Goal(f"median at most twice the floor: {2 * floor.median:.2f}", mine.median <= 2 * floor.median),
        Goal(f"p99 at most five times the floor: {5 * floor.median:.2f}", mine.p99 <= 5 * floor.median),
    ]
    red = beside.get("Node-RED: POST /flows")
    if red is not None:
        goals.append(Goal("faster than Node-RED", mine.median < spread(red).median))
    return goals


@contextlib.contextmanager
def or_say(missing: dict[str, str], name: str) -> Iterator[None]:
    """What is not to be had here is no failure of ours; the table says so."""
    try:
        yield
    except (NotThere, OSError, ValueError) as error:
        missing[name] = str(error) or type(error).__name__


# --- ours and the floors ----------------------------------------------------------------------------------------------


def _floor(world: World, number: int) -> Latency:
    """Milliseconds from a save to the first line of what a bare long poll compiles and runs."""
    since = world.couch.ask("GET", world.database)["update_seq"]
    selector = {"selector": {"type": f"floor-{number}"}}
    query = f"{world.database}/_changes?feed=longpoll&timeout=20000&since={since}&filter=_selector&include_docs=true"
    poll = world.connect()
    poll.send("POST", query, selector)
    time.sleep(0.02)  # the poll has to be parked before the write
    with beacon() as port:
        sent, acknowledged = world.save({"type": f"floor-{number}", "code": source(port.source(number))})
        document = poll.receive()["results"][0]["doc"]
        scope: dict[str, Any] = {}
        exec(compile(document["code"], "floor", "exec"), scope)
        scope["main"]()
        return _since(sent, acknowledged, port.heard(number))


def _deploy(world: World, number: int) -> Latency:
    """Milliseconds from the save of a new document to the first line of its ``main()``."""
    with beacon() as port:
        document = {"_id": f"deploy-{number}", "type": MAC_ID, "code": source(port.source(number))}
        sent, acknowledged = world.save(document)
        return _since(sent, acknowledged, port.heard(number))


def _deploy_again(world: World, number: int) -> Latency:
    """Milliseconds from the save of a program that runs to the first line of its new ``main()``."""
    with beacon() as port:
        document = {"_id": "again", "type": MAC_ID, "code": source(port.source(number), IDLE)}
        sent, acknowledged = world.save(document, replace=True)
        return _since(sent, acknowledged, port.heard(number))


def source(first: str, rest: str = "") -> str:
    """Give a program whose ``main()`` begins with these lines."""
    return PROGRAM.format(first="".join(f"    {line}\n" for line in first.splitlines())) + rest


def _since(sent: int, acknowledged: int, seen: int) -> Latency:
    return Latency((seen - sent) / 1e6, (seen - acknowledged) / 1e6)


def _command(world: World, number: int) -> Latency:
    """Milliseconds from the insert of a command to its ``ret``, as another client's long poll sees it."""
    id = f"command-{number}"
    since = world.couch.ask("GET", world.database)["update_seq"]
    poll = world.connect()
    # Parked before the write, and woken by nothing but the answer: else the server is busy with who measures.
    query = f"{world.database}/_changes?feed=longpoll&timeout=20000&since={since}&filter=_selector"
    poll.send("POST", query, {"selector": {"_id": id, "ret": {"$exists": True}}})
    time.sleep(0.02)
    sent, acknowledged = world.save({"_id": id, "type": f"{MAC_ID}_cmd", "cmd": ["true"]})
    poll.receive()
    return _since(sent, acknowledged, time.monotonic_ns())


def _commands(world: World, number: int) -> float:
    """Milliseconds until all of many commands that are inserted at once are answered."""
    ids = {f"many-{number}-{one}" for one in range(AT_ONCE)}
    documents = [{"_id": id, "type": f"{MAC_ID}_cmd", "cmd": ["true"]} for id in sorted(ids)]
    began = time.monotonic_ns()
    world.couch.ask("POST", f"{world.database}/_bulk_docs", {"docs": documents})
    world.wait_for_all(ids, lambda found: "ret" in found)
    return (time.monotonic_ns() - began) / 1e6


def _spawn() -> None:
    subprocess.run(["true"], check=True, capture_output=True)


def _spawns() -> None:
    for _ in range(0, AT_ONCE, 8):
        for process in [subprocess.Popen(["true"], stdout=subprocess.PIPE) for _ in range(8)]:
            process.communicate()


def _timed(work: Callable[[], Any]) -> float:
    began = time.monotonic_ns()
    work()
    return (time.monotonic_ns() - began) / 1e6
