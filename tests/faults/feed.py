"""Faults 7 to 9, 25 and 26: what the database does."""

from __future__ import annotations

import signal
import time

from tests.faults.proxy import Proxy
from tests.faults.stage import LOOP, ONCE, Stage, alive, check, exactly, ready_for_commands, runs, took
from tests.integration.world import MAC_ID, PATH, until

POLL = "^POST /[^ ]*/_changes"


def edit_before_the_first_poll(stage: Stage) -> str:
    """An edit between the snapshot and the first poll is applied, 100 of 100 times."""
    world = stage.world()
    world.program("edited", ONCE.format("edit 0"))
    proxy = Proxy(stage, world.port)
    world.server_file.write_text(proxy.url)
    daemon = world.start(wait="edit 0 runs")
    edits = 10 if stage.brief else 100
    for number in range(1, edits + 1):
        proxy.set(hold=POLL)
        before = proxy.state()["held"]
        daemon.signal(signal.SIGHUP)  # reads all there is afresh
        until(lambda: proxy.state()["held"] > before, "the first poll after a snapshot")  # noqa: B023 - asked at once
        world.program("edited", ONCE.format(f"edit {number}"))
        proxy.release()
        until(runs(daemon, f"edit {number}"), f"edit {number} of {edits}", 20)
    alive(daemon)
    return f"{edits} of {edits} were applied"


def feed_rewinds(stage: Stage) -> str:
    """No restart, no command run again."""
    world = stage.world("blink", "other")
    proxy = Proxy(stage, world.port)
    world.server_file.write_text(proxy.url)
    daemon = world.start(wait="blink runs")
    daemon.wait_for("other runs")
    ready_for_commands(world)
    ran = world.folder / "ran"
    for id in ("c1", "c2"):
        world.command(id, "sh", "-c", f"echo {id} >> {ran}")
    world.save("c3", type=f"{MAC_ID}_cmd", cmd=["sh", "-c", f"echo c3 >> {ran}; sleep 4; echo done"])
    until(lambda: "c3" in ran.read_text(), "a command that takes its time")
    proxy.set(rewrite_request=[r"([?&]since=)[^& ]+", r"\g<1>0"], watch='"results"')
    proxy.reset()
    until(lambda: len(proxy.state()["watched"]) >= 3, "three polls from 0")
    world.answered("c3")
    world.program("blink", LOOP.format("edited"))
    until(runs(daemon, "edited"), "an edit while the feed rewinds", 75)
    polls = len(proxy.state()["watched"])
    proxy.set(rewrite_request=None)
    alive(daemon)
    check(sorted(ran.read_text().split()) == ["c1", "c2", "c3"], f"commands that ran: {ran.read_text().split()}")
    exactly(daemon, {"blink runs": 1, "other runs": 1, "other quits": 0, "edited runs": 1})
    return f"{polls} polls from 0: nobody restarted, 3 commands ran once each"


def database_made_again(stage: Stage) -> str:
    """Noticed, read afresh."""
    world = stage.world("old", "kept")
    daemon = world.start(wait="old runs")
    daemon.wait_for("kept runs")
    world.couch.ask("DELETE", PATH)
    time.sleep(1 if stage.brief else 5)
    alive(daemon)
    exactly(daemon, {"kept quits": 0})
    world.couch.ask("DELETE", f"{PATH}_status")
    world.make_database()
    world.program("kept", LOOP.format("kept"))
    world.program("new", LOOP.format("new"))
    after_s = took(runs(daemon, "new"), "the new program", 75)
    until(lambda: daemon.lines("old quits"), "the end of the old one", 10)
    world.program("new", LOOP.format("newer"))
    until(runs(daemon, "newer"), "an edit in the new database", 10)
    alive(daemon)
    exactly(daemon, {"kept runs": 1, "old runs": 1, "new runs": 1})
    return f"{after_s:.1f} s after it is there again its programs run; the same one goes on, the rest is stopped"


def many_documents(stage: Stage) -> str:
    """10,000 documents for other Pis: ready within 10 s, with less than 80 MB."""
    world = stage.world("blink")
    for begin in range(0, 10_000, 500):
        documents = [
            {"_id": f"other{n}", "type": n + 1, "name": "other", "code": "def main(): pass\n" * 20}
            for n in range(begin, begin + 500)
        ]
        world.couch.ask("POST", f"{PATH}/_bulk_docs", {"docs": documents})
    daemon = world.start()
    ready_s = took(runs(daemon, "blink"), "the program", 10)
    until(lambda: daemon.lines("read afresh"), "the snapshot", 10)
    mb = daemon.resident_mb()
    check(mb < 80, f"it has {mb:.0f} MB")
    return f"ready in {ready_s:.1f} s, with {mb:.0f} MB"


def many_edits(stage: Stage) -> str:
    """1,000 edits in 10 s are coalesced; the last revision is what runs."""
    world = stage.world("blink")
    daemon = world.start(wait="blink runs")
    rev = world.get("blink")["_rev"]
    began = time.monotonic()
    for number in range(1000):
        body = {"_rev": rev, "type": MAC_ID, "name": "blink", "code": LOOP.format(f"edit {number:03}")}
        rev = world.couch.ask("PUT", f"{PATH}/blink", body)["rev"]
        time.sleep(max(0.0, began + number * 0.01 - time.monotonic()))
    edits_s = time.monotonic() - began
    after_s = took(runs(daemon, "edit 999"), "the last revision", 10)
    alive(daemon)
    until(lambda: len(daemon.lines(" runs")) == len(daemon.lines(" quits")) + 1, "the end of all others", 10)
    starts = len(daemon.lines(" runs")) - 1
    return f"{edits_s:.1f} s of edits; {starts} were started, the last one {after_s:.2f} s after it was saved"
