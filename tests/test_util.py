"""What people on the Pi are told is what its daemon logs in with."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from himbeerecouch import store, util
from himbeerecouch.account import Account
from himbeerecouch.errors import IdentityUnknown, StateError
from himbeerecouch.identity import Identity, find_identity, legacy_password
from himbeerecouch.store import StateFolder


class UtilTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dir = Path(self.mktemp()).absolute()

    def daemon(self, mac_id: int = 42) -> Account:
        identity = find_identity(mac_id=mac_id)
        state = StateFolder.open(self.dir, identity.folder, wait_s=0)
        self.addCleanup(state.close)
        return Account(identity, state)

    def password(self) -> str:
        return util.getpassword(mac_id=42, state_dir=self.dir)

    def lasts(self, lasts: bool) -> None:
        self.patch(util, "lasting", lambda _folder: lasts)
        self.patch(store, "lasting", lambda _folder, _mountinfo: lasts)

    def test_macid(self) -> None:
        """The MacID is the one given, or the hardware's, or that of the first login."""
        self.assertEqual(util.getmacid(mac_id=42), 42)
        found = Identity(7, "abc", "abc")
        self.patch(util, "find_identity", lambda **_options: found)
        self.assertEqual(util.getmacid(state_dir=self.dir), 7)
        state = StateFolder.open(self.dir, "abc", wait_s=0)
        Account(found, state).accepted("x")
        state.close()
        found = Identity(8, "abc", "abc")
        self.assertEqual(util.getmacid(state_dir=self.dir), 7)

    def test_while_the_daemon_runs(self) -> None:
        """The password is the daemon's, whose lock is no obstacle."""
        self.lasts(True)
        account = self.daemon()
        self.assertEqual(self.password(), account.password)
        account.accepted(account.legacy)
        self.assertEqual(self.password(), account.legacy)

    def test_before_the_daemon_ran(self) -> None:
        """The password is made as the daemon would, and the daemon then has it."""
        self.lasts(True)
        made = self.password()
        self.assertNotEqual(made, legacy_password(42, find_identity(mac_id=42).serial))
        self.assertEqual(self.password(), made)
        self.assertEqual(self.daemon().password, made)

    def test_does_not_last(self) -> None:
        """Where nothing lasts, it is the old formula, and nothing is written."""
        self.lasts(False)
        self.assertEqual(self.password(), legacy_password(42, find_identity(mac_id=42).serial))
        self.assertFalse(self.dir.exists())
        self.assertEqual(self.daemon().password, self.password())

    def test_daemon_is_just_starting(self) -> None:
        """A daemon that has the lock, and not yet a password, is waited for; one without any has the old formula."""
        self.lasts(True)
        identity = find_identity(mac_id=42)
        state = StateFolder.open(self.dir, identity.folder, wait_s=0)
        self.addCleanup(state.close)
        threads: list[threading.Thread] = []

        def daemon_goes_on(_s: float) -> None:
            if not threads:
                threads.append(threading.Thread(target=lambda: Account(identity, state)))
                threads[0].start()
                threads[0].join()

        self.patch(time, "sleep", daemon_goes_on)
        made = self.password()
        self.assertEqual(made, Account(identity, state).password)
        state.delete("account.json")
        self.patch(util, "_STARTING_S", 0.0)
        self.assertEqual(self.password(), legacy_password(42, identity.serial))

    def test_password_file(self) -> None:
        """The operator's file is read, and nothing else."""
        given = Path(self.mktemp())
        given.write_text("given\n")
        self.assertEqual(util.getpassword(password_file=given, state_dir=self.dir), "given")
        self.assertFalse(self.dir.exists())

    def test_broken_state(self) -> None:
        """What is wrong with the state folder, but for the permission, is said as it is."""
        (self.dir / "42" / "account.json").mkdir(parents=True)
        self.assertRaises(StateError, self.password)
        self.patch(util, "find_identity", lambda **_options: Identity(7, "42", "42"))
        self.assertRaises(StateError, util.getmacid, state_dir=self.dir)

    def test_other_user(self) -> None:
        """Another user is told to run with sudo, whether there is a password or not, and never gets another one."""
        if os.geteuid() != 0:
            raise SkipTest("only root can become another user")
        self.dir.parent.chmod(0o755)
        self.lasts(True)
        self.patch(util, "find_identity", lambda **_options: Identity(7, "42", "42"))
        for there in (False, True):
            if there:
                self.daemon()
            for function in (util.getpassword, util.getmacid) if there else (util.getpassword,):
                os.seteuid(65534)
                try:
                    error = self.assertRaises(PermissionError, function, state_dir=self.dir)
                finally:
                    os.seteuid(0)
                self.assertIn("run with sudo", str(error))

    def test_documented_names(self) -> None:
        """Without arguments they tell of this very machine, or say what to do."""
        for function, kind in ((util.getmacid, int), (util.getpassword, str)):
            try:
                self.assertIsInstance(function(state_dir=self.dir), kind)
            except IdentityUnknown as error:
                self.assertIn("--mac-id", str(error))
