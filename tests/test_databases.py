"""The embedded databases in one folder: whose fields count for a login."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.embedded.databases import USERS, Databases
from himbeerecouch.embedded.revisions import Leaf


class UserFieldsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.databases = Databases(None, wall_s=lambda: 0.0, call_soon=lambda _: None)
        self.users = self.databases.get(USERS).database
        self.addCleanup(self.databases.close)

    def save(self, generation: int, salt: str, *, deleted: bool = False) -> None:
        leaf = Leaf(generation, tuple("ab"[:generation]), deleted, f'{{"salt":"{salt}"}}')
        self.users.put("org.couchdb.user:pi", [leaf], {"salt": salt})

    def test_changed(self) -> None:
        """Whoever is told that a user is changed finds that so: the one of before is not kept in mind any longer."""
        self.assertIsNone(self.databases.user_fields("pi"))
        self.save(1, "old")
        for _ in range(2):
            self.assertEqual(self.databases.user_fields("pi"), {"salt": "old"})
        self.save(2, "new")
        found: list[Any] = []
        self.users.durable().addCallback(lambda _: found.append(self.databases.user_fields("pi")))
        self.users.commit()
        self.assertEqual(found, [{"salt": "new"}])

    def test_deleted(self) -> None:
        """One that is deleted is nobody."""
        self.save(1, "old")
        self.assertEqual(self.databases.user_fields("pi"), {"salt": "old"})
        self.save(2, "old", deleted=True)
        self.users.commit()
        self.assertIsNone(self.databases.user_fields("pi"))
