"""How fast a database is followed, and whether anything gets lost, beside IBM's ChangesFollower on the same server."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.latency import or_say
from benchmarks.peers.folders import python_of
from benchmarks.samples import Goal, Measurement, spread
from benchmarks.world import ADMIN, MAC_ID, PASSWORD, World
from himbeerecouch.couch import query
from himbeerecouch.couch.asks import Timing

CHANGES_FOLLOWER = Path(__file__).parent / "peers" / "changes_follower.py"
BARE = "bare polls, rows thrown away"
IBM, UNFILTERED = "ChangesFollower, the same selector", "ChangesFollower, no selector"
PART = 1000
LOST_S = 90.0
"""What is not told by then is lost."""
TEXT = "x" * 200


def followed(size: int) -> str:
    """Name a measurement: what is followed in a database of so many documents."""
    return f"rows with documents followed, {size} in the database"


def follower(world: World, repetitions: int, sizes: Sequence[int], *, full: bool) -> Iterator[Measurement]:
    """Measure rows a second, and what it takes to be ready, in databases of these sizes."""
    world.stop_daemon()
    for size in sizes:
        yield from _rows(world, repetitions, size, full=full)
        yield from _ready(world, repetitions, size)


def _rows(world: World, repetitions: int, size: int, *, full: bool) -> Iterator[Measurement]:
    database = f"rows-{size}"
    _fill(world, database, size, MAC_ID)
    ours: list[float] = []
    beside: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    memory: dict[str, list[float]] = {}
    selector = query.feed(MAC_ID, ())
    for _ in range(repetitions):
        beside.setdefault(BARE, []).append(size / _bare_polls(world, database, selector))
        found = _ours(world, database, size)
        ours.append(size / found["took_s"])
        memory.setdefault("", []).append(found["memory_mb"])
        if full:
            with or_say(missing, "ChangesFollower"):
                for name, chosen in ((IBM, json.dumps(selector)), (UNFILTERED, "")):
                    found = _theirs(world, database, chosen)
                    beside.setdefault(name, []).append(size / found["took_s"])
                    memory.setdefault(name, []).append(found["memory_mb"])
    goals = []
    if IBM in beside:
        theirs = spread(beside[IBM]).median
        goals = [Goal(f"at least as many as ChangesFollower: {theirs:.0f}", spread(ours).median >= theirs)]
    world.couch.ask("DELETE", f"/{database}")
    yield Measurement(followed(size), "a second", ours, beside, goals, missing)
    held = memory.pop("")
    if memory:
        yield Measurement(f"most memory while {size} rows are followed", "MB", held, memory, missing=missing)


def _ready(world: World, repetitions: int, size: int) -> Iterator[Measurement]:
    """A database in which ten documents are for this Pi, and all others for others."""
    database = f"ready-{size}"
    _fill(world, database, size, MAC_ID + 1)
    for body in query.INDEXES.values():
        world.couch.ask("POST", f"/{database}/_index", body)
    mine = [{"_id": f"mine-{number}", "type": MAC_ID, "code": "def main(): pass"} for number in range(10)]
    world.couch.ask("POST", f"/{database}/_bulk_docs", {"docs": mine})
    ours, bare = [], []
    for _ in range(repetitions):
        ours.append(_ours(world, database, 0)["ready_s"] * 1000)
        bare.append(_bare_snapshot(world, database) * 1000)
    world.couch.ask("DELETE", f"/{database}")
    yield Measurement(
        f"from a client's start until it has read its 10 documents of {size}", "ms", ours, {"the same requests": bare}
    )


def _bare_snapshot(world: World, database: str) -> float:
    """Seconds for a snapshot's requests, by a client that does nothing else with them."""
    began = time.monotonic()
    bare = world.connect()
    bare.ask("GET", f"/{database}")
    bare.ask("GET", "/")
    for one in query.snapshot(MAC_ID):
        bare.ask("POST", f"/{database}/_find", {"selector": one.selector, "use_index": one.use_index, "limit": 200})
    return time.monotonic() - began


def _bare_polls(world: World, database: str, selector: Any) -> float:
    """Seconds to read all rows, by a client that does nothing else with them."""
    began = time.monotonic()
    bare, since, more = world.connect(), "0", True
    while more:
        path = f"/{database}/_changes?filter=_selector&include_docs=true&limit={Timing().most_rows}&since={since}"
        answer = bare.ask("POST", path, {"selector": selector})
        since, more = answer["last_seq"], bool(answer["results"])
    return time.monotonic() - began


def _fill(world: World, database: str, size: int, mac_id: int) -> None:
    """Save documents of some 300 bytes; each hundredth of them is a program."""
    world.couch.ask("PUT", f"/{database}")
    for first in range(0, size, PART):
        documents: list[dict[str, Any]] = [
            {"_id": f"d{number:06}", "type": mac_id, "name": f"d{number}", "text": TEXT}
            for number in range(first, min(size, first + PART))
        ]
        for document in documents[::100]:
            document["code"] = "def main():\n    pass\n"
        world.couch.ask("POST", f"/{database}/_bulk_docs", {"docs": documents})


def _ours(world: World, database: str, rows: int) -> Any:
    return _told(sys.executable, "-m", "benchmarks.follow", world.url, ADMIN, PASSWORD, database, str(rows))


def _theirs(world: World, database: str, selector: str) -> Any:
    python = python_of("ibmcloudant", "ibmcloudant")
    return _told(str(python), str(CHANGES_FOLLOWER), world.url, ADMIN, PASSWORD, database, selector)


def _told(*argv: str) -> Any:
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True, timeout=600).stdout)


# --- changes lost -----------------------------------------------------------------------------------------------------


def lost(world: World, rounds: int) -> Iterator[Measurement]:
    """Count the changes that a follower never tells of, in rounds of: cut the connection, write, restore."""
    world.stop_daemon()
    missing: dict[str, str] = {}
    ours, ours_back = _lost(world, rounds, "lost-ours", (sys.executable, "-m", "benchmarks.follow"), "-1")
    beside: dict[str, list[float]] = {}
    back: dict[str, list[float]] = {}
    with or_say(missing, "ChangesFollower"):
        argv = (str(python_of("ibmcloudant", "ibmcloudant")), str(CHANGES_FOLLOWER))
        theirs, back["ChangesFollower"] = _lost(world, rounds, "lost-theirs", argv, "", "for-ever")
        beside["ChangesFollower"] = [theirs]
    goals = [Goal("none", ours == 0)]
    yield Measurement(
        f"changes lost in {rounds} rounds of cut, write, restore", "changes", [ours], beside, goals, missing
    )

    yield Measurement("connection restored -> change told", "s", ours_back, back, missing=missing)


def _lost(world: World, rounds: int, database: str, argv: Sequence[str], *behind: str) -> tuple[float, list[float]]:
    """Give how many changes were lost, and the seconds that each restored connection took to tell one."""
    world.couch.ask("PUT", f"/{database}")
    seen: set[str] = set()
    back: list[float] = []
    with _proxy(world.port) as (port, say):
        process = subprocess.Popen(
            [*argv, f"http://127.0.0.1:{port}", ADMIN, PASSWORD, database, *behind], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = process.stdout
        reader = threading.Thread(target=lambda: seen.update(line.strip() for line in lines))
        reader.start()
        try:
            _save(world, database, "first")
            _wait(lambda: "first" in seen, 60.0)
            for number in range(rounds):
                say("cut")
                _save(world, database, f"cut-{number}")
                say("restore")
                restored = time.monotonic()
                _save(world, database, f"restored-{number}")
                _wait(lambda number=number: f"restored-{number}" in seen, LOST_S)
                back.append(time.monotonic() - restored)
        finally:
            process.kill()
            process.wait()
            reader.join()
    world.couch.ask("DELETE", f"/{database}")
    wanted = {f"{what}-{number}" for what in ("cut", "restored") for number in range(rounds)}
    return float(len(wanted - seen)), back


def _save(world: World, database: str, id: str) -> None:
    world.couch.ask("PUT", f"/{database}/{id}", {"type": MAC_ID})


def _wait(happened: Any, within_s: float) -> None:
    """Wait for it, and go on when it does not happen: then it is lost."""
    until = time.monotonic() + within_s
    while not happened() and time.monotonic() < until:
        time.sleep(0.02)


@contextlib.contextmanager
def _proxy(target: int) -> Iterator[tuple[int, Any]]:
    """A proxy in front of the server, in a process of its own, that is told to cut and to restore."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.proxy", str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    commands, answers = process.stdin, process.stdout

    def say(word: str) -> None:
        commands.write(word + "\n")
        commands.flush()
        answers.readline()

    try:
        yield int(answers.readline()), say
    finally:
        process.kill()
        process.wait()
