"""What an admin is told of his server."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.fleet.findings import SHOWN, Database, Facts, Finding, GuardState, Kind, findings, names
from himbeerecouch.fleet.rights import NEW, OPERATOR, PI, Security, User

DB = "nedm/raspberries"
GOOD = Facts(
    url="https://server.name:6984",
    programs=Database(DB, NEW, GuardState.OURS),
    status=Database(f"{DB}_status", NEW, GuardState.OURS),
    users=(User("olga", (OPERATOR,)), User("12", (PI,)), User("eve")),
)
PUBLIC = Security({})
BY_NAME = Security({"members": {"names": ["rita", "12"], "roles": [PI, OPERATOR]}})


def told(facts: Facts, kind: Kind) -> list[str]:
    """The texts of one kind."""
    return [finding.text for finding in findings(facts) if finding.kind is kind]


def wrong(facts: Facts) -> list[Finding]:
    """All but the notes."""
    return [finding for finding in findings(facts) if finding.kind is not Kind.NOTE]


class FindingTests(SynchronousTestCase):
    def assert_one(self, facts: Facts, kind: Kind, *words: str) -> None:
        """One thing is wrong, and is said in these words."""
        (found,) = wrong(facts)
        self.assertIs(found.kind, kind)
        for word in words:
            self.assertIn(word, found.text)

    def test_nothing(self) -> None:
        """Where all is well there are notes only, which say who may write."""
        self.assertEqual(wrong(GOOD), [])
        self.assertEqual(told(GOOD, Kind.NOTE), ["programs may be written by the server's admins, and by olga"])
        self.assertIn("nobody has the role", told(evolve(GOOD, users=()), Kind.NOTE)[0])

    def test_transport(self) -> None:
        """http is open, but not on the machine itself."""
        self.assert_one(evolve(GOOD, url="http://server.name:5984"), Kind.OPEN, "http://server.name:5984", "https")
        for url in ("http://127.0.0.1:5984", "http://localhost:5984", "http://[::1]:5984", "https://192.168.1.1:5984"):
            self.assertEqual(wrong(evolve(GOOD, url=url)), [])
        self.assert_one(evolve(GOOD, url="http://192.168.1.1:5984"), Kind.OPEN)

    def test_missing(self) -> None:
        """A database, an index, a role that does not get in, and the database of users are named."""
        self.assert_one(evolve(GOOD, status=Database("x_status")), Kind.MISSING, "no database x_status")
        self.assert_one(evolve(GOOD, programs=Database("x")), Kind.MISSING, "no database x")
        bare = evolve(GOOD.programs, missing_indexes=("by-type",))
        self.assert_one(evolve(GOOD, programs=bare), Kind.MISSING, "index by-type")
        closed = evolve(GOOD.programs, security=Security({"members": {"roles": [PI]}}))
        self.assert_one(evolve(GOOD, programs=closed), Kind.MISSING, f"does not let in {OPERATOR}")
        self.assert_one(evolve(GOOD, users=None), Kind.MISSING, "_users")

    def test_guards(self) -> None:
        """A database without a guard is open, and so is one with another guard, but for a newer one."""
        for state, kind in ((GuardState.NONE, Kind.OPEN), (GuardState.OTHER, Kind.OPEN)):
            self.assert_one(evolve(GOOD, status=evolve(GOOD.status, guard=state)), kind, f"{DB}_status", "guard")
        newer = evolve(GOOD, status=evolve(GOOD.status, guard=GuardState.NEWER))
        self.assertEqual(wrong(newer), [])
        self.assertEqual(len(told(newer, Kind.NOTE)), 2)

    def test_public(self) -> None:
        """A public database is open; who may read it is not listed, as everybody may."""
        public = evolve(GOOD, programs=evolve(GOOD.programs, security=PUBLIC))
        self.assert_one(public, Kind.OPEN, DB, "public")
        self.assertFalse(public.open_to_strangers)
        unguarded = evolve(public, programs=evolve(public.programs, guard=GuardState.NONE))
        self.assertTrue(unguarded.open_to_strangers)
        self.assertEqual(unguarded.writers_to_be_locked_out, ["eve"])
        self.assertIn("by eve", " ".join(told(unguarded, Kind.OPEN)))

    def test_readers(self) -> None:
        """Who may only read is a note where there is a guard, and open where there is none."""
        users = (*(GOOD.users or ()), User("rita"))
        facts = evolve(GOOD, users=users, programs=evolve(GOOD.programs, security=BY_NAME))
        self.assertEqual(wrong(facts), [])
        self.assertIn("but not written, by rita", " ".join(told(facts, Kind.NOTE)))
        self.assertEqual(facts.writers_to_be_locked_out, [])
        unguarded = evolve(facts, programs=evolve(facts.programs, guard=GuardState.NONE))
        self.assertEqual(unguarded.writers_to_be_locked_out, ["rita"])
        self.assertIn("without that role, by rita", " ".join(told(unguarded, Kind.OPEN)))

    def test_pis(self) -> None:
        """A Pi that does not get in, that is an admin, or that has the role of operators is named."""
        lost = evolve(GOOD, users=(User("13"), User("12", (PI,))))
        self.assertEqual(len(wrong(lost)), 2)
        self.assertIn("does not let in the Pi 13", told(lost, Kind.MISSING)[0])
        chief = Security({"admins": {"names": ["12"]}, "members": {"roles": [PI, OPERATOR]}})
        self.assert_one(evolve(GOOD, programs=evolve(GOOD.programs, security=chief)), Kind.OPEN, "admin", "Pi 12")
        promoted = evolve(GOOD, users=(User("12", (PI, OPERATOR)),))
        self.assertEqual(wrong(promoted), [])
        self.assertIn(f"{OPERATOR} does nothing for the Pi 12", " ".join(told(promoted, Kind.NOTE)))

    def test_half_members(self) -> None:
        """Pis that get at the programs, but not at the status, are found once both databases are there."""
        users = (User("12"), User("13", (PI,)), User("rita"))
        facts = evolve(GOOD, users=users, programs=evolve(GOOD.programs, security=BY_NAME))
        self.assertEqual([pi.name for pi in facts.half_members], ["12"])
        self.assertEqual(evolve(facts, status=Database("x")).half_members, [])
        self.assertEqual(evolve(facts, users=None).half_members, [])

    def test_order(self) -> None:
        """What is open comes first, then what is missing, then broken programs, then notes."""
        facts = evolve(GOOD, url="http://server.name", status=Database("x"), complaints=("document 'a': no",))
        kinds = [finding.kind for finding in findings(facts)]
        self.assertEqual(kinds, [Kind.OPEN, Kind.MISSING, Kind.BROKEN, Kind.NOTE])
        self.assertEqual(told(facts, Kind.BROKEN), ["document 'a': no"])

    def test_many_names(self) -> None:
        """A thousand names are not all written out."""
        self.assertEqual(names(["a", "b"]), "a, b")
        self.assertTrue(names([f"u{n}" for n in range(1000)]).endswith(f", u{SHOWN - 1} and {1000 - SHOWN} more"))
