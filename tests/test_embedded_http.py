"""The embedded server's routes: what the transcripts don't show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.embedded import changes, edits, http, validate
from himbeerecouch.embedded.accounts import Accounts, Admin
from himbeerecouch.embedded.feeds import Filter, Poll
from himbeerecouch.embedded.indexes import Index
from himbeerecouch.embedded.refused import Refused
from himbeerecouch.embedded.security import User
from himbeerecouch.embedded.storage import Database
from tests.embedded_wire import Pending, Wire

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
USER = {"name": "u", "password": "p", "roles": ["r"], "type": "user"}


class WireCase(SynchronousTestCase):
    """A test with a server and one database ``db``."""

    def setUp(self) -> None:
        """Start the server."""
        self.wire = Wire()
        self.ask = self.wire.ask
        self.wire.make("db")
        self.addCleanup(self.wire.close)

    def put(self, identity: str, body: Any) -> str:
        """Store a document; return its revision."""
        reply = self.ask("PUT", f"/db/{identity}", body)
        self.assertEqual(reply.status, 201, reply.body)
        rev: str = reply.json["rev"]
        return rev

    def statuses(self, *rows: tuple[int, str, str, Any]) -> None:
        """Ask a table of requests, and compare the statuses."""
        for status, method, path, body in rows:
            reply = self.ask(method, path, body)
            self.assertEqual(reply.status, status, (method, path, body, reply.body))


class LeftOutTests(WireCase):
    """What the server does not do."""

    def test_not_implemented(self) -> None:
        """All that is left out is answered 501 by its name."""
        self.put("doc", {})
        rows: list[tuple[str, str, Any]] = [
            *(("GET", f"/{name}", None) for name in ("_replicator", "_utils", "_active_tasks", "_node/_local/_config")),
            *(("GET", f"/db/{name}", None) for name in ("_design_docs", "_local_docs", "_revs_limit", "_shards")),
            *(("POST", f"/db/{name}", {}) for name in ("_compact", "_purge", "_explain", "_index/_bulk_delete")),
            *(("GET", f"/db/_changes?{name}", None) for name in ("feed=continuous", "feed=eventsource", "filter=a/b")),
            ("GET", "/db/_changes?descending=true", None),
            ("GET", "/db/_design/x/_view/y", None),
            ("GET", "/db/doc/attachment", None),
            ("GET", "/db/doc?attachments=true", None),
            ("COPY", "/db/doc", None),
            ("PUT", "/db/other", {"_attachments": {"a": {}}}),
            ("POST", "/db/_find", {"selector": {}, "execution_stats": True}),
            ("POST", "/db/_index", {"index": {"fields": ["a"]}, "type": "text"}),
        ]
        for method, path, body in rows:
            reply = self.ask(method, path, body)
            self.assertEqual((reply.status, reply.json["error"]), (501, "not_implemented"), (method, path))
        multipart = self.ask("GET", "/db/doc?open_revs=all", headers={"Accept": "multipart/mixed"})
        self.assertEqual(multipart.status, 501)

    def test_wrong_methods(self) -> None:
        """A method that a path does not have is 405, and changes nothing."""
        self.statuses(
            *((405, "DELETE", path, None) for path in ("/", "/_all_dbs", "/db/_security", "/db/_find", "/db/_index")),
            (405, "PUT", "/_session", {}),
            (405, "PATCH", "/db", None),
            (405, "PATCH", "/db/doc", None),
            (405, "POST", "/db/_local/x", {}),
            (405, "CONNECT", "example.org:443", None),
        )

    def test_mistakes(self) -> None:
        """Arguments that make no sense are 400."""
        self.put("known", {})
        finds: list[dict[str, Any]] = [{}, {"selector": {}, "limit": -1}, {"selector": {}, "x": 1}]
        rights: list[Any] = [[], {"admins": 1}, {"members": {"names": [1]}}]
        indexes: list[dict[str, Any]] = [{}, {"index": {}}, {"index": {"fields": [1]}}]
        self.statuses(
            *(
                (400, "GET", f"/db/_changes?{text}", None)
                for text in ("limit=x", "feed=x", "heartbeat=0", "timeout=-1")
            ),
            *((400, "GET", f"/db/_changes?{text}", None) for text in ("include_docs=1", "filter=_selector")),
            (400, "POST", "/db/_changes?filter=_doc_ids", {"doc_ids": 1}),
            (400, "POST", "/db/_changes", []),
            *((400, "POST", "/db/_find", body) for body in finds),
            *(
                (400, "POST", "/db/_find", {"selector": {}, "bookmark": mark})
                for mark in ("x", 1, "bnVsbA==", "WzEsMl0=")
            ),
            *((400, "POST", "/db/_find", {"selector": {}, "use_index": value}) for value in (1, ["a", "b", "c"])),
            *((400, "POST", "/db/_find", {"selector": {}, **more}) for more in ({"fields": "a"}, {"sort": ["a"]})),
            (400, "POST", "/db/_find", {"selector": {}, "sort": [{"a": "asc"}, {"b": "desc"}]}),
            *((400, "POST", "/db/_index", body) for body in indexes),
            (400, "POST", "/db/_index", {"index": {"fields": ["a"]}, "name": ""}),
            (400, "POST", "/db/_index", {"index": {"fields": ["a"], "partial_filter_selector": {"a": {"$x": 1}}}}),
            *((400, "POST", "/db/_bulk_docs", body) for body in ({}, {"docs": 1}, {"docs": [1]})),
            *((400, "POST", "/db/_bulk_get", body) for body in ({}, {"docs": [1]})),
            (400, "POST", "/db/_revs_diff", {"a": 1}),
            (400, "POST", "/db/_all_docs", {"keys": 1}),
            (400, "GET", "/db/_all_docs?startkey=1", None),
            (400, "GET", "/db/_all_docs?startkey=%22%5Cud800%22", None),
            *((400, "POST", "/db/_all_docs", {name: value}) for name in ("limit", "skip") for value in ("x", -1, True)),
            (400, "POST", "/db/_find", {"selector": {}, "bookmark": "WyJhYSIsIlx1ZGNmZiJd"}),
            *((400, "PUT", "/db/_security", body) for body in rights),
            *((400, "PUT", f"/db/doc{query}", {"_rev": "1-a"}) for query in ("?rev=1-b", "?new_edits=x")),
            (400, "PUT", "/db/doc", {"_id": "other"}),
            (400, "PUT", "/db/doc", '{"a":NaN}'),
            (400, "PUT", "/db/doc", '{"a":1e999}'),
            (400, "PUT", "/db/doc", b'{"a":"\xff"}'),
            (400, "PUT", "/db/doc", "[" * 100_000),
            (400, "POST", "/db", {"_id": 1}),
            (400, "POST", "/db", {"_id": ""}),
            (400, "POST", "/db", '{"_id":"\\ud800"}'),
            (400, "GET", "/db/known?rev=x", None),
            (400, "PUT", "/" + "a" * 300, None),
            (400, "GET", "//", None),
            (404, "DELETE", "/db/_index/x/json/y", None),
            (405, "DELETE", "/db/_index/x", None),
        )


class DocumentTests(WireCase):
    """Documents."""

    def test_delete(self) -> None:
        """A deletion needs the revision, by the query, by If-Match, or as a document."""
        rev = self.put("a", {})
        self.statuses((404, "DELETE", "/db/none", None), (409, "DELETE", "/db/a", None))
        self.assertEqual(self.ask("DELETE", "/db/a", headers={"If-Match": f'"{rev}"'}).status, 200)
        self.assertEqual(self.ask("DELETE", "/db/a").json["reason"], "deleted")
        self.assertEqual(self.ask("GET", "/db").json["doc_del_count"], 1)

    def test_histories(self) -> None:
        """History, conflicts and single revisions are shown where they are asked for."""
        ids = ["b" * 32, "a" * 32]
        body = {"docs": [{"_id": "x", "_rev": f"2-{ids[0]}", "_revisions": {"start": 2, "ids": ids}, "n": 1}]}
        self.ask("POST", "/db/_bulk_docs", {**body, "new_edits": False})
        self.assertEqual(self.ask("POST", "/db/_bulk_docs", {**body, "new_edits": False}).json, [])
        other = {"_rev": f"2-{'c' * 32}", "n": 2}
        self.assertEqual(self.ask("PUT", "/db/x?new_edits=false", other).json["rev"], other["_rev"])
        self.assertEqual(self.ask("PUT", "/db/x?new_edits=false", other).json["rev"], other["_rev"])
        shown = self.ask("GET", f"/db/x?revs=true&revs_info=true&conflicts=true&rev=2-{ids[0]}").json
        self.assertEqual(shown["_revisions"], {"start": 2, "ids": ids})
        self.assertEqual([row["status"] for row in shown["_revs_info"]], ["available", "missing"])
        self.assertEqual(shown["_conflicts"], [other["_rev"]])
        every = self.ask("GET", "/db/x?open_revs=all").json
        self.assertEqual([row["ok"]["n"] for row in every], [2, 1])
        some = self.ask("GET", f'/db/x?open_revs=["2-{ids[0]}","1-z"]').json
        self.assertEqual((some[0]["ok"]["n"], some[1]), (1, {"missing": "1-z"}))
        self.statuses(
            (404, "GET", f"/db/x?rev=1-{'a' * 32}", None),
            (404, "GET", "/db/none?open_revs=all", None),
            (400, "GET", "/db/x?open_revs=1", None),
        )
        lacking = self.ask("POST", "/db/_revs_diff", {"x": [f"1-{'a' * 32}", "9-z"], "none": []}).json
        self.assertEqual(lacking, {"x": {"missing": ["9-z"]}})
        rows = self.ask("POST", "/db/_bulk_get?revs=true", {"docs": [{"id": "x"}, {"id": "x", "rev": "9-z"}]}).json
        self.assertEqual(rows["results"][0]["docs"][0]["ok"]["n"], 2)
        self.assertEqual(rows["results"][1]["docs"][0]["error"]["error"], "not_found")
        leaves = self.ask("GET", "/db/_changes?style=all_docs").json["results"][0]["changes"]
        self.assertEqual(len(leaves), 2)
        edited = self.ask("PUT", "/db/x", {"_rev": f"2-{ids[0]}", "n": 3})
        self.assertEqual(edited.status, 201)
        self.assertEqual(self.ask("GET", "/db/x").json["n"], 3)
        self.ask("DELETE", f"/db/x?rev={edited.json['rev']}")
        self.ask("DELETE", f"/db/x?rev={other['_rev']}")
        self.assertEqual(self.ask("GET", "/db/x").status, 404)

    def test_local(self) -> None:
        """Local documents have revisions of their own and are not in the feed."""
        path = "/db/_local/x"
        self.statuses((404, "GET", path, None), (404, "DELETE", path, None), (400, "PUT", path, []))
        self.assertEqual(self.ask("PUT", path, {"a": 1}).json["rev"], "0-1")
        self.assertEqual(self.ask("PUT", path, {}).status, 409)
        self.assertEqual(self.ask("GET", path).json, {"_id": "_local/x", "_rev": "0-1", "a": 1})
        self.assertEqual(self.ask("PUT", path, {"_rev": "0-1"}).json["rev"], "0-2")
        self.assertEqual(self.ask("GET", path).json, {"_id": "_local/x", "_rev": "0-2"})
        self.assertEqual(self.ask("DELETE", path).status, 200)
        self.assertEqual(self.ask("GET", "/db/_changes").json["results"], [])

    def test_listing(self) -> None:
        """_all_docs goes from start to end, either way, in pages."""
        for name in ("a", "b", "c", "d"):
            self.put(name, {"n": name})
        for query, expected in (
            ("", "abcd"),
            ('startkey="b"', "bcd"),
            ('start_key="b"&end_key="c"', "bc"),
            ('endkey="c"&inclusive_end=false', "ab"),
            ("limit=2&skip=1", "bc"),
            ("descending=true&limit=3", "dcb"),
            ('descending=true&startkey="c"&endkey="b"', "cb"),
            ('key="b"', "b"),
            ('key="x"', ""),
            ('keys=["d","a"]', "da"),
        ):
            rows = self.ask("GET", f"/db/_all_docs?{query}").json["rows"]
            self.assertEqual("".join(row["id"] for row in rows), expected, query)
        rows = self.ask("POST", "/db/_all_docs", {"include_docs": True, "limit": 1}).json["rows"]
        self.assertEqual(rows[0]["doc"]["n"], "a")

    def test_size(self) -> None:
        """A document over the limit is 413, and so is a body over the server's limit."""
        self.patch(http, "MAX_REQUEST_BYTES", 200_000)
        original = edits.read_draft
        self.patch(edits, "read_draft", lambda *args: original(*args, max_bytes=1000))
        self.assertEqual(self.ask("PUT", "/db/a", {"x": "y" * 990, "l": [1, None], "n": True}).status, 413)
        self.put("newlines", {"x": "\n" * 900})
        self.assertEqual(self.ask("PUT", "/db/a", b"x" * 200_001).status, 413)

    def test_fields_that_are_only_shown(self) -> None:
        """What a reader was shown beside the document may come back with it, and is not stored; HEAD has no body."""
        rev = self.put("a", {"n": 1})
        shown = self.ask("GET", "/db/a?revs=true&revs_info=true").json
        self.put("a", {**shown, "_attachments": {}, "n": 2})
        self.assertEqual(set(self.ask("GET", "/db/a").json), {"_id", "_rev", "n"})
        head = self.wire.send("HEAD", "/db/a").reply()
        self.assertEqual((head.status, head.body), (200, b""))
        rows = self.ask("POST", "/db/_bulk_docs", {"docs": [{"_id": "b"}], "new_edits": False}).json
        self.assertEqual([row["error"] for row in rows], ["bad_request"])
        self.assertTrue(rev)

    def test_surrogates(self) -> None:
        """A lone surrogate comes back as it was written."""
        self.put("a", '{"x":"\\ud800"}')
        self.assertIn(b'"x":"\\ud800"', self.ask("GET", "/db/a").body)

    def test_surrogates_in_ids(self) -> None:
        """No document, user or revision has half a character in its name, and who asks for one is told so."""
        half = "\udcff"
        self.statuses(
            (200, "POST", "/db/_all_docs", {"keys": [half]}),
            (200, "POST", "/db/_all_docs", {"key": half}),
            (200, "POST", "/db/_find", {"selector": {"_id": half}}),
            (200, "POST", "/db/_bulk_get", {"docs": [{"id": half}]}),
            (200, "POST", "/db/_revs_diff", {half: ["1-a"], "b": [1, {}]}),
            (200, "POST", "/db/_changes?filter=_doc_ids", {"doc_ids": [half]}),
            (401, "POST", "/_session", {"name": half, "password": half}),
        )

    def test_deep(self) -> None:
        """A document as deep as JSON may be is stored, found by an index, and in the feed; or it is refused."""
        self.ask("POST", "/db/_index", {"ddoc": "i", "name": "by-a", "index": {"fields": ["a"]}})
        for levels in (90, 300, 500, 900, 2000):
            deep = "[" * levels + "]" * levels
            poll = self.wire.send(
                "POST", "/db/_changes?feed=longpoll&filter=_selector&since=now", {"selector": {"a": {"$ne": 1}}}
            )
            status = self.ask("PUT", f"/db/{levels}", f'{{"a":{deep}}}').status
            if status != 201:
                self.assertEqual((status, self.ask("GET", f"/db/{levels}").status, levels > 900), (400, 404, True))
                continue
            self.assertEqual([row["id"] for row in poll.reply().json["results"]], [str(levels)])
            found = self.ask("POST", "/db/_find", f'{{"selector": {{"a": {deep}}}, "use_index": ["i", "by-a"]}}')
            self.assertIn(str(levels), [each["_id"] for each in found.json["docs"]])

    def test_uuids(self) -> None:
        """Fresh ids are given, and nothing else of a database that is asked for by POST."""
        self.assertEqual(len(self.ask("GET", "/_uuids?count=3").json["uuids"]), 3)
        self.assertEqual(self.ask("POST", "/db/_ensure_full_commit").status, 201)
        reply = self.ask("POST", "/db/_bulk_docs", {"docs": [{"n": 1}]})
        self.assertEqual(len(reply.json[0]["id"]), 32)


class FindTests(WireCase):
    """Queries."""

    def find(self, **body: Any) -> list[str]:
        """The ids that a query finds."""
        reply = self.ask("POST", "/db/_find", {"selector": {}, **body})
        self.assertEqual(reply.status, 200, reply.body)
        self.warning = reply.json.get("warning", "")
        return [doc.get("_id", doc) for doc in reply.json["docs"]]

    def setUp(self) -> None:
        """Fill the database."""
        super().setUp()
        docs = [{"_id": f"d{n}", "n": n, "s": "ab"[n % 2], "deep": {"x": n}} for n in range(6)]
        self.ask("POST", "/db/_bulk_docs", {"docs": [*docs, {"_id": "l", "n": [2, "z"], "s": "a"}]})
        for name, fields in (("n", ["n"]), ("sn", [{"s": "asc"}, {"n": "asc"}])):
            self.assertEqual(
                self.ask("POST", "/db/_index", {"index": {"fields": fields}, "ddoc": name, "name": name}).status, 200
            )

    def test_index_and_scan_agree(self) -> None:
        """Every query finds the same by an index as by looking at everything."""
        for selector in (
            {"n": 2},
            {"n": {"$in": [1, 2, [9]]}},
            {"n": {"$gt": 1, "$lt": 4}},
            {"n": {"$gte": 1, "$lte": 4}},
            {"s": "a", "n": {"$in": [2, 4]}},
            {"s": {"$in": ["a", "b"]}, "n": 3},
            {"s": {"$in": ["a", "b"]}, "n": {"$gt": 2}},
            {"s": "a", "n": {"$exists": True}},
            {"$and": [{"n": {"$gt": 1}}, {"n": {"$lt": 5}}]},
            {"n": {"$ne": 3}},
        ):
            by_index = self.find(selector=selector)
            self.assertEqual(self.warning, "")
            scanned = self.find(selector={"$or": [selector]})
            self.assertIn("No matching index", self.warning)
            self.assertEqual(sorted(by_index), sorted(scanned), selector)
            self.assertTrue(by_index)

    def test_named_index(self) -> None:
        """An index that is named and can't serve, or isn't there, is warned about."""
        self.assertEqual(self.find(selector={"s": "b"}, use_index="n"), ["d1", "d3", "d5"])
        self.assertIn("_design/n was not used", self.warning)
        self.find(selector={"n": 1}, use_index=["_design/none", "x"])
        self.assertIn("does not exist", self.warning)
        self.assertEqual(self.find(selector={"n": 1}, use_index=["n", "n"]), ["d1"])
        self.assertEqual(self.find(selector={"n": 1}, use_index=[]), ["d1"])

    def test_sort(self) -> None:
        """Results come in the order of an index or of the ids, either way, in pages."""
        self.assertEqual(self.find(selector={"$and": [5]}), [])
        self.assertEqual(self.find(selector={"n": {"$lt": 9}}, sort=["n"], limit=2), ["d0", "d1"])
        self.assertEqual(self.find(selector={"n": {"$lt": 9}}, sort=[{"n": "desc"}], limit=2), ["d5", "d4"])
        self.assertEqual(self.find(sort=[{"_id": "desc"}], limit=2), ["l", "d5"])
        self.assertEqual(self.find(selector={"_id": {"$in": ["d1", "d2", 5]}}, sort=[{"_id": "desc"}]), ["d2", "d1"])
        for order in ("asc", "desc"):
            query: dict[str, Any] = {"selector": {"n": {"$lt": 9}}, "sort": [{"n": order}], "limit": 4}
            first = self.ask("POST", "/db/_find", query).json
            second = self.ask("POST", "/db/_find", {**query, "bookmark": first["bookmark"]}).json
            names = [doc["_id"] for doc in [*first["docs"], *second["docs"]]]
            self.assertEqual(names, sorted((f"d{n}" for n in range(6)), reverse=order == "desc"))
            third = self.ask("POST", "/db/_find", {**query, "bookmark": second["bookmark"]}).json
            self.assertEqual((third["docs"], third["bookmark"]), ([], second["bookmark"]))
        for order in ("asc", "desc"):
            query = {"selector": {"_id": {"$in": ["d1", "d2", "d3"]}}, "sort": [{"_id": order}], "limit": 2}
            first = self.ask("POST", "/db/_find", query).json
            second = self.ask("POST", "/db/_find", {**query, "bookmark": first["bookmark"]}).json
            self.assertEqual([doc["_id"] for doc in second["docs"]], ["d3" if order == "asc" else "d1"])

    def test_shapes(self) -> None:
        """Fields are picked, rows are skipped, and a long list of ids with gaps is gone through."""
        reply = self.ask("POST", "/db/_find", {"selector": {"n": 2}, "fields": ["_id", "deep.x", "none"]})
        self.assertEqual(reply.json["docs"], [{"_id": "d2", "deep": {"x": 2}}])
        self.assertEqual(self.find(selector={"_id": {"$gt": "d1"}}, skip=1, limit=2), ["d3", "d4"])
        many = [f"a{n:04}" for n in range(500)]
        self.assertEqual(self.find(selector={"_id": {"$in": [*many, "d1"]}}), ["d1"])
        self.assertEqual(self.find(selector={"_id": "d1"}), ["d1"])

    def test_index_follows_its_documents(self) -> None:
        """Changed and deleted documents move in the index; a removed index serves no more."""
        doc = self.ask("GET", "/db/d2").json
        self.put("d2", {**doc, "n": 50})
        self.assertEqual((self.find(selector={"n": 50}), self.warning), (["d2"], ""))
        self.assertNotIn("d2", self.find(selector={"n": {"$lt": 9}}))
        self.ask("DELETE", f"/db/d2?rev={self.ask('GET', '/db/d2').json['_rev']}")
        self.assertEqual(self.find(selector={"n": 50}), [])
        for name in ("n", "sn"):
            self.assertEqual(self.ask("DELETE", f"/db/_index/_design/{name}/json/{name}").status, 200)
        self.find(selector={"n": 1})
        self.assertIn("No matching index", self.warning)
        self.assertEqual(self.ask("GET", "/db/_index").json["total_rows"], 1)

    def test_several_indexes_in_one_design(self) -> None:
        """Indexes of one design document come and go one by one, and a changed one is made anew."""
        for name, fields in (("a", ["n"]), ("b", ["s"])):
            self.ask("POST", "/db/_index", {"index": {"fields": fields}, "ddoc": "two", "name": name})
        self.ask(
            "POST",
            "/db/_index",
            {"index": {"fields": ["s"], "partial_filter_selector": {"n": 1}}, "ddoc": "two", "name": "b"},
        )
        self.assertEqual(self.find(selector={"s": "b", "n": 1}, use_index=["two", "b"]), ["d1"])
        self.assertEqual(self.ask("DELETE", "/db/_index/two/json/a").status, 200)
        self.assertEqual(self.find(selector={"s": "b", "n": 1}, use_index=["two", "b"]), ["d1"])
        self.put("_design/js", {"language": "javascript", "views": {"x": {"map": "function () {}"}}})
        refused = self.ask("POST", "/db/_index", {"index": {"fields": ["a"]}, "ddoc": "js"})
        self.assertEqual(refused.json["error"], "invalid_design_doc_language")
        self.put("_design/odd", {"language": "query", "views": {"x": {"map": "text"}, "y": 1}})


class FeedTests(WireCase):
    """Changes."""

    def test_heartbeat(self) -> None:
        """A heartbeat keeps the poll alive beyond its timeout, until something matches."""
        poll = self.wire.send("GET", "/db/_changes?feed=longpoll&heartbeat=1000&timeout=500")
        for _ in range(5):
            self.wire.clock.advance(1)
        self.assertEqual(poll.reply().body.count(b"\n"), 2 + 5)
        self.assertFalse(poll.reply().complete)
        self.put("a", {})
        self.assertEqual([row["id"] for row in poll.reply().json["results"]], ["a"])
        forever = self.wire.send("GET", "/db/_changes?feed=longpoll&heartbeat=true&since=now")
        self.wire.clock.advance(100)
        self.assertFalse(forever.reply().complete)

    def test_cap(self) -> None:
        """A poll without a timeout, or with a long one, ends after a minute."""
        polls = [self.wire.send("GET", f"/db/_changes?feed=longpoll{more}") for more in ("", "&timeout=900000")]
        self.wire.clock.advance(59)
        self.assertFalse(any(poll.reply().complete for poll in polls))
        self.wire.clock.advance(1)
        self.wire.turn()
        self.assertTrue(all(poll.reply().complete for poll in polls))

    def test_first_bytes_come_at_once(self) -> None:
        """Status, headers and the beginning of the body don't wait for a change."""
        poll = self.wire.send("GET", "/db/_changes?feed=longpoll")
        self.assertEqual((poll.reply().status, poll.reply().body), (200, b'{"results":[\n\n'))

    def test_requests_behind_polls(self) -> None:
        """What is served right behind the answer of a poll, and commits, takes no change from those that still wait."""
        writer, reader, innocent = (self.wire.send("GET", "/db/_changes?feed=longpoll") for _ in range(3))
        writer.channel.dataReceived(self.wire.request("PUT", "/db/second", {}))
        reader.channel.dataReceived(self.wire.request("GET", "/db/second"))
        self.put("first", {})
        reply = innocent.reply()
        self.assertEqual([row["id"] for row in reply.json["results"]], ["first"])
        behind = self.wire.ask("GET", f"/db/_changes?since={reply.json['last_seq']}")
        self.assertEqual([row["id"] for row in behind.json["results"]], ["second"])

    def test_uncommitted_change_at_the_timeout(self) -> None:
        """A change that is written but not on the disk when the timeout comes is not passed over."""
        poll = self.wire.send(
            "POST", "/db/_changes?feed=longpoll&timeout=1000&filter=_selector", {"selector": {"a": 1}}
        )
        room = self.wire.service._databases.get("db")  # type: ignore[union-attr]
        self.patch(room.database, "_call_soon", lambda function: None)
        draft = edits.read_draft({"_id": "x", "a": 1})
        from himbeerecouch.embedded.security import User

        edits.write(room, User("admin", ("_admin",)), draft)
        self.wire.clock.advance(1)
        self.wire.turn()
        self.assertEqual([row["id"] for row in poll.reply().json["results"]], ["x"])

    def test_selector_that_fails(self) -> None:
        """A poll whose selector can't be applied takes no change away from the others."""
        room = self.wire.service._databases.get("db")  # type: ignore[union-attr]
        broken = Poll(Filter(lambda document: document["no such field"], None))
        room.feed.park(broken)
        other = self.wire.send("POST", "/db/_changes?feed=longpoll&filter=_selector", {"selector": {"a": 1}})
        self.put("x", {"a": 1})
        self.assertEqual([row["id"] for row in other.reply().json["results"]], ["x"])
        self.assertEqual([row.stored.id for row in self.successResultOf(broken.woken)], ["x"])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_client_that_goes(self) -> None:
        """A client that goes leaves nothing waiting."""
        poll = self.wire.send("GET", "/db/_changes?feed=longpoll")
        room = self.wire.service._databases.get("db")  # type: ignore[union-attr]
        self.assertEqual(len(room.feed), 1)
        poll.drop()
        self.assertEqual(len(room.feed), 0)

    def test_limits(self) -> None:
        """A limit ends the answer, also of a poll that several changes of one commit wake, and nothing is lost."""
        poll = self.wire.send("GET", "/db/_changes?feed=longpoll&limit=1")
        self.ask("POST", "/db/_bulk_docs", {"docs": [{"_id": name} for name in "abc"]})
        first = poll.reply().json
        self.assertEqual([row["id"] for row in first["results"]], ["a"])
        rest = self.ask("GET", f"/db/_changes?since={first['last_seq']}").json
        self.assertEqual([row["id"] for row in rest["results"]], ["b", "c"])
        given = self.ask(
            "POST", f"/db/_changes?filter=_doc_ids&since={first['last_seq']}", {"doc_ids": ["a", "c", "x"]}
        )
        self.assertEqual([row["id"] for row in given.json["results"]], ["c"])
        listed = self.ask("GET", '/db/_changes?filter=_doc_ids&doc_ids=["b"]').json
        self.assertEqual([row["id"] for row in listed["results"]], ["b"])
        self.assertEqual(self.ask("GET", "/db/_changes?limit=0").json["results"], [])

    def test_back_after_a_start(self) -> None:
        """After the server was started anew, who comes back gets what matters to him, and reads none of the others."""
        folder = Path(self.mktemp())
        before = Wire(folder)
        before.make("db")
        since = before.ask("GET", "/db").json["update_seq"]
        for number in range(5):
            before.ask("PUT", f"/db/a{number}", {"type": number})
        before.ask("DELETE", "/db/a2?rev=" + before.ask("GET", "/db/a2").json["_rev"])
        before.close()
        wire = Wire(folder)
        self.addCleanup(wire.close)
        wire.ask("POST", "/db/_bulk_docs", {"docs": [{"_id": f"b{number}", "type": number} for number in range(5)]})
        reading = mock.patch.object(Database, "after_seq", autospec=True, side_effect=Database.after_seq)
        whole = reading.start()
        self.addCleanup(reading.stop)
        for number in range(5):
            selector = {"$or": [{"type": number}, {"_id": {"$in": [f"a{number}"]}}]}
            path = f"/db/_changes?feed=longpoll&filter=_selector&since={since}"
            found = wire.ask("POST", path, {"selector": selector}).json
            self.assertEqual({row["id"] for row in found["results"]}, {f"a{number}", f"b{number}"})
        whole.assert_not_called()

    def test_future(self) -> None:
        """A since that lies ahead, as after a restore, brings nothing."""
        seq = self.ask("GET", "/db").json["update_seq"]
        ahead = "99" + seq
        reply = self.ask("GET", f"/db/_changes?since={ahead}").json
        self.assertEqual((reply["results"], reply["last_seq"]), ([], ahead))

    def test_slow_client(self) -> None:
        """A client that does not read holds its own answer back, and gets all of it in the end."""
        for number in range(20):
            self.put(f"d{number}", {"x": "y" * 50_000})
        ended: list[None] = []
        run = changes.Writer.run

        async def tell(writer: changes.Writer) -> None:
            await run(writer)
            ended.append(None)

        self.patch(changes.Writer, "run", tell)
        for goes in (False, True):
            poll = Pending(self.wire, self.wire.request("GET", "/db/_changes?include_docs=true"))
            poll.channel.pauseProducing()
            self.wire.turn()
            self.assertFalse(poll.reply().complete)
            held = len(poll.reply().body)
            self.wire.turn()
            self.assertEqual(len(poll.reply().body), held)
            if goes:
                before = len(ended)
                poll.drop()
                self.wire.turn()
                self.assertEqual(len(poll.reply().body), held)
                self.assertEqual(len(ended), before + 1)
            else:
                poll.channel.resumeProducing()
                self.wire.turn()
                self.assertEqual(len(poll.reply().json["results"]), 20)

    def test_database_goes_during_an_answer(self) -> None:
        """A database that is deleted while it is read ends the answer, whole JSON all the same."""
        for number in range(20):
            self.put(f"d{number}", {"x": "y" * 50_000})
        paths = ("/db/_changes?include_docs=true", "/db/_all_docs?include_docs=true")
        polls = [Pending(self.wire, self.wire.request("GET", path)) for path in paths]
        polls.append(Pending(self.wire, self.wire.request("POST", "/db/_find", {"selector": {}})))
        self.ask("DELETE", "/db")
        for poll in polls:
            rows = next(value for name, value in poll.reply().json.items() if name in ("results", "rows", "docs"))
            self.assertLess(len(rows), 20)


class GuardTests(WireCase):
    """validate_doc_update."""

    def test_without_engine(self) -> None:
        """Without a JavaScript engine a guard is refused with 501, never stored and passed over."""
        self.patch(validate, "engine_is_there", lambda: False)
        reply = self.ask("PUT", "/db/_design/g", {"validate_doc_update": "function () {}"})
        self.assertEqual(reply.status, 501)

    def test_engine(self) -> None:
        """The engine is found where it is installed, and where it isn't that is said."""
        self.assertTrue(validate.engine_is_there())
        with mock.patch.dict("sys.modules", {"quickjs": None}):
            self.assertFalse(validate.engine_is_there())

    def test_mistakes(self) -> None:
        """A guard that does not compile, or is none, is 400."""
        for source in ("function (", "5", "while (true) {}", "function () {\0}", 5):
            self.assertEqual(self.ask("PUT", "/db/_design/g", {"validate_doc_update": source}).status, 400, source)

    def test_verdicts(self) -> None:
        """What a guard throws decides the status; a guard that is changed or gone counts no more."""
        self.patch(validate, "TIME_LIMIT_S", 1)
        rev = self.put(
            "_design/g", {"validate_doc_update": "function (d, o) { if (d.t) throw(d.t); if (o && o.x) x(); }"}
        )
        self.assertEqual(self.ask("PUT", "/db/a", {"t": {"forbidden": "no"}}).status, 403)
        self.assertEqual(self.ask("PUT", "/db/a", {"t": {"unauthorized": "no"}}).status, 401)
        self.assertEqual(self.ask("PUT", "/db/a", {"t": "other"}).status, 500)
        first = self.put("a", {"x": 1})
        self.assertEqual(self.ask("PUT", "/db/a", {"_rev": first}).status, 500)
        self.assertEqual(self.ask("POST", "/db/_bulk_docs", {"docs": [{"t": "other"}]}).status, 500)
        rev = self.put("_design/g", {"_rev": rev, "validate_doc_update": "function (d) { while (d.n) {} }"})
        self.put("b", {})
        self.assertEqual(self.ask("PUT", "/db/c", {"n": 1}).status, 500)
        self.ask("DELETE", f"/db/_design/g?rev={rev}")
        self.put("_design/h", {"validate_doc_update": "function () {}"})
        self.put("c", {"n": 1})


class AccountTests(WireCase):
    """Users and sessions."""

    def setUp(self) -> None:
        """Make a user."""
        super().setUp()
        self.path = "/_users/org.couchdb.user:u"
        self.assertEqual(self.ask("PUT", self.path, USER).status, 201)

    def test_rules_of_user_documents(self) -> None:
        """A user document must be one, and only admins give roles."""
        wrong: list[dict[str, Any]] = [{"type": "x"}, {"name": 1}, {"name": ""}, {"roles": "r"}, {"roles": [1]}]
        wrong += [{"name": "other"}, {"roles": ["_admin"]}, {"password": 5}]
        for change in wrong:
            reply = self.ask("PUT", self.path.replace(":u", ":v"), {**USER, "name": "v", **change})
            self.assertEqual((reply.status, reply.json["error"]), (403, "forbidden"), change)
        colon = self.ask("PUT", "/_users/org.couchdb.user:a:b", {**USER, "name": "a:b"})
        self.assertEqual(colon.status, 403)
        mine = self.ask("GET", self.path, login=("u", "p")).json
        self.assertEqual(self.ask("PUT", self.path, {**mine, "roles": ["boss"]}, login=("u", "p")).status, 403)
        self.assertEqual(self.ask("PUT", self.path, {**mine, "name": "w"}).status, 403)
        self.assertEqual(self.ask("DELETE", "/_users").status, 403)
        self.assertEqual(self.ask("GET", "/_users/_changes", login=("u", "p")).status, 403)
        self.assertEqual(self.ask("GET", "/_users/_changes", login=None).status, 401)
        self.assertEqual(
            self.ask(
                "POST", "/_users/_bulk_docs", {"docs": [{**USER, "_id": "org.couchdb.user:z", "name": "z"}]}
            ).status,
            201,
        )
        self.assertEqual(self.ask("GET", "/_session", login=("z", "p")).status, 200)

    def test_rotation(self) -> None:
        """A new password counts at once, the old one no more; a deleted user can't come in."""
        mine = self.ask("GET", self.path, login=("u", "p")).json
        self.assertEqual(self.ask("PUT", self.path, {**mine, "password": "new"}, login=("u", "p")).status, 201)
        self.assertEqual(self.ask("GET", "/_session", login=("u", "new")).status, 200)
        self.assertEqual(self.ask("GET", "/_session", login=("u", "p")).status, 401)
        rev = self.ask("GET", self.path).json["_rev"]
        self.ask("DELETE", f"{self.path}?rev={rev}")
        self.assertEqual(self.ask("GET", "/_session", login=("u", "new")).status, 401)

    def test_stored_elsewhere(self) -> None:
        """Keys that another server derived are good here; what can't be verified lets nobody in."""
        from himbeerecouch.embedded.passwords import derive, verify

        good = {**derive("x", 3), "name": "e", "roles": [], "type": "user"}
        self.ask("PUT", "/_users/org.couchdb.user:e", good)
        self.assertEqual(self.ask("GET", "/_session", login=("e", "x")).status, 200)
        wrong: list[dict[str, Any]] = [{"password_scheme": "simple"}, {"salt": 1}, {"iterations": 0}]
        wrong += [{"pbkdf2_prf": "md5"}, {"pbkdf2_prf": ["sha"]}]
        for change in wrong:
            self.assertFalse(verify("x", {**good, **change}), change)
        self.assertFalse(verify("y", good))
        for name in ("sha", "sha512"):
            self.assertFalse(verify("x", {**good, "pbkdf2_prf": name}))

    def test_lock_opens(self) -> None:
        """A locked account opens after five minutes; another address or a new password is not locked."""
        for _ in range(5):
            self.assertEqual(self.ask("GET", "/", login=("u", "x")).status, 401)
        self.assertEqual(self.ask("GET", "/", login=("u", "p")).status, 403)
        self.wire.clock.advance(299)
        self.assertEqual(self.ask("GET", "/", login=("u", "p")).status, 403)
        self.wire.clock.advance(1)
        self.assertEqual(self.ask("GET", "/", login=("u", "p")).status, 200)

    def test_memory_of_failures_is_bounded(self) -> None:
        """However many accounts are tried, the oldest failures are forgotten."""
        from himbeerecouch.embedded import accounts

        self.patch(accounts, "MOST_ADDRESSES", 1)
        self.ask("PUT", "/_users/org.couchdb.user:v", {**USER, "name": "v"})
        for name in ("u", "v"):
            self.ask("GET", "/", login=(name, "x"))
        self.assertEqual(self.ask("GET", "/", login=("u", "p")).status, 200)

    def test_cookies(self) -> None:
        """A cookie is renewed while it is used, ends when it is old, and is worth nothing when it was touched."""
        form = self.ask("POST", "/_session", "name=u&password=p", login=None, headers=FORM)
        self.assertEqual(form.status, 200)
        cookie = form.headers["set-cookie"].split(";")[0]
        self.assertIn("HttpOnly", form.headers["set-cookie"])

        def session(value: str) -> Any:
            return self.ask("GET", "/_session", login=None, headers={"Cookie": value})

        self.assertEqual(session(cookie).json["info"]["authenticated"], "cookie")
        self.assertNotIn("set-cookie", session(cookie).headers)
        self.wire.clock.advance(100)
        renewed = session(cookie).headers["set-cookie"].split(";")[0]
        self.wire.clock.advance(550)
        self.assertIsNone(session(cookie).json["userCtx"]["name"])
        self.assertEqual(session(renewed).json["userCtx"]["name"], "u")
        for value in (renewed[:-3] + "AAA", "AuthSession=x", "AuthSession=eA", "AuthSession=", "a=b", "\x01=;;"):
            self.assertIsNone(session(value).json["userCtx"]["name"], value)
        self.statuses(
            (400, "POST", "/_session", {"name": "u"}), (401, "POST", "/_session", {"name": "x", "password": "p"})
        )
        self.assertIn("AuthSession=;", self.ask("DELETE", "/_session").headers["set-cookie"])

    def test_odd_headers(self) -> None:
        """An Authorization that is no Basic one is nobody's; one that can't be read is 400."""
        self.assertEqual(self.ask("GET", "/db", login=None, headers={"Authorization": "Bearer x"}).status, 401)
        self.assertEqual(self.ask("GET", "/db", login=None, headers={"Authorization": "Basic !"}).status, 400)
        self.assertEqual(self.ask("GET", "/db", login=None, headers={"Authorization": "Basic eA=="}).status, 401)

    def test_open_database(self) -> None:
        """A database whose members are nobody is everybody's; its own admins change the designs."""
        self.ask("PUT", "/db/_security", {"members": {}, "admins": {"roles": ["r"]}})
        self.assertEqual(self.ask("GET", "/db", login=None).status, 200)
        self.assertEqual(self.ask("PUT", "/db/_design/x", {}, login=("u", "p")).status, 201)
        self.assertEqual(self.ask("PUT", "/db/_design/y", {}, login=None).status, 403)
        self.assertEqual(self.ask("PUT", "/db/_security", {}, login=("u", "p")).json, {"ok": True})
        self.assertEqual(json.loads(self.ask("GET", "/db/_security").body), {})


class WaitingLoginTests(SynchronousTestCase):
    """Logins that wait for a password to be checked."""

    def setUp(self) -> None:
        """Accounts whose passwords are checked when the test says so."""
        self.checked: list[tuple[str, Deferred[bool]]] = []
        self.accounts = Accounts(
            Admin("admin", {}),
            {"u": {"salt": "a"}, "v": {"salt": "b"}}.get,
            secret=b"s",
            clock_s=lambda: 0.0,
            wall_s=lambda: 0.0,
            in_thread=self.check,
        )

    def check(self, function: object, password: str, fields: object) -> Deferred[bool]:
        """Begin to check a password."""
        self.checked.append((password, Deferred()))
        return self.checked[-1][1]

    def log_in(self, name: str, password: str) -> Deferred[User]:
        """Begin to log in."""
        return Deferred.fromCoroutine(self.accounts.log_in(name, password, "127.0.0.1"))

    def test_again(self) -> None:
        """Who logs in again while his password is being checked does not have it checked twice; others do."""
        first, again, wrong, other = (self.log_in(*login) for login in ("up", "up", "ux", "vp"))
        self.assertEqual([password for password, _ in self.checked], ["p", "x", "p"])
        for (_, checked), right in zip(self.checked, (True, False, True), strict=True):
            checked.callback(right)
        self.assertEqual([self.successResultOf(d).name for d in (first, again, other)], ["u", "u", "v"])
        self.assertEqual(self.failureResultOf(wrong, Refused).value.status, 401)
        self.assertEqual(self.successResultOf(self.log_in("u", "p")).name, "u")
        self.assertEqual(len(self.checked), 3)

    def test_wrong(self) -> None:
        """Each of them counts where the password is wrong, and too many lock the account."""
        for number in range(2):
            both = self.log_in("u", "x"), self.log_in("u", "x")
            self.checked[number][1].callback(False)
            self.assertEqual([self.failureResultOf(d, Refused).value.status for d in both], [401, 401])
        last = self.log_in("u", "x")
        self.checked[2][1].callback(False)
        self.assertEqual(self.failureResultOf(last, Refused).value.status, 401)
        self.assertEqual(self.failureResultOf(self.log_in("u", "p"), Refused).value.status, 403)

    def test_failure(self) -> None:
        """None of them waits for ever where it could not be checked, and the next one is checked anew."""
        both = self.log_in("u", "p"), self.log_in("u", "p")
        self.checked[0][1].errback(RuntimeError("no thread"))
        for d in both:
            self.failureResultOf(d, RuntimeError)
        after = self.log_in("u", "p")
        self.checked[1][1].callback(True)
        self.assertEqual(self.successResultOf(after).name, "u")


class UsersDatabaseTests(WireCase):
    """What is left of ``_users`` for those who may not look into it."""

    def test_make_and_delete(self) -> None:
        """Nobody but an admin makes or deletes databases, and the welcome is for everybody."""
        self.assertEqual(self.ask("PUT", "/x", login=None).status, 401)
        self.assertEqual(self.ask("DELETE", "/db", login=None).status, 401)
        self.assertEqual(self.ask("GET", "/", login=None).status, 200)
        self.assertEqual(self.ask("PUT", "/_users").status, 412)
        self.assertEqual(self.ask("PUT", "/_other").status, 501)


class TroubleTests(WireCase):
    """When something is wrong with the server itself."""

    def test_failed_commit(self) -> None:
        """A write that fails at its commit, for any reason, is 500 and not there afterwards; the next one goes on."""
        import sqlite3

        database = self.wire.service._databases.get("db").database  # type: ignore[union-attr]
        real = database._sql

        class Failing:
            in_transaction = property(lambda self: real.in_transaction)

            def __init__(self, error: Exception) -> None:
                self._error = error

            def execute(self, text: str, *args: Any) -> Any:
                if text == "COMMIT":
                    raise self._error
                return real.execute(text, *args)

            executemany = real.executemany

        for error in (sqlite3.OperationalError("disk is full"), MemoryError("no memory is left")):
            database._sql = Failing(error)
            reply = self.ask("PUT", "/db/a", {})
            self.assertEqual(reply.status, 500)
            self.assertIn(str(error), reply.json["reason"])
            database._sql = real
            self.assertEqual(self.ask("GET", "/db/a").status, 404)
        self.put("a", {})
        self.assertEqual(self.ask("GET", "/db").json["update_seq"].split("-")[0], "1")

    def test_full_disk_at_write(self) -> None:
        """The same where the write itself fails."""
        import sqlite3

        database = self.wire.service._databases.get("db").database  # type: ignore[union-attr]

        def fail(*_: Any) -> None:
            database._begin()
            raise sqlite3.OperationalError("database or disk is full")

        self.patch(database, "put", fail)
        self.assertEqual(self.ask("PUT", "/db/a", {}).status, 500)
        self.assertEqual(self.ask("POST", "/db/_bulk_docs", {"docs": [{}]}).status, 500)

    def test_mistake_at_write(self) -> None:
        """A write that fails half-way for whatever reason is undone: the next one does not bring it along."""
        self.ask("POST", "/db/_index", {"ddoc": "i", "name": "by-a", "index": {"fields": ["a"]}})
        with mock.patch.object(Index, "key_of", side_effect=KeyError("oops")):
            self.assertEqual(self.ask("PUT", "/db/half", {"a": 1}).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.put("whole", {"a": 1})
        self.assertEqual(self.ask("GET", "/db/half").status, 404)
        self.assertEqual([row["id"] for row in self.ask("GET", "/db/_changes").json["results"]], ["_design/i", "whole"])

    def test_odd_names_of_indexes(self) -> None:
        """An index with half a character in its name is one like others."""
        self.ask("POST", "/db/_index", {"ddoc": "i", "name": "\ud800", "index": {"fields": ["a"]}})
        self.put("x", {"a": 1})
        found = self.ask("POST", "/db/_find", {"selector": {"a": 1}, "use_index": ["i", "\ud800"]})
        self.assertEqual([each["_id"] for each in found.json["docs"]], ["x"])

    def test_mistake_of_ours(self) -> None:
        """An error that nobody expected is 500 and logged, and the server goes on."""
        self.patch(self.wire.server, "serve", mock.Mock(side_effect=KeyError("oops")))
        self.assertEqual(self.ask("GET", "/").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
