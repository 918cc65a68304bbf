"""Faults 11 to 15 and 24: commands, and what comes between them and their answer."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.faults.stage import LOOP, Stage, alive, check, end_all, named, ready_for_commands, runs, took
from tests.integration.test_journal import Outcome, sweep, tracing
from tests.integration.world import MAC_ID, PATH, Daemon, World, until


def _insert(world: World, id: str, *argv: str, **members: object) -> None:
    world.save(id, type=f"{MAC_ID}_cmd", cmd=list(argv), **members)


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _ready(stage: Stage) -> tuple[World, Daemon, Path]:
    world = stage.world("blink")
    daemon = world.start(wait="blink runs")
    ready_for_commands(world)
    return world, daemon, world.folder / "ran"


def conflict(stage: Stage) -> str:
    """Read again, until it is stored; a ``ret`` that is there wins; a document that is gone drops it."""
    world, daemon, ran = _ready(stage)
    ids = ["answered", "deleted", "edited"]
    for id in ids:
        _insert(world, id, "sh", "-c", f"echo {id} >> {ran}; sleep 3; echo out")
    until(lambda: sorted(_words(ran)) == ids, "all of them to run")
    for number in range(5):
        world.save("edited", **world.get("edited") | {"note": number})
    world.save("answered", **world.get("answered") | {"ret": ["mine", ""]})
    world.delete("deleted")
    document = world.answered("edited")
    check(document["ret"] == ["out\n", ""], f"ret is {document['ret']}")
    check(document["note"] == 4, "an edit that came in between was lost")
    check(world.command("after", "echo", "x")["ret"] == ["x\n", ""], "the next command was not answered")
    time.sleep(1)
    check(world.get("answered")["ret"] == ["mine", ""], "a ret that was there was overwritten")
    row = world.couch.ask("POST", f"{PATH}/_all_docs", {"keys": ["deleted"]})["rows"][0]
    check(row.get("value", {}).get("deleted") or "error" in row, "a deleted command came back")
    check(sorted(_words(ran)) == ids, f"what ran: {_words(ran)}")
    alive(daemon)
    return "stored on top of 5 edits, another's ret was left alone, the deleted one stayed deleted"


def server_lost_under_a_command(stage: Stage) -> str:
    """The result is stored once the server is back; it ran once."""
    world, daemon, ran = _ready(stage)
    _insert(world, "c", "sh", "-c", f"echo c >> {ran}; sleep 1; echo out")
    until(lambda: _words(ran), "the command")
    world.server.kill()
    time.sleep(2 if stage.brief else 10)
    world.server_up()
    began = time.monotonic()
    document = world.answered("c", 75)
    after_s = time.monotonic() - began
    check(document["ret"] == ["out\n", ""], f"ret is {document['ret']}")
    check(document["execution"]["state"] == "done", f"its state is {document['execution']}")
    check(_words(ran) == ["c"], f"it ran {len(_words(ran))} times")
    alive(daemon)
    return f"stored {after_s:.1f} s after the server is back; it ran once"


LANES = 4
"""Each has a world of its own, and kills its daemon at every fourth system call."""


def killed_at_any_call(stage: Stage) -> str:
    """kill -9 at the n-th system call, for every n: it ran 0 or 1 times; ``ret`` says which, or that it can't be known.

    The fault suite does all of them; those that change something are in the suite of the journal as well.
    """
    if not tracing():
        raise SkipTest("strace is not there, or may not trace")

    def lane(number: int) -> list[Outcome]:
        return list(sweep(World(stage), lambda calls: calls[number::LANES]))

    with ThreadPoolExecutor(LANES) as pool:
        outcomes = [outcome for outcomes in pool.map(lane, range(LANES)) for outcome in outcomes]
    wrong = [f"{outcome.call.name} {outcome.call.occurrence}: {outcome.wrong()}" for outcome in outcomes]
    wrong = [line for line in wrong if not line.endswith(": ")]
    check(not wrong, f"{len(wrong)} of {len(outcomes)} kills: " + "; ".join(wrong[:10]))
    killed = [outcome for outcome in outcomes if outcome.killed]
    check(len(killed) > len(outcomes) // 2, f"only {len(killed)} of {len(outcomes)} kills came to be")
    once = sum(outcome.runs for outcome in killed)
    return f"{len(killed)} kills: {once} commands ran once, {len(killed) - once} not at all, and each answer says so"


def reboot_once(stage: Stage) -> str:
    """``["reboot"]``: once."""
    world = stage.world("blink")
    programs, ran, pid = world.folder / "bin", world.folder / "ran", world.folder / "pid"
    programs.mkdir()
    reboot = programs / "reboot"  # does to this daemon what a reboot does to all of the Pi
    reboot.write_text(f"#!/bin/sh\necho reboot >> {ran}\nkill -9 $(cat {pid})\nexec sleep 60\n")
    reboot.chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    daemon = world.start(wait="blink runs", variables=path)
    ready_for_commands(world)
    pid.write_text(str(daemon.pid))
    _insert(world, "c", "reboot")
    check(daemon.wait(20) == -signal.SIGKILL, "the reboot did not happen")
    for _ in range(2):
        daemon = world.start(wait="blink runs", variables=path)
        document = world.answered("c")
        check(document["execution"]["state"] == "interrupted", f"its state is {document['execution']}")
        check(document["ret"][0] is None and document["ret"][1], f"ret is {document['ret']}")
        time.sleep(1)
        daemon.stop()
    check(_words(ran) == ["reboot"], f"it ran {len(_words(ran))} times")
    return f"once, and answered: {document['ret'][1]}"


def daemon_killed(stage: Stage) -> str:
    """No orphan of a command or a program 5 s after the daemon runs again."""
    world, daemon, _ = _ready(stage)
    marker = f"86{daemon.pid}"  # seconds of a sleep that nobody else sleeps
    stage.addCleanup(end_all, marker)
    world.program("parent", f"import subprocess\n\ndef main():\n    subprocess.Popen(['sleep', '{marker}']).wait()\n")
    _insert(world, "c", "sh", "-c", f"sleep {marker} & trap '' TERM; sleep {marker}; sleep {marker}")
    until(lambda: len(named(f"sleep\0{marker}\0")) >= 3, "the children")
    left = set(named(marker))
    daemon.kill()
    world.delete("parent")  # its new run would look like an orphan
    daemon = world.start(wait="blink runs")
    gone_s = took(lambda: not left & set(named(marker)), f"the end of what was left over, {left}", 5)
    document = world.answered("c")
    check(document["execution"]["state"] == "interrupted", f"its state is {document['execution']}")
    alive(daemon)
    return f"{len(left)} processes were left over, and gone {gone_s:.1f} s after the daemon ran again"


def never_ends(stage: Stage) -> str:
    """The whole group of a command is gone at ``timeout`` + 5 s."""
    world, daemon, _ = _ready(stage)
    marker = f"87{daemon.pid}"
    stage.addCleanup(end_all, marker)
    sleeps = f"sleep {marker}; sleep {marker}"
    _insert(world, "c", "sh", "-c", f"trap '' TERM; (trap '' TERM; {sleeps}) & sleep {marker} & {sleeps}", timeout=2)
    until(lambda: len(named(f"sleep\0{marker}\0")) >= 3, "the children")
    gone_s = took(lambda: not named(marker), "the end of the whole group", 2 + 5 + 1)
    document = world.answered("c")
    check(document["execution"]["state"] == "timeout", f"its state is {document['execution']}")
    world.program("blink", LOOP.format("after"))
    until(runs(daemon, "after"), "a program meanwhile")
    alive(daemon)
    return f"gone {gone_s:.1f} s after it started with a timeout of 2 s, though it ignores TERM"
