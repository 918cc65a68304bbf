"""What the guard allows and forbids, as a table: run in a JavaScript engine, and asked of servers over HTTP."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from himbeerecouch.fleet.guard import Place
from himbeerecouch.fleet.rights import OPERATOR, PI
from himbeerecouch.model import Json

FORBIDDEN, UNAUTHORIZED = "forbidden", "unauthorized"


@frozen
class Actor:
    """Somebody who writes."""

    name: str | None
    roles: tuple[str, ...] = ()
    database_admin: bool = False


@frozen
class Row:
    """One write: ``old`` is what is there (written by an admin), ``new`` is what ``who`` puts in its place."""

    what: str
    who: Actor
    new: Json
    old: Json | None = None
    place: Place = Place.PROGRAMS
    refused: str | None = None
    """How; None where it is allowed."""
    in_json_only: bool = False
    """It can be stated to the function, but not over HTTP to any server."""


@frozen
class Actors:
    """Who there is; servers that others use as well are given names of their own."""

    pi: Actor
    other_pi: Actor
    promoted_pi: Actor
    hand_made_pi: Actor
    zeros: Actor
    chief_pi: Actor
    operator: Actor
    reader: Actor
    impostor: Actor
    admin: Actor
    database_admin: Actor
    nobody: Actor


def actors(stem: int = 202481591484000, suffix: str = "") -> Actors:
    """The people and Pis of the table, with numbers from ``stem`` on."""
    return Actors(
        pi=Actor(str(stem + 1), (PI,)),
        other_pi=Actor(str(stem + 2), (PI,)),
        promoted_pi=Actor(str(stem + 3), (PI, OPERATOR)),
        hand_made_pi=Actor(str(stem + 4), ("raspberry",)),
        zeros=Actor(f"00{stem + 1}", (PI,)),
        chief_pi=Actor(str(stem + 5), (PI,), database_admin=True),
        operator=Actor(f"olga{suffix}", (OPERATOR,)),
        reader=Actor(f"rita{suffix}", ("students",)),
        impostor=Actor(f"{stem + 1}x", (PI,)),
        admin=Actor("admin", ("_admin",)),
        database_admin=Actor(f"dora{suffix}", (), database_admin=True),
        nobody=Actor(None),
    )


def rows(them: Actors) -> list[Row]:
    """The whole table."""
    return [*_people(them), *_commands(them), *_tricks(them), *_elsewhere(them), *_status(them)]


def _people(them: Actors) -> list[Row]:
    program: Json = {"type": int(them.pi.name or 0), "name": "blink", "code": "def main(): pass"}
    command: Json = {"type": f"{them.pi.name}_cmd", "cmd": ["true"]}
    writes: list[tuple[str, Json, Json | None]] = [
        ("a program", program, None),
        ("a changed program", {**program, "code": "x"}, program),
        ("a deletion", {"_deleted": True}, program),
        ("a global module", {"global_modules": {"units": "K = 1"}}, None),
        ("a command", command, None),
        ("a cancel", {**command, "cancel": True}, command),
        ("a watch", {"_id": f"{them.pi.name}_watch", "type": f"{them.pi.name}_watch", "until": "x"}, None),
        ("a name", {"_id": f"name:lab{them.pi.name}", "type": "name", "mac_id": 1}, None),
        ("a deployment", {"type": "deployment", "program": "x", "document": program}, None),
        ("anything", {"note": "hello"}, None),
    ]
    may = (them.operator, them.admin, them.database_admin, them.chief_pi)
    may_not = (them.pi, them.promoted_pi, them.hand_made_pi, them.zeros, them.reader, them.impostor)
    return [
        *(Row(f"{who.name} writes {what}", who, new, old) for who in may for what, new, old in writes),
        *(
            Row(f"{who.name} writes {what}", who, new, old, refused=FORBIDDEN)
            for who in may_not
            for what, new, old in writes
        ),
        *(Row(f"nobody writes {what}", them.nobody, new, old, refused=UNAUTHORIZED) for what, new, old in writes),
    ]


def _commands(them: Actors) -> list[Row]:
    """What becomes of a command."""
    asked: Json = {
        "type": f"{them.pi.name}_cmd",
        "cmd": ["ls", "-l"],
        "timeout": 1.5,
        "by": "olga",
        "n": {"a": [1, None]},
    }
    execution: Json = {"state": "running", "claim": "x-1", "started": "2026-05-01T12:00:00Z"}
    claimed = {**asked, "execution": execution}
    answered: Json = {**asked, "ret": ["out", ""], "execution": {"state": "done", "exit_code": 0}}
    reordered: Json = {"ret": ["", ""], "n": {"a": [1, None]}, "by": "olga", "timeout": 1.5, **asked}

    def row(what: str, new: Json, old: Json | None, who: Actor = them.pi, refused: str | None = None) -> Row:
        return Row(f"{who.name}: {what}", who, new, old, refused=refused)

    def no(what: str, new: Json, old: Json | None, who: Actor = them.pi) -> Row:
        return row(what, new, old, who, FORBIDDEN)

    return [
        row("claims it", claimed, asked),
        row("answers what it has claimed", answered, claimed),
        row("answers it at once", answered, asked),
        row("answers without an execution", {**asked, "ret": ["", ""]}, asked),
        row("could not run it", {**asked, "ret": [None, "no such program"]}, asked),
        row("answers in another order of the fields", reordered, asked),
        row("claims it anew", {**asked, "execution": {"state": "running", "claim": "x-2"}}, claimed),
        row(
            "rejects nonsense",
            {"type": asked["type"], "cmd": 7, "ret": [None, "nonsense"]},
            {"type": asked["type"], "cmd": 7},
        ),
        row(
            "answers an action",
            {"type": asked["type"], "action": "identify", "ret": ["", ""]},
            {"type": asked["type"], "action": "identify"},
        ),
        row(
            "answers, with a role made by hand",
            {"type": f"{them.hand_made_pi.name}_cmd", "ret": ["", ""]},
            {"type": f"{them.hand_made_pi.name}_cmd"},
            them.hand_made_pi,
        ),
        row(
            "answers, an operator by mistake",
            {"type": f"{them.promoted_pi.name}_cmd", "ret": ["", ""]},
            {"type": f"{them.promoted_pi.name}_cmd"},
            them.promoted_pi,
        ),
        no("answers another Pi's command", answered, asked, them.other_pi),
        no("answers another Pi's command by zeros before its number", answered, asked, them.zeros),
        no("answers with a role, and a name that is no number", answered, asked, them.impostor),
        no("reads only", answered, asked, them.reader),
        no("answers what was not asked", answered, None),
        no("changes its answer", {**answered, "ret": ["other", ""]}, answered),
        no("changes how it ended", {**answered, "execution": {"state": "failed"}}, answered),
        no("takes its answer away", asked, answered),
        no("takes its claim away", asked, claimed),
        no("changes the command", {**answered, "cmd": ["ls"]}, asked),
        no("changes the order of the arguments", {**answered, "cmd": ["-l", "ls"]}, asked),
        no("changes a number", {**answered, "timeout": 2}, asked),
        no("changes what lies deep", {**answered, "n": {"a": [1, 0]}}, asked),
        no("makes a text of an object", {**answered, "n": "a"}, asked),
        no("makes an object of nothing", {**answered, "n": {"a": [1, {}]}}, asked),
        no("makes a list of an object", {**answered, "n": [[1, None]]}, asked),
        no("adds deep inside", {**answered, "n": {"a": [1, None], "b": 0}}, asked),
        no("takes from deep inside", {**answered, "n": {}}, asked),
        no("adds a field", {**answered, "global_modules": {"os": "import evil"}}, asked),
        no("adds code", {**answered, "code": "evil"}, asked),
        no("takes a field away", {key: answered[key] for key in answered if key != "by"}, asked),
        no("hands it to another Pi", {**answered, "type": f"{them.other_pi.name}_cmd"}, asked),
        no("makes a program of it", {**answered, "type": int(them.other_pi.name or 0)}, asked),
        no(
            "makes a number of its type",
            {**asked, "type": int(them.pi.name or 0), "ret": ["", ""]},
            {**asked, "type": int(them.pi.name or 0)},
        ),
        no("deletes it", {"_deleted": True}, asked),
        no("deletes it with all its fields", {**answered, "_deleted": True}, asked),
        no("answers with a text", {**asked, "ret": "out"}, asked),
        no("answers with one stream", {**asked, "ret": ["out"]}, asked),
        no("answers with an object", {**asked, "ret": [{}, ""]}, asked),
        no("answers with nothing", {**asked, "ret": None}, asked),
        no("claims it by a text", {**asked, "execution": "running"}, asked),
        no("claims it by a list", {**asked, "execution": ["running"]}, asked),
    ]


def _tricks(them: Actors) -> list[Row]:
    """Names that mean something in JavaScript, and what only the function itself can be told."""
    asked: Json = {"type": f"{them.pi.name}_cmd", "cmd": ["true"]}
    own = {"toString": "x", "hasOwnProperty": "y", "constructor": {"name": 1}}
    named: Json = {**asked, **own}
    # Of a field __proto__ CouchDB itself refuses that of the document, but not one further down.
    deep: Json = {**asked, "n": {"__proto__": {"a": 1}}}
    ret: Json = {"ret": ["", ""]}
    digest = {"_attachments": {"a": {"digest": "md5-x", "length": 1, "stub": True}}}
    gone: Json = {**asked, "_deleted": True}

    def no(what: str, new: Json, old: Json | None, **more: Any) -> Row:
        return Row(f"trick: {what}", them.pi, new, old, refused=FORBIDDEN, **more)

    return [
        Row("names of Object's own are fields as others", them.pi, {**named, **ret}, named),
        no("adds toString", {**asked, **ret, "toString": "x"}, asked),
        no("adds hasOwnProperty", {**asked, **ret, "hasOwnProperty": 1}, asked),
        Row("trick: a field __proto__ stays", them.pi, {**deep, **ret}, deep, in_json_only=True),
        no("adds __proto__", {**deep, **ret}, {**deep, "n": {}}, in_json_only=True),
        no("changes __proto__", {**deep, **ret, "n": {"__proto__": {"a": 2}}}, deep, in_json_only=True),
        no("takes __proto__ away", {**deep, **ret, "n": {}}, deep, in_json_only=True),
        no("changes toString", {**named, **ret, "toString": None}, named),
        no("takes toString away", {**asked, **ret}, named),
        no("length in place of a list", {**asked, "ret": {"length": 2, "0": "", "1": ""}}, asked),
        Row(
            "CouchDB's own fields don't count",
            them.pi,
            {**asked, **ret, "_rev": "2-b", "_revisions": {"start": 2}},
            {**asked, "_rev": "1-a"},
            in_json_only=True,
        ),
        Row(
            "an attachment of the operator stays",
            them.pi,
            {**asked, **ret, **digest},
            {**asked, **digest},
            in_json_only=True,
        ),
        no("adds an attachment", {**asked, **ret, **digest}, asked, in_json_only=True),
        no("removes an attachment", {**asked, **ret}, {**asked, **digest}, in_json_only=True),
        no("brings a deleted command back", {**asked, **ret}, gone, in_json_only=True),
        no("changes a deleted command", {**gone, **ret}, gone, in_json_only=True),
    ]


def _elsewhere(them: Actors) -> list[Row]:
    """The status has its own database."""
    return [
        Row(f"{who.name}: a heartbeat among the programs", who, _heartbeat(who), refused=FORBIDDEN)
        for who in (them.pi, them.hand_made_pi, them.reader)
    ]


def _heartbeat(who: Actor, **other: Any) -> Json:
    return {"_id": f"{who.name}_heartbeat", "type": "heartbeat", "mac_id": _number(who), **other}


def _log(who: Actor, **other: Any) -> Json:
    return {"_id": f"{who.name}_log", "type": "log", "programs": {}, **other}


def _number(who: Actor) -> int:
    return int(who.name) if who.name and who.name.isdigit() else 1


def _status(them: Actors) -> list[Row]:
    """The heartbeats and logs."""
    beat, log = _heartbeat(them.pi), _log(them.pi)
    foreign = _heartbeat(them.other_pi)
    command: Json = {"type": f"{them.pi.name}_cmd", "cmd": ["true"]}

    def yes(what: str, who: Actor, new: Json, old: Json | None = None) -> Row:
        return Row(f"status: {who.name} {what}", who, new, old, Place.STATUS)

    def no(what: str, who: Actor, new: Json, old: Json | None = None, refused: str = FORBIDDEN) -> Row:
        return Row(f"status: {who.name} {what}", who, new, old, Place.STATUS, refused)

    return [
        yes("writes its heartbeat", them.pi, beat),
        yes("writes it again", them.pi, {**beat, "state": "stopped"}, beat),
        yes("writes it over somebody's edit", them.pi, beat, {"_id": beat["_id"], "type": "mine"}),
        yes("writes its log", them.pi, log),
        yes("writes its log again", them.pi, {**log, "left_out": 1}, log),
        yes("writes its log with its number", them.pi, {**log, "mac_id": _number(them.pi)}),
        yes("writes its heartbeat, with a role made by hand", them.hand_made_pi, _heartbeat(them.hand_made_pi)),
        yes("removes a heartbeat", them.operator, {"_id": beat["_id"], "_deleted": True}, beat),
        yes("removes a heartbeat", them.admin, {"_id": beat["_id"], "_deleted": True}, beat),
        no("writes another's heartbeat", them.pi, foreign),
        no("writes over another's heartbeat", them.pi, foreign, foreign),
        no("writes another's log", them.pi, _log(them.other_pi)),
        no("tells of another under its own id", them.pi, {**beat, "mac_id": _number(them.other_pi)}),
        no("writes its number as a text", them.pi, {**beat, "mac_id": them.pi.name}),
        no("writes no number", them.pi, {"_id": beat["_id"], "type": "heartbeat"}),
        no("writes its log with another number", them.pi, {**log, "mac_id": 1}),
        no("writes a heartbeat under another id", them.pi, {**beat, "_id": f"{them.pi.name}_other"}),
        no("writes a log in place of the heartbeat", them.pi, {**log, "_id": beat["_id"]}),
        no("writes another type", them.pi, {**beat, "type": "name"}),
        no("writes a type that is inherited", them.pi, {**beat, "type": "toString", "_id": f"{them.pi.name}_toString"}),
        no("deletes its heartbeat", them.pi, {**beat, "_deleted": True}, beat),
        no("deletes its log", them.pi, {"_id": log["_id"], "_deleted": True}, log),
        Row(
            "status: a Pi hangs something onto its heartbeat",
            them.pi,
            {**beat, "_attachments": {"a": {"stub": True}}},
            place=Place.STATUS,
            refused=FORBIDDEN,
            in_json_only=True,
        ),
        no("answers a command", them.pi, {**command, "ret": ["", ""]}, command),
        no("writes a Pi's heartbeat with zeros before its number", them.zeros, _heartbeat(them.zeros)),
        no("writes a Pi's heartbeat", them.impostor, beat),
        no("writes a Pi's heartbeat", them.reader, beat),
        no("writes a Pi's heartbeat", them.nobody, beat, refused=UNAUTHORIZED),
    ]
