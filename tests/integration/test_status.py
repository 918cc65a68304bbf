"""What the real daemon tells of itself in the database."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import rfc3339
from tests.integration.world import MAC_ID, PATH, World, until

HEARTBEAT = f"{MAC_ID}_heartbeat"
LOG = f"{MAC_ID}_log"
OWN = f"{PATH}_status"
LOOP = "import time\n\ndef main():\n    log('{0}')\n    while not should_quit():\n        time.sleep(60)\n"


class StatusCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)

    def read(self, id: str, database: str = OWN) -> dict[str, Any]:
        """The document as it is now; empty where it is not there."""
        with contextlib.suppress(OSError):
            found: dict[str, Any] = self.world.couch.ask("GET", f"{database}/{id}")
            return found
        return {}

    def until(self, wanted: Callable[[dict[str, Any]], object], id: str = HEARTBEAT, database: str = OWN) -> Any:
        """The document, once it is as wanted."""
        found: dict[str, Any] = {}

        def ask() -> object:
            found.clear()
            found.update(self.read(id, database))
            return found and wanted(found)

        try:
            until(ask, id)
        except AssertionError as error:
            raise AssertionError(f"{error}: {found}") from None
        return found

    def state(self, id: str, state: str) -> dict[str, Any]:
        """What the heartbeat says of a program, once it is in that state."""
        found = self.until(lambda doc: doc["programs"].get(id, {}).get("state") == state)
        told: dict[str, Any] = found["programs"][id]
        return told


class HeartbeatTests(StatusCase):
    def test_states_as_they_change(self) -> None:
        """A program that runs, crashes, finishes, is refused or deleted is told of within moments."""
        daemon = self.world.start()
        rev = self.world.program("blink", LOOP.format("blinking"))
        told = self.state("blink", "running")
        self.assertEqual((told["name"], told["rev"], told["restarts"], told["error"]), ("blink", rev, 0, None))
        self.assertLess(abs(rfc3339.parse(told["since"]) - time.time()), 60)
        heartbeat = self.read(HEARTBEAT)
        self.assertEqual((heartbeat["type"], heartbeat["state"]), ("heartbeat", "running"))
        self.assertEqual((heartbeat["running_ids"], heartbeat["ip"]), (["blink"], "127.0.0.1"))
        self.assertLess(abs(rfc3339.parse(heartbeat["timestamp"]) - time.time()), 60)

        self.world.program("bad", "def main():\n    return 1 / 0  # my line\n")
        told = self.state("bad", "backoff")
        self.assertIn("1 / 0  # my line", told["error"])
        self.world.program("once", "def main():\n    pass\n")
        self.state("once", "finished")
        rev = self.world.save("bad", type=MAC_ID, code=5)
        told = self.state("bad", "rejected")
        self.assertEqual((told["rev"], "must be a string" in told["error"]), (rev, True))
        heartbeat = self.read(HEARTBEAT)
        self.assertEqual([entry["id"] for entry in heartbeat["rejected"]], ["bad"])
        self.assertEqual(heartbeat["running_ids"], ["blink"])
        self.world.delete("blink")
        self.until(lambda doc: "blink" not in doc["programs"])
        self.assertEqual(daemon.stop(), 0)

    def test_last_heartbeat(self) -> None:
        """A daemon that ends says so, and one that comes back takes the document over."""
        self.world.program("blink", LOOP.format("blinking"))
        daemon = self.world.start()
        self.state("blink", "running")
        self.assertEqual(daemon.stop(), 0)
        heartbeat = self.read(HEARTBEAT)
        self.assertEqual((heartbeat["state"], heartbeat["running_ids"]), ("stopped", []))
        self.world.start()
        self.until(lambda doc: doc["state"] == "running" and doc["running_ids"] == ["blink"])

    def test_end_without_a_server(self) -> None:
        """With a server that is gone, no time is spent on a last heartbeat."""
        daemon = self.world.start()
        self.until(lambda doc: doc["state"] == "running")
        self.world.server.kill()
        self.assertEqual(daemon.stop(), 0)
        [said] = daemon.lines("the last heartbeat could not be written")
        self.assertNotIn("Cancelled", said)

    def test_end_with_a_server_that_hangs(self) -> None:
        """A server that does not answer does not keep the daemon: the last heartbeat is given up."""
        daemon = self.world.start()
        self.until(lambda doc: doc["state"] == "running")
        self.world.server.process.send_signal(signal.SIGSTOP)
        self.assertEqual(daemon.stop(), 0)
        self.world.server.process.send_signal(signal.SIGCONT)
        [said] = daemon.lines("the last heartbeat could not be written")
        self.assertIn("Cancelled", said)

    def test_somebody_else_writes_it(self) -> None:
        """A document that was changed or deleted by somebody else is written over."""
        self.world.start()
        found = self.until(lambda doc: doc["state"] == "running")
        self.world.couch.ask("PUT", f"{OWN}/{HEARTBEAT}", {"_rev": found["_rev"], "type": "mine"})
        self.world.program("blink", LOOP.format("blinking"))
        self.until(lambda doc: doc["type"] == "heartbeat" and doc["running_ids"] == ["blink"])
        self.world.couch.ask("DELETE", f"{OWN}/{HEARTBEAT}?rev={self.read(HEARTBEAT)['_rev']}")
        self.world.delete("blink")
        self.until(lambda doc: doc["running_ids"] == [])


class PlaceTests(StatusCase):
    """Where the heartbeat goes when it has no database of its own."""

    def test_missing(self) -> None:
        """Without a status database it goes into that of the programs, until there is one."""
        self.world.couch.ask("DELETE", OWN)
        daemon = self.world.start(wait=f"Create {PATH.replace('/', '', 1).replace('%2F', '/')}_status")
        self.world.program("blink", LOOP.format("blinking"))
        found = self.until(lambda doc: doc["running_ids"] == ["blink"], database=PATH)
        self.assertEqual(found["interval_s"], 600)
        self.world.couch.ask("PUT", OWN)
        members = {"names": [str(MAC_ID)], "roles": []}
        self.world.couch.ask("PUT", f"{OWN}/_security", {"admins": {"roles": ["_admin"]}, "members": members})
        daemon.signal(signal.SIGHUP)
        self.until(lambda doc: doc["running_ids"] == ["blink"])
        daemon.wait_for("goes into nedm/raspberries_status from now on")
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(self.read(HEARTBEAT)["state"], "stopped")

    def test_forbidden(self) -> None:
        """Where both databases refuse it, that is said once, and the programs run all the same."""
        self.world.couch.ask("PUT", f"{OWN}/_security", {"members": {"names": ["somebody"], "roles": []}})
        guard = "function (doc) { if (doc.type === 'heartbeat') throw {forbidden: 'no heartbeats here'}; }"
        self.world.couch.ask("PUT", f"{PATH}/_design/guard", {"validate_doc_update": guard})
        daemon = self.world.start(wait="the status can't be written")
        self.world.program("blink", LOOP.format("blinking"))
        daemon.wait_for("blinking")
        time.sleep(1)
        self.assertEqual((self.read(HEARTBEAT), self.read(HEARTBEAT, PATH)), ({}, {}))
        self.assertEqual(len(daemon.lines("the status can't be written")), 1)
        self.assertEqual(daemon.stop(), 0)


class LogTests(StatusCase):
    TALKER = (
        "def main():\n    import time\n    n = 0\n    while not should_quit():\n        log('tick', n)\n"
        "        n += 1\n        time.sleep(0.2)\n"
    )

    def test_first_lines_and_watch(self) -> None:
        """The first lines are there at once, the next ones while somebody watches."""
        self.world.start()
        self.world.program("talker", self.TALKER)
        found = self.until(lambda doc: doc["programs"]["talker"]["lines"], LOG)
        self.assertEqual((found["type"], found["programs"]["talker"]["lines"][0]), ("log", "tick 0"))
        time.sleep(4)
        self.assertEqual(self.read(LOG)["_rev"], found["_rev"])
        watch = f"{MAC_ID}_watch"
        self.world.save(watch, type=watch, until=rfc3339.render(time.time() + 3600))
        found = self.until(lambda doc: doc["_rev"] != found["_rev"], LOG)
        self.until(lambda doc: doc["_rev"] != found["_rev"], LOG)
        self.world.delete(watch)
        time.sleep(3)
        found = self.read(LOG)
        time.sleep(4)
        self.assertEqual(self.read(LOG)["_rev"], found["_rev"])

    def test_crash(self) -> None:
        """A crash is in the log document at once."""
        self.world.start()
        self.world.program("talker", self.TALKER)
        self.until(lambda doc: doc["programs"]["talker"]["lines"], LOG)
        self.world.program("bad", "def main():\n    print('before')\n    return 1 / 0\n")
        lines = self.until(lambda doc: "bad" in doc["programs"], LOG)["programs"]["bad"]["lines"]
        self.assertEqual(lines[0], "before")
        self.assertIn("ZeroDivisionError: division by zero", lines)
