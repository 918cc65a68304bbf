"""The command line of the daemon, and the house that is built from it."""

from __future__ import annotations

import errno
import os
import re
import signal
from pathlib import Path
from typing import Any

from twisted.application.service import IServiceCollection
from twisted.internet import reactor
from twisted.internet.testing import MemoryReactorClock
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import store, tap, unix
from himbeerecouch.errors import CaFileError, PasswordFileError, StateLocked
from himbeerecouch.unix import Handover


class OptionTests(SynchronousTestCase):
    def parse(self, *arguments: str) -> tap.Config:
        options = tap.Options()
        options.parseOptions(list(arguments))
        return options.config()

    def test_defaults(self) -> None:
        """Without options it is the default configuration, and that needs no command line."""
        self.assertEqual(self.parse(), tap.Config())
        self.assertEqual(tap.Config().arguments(), [])

    def test_round_trip(self) -> None:
        """The command line that a configuration gives is read as that configuration, paths made absolute."""
        config = self.parse(
            "--server-file=a/server",
            "--database=lab/pis_2",
            "--interface=wlan0",
            "--mac-id=281474976710655",
            "--password-file=b",
            "--state-dir=c",
            "--quit-timeout=2.5",
            "--ca-file=d",
            "--discovery=open",
            "--discovery-port=54000",
            "--max-source=1000",
        )
        self.assertEqual(config.server_file, str(Path("a/server").absolute()))
        self.assertEqual((config.mac_id, config.quit_timeout, config.discovery_port), (2**48 - 1, 2.5, 54000))
        self.assertEqual(self.parse(*config.arguments()), config)

    def test_refused(self) -> None:
        """A bad value is refused in one line that names the option and what may be given."""
        table = (
            ("--mac-id=abc", "whole number from 1 to 281474976710655"),
            ("--mac-id=0", "--mac-id"),
            ("--mac-id=281474976710656", "--mac-id"),
            ("--quit-timeout=nan", "--quit-timeout must be a number from 1 to 3600, not 'nan'"),
            ("--quit-timeout=0", "--quit-timeout"),
            ("--discovery=maybe", "open, enroll, off"),
            ("--discovery-port=0", "--discovery-port"),
            ("--discovery-port=1e3", "--discovery-port"),
            ("--max-source=0", "--max-source"),
            ("--database=", "--database"),
            ("--database=Pis", "--database"),
            ("--database=../etc", "--database"),
            ("--database=a?b", "--database"),
            ("--database=\udcff", "--database"),
            ("--no-such-option", "no-such-option"),
            ("start", "what is 'start'"),
        )
        for argument, reason in table:
            error = self.assertRaises(usage.UsageError, self.parse, argument)
            self.assertIn(reason, str(error))
            self.assertEqual(len(str(error).splitlines()), 1)

    def test_help(self) -> None:
        """Every option has a line of help, with its default where it has one."""
        text = re.sub(r"\s+", " ", str(tap.Options()))
        parameters: list[Any] = tap.Options.optParameters
        for name, _, default, *_ in parameters:
            self.assertIn(f"--{name}=", text)
            if default is not None:
                self.assertIn(f"[default: {default}]", text)

    def test_log_file(self) -> None:
        """twistd's log file is bounded as soon as the options are read."""
        options = tap.Options()
        twistd: dict[str, Any] = {"logfile": str(Path(self.mktemp()).absolute()), "nodaemon": 0}
        options.parent = twistd  # type: ignore[assignment]
        options.postOptions()
        self.assertIn("bounded_log_observer", twistd["logger"])


class HouseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        (self.folder / "password").write_text("secret\n")

    def make(self, **settings: Any) -> Any:
        given = {
            "server_file": str(self.folder / "server"),
            "state_dir": str(self.folder / "state"),
            "password_file": str(self.folder / "password"),
            "mac_id": 5,
            **settings,
        }
        whole: Any = tap.make_daemon(MemoryReactorClock(), tap.Config(**given), {}, Handover(), systemd={})
        self.addCleanup(whole._close)
        return whole

    def test_make(self) -> None:
        """All services hang on one, whose command line is the one that was given."""
        whole = self.make()
        names = {type(service).__name__ for service in IServiceCollection(whole)}
        self.assertLessEqual({"Node", "DiscoveryService", "Enrolment", "Lights"}, names)
        self.assertIn(f"--state-dir={self.folder}/state", whole._arguments)

    def test_locked(self) -> None:
        """A second one on one state folder is refused, before it has begun anything."""
        self.make()
        self.assertRaises(StateLocked, self.make)

    def test_program_that_leaks_files(self) -> None:
        """Where nothing can be opened any more, a failure of the feed makes the daemon replace itself."""
        whole = self.make()
        reasons: list[str] = []
        self.patch(whole, "replace", reasons.append)
        self.patch(unix, "out_of_descriptors", lambda: True)
        next(iter(whole))._changes._failing()
        self.assertEqual(len(reasons), 1)
        self.assertIn("can't open anything any more", reasons[0])

    def test_bad_files(self) -> None:
        """A password file or a CA file that can't be used is refused."""
        self.assertRaises(PasswordFileError, self.make, password_file="/no/such/file")
        self.assertRaises(CaFileError, self.make, mac_id=6, ca_file="/no/such/file")

    def test_plugin(self) -> None:
        """twistd is given the house, or is ended by one line that says why not."""
        self.patch(reactor, "seconds", reactor.seconds)
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        options = tap.Options()
        options.parseOptions(["--mac-id=5", f"--state-dir={self.folder}/s", f"--password-file={self.folder}/password"])
        whole: Any = tap.makeService(options)
        self.addCleanup(whole._close)
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)
        error = self.assertRaises(SystemExit, tap.makeService, options)
        self.assertIn(f"himbeerecouch does not start: state folder {self.folder}/s/5: another daemon", str(error))
        self.assertIn(f"pid {os.getpid()}", str(error))

    def test_started(self) -> None:
        """The first snapshot is remembered, so that later commands are not taken for old ones; or that is said."""
        whole = self.make()
        node = next(iter(whole))
        self.assertTrue(node._stale)
        node.snapshot([])
        self.assertTrue((self.folder / "state" / "5" / tap.STARTED).exists())
        whole._close()
        self.assertFalse(next(iter(self.make()))._stale)

    def test_started_without_a_disk(self) -> None:
        """Where the state folder can't be written, it is remembered until the next boot; what it held before counts."""
        self.patch(tap, "until_boot", lambda state: store.until_boot(state, [self.folder / "run"]))
        (self.folder / "file").write_text("")
        unwritable = str(self.folder / "file" / "state")
        for stale in (True, False):
            whole = self.make(state_dir=unwritable)
            node = next(iter(whole))
            self.assertIs(node._stale, stale)
            node.snapshot([])
        (self.folder / "state" / "5").mkdir(parents=True)
        (self.folder / "state" / "5" / tap.STARTED).write_text("")
        self.patch(store, "_lock", self.refuse)
        self.assertFalse(next(iter(self.make()))._stale)

    def refuse(self, *_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def test_started_on_a_full_disk(self) -> None:
        """Where the disk refuses, that is logged, and nothing else is hurt."""
        whole = self.make()
        (self.folder / "state" / "5" / f"{tap.STARTED}.new").mkdir()
        next(iter(whole)).snapshot([])
        self.assertFalse((self.folder / "state" / "5" / tap.STARTED).exists())
