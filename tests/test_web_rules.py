"""What a browser may ask for, and what is passed on of it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.web import rules
from himbeerecouch.web.rules import Refused

DATABASES = ("a/b", "a/b_status")


class PathTests(SynchronousTestCase):
    def test_segments(self) -> None:
        """A path is split before it is decoded; what climbs, or is no text, is refused."""
        for path, parts in (
            (b"/", ("",)),
            (b"/couch/a%2Fb/doc%2F1", ("couch", "a/b", "doc/1")),
            (b"/a/%C3%A4/", ("a", "ä", "")),
        ):
            self.assertEqual(rules.segments(path), parts)
        for path in (b"/../x", b"/a/%2e%2e/x", b"/a/./x", b"/%ff", b"*", b"http://elsewhere/", b""):
            self.assertRaises(Refused, rules.segments, path)

    def test_query(self) -> None:
        """A query is passed on as it is, where it can stand in a URL."""
        for query, good in ((b"", True), (b'a=%20&b="', True), (b"a\xff", False), (b"a\0", False), (b"a b", False)):
            self.assertIs(rules.is_query(query), good, query)

    def test_methods(self) -> None:
        """Documents of the two databases, their queries, sessions: all else of CouchDB can't be reached."""
        for path, allowed in (
            (("_session",), "DELETE GET HEAD POST"),
            (("_session", "x"), ""),
            (("_users", "org.couchdb.user:7"), ""),
            (("_users", "_all_docs"), ""),
            (("_users", "_design/_auth"), ""),
            (("_users",), ""),
            (("a/b",), "GET HEAD"),
            (("a/b_status",), "GET HEAD"),
            (("a",), ""),
            (("a", "b"), ""),
            (("a/b", ""), ""),
            (("a/b", "doc"), "DELETE GET HEAD PUT"),
            (("a/b_status", "7_heartbeat"), "DELETE GET HEAD PUT"),
            (("a/b", "doc", "attachment"), ""),
            (("a/b", "_all_docs"), "GET HEAD POST"),
            (("a/b", "_changes"), "GET HEAD POST"),
            (("a/b", "_find"), "POST"),
            (("a/b", "_bulk_docs"), ""),
            (("a/b", "_security"), "GET HEAD"),
            (("a/b", "_design/guard"), ""),
            (("a/b", "_design", "guard"), ""),
            (("a/b", "_local/x"), ""),
            (("a/b", "_purge"), ""),
            (("_all_dbs",), ""),
            (("_node", "_local", "_config"), ""),
            (("_replicate",), ""),
            (("",), ""),
            ((), ""),
        ):
            self.assertEqual(" ".join(sorted(rules.methods(path, DATABASES))), allowed, path)


class OriginTests(SynchronousTestCase):
    def test_same_origin(self) -> None:
        """What the browser says of the page counts; where it says nothing, the origin has to be our host."""
        for site, origin, host, same in (
            ("same-origin", None, None, True),
            ("same-origin", "http://evil", "us:1", True),
            ("same-site", "http://us:1", "us:1", False),
            ("cross-site", "http://us:1", "us:1", False),
            ("none", "http://us:1", "us:1", False),
            ("", "http://us:1", "us:1", False),
            (None, "http://us:1", "us:1", True),
            (None, "https://US:1", "us:1", True),
            (None, "http://us:2", "us:1", False),
            (None, "http://us", "us:1", False),
            (None, "http://us:1.evil", "us:1", False),
            (None, "ftp://us:1", "us:1", False),
            (None, "http://[", "us:1", False),
            (None, "null", "null", False),
            (None, None, "us:1", False),
            (None, "http://us:1", None, False),
            (None, None, None, False),
            (None, "http://", "", False),
        ):
            self.assertIs(rules.same_origin(site, origin, host), same, (site, origin, host))


class CookieTests(SynchronousTestCase):
    def test_of_the_browser(self) -> None:
        """Of the browser's cookies only CouchDB's session is found, and only one that can stand in a header."""
        for header, session in (
            (None, None),
            ("", None),
            ("a=b", None),
            ("AuthSession=", None),
            ("AuthSession=abc-_=", "abc-_="),
            ("a=b; AuthSession=abc; c=d", "abc"),
            ("XAuthSession=abc", None),
            ('AuthSession="abc"', None),
            ("AuthSession=a\tb", None),
            ("AuthSession=a,b", None),
            ("AuthSession=ä", None),
            ("AuthSession=" + "a" * 5000, None),
        ):
            self.assertEqual(rules.session_of(header), session, header)

    def test_of_couchdb(self) -> None:
        """A session is passed on with our own attributes, whatever CouchDB's are; no other cookie is."""
        strict = "Path=/; HttpOnly; SameSite=Strict"
        for header, secure, passed in (
            ("AuthSession=abc; Version=1; Path=/; HttpOnly", False, f"AuthSession=abc; {strict}"),
            (
                "AuthSession=abc; Max-Age=600; Path=/x; Domain=y",
                True,
                f"AuthSession=abc; {strict}; Max-Age=600; Secure",
            ),
            ("AuthSession=abc; Max-Age=1,2", False, f"AuthSession=abc; {strict}"),
            ("AuthSession=; Version=1; Path=/", False, f"AuthSession=; {strict}; Max-Age=0"),
            ("AuthSession=a(b", False, None),
            ("Other=abc", False, None),
            ("\x00", False, None),
        ):
            self.assertEqual(rules.set_session(header, secure=secure), passed, header)
