"""What a command may ask for in place of a program: above all, a new password is never lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.account import Account
from himbeerecouch.actions import actions, rotate
from himbeerecouch.couch.client import Login
from himbeerecouch.errors import Conflict
from himbeerecouch.identity import Identity
from himbeerecouch.model import Action
from himbeerecouch.store import StateFolder
from tests.memory_couch import MemoryCouch

USER = "org.couchdb.user:5"


class ActionTests(SynchronousTestCase):
    def setUp(self) -> None:
        mountinfo = Path(self.mktemp())
        mountinfo.write_text("1 0 0:1 / / rw - ext4 /dev/root rw\n")
        self.state = StateFolder.open(Path(self.mktemp()).absolute(), "abc", wait_s=0, mountinfo=mountinfo)
        self.addCleanup(self.state.close)
        self.account = Account(Identity(5, "abc", "abc"), self.state)
        self.account.accepted(self.account.password)
        self.login = Login("5", self.account.passwords(), self.account.accepted)
        self.couch = MemoryCouch()
        self.couch.save({"_id": USER, "name": "5", "roles": ["pis"], "type": "user", "derived_key": "x"})

    def rotate(self) -> Deferred[str]:
        return Deferred.fromCoroutine(rotate(self.account, cast(Any, self.couch), self.login))

    def test_rotate(self) -> None:
        """The new password is set in the Pi's own user document, whose other members stay, and used from then on."""
        before = self.account.password
        self.assertIn("new password", self.successResultOf(self.rotate()))
        user = self.couch.documents[USER]
        self.assertEqual((user["roles"], user["password"]), (["pis"], self.account.password))
        self.assertNotEqual(self.account.password, before)
        self.assertEqual(self.login.attempt().password, self.account.password)
        self.assertEqual(Account(Identity(5, "abc", "abc"), self.state).passwords(), (self.account.password,))

    def test_user_that_comes_back(self) -> None:
        """A password that was accepted is tried again when the others are refused too: its user may be back."""
        login = Login("5", ["old", "new"], lambda password: None)
        login.succeeded(login.attempt())
        tried = []
        for _ in range(4):
            attempt = login.attempt()
            tried.append((attempt.password, login.refused(attempt)))
        self.assertEqual(tried, [("old", True), ("new", False)] * 2)
        login.succeeded(login.attempt())
        self.assertEqual(login.attempt().password, "old")

    def test_rotate_refused(self) -> None:
        """Where the server refuses, the old one is used on, and the new one is tried after it: it may be there."""
        before = self.account.password
        self.couch.late_faults = [Conflict("PUT", status=409)]
        self.failureResultOf(self.rotate(), Conflict)
        self.assertEqual(self.account.password, before)
        self.assertEqual(self.account.passwords(), (before, self.couch.documents[USER]["password"]))
        attempt = self.login.attempt()
        self.assertEqual(attempt.password, before)
        self.assertTrue(self.login.refused(attempt))
        self.login.succeeded(self.login.attempt())
        self.assertEqual(self.account.passwords(), (self.couch.documents[USER]["password"],))

    def test_all(self) -> None:
        """Every action that a document may name is there, and ``restart`` is answered at once."""
        told: list[str] = []

        async def said(text: str) -> str:
            return text

        known = actions(
            identify=lambda: said("blinking"), restart=lambda: told.append("restart"), rotate=lambda: said("rotated")
        )
        self.assertEqual(set(known), set(Action))
        answers = [self.successResultOf(Deferred.fromCoroutine(cast(Any, known[action]()))) for action in Action]
        self.assertEqual((sorted(answers), told), (["blinking", "restarting", "rotated"], ["restart"]))
