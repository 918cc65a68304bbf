"""Faults 1 to 6 and 10: the server and the way to it."""

from __future__ import annotations

import itertools
import socket
import time

from tests.faults.proxy import Proxy
from tests.faults.stage import (
    LOOP,
    Stage,
    alive,
    check,
    exactly,
    free_udp_port,
    needs,
    private_mounts,
    probe,
    runs,
    took,
)
from tests.integration.netns import Namespace
from tests.integration.world import until


def server_down_at_boot(stage: Stage) -> str:
    """Alive; programs run within 75 s after it is back, and within 5 s of the start with what is kept on disk."""
    world = stage.world("blink")
    world.server.kill()
    daemon = world.start(wait=world.server.url)
    time.sleep(5 if stage.brief else 45)  # so that the pauses between two tries have grown
    world.server_up()
    after_s = took(runs(daemon, "blink"), "the program, once the server is back", 75)
    alive(daemon)
    daemon.stop()
    world.server.kill()
    daemon = world.start()
    disk_s = took(runs(daemon, "blink"), "the program, from disk", 5)
    return f"runs {after_s:.1f} s after the server is back, and from disk {disk_s:.1f} s after a start"


def dns_failing_at_boot(stage: Stage) -> str:
    """As fault 1; and a probe is answered within 1 s all the while."""
    needs("unshare", "mount", root=True)
    world = stage.world("blink")
    world.server_file.write_text(f"http://couch.lab:{world.port}\n")
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # a name server that never answers
    stage.addCleanup(silent.close)
    silent.bind(("127.0.0.9", 53))
    hosts, resolv = world.folder / "hosts", world.folder / "resolv.conf"
    hosts.write_text("127.0.0.1 localhost\n")
    resolv.write_text("nameserver 127.0.0.9\n")
    prefix = private_mounts('mount --bind "$1" /etc/hosts; mount --bind "$2" /etc/resolv.conf', str(hosts), str(resolv))
    port = free_udp_port()
    options = ["--discovery=enroll", f"--discovery-port={port}"]
    daemon = world.start(*options, prefix=prefix)
    until(lambda: probe(port) is not None, "an answer to a probe")
    answers_s = []
    for _ in range(5 if stage.brief else 30):
        time.sleep(1.1)  # one answer a second is what an address gets
        answer_s = probe(port)
        check(answer_s is not None, "a probe was not answered within 1 s while names could not be looked up")
        answers_s.append(answer_s or 0.0)
    check(not runs(daemon, "blink")(), "the program runs although nobody knows the server's name")
    until(lambda: "couch.lab" in daemon.log(), "the log to name the server", 60)
    with hosts.open("r+") as file:  # the same file, since it is that one which is mounted
        file.write("127.0.0.1 localhost couch.lab\n")
    after_s = took(runs(daemon, "blink"), "the program, once the name is known", 75)
    alive(daemon)
    daemon.stop()
    with hosts.open("r+") as file:
        file.truncate(0)
    daemon = world.start(*options, prefix=prefix)
    disk_s = took(runs(daemon, "blink"), "the program, from disk", 5)
    return (
        f"probes answered within {max(answers_s) * 1000:.0f} ms, runs {after_s:.1f} s after the name is known, "
        f"and from disk {disk_s:.1f} s after a start"
    )


def server_restarted(stage: Stage) -> str:
    """No program restarts, no change is lost or applied twice."""
    world = stage.world("other", "blink")
    daemon = world.start(wait="other runs")
    daemon.wait_for("blink runs")
    edits = itertools.count(1)
    for kill in (False, True):
        world.program("blink", LOOP.format(f"edit {next(edits)}"))
        if kill:
            world.server.kill()
        else:
            world.server.stop()
        world.server_up()
        last = next(edits)
        world.program("blink", LOOP.format(f"edit {last}"))
        until(runs(daemon, f"edit {last}"), f"edit {last}", 75)
    alive(daemon)
    for edit in range(1, last + 1):
        check(len(daemon.lines(f"edit {edit} runs")) <= 1, f"edit {edit} was applied twice")
    exactly(daemon, {"other runs": 1, "other quits": 0, f"edit {last} runs": 1, f"edit {last} quits": 0})
    return f"{last} edits around a stop and a kill: the last one runs, none was applied twice, nobody else restarted"


def cut_in_a_row(stage: Stage) -> str:
    """The partial row is dropped, the feed goes on from the last good seq."""
    world = stage.world("other", "blink")
    proxy = Proxy(stage, world.port)
    world.server_file.write_text(proxy.url)
    daemon = world.start(wait="other runs")
    daemon.wait_for("blink runs")
    proxy.set(cut_after=20_000)
    world.program("blink", LOOP.format("cut") + "# " + "x" * 30_000 + "\n")
    # Also what was read after the first pause, which is of any length up to 2 s, has to be cut.
    until(lambda: proxy.state()["cuts"] >= 2, "the row to be cut a second time", 15)
    time.sleep(1 if stage.brief else 4)
    cuts = proxy.state()["cuts"]
    check(not runs(daemon, "cut")(), "a document arrived although every row of it was cut")
    proxy.set(cut_after=None)
    after_s = took(runs(daemon, "cut"), "the document, once rows are whole", 75)
    alive(daemon)
    exactly(daemon, {"cut runs": 1, "other runs": 1, "read afresh": 1})
    return f"cut {cuts} times, then applied once, {after_s:.1f} s after rows are whole"


def half_open(stage: Stage) -> str:
    """A change is delivered within 3 x T (60 s) after new connections work."""
    needs("ip", root=True)
    server, pi = Namespace(stage), Namespace(stage)
    server.cable(pi, "10.63.0.1/24", "10.63.0.2/24")
    server.enter(stage)
    world = stage.world("blink")
    proxy = Proxy(stage, world.port, listen="tcp:0:interface=10.63.0.1")
    world.server_file.write_text(f"http://10.63.0.1:{proxy.port}")
    daemon = world.start(wait="blink runs", prefix=pi.command())
    ends = ((server, "10.63.0.2"), (pi, "10.63.0.1"))
    after_s = []
    for silent_s in (1, 35):
        for namespace, other in ends:
            # An address that no card has: what is sent there is lost, and nobody is told.
            lost = ["lladdr", "02:00:00:00:00:99", "nud", "permanent"]
            namespace.ip("neigh", "replace", other, *lost, "dev", namespace.devices()[0])
        proxy.reset()  # which the Pi does not hear of: what it holds is half a connection from now on
        word = f"silent for {silent_s} s"
        world.program("blink", LOOP.format(word))
        time.sleep(silent_s)
        check(not runs(daemon, word)(), "a change came through a dead connection")
        for namespace, other in ends:
            namespace.ip("neigh", "del", other, "dev", namespace.devices()[0])
        after_s.append(took(runs(daemon, word), "the change, once new connections work", 60))
    alive(daemon)
    exactly(daemon, {"blink runs": 1, "silent for 1 s runs": 1, "silent for 35 s runs": 1})
    return f"delivered {after_s[0]:.1f} s and {after_s[1]:.1f} s after new connections work"


def one_byte_a_second(stage: Stage) -> str:
    """Alive, memory flat; requests that are not the feed end at 60 s."""
    world = stage.world("blink")
    proxy = Proxy(stage, world.port)
    proxy.set(slice_s=1.0)
    world.server_file.write_text(proxy.url)
    daemon = world.start()
    until(lambda: proxy.state()["accepted"], "a first connection")
    time.sleep(10)
    before_mb = daemon.resident_mb()
    until(lambda: proxy.state()["lasted_s"], "the end of the first request", 70)
    lasted_s = proxy.state()["lasted_s"][0]
    check(lasted_s <= 63, f"the first request took {lasted_s:.0f} s")
    proxy.set(slice_s=None)
    proxy.reset()
    until(runs(daemon, "blink"), "the program, once the network is well", 75)
    proxy.set(slice_s=1.0)  # now under the poll
    world.program("blink", LOOP.format("slow"))
    time.sleep(10)
    grown_mb = daemon.resident_mb() - before_mb
    check(grown_mb < 5, f"memory grew by {grown_mb:.1f} MB")
    alive(daemon)
    proxy.set(slice_s=None)
    proxy.reset()
    until(runs(daemon, "slow"), "the change, once the network is well", 75)
    return f"a request ended after {lasted_s:.1f} s, memory grew by {max(0.0, grown_mb):.1f} MB"


def wrong_password(stage: Stage) -> str:
    """At most 4 logins in 300 s, all requests of the daemon together, and in once the password is right."""
    world = stage.world("blink")
    world.make_user("another")
    proxy = Proxy(stage, world.port)
    proxy.set(watch="^HTTP/1.1 401")
    world.server_file.write_text(proxy.url)
    port = free_udp_port()
    began = time.monotonic()
    daemon = world.start("--discovery=enroll", f"--discovery-port={port}", wait="401")
    for _ in range(8 if stage.brief else 60):  # whoever asks who is there makes a Pi try at once
        time.sleep(1.1)
        probe(port)
    logins = len(proxy.state()["watched"])
    check(1 <= logins <= 4, f"{logins} wrong logins in {time.monotonic() - began:.0f} s")
    alive(daemon)
    if stage.brief:
        return f"{logins} logins in {time.monotonic() - began:.0f} s, while probes came in"
    world.make_user()
    until(runs(daemon, "blink"), "the program, once the password is right", 400)
    in_s = time.monotonic() - began
    watched = proxy.state()["watched"]
    for first, fifth in zip(watched, watched[4:], strict=False):
        check(fifth - first >= 300, f"five wrong logins within {fifth - first:.0f} s")
    return f"{logins} wrong logins while probes came in, and in {in_s:.0f} s after the start with the right password"
