"""Faults 28, 29 and 32: the daemon among others."""

from __future__ import annotations

import subprocess
import sys
import time

from twisted.trial.unittest import SkipTest

from tests.faults.proxy import Proxy
from tests.faults.stage import LOOP, Stage, alive, check, exactly, free_udp_port, probe, ready_for_commands, runs, took
from tests.integration.world import MAC_ID, PATH, Daemon, until

FLOOD = """
import json, socket, sys, time
port, seconds = (int(word) for word in sys.argv[1:])
good = json.dumps({"server": "http://server:5984"}).encode()
junk = [b"", b"{", b"x" * 1000, b"\\0" * 100]
socks = []
for n in range(50):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((f"127.1.0.{n + 1}", 0))
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    socks.append(sock)
sent = answers = 0
end = time.monotonic() + seconds
while time.monotonic() < end:
    for n, sock in enumerate(socks):
        try:
            sock.send(good); sock.send(junk[n % 4]); sock.send(good); sock.send(good)
            sent += 4
        except OSError:
            pass
time.sleep(1)
for sock in socks:
    while True:
        try:
            sock.recv(4096)
            answers += 1
        except OSError:
            break
print(sent, answers)
"""


def datagrams(stage: Stage) -> str:
    """50,000 datagrams a second: at most 10 answers a second, feed lag below 2 s."""
    world = stage.world("blink")
    port = free_udp_port()
    daemon = world.start("--discovery=enroll", f"--discovery-port={port}", wait="blink runs")
    until(lambda: probe(port) is not None, "an answer to a probe")
    seconds = 4 if stage.brief else 15
    flood = subprocess.Popen([sys.executable, "-c", FLOOD, str(port), str(seconds)], stdout=subprocess.PIPE)
    stage.addCleanup(flood.kill)
    lags_s: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds - 1:
        word = f"edit {len(lags_s)}"
        world.program("blink", LOOP.format(word))
        lags_s.append(took(runs(daemon, word), "an edit under the flood", 10))
        time.sleep(0.2)
    sent, answers = (int(number) for number in flood.communicate()[0].split())
    alive(daemon)
    check(answers, "nobody was answered at all")
    check(answers <= 10 * (seconds + 2), f"{answers} answers in {seconds} s")
    check(max(lags_s) < 2, f"an edit took {max(lags_s):.1f} s")
    check(len(daemon.lines("datagram")) <= 3, "the log is flooded too")
    told = f"{sent / seconds:.0f} datagrams a second, {answers / seconds:.1f} answers, edits in {max(lags_s):.2f} s"
    if sent / seconds < 50_000:
        raise SkipTest(f"this machine sends too few at the moment: {told}")
    return told


def second_daemon(stage: Stage) -> str:
    """Of one Pi: exits non-zero and says why, the first is untouched.  Two Pis on one shared directory: both run."""
    world = stage.world("blink")
    first = world.start(wait="blink runs")
    second = world.start()
    check(second.wait() != 0, "the second one exits with 0")
    check(str(first.pid) in second.log(), f"it does not say who is there: {second.log()[-500:]}")
    exactly(first, {"blink runs": 1, "blink quits": 0})
    other = MAC_ID + 1
    user = {"name": str(other), "password": "pi-secret", "roles": [], "type": "user"}
    world.couch.ask("PUT", f"/_users/org.couchdb.user:{other}", user)
    members = {"names": [str(MAC_ID), str(other)], "roles": []}
    world.couch.ask("PUT", f"{PATH}/_security", {"admins": {"roles": ["_admin"]}, "members": members})
    world.save("theirs", type=other, code=LOOP.format("theirs"))
    third = world.start(f"--mac-id={other}", wait="theirs runs")
    alive(first)
    alive(third)
    exactly(first, {"blink runs": 1, "theirs runs": 0})
    exactly(third, {"blink runs": 0})
    return f"the second one exits with {second.process.returncode} and names the first; another Pi runs beside it"


def _ends_s(daemon: Daemon) -> float:
    began = time.monotonic()
    status = daemon.stop()
    ended_s = time.monotonic() - began
    check(status == 0, f"its exit status is {status}\n{daemon.log()[-2000:]}")
    check(ended_s < 2, f"it took {ended_s:.1f} s\n{daemon.log()[-2000:]}")
    return ended_s


def terminated(stage: Stage) -> str:
    """SIGTERM during a poll, a backoff, a body, a command: gone in less than 2 s plus what programs take to quit."""
    world = stage.world("blink")
    ended_s = {}
    daemon = world.start(wait="blink runs")
    ready_for_commands(world)
    time.sleep(0.5)
    ended_s["poll"] = _ends_s(daemon)
    exactly(daemon, {"blink quits": 1})

    daemon = world.start(wait="blink runs")
    world.save("c", type=f"{MAC_ID}_cmd", cmd=["sleep", "600"])
    until(lambda: "execution" in world.get("c"), "the claim")
    time.sleep(0.3)
    ended_s["command"] = _ends_s(daemon)
    state = world.get("c").get("execution", {}).get("state")
    check(state == "interrupted", f"the command is {state}")

    proxy = Proxy(stage, world.port)
    world.server_file.write_text(proxy.url)
    proxy.set(slice_s=0.2)
    daemon = world.start()
    until(lambda: proxy.state()["accepted"], "a connection")
    time.sleep(2)  # a few bytes of the answer are there by then
    ended_s["body"] = _ends_s(daemon)

    world.server_file.write_text(world.server.url)
    world.server.kill()
    daemon = world.start(wait="Next try in")
    time.sleep(1.5)
    ended_s["backoff"] = _ends_s(daemon)
    return ", ".join(f"{what} {seconds:.2f} s" for what, seconds in ended_s.items())
