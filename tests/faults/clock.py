"""Faults 19 and 20: a clock that is wrong, and one that is set."""

from __future__ import annotations

import itertools
import time

from himbeerecouch import rfc3339
from tests.clock_shim import ClockShim
from tests.faults.proxy import Proxy
from tests.faults.stage import LOOP, Stage, alive, check, exactly, ready_for_commands, runs, took
from tests.integration.world import MAC_ID, World, until
from tests.tls import Authority

HOUR_S = 3600.0
LATE_S = 3.0
"""What a busy machine may add to a time."""


def boots_in_1970(stage: Stage) -> str:
    """TLS retries under B, is never bypassed; commands with ``expires`` wait."""
    shim = ClockShim.make(stage)
    world = stage.world("blink")
    authority = Authority("lab")
    pem, ca = world.folder / "server.pem", world.folder / "ca.pem"
    pem.write_bytes(authority.issue_pem("localhost"))
    ca.write_bytes(authority.pem)
    proxy = Proxy(stage, world.port, listen=f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}")
    world.server_file.write_text(f"https://localhost:{proxy.port}\n")
    for id, expires_in_s in (("ahead", HOUR_S), ("past", -HOUR_S)):
        _insert(world, id, expires_in_s)
    shim.set_time(1000.0)
    daemon = world.start(f"--ca-file={ca}", wait="certificate", variables=shim.variables)
    time.sleep(3 if stage.brief else 20)
    tries = proxy.state()
    check(tries["accepted"] <= 25, f"it tried {tries['accepted']} times: that is no backoff")
    check(tries["sent_bytes"] == 0, "something was sent to a server whose certificate is not good")
    check("execution" not in world.get("ahead") and "ret" not in world.get("ahead"), "a command did not wait")
    exactly(daemon, {"blink runs": 0})
    shim.set_offset(0.0)
    in_s = took(runs(daemon, "blink"), "the program, once the clock is right", 75)
    states = [world.answered(id)["execution"]["state"] for id in ("ahead", "past")]
    check(states == ["done", "expired"], f"the commands are {states}")
    alive(daemon)
    return f"{tries['accepted']} tries, nothing was sent; in {in_s:.1f} s after the clock was right"


def _insert(world: World, id: str, expires_in_s: float) -> None:
    world.save(id, type=f"{MAC_ID}_cmd", cmd=["true"], expires=rfc3339.render(time.time() + expires_in_s))


CRASH = "import time\n\ndef main():\n    log('attempt', time.monotonic())\n    raise ValueError('again')\n"


def clock_steps(stage: Stage) -> str:
    """Steps of an hour either way: no timer fires early or late."""
    shim = ClockShim.make(stage)
    world = stage.world("blink")
    daemon = world.start(wait="blink runs", variables=shim.variables)
    ready_for_commands(world)
    lags_s = []
    told = []
    for step, offset_s in enumerate((HOUR_S, -HOUR_S, 0.0)):
        world.program("crash", CRASH + f"# {step}\n")
        first = len(_attempts(daemon.lines("attempt")))
        began = time.monotonic()
        world.save(f"c{step}", type=f"{MAC_ID}_cmd", cmd=["sleep", "600"], timeout=6)
        until(lambda: "execution" in world.get(f"c{step}"), "the start of the command")  # noqa: B023 - asked at once
        time.sleep(1.5)
        shim.set_offset(offset_s)
        word = f"offset {offset_s:.0f}"
        world.program("blink", LOOP.format(word))
        lags_s.append(took(runs(daemon, word), "an edit after a step", 2 + LATE_S))
        document = world.answered(f"c{step}", 6 + 5 + LATE_S)
        ran_s = time.monotonic() - began
        check(document["execution"]["state"] == "timeout", f"the command is {document['execution']}")
        check(6 <= ran_s <= 6 + LATE_S, f"a timeout of 6 s fired after {ran_s:.1f} s")
        until(lambda: len(_attempts(daemon.lines("attempt"))) >= first + 4, "four attempts")  # noqa: B023
        pauses_s = [b - a for a, b in itertools.pairwise(_attempts(daemon.lines("attempt"))[first : first + 4])]
        for wanted_s, pause_s in zip((1, 2, 4), pauses_s, strict=True):
            check(wanted_s - 0.1 <= pause_s <= wanted_s + LATE_S, f"pauses of {pauses_s} s after a step")
        told.append(f"{ran_s:.1f}")
    wrong = daemon.lines("couch.changes#warn")
    check(not wrong, f"the feed complains: {wrong[:3]}")
    alive(daemon)
    return f"timeouts of 6 s after {', '.join(told)} s, pauses as they should be, edits within {max(lags_s):.2f} s"


def _attempts(lines: list[str]) -> list[float]:
    return [float(line.rpartition("attempt ")[2]) for line in lines if "attempt " in line]
