"""What CouchDB's answers mean, held against what a real one answered."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch import errors
from himbeerecouch.couch import address, answers
from himbeerecouch.couch.clocks import ServerClock
from himbeerecouch.model import Batch, DatabaseInfo, Row

TRANSCRIPTS = Path(__file__).parent / "data" / "couchdb-3.5.2.jsonl"

ERRORS: dict[str, type[errors.CouchError]] = {
    "database missing": errors.NotFound,
    "changes of a missing database": errors.NotFound,
    "create database twice": errors.Conflict,
    "bad database name": errors.BadRequest,
    "all dbs without credentials": errors.LoginRefused,
    "user does not exist yet": errors.LoginRefused,
    "database without credentials": errors.LoginRefused,
    "create user twice": errors.Conflict,
    "user that is no member": errors.Forbidden,
    "set security as member": errors.Forbidden,
    "non-member reads database info": errors.Forbidden,
    "put document without rev": errors.Conflict,
    "put document with malformed rev": errors.BadRequest,
    "get missing document": errors.NotFound,
    "get deleted document": errors.NotFound,
    "post with another content type": errors.BadRequest,
    "create index as member": errors.Forbidden,
    "changes since garbage": errors.BadRequest,
    "changes as non-member": errors.Forbidden,
    "write refused by validation": errors.Forbidden,
    "wrong password, try 1": errors.LoginRefused,
    "wrong password, try 5": errors.LoginLocked,
    "right password while locked": errors.LoginLocked,
}


def transcripts() -> dict[str, Any]:
    """All recorded exchanges, by name."""
    lines = TRANSCRIPTS.read_text(encoding="utf-8").splitlines()
    return {exchange["name"]: exchange for exchange in map(json.loads, lines)}


class TranscriptTests(SynchronousTestCase):
    """Answers that a CouchDB 3.5.2 gave."""

    def setUp(self) -> None:
        self.exchanges = transcripts()

    def error_of(self, name: str) -> errors.CouchError | None:
        """What the client makes of one recorded answer."""
        exchange = self.exchanges[name]
        answer = exchange["response"]
        body = json.dumps(answer["json"]).encode()
        return answers.error_of(name, exchange["request"]["method"], answer["status"], body, None)

    def test_errors(self) -> None:
        """Every recorded refusal is the error that says what the caller does next, and is known as CouchDB's."""
        for name, kind in ERRORS.items():
            error = self.error_of(name)
            self.assertIs(type(error), kind, name)
            self.assertTrue(answers.is_couchdb(json.dumps(self.exchanges[name]["response"]["json"]).encode()))

    def test_good(self) -> None:
        """Every recorded answer of 200 and 201 is no error."""
        good = [name for name, e in self.exchanges.items() if e["response"]["status"] in {200, 201}]
        self.assertGreater(len(good), 30)
        for name in good:
            if "json" in self.exchanges[name]["response"]:
                self.assertIsNone(self.error_of(name), name)

    def test_values(self) -> None:
        """Database info, front page, documents, pages and rows are read as they were recorded."""

        def recorded(name: str) -> Any:
            return self.exchanges[name]["response"]["json"]

        info = answers.database_info("it", recorded("database info"))
        self.assertEqual(info.instance_start_time, "1795357174")
        self.assertTrue(str(info.update_seq).startswith("0-g1AAAA"))
        self.assertEqual(answers.uuid("it", recorded("welcome")), "55cc562fdca64a7c8a2cc52740e20394")
        self.assertEqual(answers.document("it", recorded("get document"))["name"], "blink")
        self.assertEqual(answers.revision("it", recorded("update document")), "2-fe8ed2a526dd295d6175eaee8e2fbec4")
        bulk = recorded("bulk docs, one conflicting")
        self.assertEqual(
            answers.revisions("it", bulk, [row["id"] for row in bulk]), [row.get("rev") for row in bulk], bulk
        )
        self.assertEqual(
            answers.revisions("it", [5, {}, {"ok": True, "id": "a", "rev": "1-a"}], ["a", "a"]), ["1-a", None]
        )
        documents, bookmark = answers.page("it", recorded("find with index"))
        self.assertEqual([document["_id"] for document in documents], ["blink", "sensors"])
        self.assertEqual(bookmark, recorded("find with index")["bookmark"])
        batch = answers.batch("it", recorded("changes, selector, with docs"))
        self.assertEqual([row.id for row in batch.rows], ["blink", "sensors"])
        self.assertEqual(batch.last_seq, recorded("changes, selector, with docs")["last_seq"])
        deleted = answers.batch("it", recorded("longpoll, a known document is deleted"))
        self.assertEqual(deleted.rows, (Row("blink", None, deleted=True),))


class ErrorTests(SynchronousTestCase):
    """Answers that no CouchDB gave."""

    def test_status(self) -> None:
        """Each status is mapped, with and without a body that makes sense."""
        cases: list[tuple[int, bytes | None, type[errors.CouchError]]] = [
            (204, b"", errors.BadAnswer),
            (302, b"", errors.BadAnswer),
            (304, b"", errors.BadAnswer),
            (403, b"<html>", errors.Forbidden),
            (404, None, errors.NotFound),
            (408, b"", errors.Unavailable),
            (413, b'{"error": "x", "reason": 5}', errors.BadRequest),
            (418, b"[]", errors.BadRequest),
            (429, b"", errors.Unavailable),
            (500, b"", errors.Unavailable),
            (502, b"<html>", errors.Unavailable),
            (503, b'{"error": "x", "reason": "forbidden"}', errors.Unavailable),
        ]
        for status, body, kind in cases:
            error = answers.error_of("it", "POST", status, body, None)
            self.assertIs(type(error), kind, status)
            assert error is not None
            self.assertEqual(error.status, status)
        refused = answers.error_of("it", "GET", 500, b'{"error": "x", "reason": "forbidden"}', None)
        self.assertIs(type(refused), errors.Unavailable)

    def test_retry_after(self) -> None:
        """What the server asks for is in the error; who asks for years gets ten minutes."""
        for asked, given in ((17.0, 17.0), (None, None), (999_999_999.0, 600.0)):
            error = answers.error_of("it", "GET", 503, b"", asked)
            assert isinstance(error, errors.Unavailable)
            self.assertEqual(error.retry_after_s, given)

    def test_reason_is_short(self) -> None:
        """A reason is one line of at most 200 characters."""
        error = answers.error_of("it", "GET", 404, json.dumps({"reason": "a\nb" * 999}).encode(), None)
        assert error is not None
        self.assertEqual(len(error.reason), 200)
        self.assertNotIn("\n", error.reason)

    def test_proxy(self) -> None:
        """An error page of a proxy is not CouchDB's."""
        for body in (None, b"", b"<html>", b"[]", b'{"error": 5, "reason": ""}', b'{"error": "x"}'):
            self.assertFalse(answers.is_couchdb(body))


class JsonTests(SynchronousTestCase):
    """answers.read_json."""

    def test_no_json(self) -> None:
        """What is no JSON in UTF-8 is a bad answer."""
        for body in (
            b"",
            b"<html>",
            b'{"a":',
            b"{} {}",
            '{"a": 1}'.encode("utf-16"),
            b'{"a": "\xff"}',
            b'{"a": NaN}',
            b"[Infinity]",
            b"[1e999]",
        ):
            with self.assertRaises(errors.BadAnswer):
                answers.read_json("it", body)

    def test_too_deep(self) -> None:
        """JSON that Python can't take makes the caller ask for less at a time."""
        for body in (b"[" * 100000 + b"]" * 100000, b"[" + b"1" * 5000 + b"]"):
            with self.assertRaises(errors.AnswerTooDeep):
                answers.read_json("it", body)

    def test_good(self) -> None:
        """Numbers and text come as they are."""
        self.assertEqual(answers.read_json("it", '{"ü": [1, 1.5, "\\ud83c"]}'.encode()), {"ü": [1, 1.5, "\ud83c"]})


class ValueTests(SynchronousTestCase):
    """Answers of other shapes."""

    def test_shape(self) -> None:
        """An answer of another shape is a bad answer."""
        results: list[Any] = []
        for read, answer in (
            (answers.database_info, []),
            (answers.database_info, {}),
            (answers.database_info, {"update_seq": True}),
            (answers.batch, []),
            (answers.batch, {"last_seq": "1"}),
            (answers.batch, {"results": {}, "last_seq": "1"}),
            (answers.batch, {"results": results}),
            (answers.batch, {"results": results, "last_seq": ""}),
            (answers.batch, {"results": results, "last_seq": []}),
            (answers.batch, {"results": results, "last_seq": None}),
            (answers.ids, {"results": results, "last_seq": {}}),
            (answers.page, {"docs": None}),
            (answers.revision, {"ok": True}),
            (partial(answers.revisions, asked=["a"]), {"ok": True}),
            (answers.document, []),
            (answers.uuid, "Welcome"),
        ):
            with self.assertRaises(errors.BadAnswer, msg=repr(answer)):
                read("it", answer)

    def test_sequences(self) -> None:
        """A sequence is any string, number or list that says something, 0 included."""
        for seq in ("1-x", 0, 7, 1.5, [1, "x"]):
            self.assertEqual(answers.batch("it", {"results": [], "last_seq": seq}), Batch((), seq))
        self.assertEqual(answers.database_info("it", {"update_seq": 0}), DatabaseInfo(0, ""))

    def test_rows(self) -> None:
        """A row without an id or document is skipped, all others are there."""
        good = {"id": "a", "doc": {"_id": "a"}}
        rows = [5, {}, {"id": 5, "doc": {}}, {"id": "b"}, {"id": "b", "doc": None}, good, {"id": "c", "deleted": True}]
        answer = {"results": rows, "last_seq": 1}
        self.assertEqual(answers.batch("it", answer).rows, (Row("a", {"_id": "a"}), Row("c", None, deleted=True)))
        self.assertEqual(
            answers.ids("it", answer).rows,
            (Row("b", None), Row("b", None), Row("a", None), Row("c", None, deleted=True)),
        )

    def test_page(self) -> None:
        """What is no document is left out of a page; a bookmark that leads nowhere is none."""
        for bookmark, expected in (("x", "x"), ("nil", None), ("", None), (5, None)):
            self.assertEqual(answers.page("it", {"docs": [5, {}], "bookmark": bookmark}), ([{}], expected))

    def test_uuid(self) -> None:
        """A front page without a uuid gives none."""
        self.assertEqual(answers.uuid("it", {"uuid": 5}), "")


class AddressTests(SynchronousTestCase):
    """address.parse."""

    def test_good(self) -> None:
        """A URL becomes base and origin; user and password are dropped, a path is kept."""
        for url, base, origin in (
            ("http://a:5984", "http://a:5984", ("http", "a", 5984)),
            (" http://User:pa%40ss@A/ \n", "http://a:80", ("http", "a", 80)),
            ("https://a/couch/db/", "https://a:443/couch/db", ("https", "a", 443)),
            ("http://[::1]:5984", "http://[::1]:5984", ("http", "::1", 5984)),
            ("http://münchen:1", "http://xn--mnchen-3ya:1", ("http", "xn--mnchen-3ya", 1)),
        ):
            found = address.parse(url)
            self.assertEqual((found.base, found.origin), (base, origin))

    def test_bad(self) -> None:
        """What is no http or https URL is refused, in words without the password."""
        for url in (
            "",
            "couch",
            "ftp://u:secret@a",
            "http://",
            "http://u:secret@",
            "http://a:port",
            "http://[::1",
            "http://a b",
            "http://" + "ü" * 70,
        ):
            with self.assertRaises(ValueError) as caught:
                address.parse(url)
            self.assertNotIn("secret", str(caught.exception))

    def test_url(self) -> None:
        """The parts of a path are quoted, slashes in them included."""
        found = address.parse("http://a/p/")
        self.assertEqual(found.url("nedm/raspberries", "ü"), "http://a:80/p/nedm%2Fraspberries/%C3%BC")


class ServerClockTests(SynchronousTestCase):
    """The server's time."""

    def test_narrows(self) -> None:
        """Answers within one second narrow the server's time down to where its second changes."""
        clock = ServerClock()
        self.assertFalse(clock.known)
        self.assertIsNone(clock.now(5))
        for monotonic in (0.3, 0.5, 0.69, 0.71, 1.2):  # the server's time is 1000.3 + monotonic
            clock.heard(float(int(1000.3 + monotonic)), monotonic, monotonic)
        self.assertTrue(clock.known)
        now = clock.now(2.0)
        assert now is not None
        self.assertLess(abs(now - 1002.3), 0.02)

    def test_clock_is_set(self) -> None:
        """When the server's clock is set, the new time counts."""
        clock = ServerClock()
        clock.heard(1000.0, 0, 0)
        clock.heard(5000.0, 1, 1)
        self.assertEqual(clock.now(1), 5000.5)
