"""The real daemon in guarded databases: all that the documents promise works, and an operator is all it takes."""

from __future__ import annotations

import json
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import rfc3339
from himbeerecouch.demo import Couch
from himbeerecouch.fleet.rights import OPERATOR, PI
from tests.integration.world import MAC_ID, PATH, World, until

OWN = f"{PATH}_status"
HEARTBEAT = f"{OWN}/{MAC_ID}_heartbeat"
LOG = f"{OWN}/{MAC_ID}_log"
LOOP = "import time\n\ndef main():\n    log('{0}')\n    while not should_quit():\n        time.sleep(60)\n"


class GuardedCase(SynchronousTestCase):
    timeout = 180

    def setUp(self) -> None:
        self.world = World(self, database=False, user=False)
        self.admin = self.world.couch
        for path in (PATH, OWN):
            self.admin.ask("PUT", path)
            members = {"names": [], "roles": [PI, OPERATOR]}
            self.admin.ask("PUT", f"{path}/_security", {"admins": {"roles": ["_admin"]}, "members": members})
        self.world.guard()
        self.user("olga", "olgas", OPERATOR)
        # Who saves programs and commands in these tests is no admin.
        self.world.couch = Couch(self.world.server.url, "olga", "olgas")

    def user(self, name: str, password: str, role: str) -> None:
        """Make a user."""
        document = {"name": name, "password": password, "roles": [role], "type": "user"}
        self.admin.ask("PUT", f"/_users/org.couchdb.user:{name}", document)

    def read(self, path: str) -> dict[str, Any]:
        """The document as an operator sees it; empty where it is not there."""
        try:
            found: dict[str, Any] = self.world.couch.ask("GET", path)
        except OSError:
            return {}
        return found

    def programs(self) -> dict[str, Any]:
        """What the heartbeat says of the programs."""
        found: dict[str, Any] = self.read(HEARTBEAT).get("programs", {})
        return found


class DaemonTests(GuardedCase):
    def test_programs_and_status(self) -> None:
        """Programs run, change and end; heartbeat and log tell of it in the status database, and nothing is refused."""
        self.user(str(MAC_ID), "pi-secret", PI)
        self.world.save("library", global_modules={"units": "K = 273.15\n"})
        self.world.program("blink", "import units\n" + LOOP.format("first"))
        daemon = self.world.start(wait="program blink: first")
        rev = self.world.program("blink", "import units\n" + LOOP.format("second"))
        until(lambda: self.programs().get("blink", {}).get("rev") == rev, "the new revision")
        until(lambda: "blink" in self.read(LOG).get("programs", {}), "its log")
        before = self.read(LOG)["_rev"]
        watch = f"{MAC_ID}_watch"
        self.world.save(watch, type=watch, until=rfc3339.render(time.time() + 3600))
        self.world.program("talker", LOOP.format("hello"))
        until(lambda: self.read(LOG)["_rev"] != before, "a log that is watched")
        self.world.program("bad", "def main():\n    return 1 / 0\n")
        until(lambda: self.programs().get("bad", {}).get("state") == "backoff", "a crash")
        self.world.delete("blink")
        until(lambda: "blink" not in self.programs(), "its end")
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(self.read(HEARTBEAT)["state"], "stopped")
        self.assertNotIn("himbeerecouch_operator", daemon.log())

    def test_commands(self) -> None:
        """Commands are claimed, answered, cancelled, rejected and interrupted, and actions are done."""
        self.user(str(MAC_ID), "pi-secret", PI)
        world = self.world
        daemon = world.start()
        until((world.state_dir / str(MAC_ID) / "started").exists, "the first snapshot")
        answered = world.command("c1", "echo", "hello", by="olga", at="2026-05-01T12:00:00Z")
        self.assertEqual((answered["ret"], answered["by"]), (["hello\n", ""], "olga"))
        world.save("c2", type=f"{MAC_ID}_cmd", cmd=["sleep", "300"])
        running = until(lambda: doc if "execution" in (doc := world.get("c2")) else None, "a claim")
        self.assertEqual((running["execution"]["state"], "ret" in running), ("running", False))
        world.couch.ask("PUT", f"{PATH}/c2", {**running, "cancel": True})
        self.assertEqual(world.answered("c2")["execution"]["state"], "cancelled")
        self.assertEqual(world.command("c3", cmd="echo")["execution"]["state"], "rejected")
        self.assertEqual(world.command("c4", "true", expires="2001-01-01T00:00:00Z")["execution"]["state"], "expired")
        self.assertEqual(world.command("c5", action="identify")["execution"]["state"], "done")
        world.save("c6", type=f"{MAC_ID}_cmd", cmd=["sleep", "300"])
        until(lambda: "execution" in world.get("c6"), "a claim")
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(world.answered("c6")["execution"]["state"], "interrupted")
        self.assertNotIn("himbeerecouch_operator", daemon.log())

    def test_rotate(self) -> None:
        """A Pi gives itself another password."""
        daemon = self.world.start(password=False)
        account = self.world.state_dir / str(MAC_ID) / "account.json"
        until(account.exists, "a password")
        before = json.loads(account.read_text())["password"]
        self.user(str(MAC_ID), before, PI)
        daemon.stop()
        daemon = self.world.start(password=False)
        answered = self.world.command("c", action="rotate", expires="2100-01-01T00:00:00Z")
        self.assertEqual(answered["ret"], ["this Pi has a new password", ""])
        self.assertNotEqual(json.loads(account.read_text())["password"], before)
        self.assertEqual(self.world.command("c2", "echo", "x")["ret"], ["x\n", ""])

    def test_no_status_database(self) -> None:
        """Without a status database the guard keeps the heartbeat out of the programs: that is said once, all runs."""
        self.user(str(MAC_ID), "pi-secret", PI)
        self.admin.ask("DELETE", OWN)
        daemon = self.world.start(wait="the status can't be written")
        self.world.program("blink", LOOP.format("blinking"))
        daemon.wait_for("program blink: blinking")
        self.assertEqual(self.world.command("c", "echo", "x", expires="2100-01-01T00:00:00Z")["ret"], ["x\n", ""])
        self.assertEqual(len(daemon.lines("the status can't be written")), 1)
        self.assertEqual(self.read(f"{PATH}/{MAC_ID}_heartbeat"), {})
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(daemon.lines("Traceback"), [])
