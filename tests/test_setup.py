"""``himbeerecouch setup`` on an embedded server."""

from __future__ import annotations

import json
from typing import Any

from himbeerecouch.embedded import validate
from himbeerecouch.errors import CouchError, Forbidden, HimbeerecouchError
from himbeerecouch.fleet import guard, preparation
from himbeerecouch.fleet.desk import Basic, Desk
from himbeerecouch.fleet.findings import GuardState
from himbeerecouch.fleet.rights import OPERATOR, PI
from himbeerecouch.model import Json
from tests.cli_case import DATABASE, CliCase

STATUS = f"{DATABASE}_status"
PUBLIC = {"admins": {"roles": ["_admin"]}, "members": {"names": [], "roles": []}}
BY_HAND = {"admins": {"roles": ["_admin"]}, "members": {"names": ["rita"], "roles": ["raspberry", "students"]}}


class SetupCase(CliCase):
    timeout = 120

    async def user(self, name: str, *roles: str) -> Desk:
        """Make a user; give its client."""
        document = {"_id": f"org.couchdb.user:{name}", "name": name, "password": "p", "roles": [*roles], "type": "user"}
        await self.desk.put("_users", document)
        return self.desk_of(name, "p")

    async def roles(self, name: str) -> list[str]:
        """The roles of a user by now."""
        found: list[str] = (await self.desk.get("_users", f"org.couchdb.user:{name}"))["roles"]
        return found

    async def rights(self, database: str, rights: Any = None) -> Any:
        """Set the rights of a database where some are given; give them."""
        if rights is not None:
            await self.desk.ask("PUT", database, "_security", body=rights)
        return await self.desk.ask("GET", database, "_security")

    async def snapshot(self) -> Any:
        """Everything that a set-up can change."""
        users = await self.desk.all_docs("_users")
        kept = [(await self.desk.info(name)).update_seq for name in (DATABASE, STATUS)]
        return users, kept, [await self.rights(name) for name in (DATABASE, STATUS)]


class FreshTests(SetupCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        for name in (DATABASE, STATUS):
            await self.desk.ask("DELETE", name)

    async def test_fresh_server(self) -> None:
        """A server without anything gets all of it, line by line; a second run changes nothing, and says so."""
        ran = await self.himbeerecouch("setup")
        self.assertEqual(ran.exit_code, 0, ran.stderr)
        lines = ran.stdout.splitlines()
        self.assertEqual(
            lines[:6],
            [
                f"created the database {DATABASE}",
                f"created the database {STATUS}",
                f"{DATABASE}: made the index by-type",
                f"{DATABASE}: made the index global-modules",
                f"{DATABASE}: put up the guard",
                f"{STATUS}: put up the guard",
            ],
        )
        self.assertTrue(all(line.startswith("note: ") for line in lines[6:]), lines)
        self.assertIn("himbeerecouch enroll", ran.stderr)
        before = await self.snapshot()
        ran = await self.himbeerecouch("setup")
        self.assertEqual(
            (ran.exit_code, ran.stdout.splitlines()[0]), (0, "all of it was there already: nothing was changed")
        )
        self.assertEqual(await self.snapshot(), before)
        await self.user("12", PI)
        ran = await self.himbeerecouch("setup", "--check")
        self.assertEqual((ran.exit_code, ran.stderr), (0, ""))

    async def test_who_gets_in(self) -> None:
        """An operator writes, a Pi reads, and nobody else gets in."""
        await self.himbeerecouch("setup")
        olga, pi, eve = await self.user("olga", OPERATOR), await self.user("12", PI), await self.user("eve")
        await olga.put(DATABASE, {"_id": "blink", "type": 12, "code": "x = 1"})
        self.assertEqual((await pi.get(DATABASE, "blink"))["type"], 12)
        with self.assertRaises(Forbidden):
            await pi.put(DATABASE, {"_id": "evil", "type": 13, "code": "x = 1"})
        await pi.put(STATUS, {"_id": "12_heartbeat", "type": "heartbeat", "mac_id": 12})
        with self.assertRaises(Forbidden):
            await eve.get(DATABASE, "blink")

    async def test_check_changes_nothing(self) -> None:
        """With --check nothing is made, and the exit status says that something is missing."""
        ran = await self.himbeerecouch("setup", "--check")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn(f"missing: there is no database {DATABASE}\n", ran.stdout)
        self.assertEqual(await self.desk.ask("GET", "_all_dbs"), ["_users"])

    async def test_no_javascript(self) -> None:
        """An embedded database that lacks the engine says what to install; all else is made already."""
        self.patch(validate, "engine_is_there", lambda: False)
        ran = await self.himbeerecouch("setup")
        self.assertEqual(ran.exit_code, 1)
        self.assertIn("install himbeerecouch[embedded]", ran.stderr)
        self.assertEqual(len(ran.stdout.splitlines()), 4)
        self.patch(validate, "engine_is_there", lambda: True)
        ran = await self.himbeerecouch("setup")
        self.assertEqual((ran.exit_code, ran.stdout.count("put up the guard")), (0, 2))

    async def test_json(self) -> None:
        """With --json what was done and what was found are one value for another program."""
        ran = await self.himbeerecouch("setup", "--json")
        found = json.loads(ran.stdout)
        self.assertEqual((ran.exit_code, len(found["done"])), (0, 6))
        self.assertEqual({each["kind"] for each in found["findings"]}, {"note"})


class NoAdminTests(SetupCase):
    async def test_no_admin(self) -> None:
        """Who is no admin is told so, and so is who is not logged in; nothing is changed."""
        await self.user("olga", OPERATOR)
        before = await self.snapshot()
        for arguments in (["setup"], ["setup", "--check"]):
            environment = {"HIMBEERECOUCH_USER": "olga", "HIMBEERECOUCH_PASSWORD": "p"}
            ran = await self.himbeerecouch(*arguments, environment=environment)
            self.assertEqual(ran.exit_code, 1)
            self.assertIn("takes an admin of the CouchDB server. olga is none", ran.stderr)
        self.assertEqual(await self.snapshot(), before)
        stranger = Desk(self.reactor, url=self.url, credentials=None, database=DATABASE)
        self.addCleanup(stranger.close)
        error = await self.error_of(preparation.look(stranger))
        self.assertIn("Nobody is logged in", str(error))

    async def error_of(self, work: Any) -> HimbeerecouchError:
        """The error that it ends with."""
        try:
            await work
        except HimbeerecouchError as error:
            return error
        raise AssertionError("it did not fail")


class GrownTests(SetupCase):
    """A fleet that was made by hand."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        await self.rights(DATABASE, BY_HAND)
        await self.desk.ask("DELETE", STATUS)
        self.rita, self.sam = await self.user("rita"), await self.user("sam", "students")
        self.pi = await self.user("12", "raspberry")
        await self.user("eve")

    async def test_nobody_to_ask(self) -> None:
        """Who would be locked out of writing is listed; where there is nobody to ask, nothing is changed."""
        ran = await self.himbeerecouch("setup")
        self.assertEqual(ran.exit_code, 2)
        self.assertIn("rita, sam\n", ran.stderr)
        self.assertIn("--operators", ran.stderr)
        self.assertEqual(await self.rights(DATABASE), BY_HAND)
        self.assertIsNone(await self.desk.find_one(DATABASE, guard.DESIGN_DOCUMENT))

    async def test_answered(self) -> None:
        """Who is named becomes an operator, the others only read; all who got in still do, Pis made by hand, too."""
        ran = await self.himbeerecouch("setup", input="rita\n")
        self.assertEqual(ran.exit_code, 0, ran.stderr)
        self.assertIn(f"gave rita the role {OPERATOR}\n", ran.stdout)
        self.assertEqual((await self.roles("rita"), await self.roles("sam")), ([OPERATOR], ["students"]))
        await self.rita.put(DATABASE, {"_id": "one", "n": 1})
        self.assertEqual((await self.sam.get(DATABASE, "one"))["n"], 1)
        with self.assertRaises(Forbidden):
            await self.sam.put(DATABASE, {"_id": "two", "n": 1})
        await self.pi.get(DATABASE, "one")
        await self.pi.put(STATUS, {"_id": "12_heartbeat", "type": "heartbeat", "mac_id": 12})
        rights = await self.rights(DATABASE)
        self.assertEqual(rights["members"], {"names": ["rita"], "roles": ["raspberry", "students", OPERATOR, PI]})
        self.assertEqual((await self.himbeerecouch("setup", "--check")).exit_code, 0)
        before = await self.snapshot()
        self.assertIn("nothing was changed", (await self.himbeerecouch("setup")).stdout)
        self.assertEqual(await self.snapshot(), before)

    async def test_ways_to_answer(self) -> None:
        """--yes and "all" let everybody go on, "none" nobody; a name that is none, and a Pi, are refused beforehand."""
        for wrong in ("olga", "rita,12", "12"):
            ran = await self.himbeerecouch("setup", "--operators", wrong)
            self.assertEqual(ran.exit_code, 1)
            self.assertIn("can't be an operator", ran.stderr)
        self.assertEqual(await self.rights(DATABASE), BY_HAND)
        ran = await self.himbeerecouch("setup", "--operators", "none")
        self.assertEqual((ran.exit_code, await self.roles("rita")), (0, []))
        # The guard is there: nobody is asked any more, and who is named is given the role all the same.
        ran = await self.himbeerecouch("setup", "--operators", "sam, rita,sam")
        self.assertEqual((ran.exit_code, ran.stdout.count("gave ")), (0, 2))
        self.assertEqual(await self.roles("sam"), ["students", OPERATOR])

    async def test_yes(self) -> None:
        """--yes asks nothing: who could write still can."""
        ran = await self.himbeerecouch("setup", "--yes")
        self.assertEqual(ran.exit_code, 0, ran.stderr)
        for desk in (self.rita, self.sam):
            await desk.put(DATABASE, {"_id": f"by-{id(desk)}", "n": 1})
        self.assertEqual(await self.roles("eve"), [])

    async def test_status_by_name(self) -> None:
        """A Pi that gets at the programs alone, by its name, is given the role, which lets it into the status."""
        await self.desk.ask("PUT", STATUS)
        await self.rights(STATUS, {"admins": {"roles": ["_admin"]}, "members": {"roles": ["others"]}})
        ran = await self.himbeerecouch("setup", "--yes")
        self.assertIn(f"gave 12 the role {PI}\n", ran.stdout)
        await self.pi.put(STATUS, {"_id": "12_heartbeat", "type": "heartbeat", "mac_id": 12})

    async def test_operator_changed_meanwhile(self) -> None:
        """A user's document that somebody changes between look and leap is read again."""
        facts = await preparation.look(self.desk)
        document = await self.desk.get("_users", "org.couchdb.user:rita")
        await self.desk.put("_users", {**document, "roles": ["new"]})
        said: list[str] = []
        await preparation.prepare(self.desk, facts, ["rita"], said.append)
        self.assertEqual(await self.roles("rita"), ["new", OPERATOR])
        self.assertIn(f"gave rita the role {OPERATOR}", said)

    async def test_guards_of_others(self) -> None:
        """An older guard is renewed, a newer one is left alone."""
        await self.himbeerecouch("setup", "--yes")
        found = await self.desk.get(DATABASE, guard.DESIGN_DOCUMENT)
        await self.desk.put(DATABASE, {**found, "validate_doc_update": "function () {}", "version": 0})
        self.assertIs((await preparation.look(self.desk)).programs.guard, GuardState.OTHER)
        self.assertIn(f"{DATABASE}: renewed the guard\n", (await self.himbeerecouch("setup")).stdout)
        found = await self.desk.get(DATABASE, guard.DESIGN_DOCUMENT)
        self.assertEqual(found["validate_doc_update"], guard.source(guard.Place.PROGRAMS))
        newer = {**found, "validate_doc_update": "function () {}", "version": guard.VERSION + 1}
        rev = await self.desk.put(DATABASE, newer)
        self.assertIn("newer himbeerecouch", (await self.himbeerecouch("setup")).stdout)
        self.assertEqual((await self.desk.get(DATABASE, guard.DESIGN_DOCUMENT))["_rev"], rev)


class PublicTests(SetupCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        await self.rights(DATABASE, PUBLIC)
        await self.rights(STATUS, PUBLIC)
        self.stranger = Desk(self.reactor, url=self.url, credentials=None, database=DATABASE)
        self.addCleanup(self.stranger.close)

    async def test_stays_public(self) -> None:
        """A public database stays one: who could read still can, which is said to be open; writing takes the role."""
        await self.stranger.put(DATABASE, {"_id": "one", "n": 1})
        self.assertEqual((await self.himbeerecouch("setup")).exit_code, 2)
        self.assertEqual((await self.himbeerecouch("setup", input="n\n")).exit_code, 1)
        self.assertIsNone(await self.desk.find_one(DATABASE, guard.DESIGN_DOCUMENT))
        ran = await self.himbeerecouch("setup", input="y\n")
        self.assertEqual(ran.exit_code, 0, ran.stderr)
        self.assertIn("Everybody who reaches the server can write now", ran.stderr)
        self.assertIn(f"open: {DATABASE} is public", ran.stdout)
        self.assertEqual(await self.rights(DATABASE), PUBLIC)
        self.assertEqual((await self.stranger.get(DATABASE, "one"))["n"], 1)
        with self.assertRaises(CouchError):
            await self.stranger.put(DATABASE, {"_id": "two", "n": 1})
        self.assertEqual((await self.himbeerecouch("setup", "--check")).exit_code, 1)


class ProgramTests(SetupCase):
    async def test_python_2(self) -> None:
        """Programs that Python does not take are named: document, module, line, and what stands there."""
        documents: list[Json] = [
            {"_id": "old", "type": 12, "name": "old", "code": 'def main():\n    x = 1\n    print "x"\n'},
            {"_id": "fine", "type": "12", "code": "def main(): pass", "modules": {"a.b": "x = 1"}},
            {"_id": "half", "type": 12, "code": "def main(): pass", "modules": {"helper": "exec 'x'\n"}},
            {"_id": "library", "global_modules": {"units": "raise E, 'x'\n"}},
            {"_id": "nonsense", "type": 12, "code": 5},
            {"_id": "deployment:old:1-x", "type": "deployment", "document": {"code": "print 1"}},
            {"_id": "else", "type": "note", "code": "print 1"},
            {"_id": "flag", "type": True, "code": "print 1"},
            {"_id": "answered", "type": 12, "code": "print 1", "ret": ["", ""]},
        ]
        await self.desk.bulk(DATABASE, documents)
        self.patch(preparation, "CHUNK", 2)
        ran = await self.himbeerecouch("setup", "--check")
        self.assertEqual(ran.exit_code, 1)
        broken = [line for line in ran.stdout.splitlines() if line.startswith("broken: ")]
        self.assertEqual(len(broken), 4, broken)
        for words in (
            ("'old' for the Pi 12, module main: line 3", 'print "x"'),
            ("'half' for the Pi 12, module helper: line 1",),
            ("'library', global module units: line 1",),
            ("'nonsense'", '"code" must be a string'),
        ):
            self.assertTrue(any(all(word in line for word in words) for line in broken), (words, broken))

    async def test_large_answers(self) -> None:
        """Documents that do not fit into one answer are read one by one, and one that never fits is named."""
        source = "x = '" + "a" * 3000 + "'\n"
        documents: list[Json] = [{"_id": f"p{n}", "type": 12, "code": source} for n in range(4)]
        documents.append({"_id": "giant", "type": 12, "code": source * 3})
        await self.desk.bulk(DATABASE, documents)
        self.patch(__import__("himbeerecouch.fleet.desk", fromlist=["desk"]), "ANSWER_BYTES", 8000)
        facts = await preparation.look(self.desk)
        found = await preparation.with_complaints(self.desk, self.reactor, facts)
        self.assertEqual(len(found.complaints), 1, found.complaints)
        self.assertIn("document 'giant': the answer has more than", found.complaints[0])


class UsersTests(SetupCase):
    async def test_no_users_database(self) -> None:
        """A CouchDB whose own set-up was never finished has no _users: it is made."""
        facts = await preparation.look(self.desk)
        asked: list[str] = []

        class Unfinished(Desk):
            async def all_docs(desk, db: str, **more: Any) -> Any:
                return await super().all_docs("no-such-database" if db == "_users" else db, **more)

            async def ask(desk, method: str, *segments: str, **more: Any) -> Any:
                if (method, segments) == ("PUT", ("_users",)):
                    asked.append(segments[0])
                    return {"ok": True}
                return await super().ask(method, *segments, **more)

        desk = Unfinished(self.reactor, url=self.url, credentials=Basic(self.admin, self.password), database=DATABASE)
        self.addCleanup(desk.close)
        facts = await preparation.look(desk)
        self.assertIsNone(facts.users)
        said: list[str] = []
        await preparation.prepare(desk, facts, [], said.append)
        self.assertEqual((asked, said[0][:27]), (["_users"], "created the database _users"))
