"""TLS: real handshakes, with certificates made by the test."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import TestCase

from himbeerecouch import errors
from himbeerecouch.couch.client import Couch, Login, connect
from tests.follow import SHORT
from tests.tls import Authority, Notes, options, self_signed_pem

BASIC = b"authorization: basic nzpzzwnyzxq="
"""What a request has once the server is trusted: the user 7 and its password."""


class TlsTests(TestCase):
    """Couch over https."""

    timeout = 60

    async def serve(self, made: CertificateOptions | None) -> tuple[Notes, int]:
        """Start a server with this certificate; None speaks no TLS."""
        from twisted.internet import reactor

        notes, local = Notes(), "127.0.0.1"
        endpoint: Any = (
            TCP4ServerEndpoint(reactor, 0, interface=local)
            if made is None
            else SSL4ServerEndpoint(reactor, 0, made, interface=local)
        )
        port: Any = await endpoint.listen(notes)
        self.addCleanup(port.stopListening)
        return notes, int(port.getHost().port)

    def client(self, ca: bytes | None, url: str) -> Couch:
        """A client that trusts one authority."""
        from twisted.internet import reactor

        ca_file = None
        if ca is not None:
            ca_file = self.mktemp()
            Path(ca_file).write_bytes(ca)
        login = Login("7", ["secret"], lambda _: None)
        couch = connect(reactor, login=login, ca_file=ca_file, random=random.random, timing=SHORT)
        couch.move(url)
        self.addCleanup(couch.close)
        return couch

    async def test_good(self) -> None:
        """A certificate of one's own CA for this very host is trusted; the connection is used again."""
        authority = Authority("lab")
        notes, port = await self.serve(authority.issue("localhost"))
        ca = Authority("another").pem + b"a comment\n" + authority.pem
        couch = self.client(ca, f"https://localhost:{port}")
        for _ in range(3):
            self.assertEqual((await couch.info("db")).update_seq, "1-a")
        self.assertEqual((notes.heard.lower().count(BASIC), notes.connections), (3, 1))
        self.assertTrue(couch.login.proven)

    async def test_addresses(self) -> None:
        """A server that is called by its address is trusted where its certificate is for that address."""
        authority = Authority("lab")
        for hosts, trusted in ((("server.name", "127.0.0.1"), True), (("127.0.0.2",), False), (("localhost",), False)):
            notes, port = await self.serve(authority.issue(*hosts))
            couch = self.client(authority.pem, f"https://127.0.0.1:{port}")
            if trusted:
                await couch.info("db")
                self.assertIn(BASIC, notes.heard.lower())
            else:
                await self.assert_untrusted(couch, str(hosts))
                self.assertEqual(notes.heard, b"", hosts)

    async def test_self_signed(self) -> None:
        """A certificate that nobody vouches for is refused, unless it is the very one that is to be trusted."""
        pem = self_signed_pem("localhost")
        for ca, trusted in ((pem, True), (self_signed_pem("localhost"), False), (None, False)):
            notes, port = await self.serve(options(pem))
            couch = self.client(ca, f"https://localhost:{port}")
            if trusted:
                await couch.info("db")
                self.assertIn(BASIC, notes.heard.lower())
            else:
                await self.assert_untrusted(couch, "self-signed")
                self.assertEqual(notes.heard, b"")

    async def test_refused(self) -> None:
        """Expired, not yet valid, another host's, an unknown CA's, nobody's: refused before anything is sent."""
        lab, other = Authority("lab"), Authority("other")
        table: list[tuple[str, CertificateOptions, bytes | None]] = [
            ("expired", lab.issue("localhost", expired=True), lab.pem),
            ("not yet valid", lab.issue("localhost", early=True), lab.pem),
            ("wrong host", lab.issue("elsewhere.example"), lab.pem),
            ("unknown CA", other.issue("localhost"), lab.pem),
            ("a CA that only has the name", Authority("lab").issue("localhost"), lab.pem),
            ("system CAs", lab.issue("localhost"), None),
        ]
        for name, made, ca in table:
            notes, port = await self.serve(made)
            couch = self.client(ca, f"https://localhost:{port}")
            for _ in range(6):  # more often than logins are allowed: it costs none
                await self.assert_untrusted(couch, name)
            self.assertEqual((notes.heard, notes.connections), (b"", 6), name)
            self.assertFalse(couch.login.proven)

    async def assert_untrusted(self, couch: Couch, name: str) -> None:
        """A request fails because of the server's certificate, and says so."""
        try:
            await couch.info("db")
        except errors.Untrusted as e:
            self.assertIn("certificate", str(e))
        else:
            self.fail(f"{name} is trusted")

    async def test_no_tls(self) -> None:
        """A server that speaks no TLS is no reason to trust or to tell it anything."""
        notes, port = await self.serve(None)
        couch = self.client(None, f"https://localhost:{port}")
        with self.assertRaises(errors.Unavailable):
            await couch.info("db")
        self.assertEqual(notes.connections, 1)
        for told in (b"secret", b"get /", b"authorization", BASIC):
            self.assertNotIn(told, notes.heard.lower())

    def test_ca_file(self) -> None:
        """A CA file that is missing, has no certificate or a broken one is an error that names it."""
        from twisted.internet import reactor

        login = Login("7", ["secret"], lambda _: None)
        broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        for content in (None, b"", b"hello", broken):
            path = Path(self.mktemp())
            if content is not None:
                path.write_bytes(content)
            with self.assertRaises(errors.CaFileError) as caught:
                connect(reactor, login=login, ca_file=str(path), random=random.random)
            self.assertIn(str(path), str(caught.exception))
