"""The guard, in the JavaScript engine that CouchDB 3.5 can have."""

from __future__ import annotations

import json
from typing import Any

import quickjs
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.fleet import guard
from himbeerecouch.fleet.guard import Place
from himbeerecouch.fleet.rights import OPERATOR
from himbeerecouch.model import Json
from tests.guard_table import Actor, Actors, Row, actors, rows

JUDGE = """
var guard = (%s);
function judge(text) {
  try { guard.apply(null, JSON.parse(text)); } catch (error) { return JSON.stringify(error); }
  return "{}";
}
"""
SECURITY: Json = {"admins": {"names": [], "roles": ["_admin"]}, "members": {"names": [], "roles": []}}


class Engine:
    """Calls the guard of one database as CouchDB does."""

    def __init__(self, place: Place) -> None:
        context = quickjs.Context()
        context.eval(JUDGE % guard.source(place))
        self._judge = context.get("judge")

    def judge(self, new: Json, old: Json | None, who: Json, security: Any = SECURITY) -> dict[str, str]:
        """What it throws, empty where nothing."""
        found: dict[str, str] = json.loads(self._judge(json.dumps([new, old, who, security])))
        return found


def context(who: Actor) -> Json:
    """The user context of somebody."""
    return {"db": "nedm/raspberries", "name": who.name, "roles": list(who.roles)}


def security_with(them: Actors) -> Json:
    """The rights of a database that the admins of the table are admins of."""
    names = [who.name for who in (them.chief_pi, them.database_admin)]
    return {"admins": {"names": names, "roles": ["_admin"]}, "members": {}}


def whole(row: Row) -> tuple[Json, Json | None]:
    """New and old with an id, which the server always gives."""
    old = None if row.old is None else {"_id": "doc", **row.old}
    return {"_id": "doc" if old is None else old["_id"], **row.new}, old


class TableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.engines = {place: Engine(place) for place in Place}

    def test_table(self) -> None:
        """Every write of the table is allowed or refused as it says, and a refusal has a message for people."""
        them = actors()
        table = rows(them)
        self.assertGreater(len(table), 100)
        self.assertEqual(len({row.what for row in table}), len(table))
        wrong = []
        for row in table:
            new, old = whole(row)
            thrown = self.engines[row.place].judge(new, old, context(row.who), security_with(them))
            if list(thrown) != ([row.refused] if row.refused else []):
                wrong.append((row.what, row.refused, thrown))
            for message in thrown.values():
                self.assertTrue(message.startswith("himbeerecouch: "), message)
                self.assertLess(len(message), 200, "the client cuts longer ones")
        self.assertEqual(wrong, [])

    def test_message_names_the_role(self) -> None:
        """Who is refused is told which role it takes; a Pi is told what it may write."""
        them = actors()
        for place in Place:
            for who in (them.reader, them.pi):
                thrown = self.engines[place].judge({"_id": "x"}, None, context(who))
                self.assertIn("himbeerecouch_operator", thrown["forbidden"])
                self.assertIn(str(who.name), thrown["forbidden"])
            may = {Place.PROGRAMS: "ret and execution", Place.STATUS: "its own heartbeat and log"}
            self.assertIn(may[place], thrown["forbidden"])

    def test_rights_of_any_shape(self) -> None:
        """Rights that are empty, or lack a part, make nobody an admin, and a role listed there makes one."""
        engine = self.engines[Place.PROGRAMS]
        reader = context(actors().reader)
        shapes: tuple[Any, ...] = (
            {},
            None,
            {"admins": None},
            {"admins": {}},
            {"admins": {"roles": "students"}},
            {"admins": []},
        )
        for security in shapes:
            self.assertIn("forbidden", engine.judge({"_id": "x"}, None, reader, security))
            self.assertEqual(engine.judge({"_id": "x"}, None, {**reader, "roles": ["_admin"]}, security), {})
        self.assertEqual(engine.judge({"_id": "x"}, None, reader, {"admins": {"roles": ["students"]}}), {})

    def test_admin_without_a_name(self) -> None:
        """A server without any admin calls everybody one; then there is nothing to guard."""
        engine = self.engines[Place.PROGRAMS]
        self.assertEqual(engine.judge({"_id": "x"}, None, {"name": None, "roles": ["_admin"]}), {})
        self.assertIn("unauthorized", engine.judge({"_id": "x"}, None, {"name": None, "roles": [OPERATOR]}))


class DesignDocumentTests(SynchronousTestCase):
    def test_one_for_each_database(self) -> None:
        """Both hold the same function but for the name of the place, with nothing around it."""
        programs, status = (guard.design_document(place) for place in Place)
        self.assertEqual(programs["_id"], status["_id"])
        one, other = programs["validate_doc_update"], status["validate_doc_update"]
        self.assertEqual(one.replace('"programs";', '"status";'), other)
        self.assertNotEqual(one, other)
        self.assertTrue(one.startswith("function (doc, old, user, security) {") and one.endswith("}"))

    def test_old_engines(self) -> None:
        """Nothing newer than ES5 is in it, which CouchDB's oldest engine takes."""
        text = guard.source(Place.PROGRAMS)
        for newer in ("=>", "`", "let ", "const ", "...", ".includes(", ".startsWith(", "class "):
            self.assertNotIn(newer, text)
