"""The embedded server against what a real CouchDB 3.5.2 answered, exchange by exchange and in order."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.embedded_wire import ADMIN, Pending, Reply, Wire

TRANSCRIPTS = Path(__file__).parent / "data" / "couchdb-3.5.2.jsonl"
PASSWORDS = {"202481591484002": "pi-secret", "111": "other-secret", "admin": ADMIN[1]}
DATABASE = "/nedm%2Fraspberries"

NOT_COMPARED: dict[str, dict[str, str]] = {
    "welcome": {"json": "it says of itself that it is no CouchDB; test_welcome looks at that"},
    "welcome without credentials": {"json": "the same"},
    "all dbs": {"json": "there is no _replicator here; test_all_dbs looks at the rest"},
    "read user as admin": {"json": "salt, key and rounds differ; test_user_document looks at the fields"},
    "changes, limit 1": {
        "last_seq": "CouchDB's two shards let its last_seq run ahead of the row; here it is the row's"
    },
    "changes, next batch": {"last_seq": "the same"},
    "create index as member": {"ref": "a number of Erlang's"},
}
"""By exchange: the part of the answer that is not compared, and why.  Status and all else are."""

# Revisions and sequence numbers differ by their nature: only that they are there is compared.
_OPAQUE = {"rev", "_rev", "seq", "last_seq", "update_seq", "purge_seq", "instance_start_time", "bookmark", "pending"}
# Sizes and the cluster's layout are the server's own affair.
_SERVERS_OWN = {"sizes", "cluster", "uuid"}


def during(number: int, name: str) -> Callable[[Replay], None]:
    """What happened beside the long polls while they were recorded."""
    return {
        "longpoll, an unrelated write": lambda replay: replay.write("unrelated", {"type": 1}),
        "longpoll, a matching write": lambda replay: replay.write(
            "matching", {"type": 202481591484002, "code": "def main(): pass"}
        ),
        "longpoll, document moved to another Pi": lambda replay: replay.write("matching", {"type": 5}),
        "longpoll, a known document is deleted": lambda replay: replay.write("blink", {"_deleted": True}),
        "longpoll, database deleted": lambda replay: replay.delete_database(),
    }.get(name, lambda replay: None)


class Replay:
    """One run through all exchanges, with the names that this server gave to what CouchDB named otherwise."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.names: dict[str, str] = {}
        self.exchanges = [json.loads(line) for line in TRANSCRIPTS.read_text(encoding="utf-8").splitlines()]

    def write(self, identity: str, body: dict[str, Any]) -> None:
        """Write a document as somebody else did during a long poll."""
        known = self.wire.ask("GET", f"{DATABASE}/{identity}")
        if known.status == 200:
            body = {**body, "_rev": known.json["_rev"]}
        assert self.wire.ask("PUT", f"{DATABASE}/{identity}", body).status == 201

    def delete_database(self) -> None:
        """Delete the database under a long poll."""
        assert self.wire.ask("DELETE", DATABASE).status == 200

    def translated(self, text: str) -> str:
        """Put this server's names in place of CouchDB's."""
        for theirs in sorted(self.names, key=len, reverse=True):
            text = text.replace(theirs, self.names[theirs])
        return text

    def send(self, exchange: dict[str, Any]) -> Pending:
        """Send one request as it was recorded."""
        request = exchange["request"]
        path = self.translated(request["path"])
        if exchange["name"].startswith("longpoll"):
            # The recorder took some of these from a GET of the database that it did not write down.
            now = self.wire.ask("GET", DATABASE).json["update_seq"]
            path = re.sub(r"since=\d+-g1AAAA[^&]*", f"since={now}", path)
        user = request["user"]
        login = None if user is None else (user, request.get("password", PASSWORDS[user]))
        body = request["body"]
        if body is not None:
            body = self.translated(body if isinstance(body, str) else json.dumps(body))
        headers = {name: self.translated(value) for name, value in request["headers"].items()}
        return self.wire.send(request["method"], path, body, login=login, headers=headers)

    def play(self, number: int) -> Reply:
        """Send one request, let happen what happened then, and return the answer."""
        exchange = self.exchanges[number]
        pending = self.send(exchange)
        if not pending.reply().complete:
            self.wire.clock.advance(1)
            during(number, exchange["name"])(self)
            self.wire.turn()
        if not pending.reply().complete:
            self.wire.clock.advance(10)
            self.wire.turn()
        reply = pending.reply()
        assert reply.complete, exchange["name"]
        return reply

    def learn(self, theirs: Any, ours: Any) -> None:
        """Remember which of our opaque names stands for which of theirs."""
        if isinstance(theirs, dict) and isinstance(ours, dict):
            for name, value in theirs.items():
                if name in ("rev", "_rev", "seq", "last_seq", "update_seq", "bookmark", "id") and isinstance(
                    value, str
                ):
                    if value != ours.get(name) and isinstance(ours.get(name), str) and value != "0":
                        self.names[value] = ours[name]
                else:
                    self.learn(value, ours.get(name))
        elif isinstance(theirs, list) and isinstance(ours, list):
            for one, other in zip(theirs, ours, strict=False):
                self.learn(one, other)

    def expected(self, theirs: Any, skipped: dict[str, str]) -> Any:
        """CouchDB's answer in this server's names, without what differs by its nature."""
        return self.plain(json.loads(self.translated(json.dumps(theirs, ensure_ascii=False))), skipped)

    def plain(self, value: Any, skipped: dict[str, str]) -> Any:
        """An answer without opaque values: that they are there is kept."""
        if isinstance(value, dict):
            return {
                name: "present" if name in _OPAQUE else self.plain(item, skipped)
                for name, item in value.items()
                if name not in skipped and name not in _SERVERS_OWN
            }
        if isinstance(value, list):
            return [self.plain(item, skipped) for item in value]
        return value


class TranscriptTests(SynchronousTestCase):
    """Every exchange is replayed."""

    def test_all_exchanges(self) -> None:
        """Status, error, reason, ids, documents, rows and their order, warnings and headers are CouchDB's."""
        replay = Replay()
        different = []
        for number, exchange in enumerate(replay.exchanges):
            name, response = exchange["name"], exchange["response"]
            reply = replay.play(number)
            problem = self._difference(replay, exchange, reply)
            if problem:
                different.append(f"{number} {name}: {problem}")
            theirs = response.get("json")
            if theirs is not None:
                replay.learn(theirs, reply.json)
        replay.wire.close()
        self.assertFalse(different, "\n".join(different))

    def _difference(  # noqa: PLR0911 one return for each thing that may differ
        self, replay: Replay, exchange: dict[str, Any], reply: Reply
    ) -> str:
        response = exchange["response"]
        skipped = NOT_COMPARED.get(exchange["name"], {})
        if reply.status != response["status"]:
            return f"status {reply.status} {reply.body!r}, not {response['status']}"
        if ("www-authenticate" in reply.headers) != ("www-authenticate" in response["headers"]):
            return "www-authenticate"
        for header in ("content-type", "cache-control", "transfer-encoding"):
            if header in response["headers"] and reply.headers.get(header) != response["headers"][header]:
                if header == "transfer-encoding" and exchange["name"] in SHORT_ANSWERS:
                    continue
                return f"header {header}: {reply.headers.get(header)}"
        for header in ("location", "set-cookie"):
            if (header in response["headers"]) != (header in reply.headers):
                return f"header {header}"
        if "etag" in response["headers"] and exchange["request"]["method"] not in ("POST",):
            quoted = re.fullmatch(r'"[^"]+"', reply.headers.get("etag", ""))
            if not quoted and exchange["name"] not in NO_ETAG:
                return "no etag"
        if "json" in skipped:
            return ""
        if "json" not in response:
            return "" if reply.body == b"" else f"a body: {reply.body!r}"
        replay.learn(response["json"], reply.json)
        expected, got = replay.expected(response["json"], skipped), replay.plain(reply.json, skipped)
        return "" if expected == got else f"{got} instead of {expected}"

    def test_table_names_exchanges(self) -> None:
        """Every exchange that is not compared whole exists, and the table gives a reason for it."""
        names = {exchange["name"] for exchange in Replay().exchanges}
        for table in (NOT_COMPARED, SHORT_ANSWERS, NO_ETAG):
            self.assertLessEqual(set(table), names)
        self.assertTrue(all(reason for parts in NOT_COMPARED.values() for reason in parts.values()))

    def test_welcome(self) -> None:
        """The welcome has what clients look for, and says that this is no CouchDB."""
        reply = Wire().ask("GET", "/")
        self.assertEqual((reply.json["couchdb"], reply.json["version"]), ("Welcome", "3.5.2"))
        self.assertEqual(reply.json["vendor"]["name"], "himbeerecouch-embedded")
        self.assertIn("not CouchDB", reply.json["note"])
        self.assertIn("not CouchDB", reply.headers["server"])

    def test_all_dbs(self) -> None:
        """All databases are listed in order."""
        wire = Wire()
        wire.make("nedm%2Fraspberries", "fleet")
        self.assertEqual(wire.ask("GET", "/_all_dbs").json, ["_users", "fleet", "nedm/raspberries"])

    def test_user_document(self) -> None:
        """A user document has the fields of the recorded one, and the password isn't among them."""
        replay = Replay()
        recorded = next(one for one in replay.exchanges if one["name"] == "read user as admin")["response"]["json"]
        wire = Wire(iterations=600_000 // 1000)
        body = {"name": "202481591484002", "password": "pi-secret", "roles": [], "type": "user"}
        wire.ask("PUT", "/_users/org.couchdb.user:202481591484002", body)
        ours = wire.ask("GET", "/_users/org.couchdb.user:202481591484002").json
        self.assertEqual(set(ours), set(recorded))
        for name in ("_id", "password_scheme", "pbkdf2_prf", "name", "roles", "type"):
            self.assertEqual(ours[name], recorded[name])
        self.assertEqual((len(ours["salt"]), len(ours["derived_key"])), (32, 64))


SHORT_ANSWERS = {"all dbs": "a short answer is sent with its length here"}
NO_ETAG = {"all dbs": "only documents have one here", "changes limit 0": "only documents have one here"}
