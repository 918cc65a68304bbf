"""The embedded server's options, its folder, and its service."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.embedded.home import Home, Login, parse_admin
from himbeerecouch.embedded.service import Embedded
from himbeerecouch.embedded.tap import Options, makeService, with_backlog
from himbeerecouch.errors import StateError, StateLocked
from tests.embedded_wire import Wire, at_once


class OptionsTests(SynchronousTestCase):
    """The command line."""

    def test_good(self) -> None:
        """A folder is enough, and in memory an admin is."""
        options = Options()
        options.parseOptions(["--data", "x"])
        self.assertEqual((options["listen"], options["iterations"]), ("tcp:5984:interface=127.0.0.1", 600_000))
        options = Options()
        options.parseOptions(["--memory", "--admin", "a:b:c", "--iterations", "10"])
        self.assertEqual(options["login"], Login("a", "b:c"))
        from twisted.internet import reactor

        # It is given a clock that does not jump, which the other tests of this process need not have.
        self.patch(reactor, "seconds", reactor.seconds)
        service = makeService(options)
        self.assertIsInstance(service, Embedded)

    def test_many_connections(self) -> None:
        """A server has as many files as it may, and lets connections wait; what is said of that counts."""
        code = (
            "import resource; from himbeerecouch.embedded.tap import allow_connections\n"
            "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (100, min(hard, 2000) if hard > 0 else 2000))\n"
            "allow_connections(); allow_connections(); print(resource.getrlimit(resource.RLIMIT_NOFILE))"
        )
        root = str(Path(__file__).resolve().parent.parent)
        ran = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}, capture_output=True, check=False
        )
        self.assertEqual((ran.stdout, ran.stderr), (b"(2000, 2000)\n", b""))
        for listen, expected in (
            ("tcp:5984:interface=127.0.0.1", "tcp:5984:interface=127.0.0.1:backlog=1024"),
            ("tcp:5984:backlog=7", "tcp:5984:backlog=7"),
            ("ssl:5984:privateKey=x", "ssl:5984:privateKey=x:backlog=1024"),
            ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ):
            self.assertEqual(with_backlog(listen), expected)

    def test_wrong(self) -> None:
        """What does not fit together is refused."""
        for line in (
            *([], ["--memory"], ["--memory", "--data", "x", "--admin", "a:b"]),
            *(["--data", "x", "--admin", admin] for admin in ("a", ":b", "a:")),
            *(["--data", "x", "--iterations", number] for number in ("0", "x", "999999999")),
        ):
            self.assertRaises(usage.UsageError, Options().parseOptions, line)


class HomeTests(SynchronousTestCase):
    """The data folder."""

    def test_private(self) -> None:
        """The folder and the secrets in it are their owner's only, and stay the same."""
        folder = Path(self.mktemp())
        home = Home(folder)
        kept = (home.admin().password, home.secret(), home.uuid())
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        for name in ("admin", "secret", "uuid", "lock"):
            self.assertEqual(stat.S_IMODE((folder / name).stat().st_mode), 0o600, name)
        home.close()
        home.close()
        again = Home(folder)
        self.assertEqual((again.admin().password, again.secret(), again.uuid()), kept)
        self.assertFalse(again.admin().made)
        again.close()

    def test_locked(self) -> None:
        """Two servers never run on one folder."""
        folder = Path(self.mktemp())
        home = Home(folder)
        self.assertRaises(StateLocked, Home, folder)
        home.close()
        Home(folder).close()

    def test_unusable(self) -> None:
        """A folder that can't be, and an admin file that is none, are said plainly."""
        file = Path(self.mktemp())
        file.write_text("x")
        self.assertRaises(StateError, Home, file)
        folder = Path(self.mktemp())
        home = Home(folder)
        self.addCleanup(home.close)
        (folder / "admin").write_text("nonsense")
        self.assertRaises(StateError, home.admin)
        (folder / "admin").write_bytes(b"\xff")
        self.assertRaises(StateError, home.admin)
        self.assertRaises(StateError, parse_admin, "", "here")


class ServiceTests(SynchronousTestCase):
    """Opening and closing."""

    def test_everything_lasts(self) -> None:
        """Documents, databases, users, rights, indexes and sessions are there after a restart."""
        folder = Path(self.mktemp())
        wire = Wire(folder)
        wire.make("a%2Fb", "gone")
        wire.ask("PUT", "/a%2Fb/doc", {"n": 1})
        wire.ask("POST", "/a%2Fb/_index", {"index": {"fields": ["n"]}, "ddoc": "x", "name": "n"})
        wire.ask("PUT", "/a%2Fb/_security", {"members": {"names": ["u"]}})
        wire.ask("PUT", "/_users/org.couchdb.user:u", {"name": "u", "password": "p", "roles": [], "type": "user"})
        wire.ask("DELETE", "/gone")
        cookie = wire.ask("POST", "/_session", {"name": "u", "password": "p"}).headers["set-cookie"].split(";")[0]
        before = wire.ask("GET", "/a%2Fb").json
        wire.close()
        wire = Wire(folder)
        self.assertEqual(wire.ask("GET", "/_all_dbs").json, ["_users", "a/b"])
        self.assertEqual(wire.ask("GET", "/a%2Fb").json, before)
        self.assertEqual(wire.ask("GET", "/a%2Fb/doc", login=("u", "p")).json["n"], 1)
        self.assertEqual(
            wire.ask("GET", "/_session", login=None, headers={"Cookie": cookie}).json["userCtx"]["name"], "u"
        )
        found = wire.ask("POST", "/a%2Fb/_find", {"selector": {"n": 1}}).json
        self.assertEqual(([doc["_id"] for doc in found["docs"]], found.get("warning")), (["doc"], None))
        wire.close()
        self.assertNotIn(b'"password"', b"".join(file.read_bytes() for file in (folder / "databases").iterdir()))

    def test_polls_end_with_the_server(self) -> None:
        """An open poll ends with a whole answer when the server stops; a client that hangs is cut off."""
        wire = Wire()
        wire.make("db")
        poll = wire.send("GET", "/db/_changes?feed=longpoll")
        stopped: list[Any] = []
        wire.service.stopService().addBoth(stopped.append)
        self.assertEqual(poll.reply().json["results"], [])
        self.assertEqual(stopped, [])
        wire.clock.advance(1)
        for channel in list(wire.server.channels):
            channel.connectionLost()
        self.assertEqual(stopped, [None])
        self.assertEqual(wire.clock.getDelayedCalls(), [])

    def test_twistd_life(self) -> None:
        """The service opens its folder before it listens, and lets go of it when it stops."""
        from twisted.internet.endpoints import TCP4ServerEndpoint

        folder, reactor = Path(self.mktemp()), MemoryReactorClock()
        service = Embedded(reactor, TCP4ServerEndpoint(reactor, 5984), folder=folder, in_thread=at_once)
        service.privilegedStartService()
        self.assertRaises(StateLocked, Home, folder)
        service.startService()
        self.assertEqual(len(reactor.tcpServers), 1)
        self.successResultOf(service.stopService())
        Home(folder).close()

    def test_port_in_use(self) -> None:
        """Where it can't listen it says so and ends the process."""

        class Broken:
            def listen(self, factory: Any) -> Any:
                from twisted.internet.defer import fail

                return fail(OSError("address in use"))

        class Stopping(Clock):
            stopped = False

            def stop(self) -> None:
                self.stopped = True

        reactor = Stopping()
        service = Embedded(reactor, Broken(), folder=None, in_thread=at_once)  # type: ignore[arg-type]  # fails at once
        service.startService()
        self.assertTrue(reactor.stopped)
        self.successResultOf(service.stopService())
