"""A Pi's account: which passwords it tries, which one it keeps, and that it never changes one by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.account import ACCOUNT, Account
from himbeerecouch.errors import HimbeerecouchError, IdentityUnknown, PasswordFileError, StateError
from himbeerecouch.identity import Identity, legacy_password
from himbeerecouch.store import StateFolder

IDENTITY = Identity(5, "abc", "abc")
OLD = legacy_password(5, "abc")
SECRET = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA"


class AccountTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dir = Path(self.mktemp()).absolute()
        self.mountinfo = Path(self.mktemp())
        self.mountinfo.write_text("1 0 0:1 / / rw - ext4 /dev/root rw\n")
        self.state = self.open()
        self.warnings: list[str] = []
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: LogEvent) -> None:
        if event["log_namespace"] == "himbeerecouch.account" and event["log_level"].name == "warn":
            self.warnings.append(event["log_format"])

    def open(self) -> StateFolder:
        state = StateFolder.open(self.dir, "abc", wait_s=0, mountinfo=self.mountinfo)
        self.addCleanup(state.close)
        return state

    def account(self, identity: Identity = IDENTITY, password_file: Path | None = None, byte: bytes = b"0") -> Account:
        return Account(identity, self.state, password_file=password_file, random_bytes=lambda count: byte * count)

    def fleeting(self) -> None:
        self.state.close()
        self.mountinfo.write_text("1 0 0:1 / / rw - tmpfs none rw\n")
        self.state = self.open()

    def test_new_pi(self) -> None:
        """A new Pi makes a secret, gives that one away, and tries the old formula before it."""
        account = self.account()
        self.assertEqual((account.mac_id, account.username), (5, "5"))
        self.assertEqual(account.password, SECRET)
        self.assertEqual(account.passwords(), (OLD, SECRET))
        self.assertFalse(account.enrolled)
        self.assertFalse(account.guessable)
        self.assertEqual(self.account(byte=b"1").password, SECRET)
        self.assertEqual(self.warnings, [])

    def test_secret_is_random(self) -> None:
        """Two Pis have two secrets of 32 bytes."""
        first = Account(IDENTITY, self.state).password
        (self.dir / "abc" / ACCOUNT).unlink()
        second = Account(IDENTITY, self.state).password
        self.assertNotEqual(first, second)
        self.assertRegex(first, r"^[-_0-9A-Za-z]{43}$")

    def test_enrolled(self) -> None:
        """Once the secret has worked, it is the only one, after every start."""
        self.account().accepted(SECRET)
        account = self.account()
        self.assertEqual(account.passwords(), (SECRET,))
        self.assertTrue(account.enrolled)

    def test_upgraded(self) -> None:
        """Where the old formula works, it is kept, with a warning at each start."""
        account = self.account()
        account.accepted(OLD)
        self.assertEqual(account.passwords(), (OLD,))
        self.assertEqual(len(self.warnings), 1)
        account.accepted(OLD)
        self.assertEqual(len(self.warnings), 1)
        again = self.account()
        self.assertEqual((again.password, again.passwords()), (OLD, (OLD,)))
        self.assertTrue(again.guessable)
        self.assertEqual(len(self.warnings), 2)

    def test_storage_does_not_last(self) -> None:
        """Where a secret would be lost at the next boot, the old formula is used, with a warning."""
        self.fleeting()
        account = self.account()
        self.assertEqual((account.password, account.passwords()), (OLD, (OLD,)))
        self.assertEqual(len(self.warnings), 1)
        account.accepted(OLD)
        self.assertTrue(self.account().enrolled)
        self.assertRaises(HimbeerecouchError, account.new_secret)

    def test_stored_secret_counts_everywhere(self) -> None:
        """A secret that is stored is used, also where no new one could be."""
        self.account().accepted(SECRET)
        self.fleeting()
        self.assertEqual(self.account().passwords(), (SECRET,))

    def test_disk_full(self) -> None:
        """Where the secret can't be stored, the old formula is used; what has worked counts until the end."""
        self.patch(StateFolder, "write", self._full)
        account = self.account()
        self.assertEqual(account.passwords(), (OLD,))
        account.accepted(OLD)
        self.assertTrue(account.enrolled)
        self.assertRaises(StateError, account.new_secret)
        self.assertEqual(account.passwords(), (OLD,))

    def _full(self, name: str, data: bytes) -> None:
        raise StateError(name, "can't be written: No space left on device")

    def test_rotate(self) -> None:
        """A new secret is tried beside the old one until it is known to work, across a crash at every step."""
        account = self.account()
        account.accepted(OLD)
        new = account.new_secret()
        self.assertEqual(new, SECRET)
        self.assertEqual(self.account().passwords(), (OLD, SECRET))
        self.assertEqual(account.password, OLD)
        account.switch()
        for each in (account, self.account()):
            self.assertEqual((each.password, each.passwords()), (SECRET, (SECRET,)))
        account.switch()
        self.assertEqual(account.password, SECRET)

    def test_rotate_was_cut_off(self) -> None:
        """After an end between setting and switching, the one that works is kept."""
        for works, left in ((OLD, (OLD, SECRET)), (SECRET, (SECRET,))):
            with self.subTest(works=works):
                account = self.account()
                account.accepted(OLD)
                account.new_secret()
                again = self.account()
                again.accepted(works)
                self.assertEqual(again.passwords(), left)
                self.assertEqual(self.account().passwords(), left)
                self.state.delete(ACCOUNT)

    def test_written_once(self) -> None:
        """What is known already is not written again."""
        account = self.account()
        account.accepted(SECRET)
        before = (self.dir / "abc" / ACCOUNT).stat().st_ino
        account.accepted(SECRET)
        self.assertEqual((self.dir / "abc" / ACCOUNT).stat().st_ino, before)

    def test_mac_id_stays(self) -> None:
        """The MacID is that of the first login, whatever the interfaces say later, unless the operator gives one."""
        self.assertEqual(self.account(Identity(7, "abc", "abc")).mac_id, 7)
        account = self.account()
        account.accepted(SECRET)
        for identity, mac_id in (
            (Identity(7, "abc", "abc"), 5),
            (Identity(None, "abc", "abc"), 5),
            (Identity(7, "abc", "abc", fixed=True), 7),
        ):
            with self.subTest(identity=identity):
                self.assertEqual(self.account(identity).mac_id, mac_id)
        self.assertEqual(len(self.warnings), 1)

    def test_no_mac_id(self) -> None:
        """Before the first login, without an interface, nobody knows the MacID."""
        self.assertRaises(IdentityUnknown, self.account, Identity(None, "abc", "abc"))

    def test_password_file(self) -> None:
        """The operator's password overrides all, and is stored nowhere."""
        given = Path(self.mktemp())
        given.write_text("given\n")
        account = self.account(password_file=given)
        self.assertEqual((account.password, account.passwords()), ("given", ("given",)))
        account.accepted("given")
        self.assertTrue(account.enrolled)
        self.assertNotIn("given", (self.dir / "abc" / ACCOUNT).read_text())
        self.assertRaises(HimbeerecouchError, account.new_secret)
        account.switch()
        later = self.account()
        self.assertTrue(later.enrolled)
        self.assertEqual(later.passwords(), (OLD, SECRET))
        self.assertRaises(PasswordFileError, self.account, password_file=Path("missing"))

    def test_password_file_changes(self) -> None:
        """Another password in the operator's file is taken over; where it can't be read, the one of before stays."""
        given = Path(self.mktemp())
        given.write_text("given\n")
        account = self.account(password_file=given)
        self.assertFalse(account.look_again())
        given.write_text("")
        self.assertFalse(account.look_again())
        self.assertEqual(account.passwords(), ("given",))
        given.write_text("other\n")
        self.assertTrue(account.look_again())
        self.assertEqual(account.passwords(), ("other",))
        self.assertFalse(self.account().look_again())

    def test_garbage(self) -> None:
        """A state file that can't be understood is set aside, and a new password made."""
        good = {"mac_id": 5, "enrolled": True, "password": "x", "proven": True, "next_password": None}
        self.state.write(ACCOUNT, json.dumps(good).encode())
        self.assertEqual(self.account().passwords(), ("x",))
        for data in (
            b"",
            b"\0" * 100,
            b"{",
            b"[]",
            b"{}",
            b"[" * 100000,
            json.dumps({**good, "password": 1}).encode(),
            json.dumps({**good, "mac_id": True}).encode(),
            json.dumps({**good, "enrolled": 1}).encode(),
        ):
            with self.subTest(data=data[:50]):
                self.state.write(ACCOUNT, data)
                self.assertEqual(self.account().passwords(), (OLD, SECRET))
                self.assertEqual((self.dir / "abc" / f"{ACCOUNT}.bad").read_bytes(), data)

    def test_unreadable(self) -> None:
        """A secret that is there and can't be read is an error, never another password."""
        (self.dir / "abc" / ACCOUNT).mkdir()
        self.assertRaises(StateError, self.account)

    def test_passwords_are_not_shown(self) -> None:
        """No representation holds a password."""
        account = self.account()
        account.accepted(SECRET)
        account.new_secret()
        self.assertNotIn(SECRET, repr(account) + repr(account._kept))
