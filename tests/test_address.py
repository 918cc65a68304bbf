"""The addresses of servers, as people write them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.couch.address import parse


class AddressTests(SynchronousTestCase):
    def test_parsed(self) -> None:
        """The port is always told, a path stays, and what is not ASCII is encoded."""
        table = (
            ("http://server.name:5984", "http://server.name:5984", ("http", "server.name", 5984)),
            ("http://Server.Name/", "http://server.name:80", ("http", "server.name", 80)),
            ("https://server/couch/", "https://server:443/couch", ("https", "server", 443)),
            ("https://server/a%2Fb", "https://server:443/a%2Fb", ("https", "server", 443)),
            ("http://server/é", "http://server:80/%C3%A9", ("http", "server", 80)),
            (" http://[::1]:5984\n", "http://[::1]:5984", ("http", "::1", 5984)),
            ("http://bücher.example", "http://xn--bcher-kva.example:80", ("http", "xn--bcher-kva.example", 80)),
        )
        for text, base, origin in table:
            address = parse(text)
            self.assertEqual((address.base, address.origin, address.with_credentials), (base, origin, False))
            self.assertEqual(parse(address.base), address)

    def test_credentials(self) -> None:
        """A user and a password are dropped, and that there were some makes no other address."""
        address = parse("http://user:p@ss@server")
        self.assertTrue(address.with_credentials)
        self.assertEqual(address, parse("http://server"))
        self.assertNotIn("user", repr(address))

    def test_refused(self) -> None:
        """What is no URL of a server is refused, and not shown."""
        table = (
            ("", "does not begin"),
            ("server.name:5984", "does not begin"),
            ("ftp://secret@server", "does not begin"),
            ("http://", "names no host"),
            ("http://" + "ü" * 80, "names no host"),
            ("http://server:port", "can be understood"),
            ("http://[::1", "can be understood"),
            ("http://a b", "can be understood"),
            ("http://a\tb", "can be understood"),
            ("http://server/?secret=1", "no ?"),
            ("http://user:sec#ret@server", "can be understood"),
        )
        for text, reason in table:
            error = self.assertRaises(ValueError, parse, text)
            self.assertIn(reason, str(error))
            self.assertNotIn("sec", str(error))

    def test_url(self) -> None:
        """The parts of a path are quoted, slashes in them included; half a character is refused."""
        self.assertEqual(parse("http://s/p").url("nedm/raspberries", "a b"), "http://s:80/p/nedm%2Fraspberries/a%20b")
        self.assertRaises(UnicodeEncodeError, parse("http://s").url, "\ud800")
