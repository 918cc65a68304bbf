"""Who gets into a database, and who may write."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.fleet import rights
from himbeerecouch.fleet.rights import ADMIN, NEW, OPERATOR, PI, Security, User

PUBLIC: tuple[Any, ...] = (
    {},
    {"members": {}},
    {"members": None},
    {"members": {"names": [], "roles": []}, "admins": []},
)


def security(*, names: tuple[str, ...] = (), roles: tuple[str, ...] = ()) -> Security:
    """A ``_security`` with these members."""
    return Security({"admins": {"names": []}, "members": {"names": [*names], "roles": [*roles]}, "other": 1})


class SecurityTests(SynchronousTestCase):
    def test_public(self) -> None:
        """A database without any member lets everybody in, and stays so, whatever shape that has."""
        for document in PUBLIC:
            found = Security(document)
            self.assertTrue(found.is_public)
            self.assertTrue(found.is_member(User("rita")))
            self.assertEqual(found.lacks([OPERATOR, PI]), [])
            self.assertIs(found.opened_to([OPERATOR, PI]), found)

    def test_roles_are_added(self) -> None:
        """The roles come to those that are there; who got in still does, and nothing else is touched."""
        before = security(names=("rita",), roles=("raspberry",))
        after = before.opened_to([OPERATOR, PI])
        self.assertEqual(after.document["members"], {"names": ["rita"], "roles": ["raspberry", OPERATOR, PI]})
        self.assertEqual((after.document["other"], after.document["admins"]), (1, before.document["admins"]))
        self.assertEqual(before.document["members"]["roles"], ["raspberry"])
        self.assertIs(after.opened_to([PI, OPERATOR]), after)
        self.assertEqual(before.lacks([OPERATOR, PI]), [OPERATOR, PI])

    def test_names_only(self) -> None:
        """A database whose members are names gets a list of roles."""
        after = Security({"members": {"names": ["rita"]}}).opened_to([PI])
        self.assertEqual(after.document, {"members": {"names": ["rita"], "roles": [PI]}})

    def test_role_of_admins(self) -> None:
        """A role whose bearers are admins of the database gets in already."""
        self.assertEqual(security(names=("x",)).lacks([PI]), [PI])
        self.assertEqual(Security({"admins": {"roles": [OPERATOR]}, "members": {"names": ["x"]}}).lacks([OPERATOR]), [])

    def test_members_and_admins(self) -> None:
        """Names and roles let in; admins of the database or of the server are both."""
        found = Security(
            {"admins": {"names": ["dora"], "roles": ["chiefs"]}, "members": {"names": ["rita"], "roles": ["students"]}}
        )
        table = (
            (User("rita"), True, False),
            (User("sam", ("students",)), True, False),
            (User("dora"), True, True),
            (User("carl", ("chiefs",)), True, True),
            (User("root", (ADMIN,)), True, True),
            (User("eve", ("others",)), False, False),
        )
        for user, member, admin in table:
            self.assertEqual((found.is_member(user), found.is_admin(user)), (member, admin), user)

    def test_new(self) -> None:
        """A new database lets in the two roles and admins, and nobody else."""
        self.assertFalse(NEW.is_public)
        self.assertEqual(NEW.lacks([OPERATOR, PI]), [])
        self.assertFalse(NEW.is_member(User("rita")))


class UserTests(SynchronousTestCase):
    def test_pi(self) -> None:
        """A Pi is named by a number, in the digits that the guard knows."""
        for name, pi in (("202481591484002", True), ("0", True), ("12x", False), ("", False), ("\u0661", False)):
            self.assertIs(rights.is_pi(name), pi, name)
        self.assertTrue(User("12").is_pi)

    def test_documents(self) -> None:
        """Documents of users are read, with what of their roles makes sense; all others are none."""
        document = {"_id": "org.couchdb.user:rita", "name": "rita", "roles": ["students", 5], "salt": "x"}
        found = rights.user(document)
        assert found is not None
        self.assertEqual(found, User("rita", ("students",)))
        self.assertEqual(rights.with_role(found, OPERATOR), {**document, "roles": ["students", OPERATOR]})
        self.assertEqual(rights.user({"_id": "org.couchdb.user:sam", "name": "sam"}), User("sam"))
        for other in ({"_id": "_design/_auth"}, {"_id": "org.couchdb.user:x", "name": "y"}, {"_id": "x", "name": None}):
            self.assertIsNone(rights.user(other))

    def test_writers(self) -> None:
        """Operators and admins write; the role does nothing for a Pi, and who may not get in is not locked out."""
        members = security(names=("rita", "12", "olga", "13"), roles=("students",))
        users = [
            User("rita"),
            User("sam", ("students",)),
            User("olga", (OPERATOR,)),
            User("12"),
            User("13", (OPERATOR,)),
            User("root", (ADMIN,)),
            User("eve"),
        ]
        self.assertEqual([user.name for user in users if rights.may_write(user, members)], ["olga", "root"])
        self.assertEqual([user.name for user in rights.locked_out(users, members)], ["rita", "sam"])
        public = [user.name for user in rights.locked_out(users, Security({}))]
        self.assertEqual(public, ["rita", "sam", "eve"])
