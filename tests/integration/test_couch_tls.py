"""TLS of the daemon's client and of the operator's: real handshakes, with certificates made by the test."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import TestCase

from himbeerecouch import errors
from himbeerecouch.couch.client import Couch, Login, connect
from himbeerecouch.fleet.desk import Basic, Cookie, Desk
from himbeerecouch.model import DatabaseInfo
from tests.tls import Authority, Notes, options, self_signed_pem

BASIC = b"authorization: basic nzpzzwnyzxq="
"""What a request has once the server is trusted: the user 7 and its password."""


class Client(Protocol):
    """What both clients can."""

    async def info(self, db: str) -> DatabaseInfo:
        """Ask for a database."""

    def close(self) -> Deferred[None]:
        """End all that is open."""


def daemons_client(url: str, ca_file: str | None) -> Couch:
    """The daemon's own."""
    from twisted.internet import reactor

    login = Login("7", ["secret"], lambda _: None)
    couch = connect(reactor, login=login, ca_file=ca_file, random=random.random)
    couch.move(url)
    return couch


def operators_client(url: str, ca_file: str | None) -> Desk:
    """That of the command line and of the page."""
    from twisted.internet import reactor

    return Desk(reactor, url=url, credentials=Basic("7", "secret"), database="db", ca_file=ca_file)


CLIENTS = (daemons_client, operators_client)


class TlsTests(TestCase):
    """Who is told the password, and who is told nothing."""

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

    def file(self, content: bytes) -> str:
        """A file that has this."""
        path: str = self.mktemp()
        Path(path).write_bytes(content)
        return path

    def client(self, make: Any, ca: bytes | None, url: str) -> Any:
        """A client that trusts what is in ``ca``."""
        client: Client = make(url, None if ca is None else self.file(ca))
        self.addCleanup(client.close)
        return client

    async def test_good(self) -> None:
        """A certificate of one's own CA for this very host is trusted; the connection is used again."""
        authority = Authority("lab")
        ca = Authority("another").pem + b"a comment\n" + authority.pem
        for make in CLIENTS:
            notes, port = await self.serve(authority.issue("localhost"))
            client = self.client(make, ca, f"https://localhost:{port}")
            for _ in range(3):
                self.assertEqual((await client.info("db")).update_seq, "1-a")
            self.assertEqual((notes.heard.lower().count(BASIC), notes.connections), (3, 1))

    async def test_addresses(self) -> None:
        """A server that is called by its address is trusted where its certificate is for that address."""
        authority = Authority("lab")
        for hosts, trusted in ((("server.name", "127.0.0.1"), True), (("127.0.0.2",), False), (("localhost",), False)):
            for make in CLIENTS:
                notes, port = await self.serve(authority.issue(*hosts))
                client = self.client(make, authority.pem, f"https://127.0.0.1:{port}")
                await self.assert_trusted(trusted, client, notes, str(hosts))

    async def test_self_signed(self) -> None:
        """A certificate that nobody vouches for is refused, unless it is the very one that is to be trusted."""
        pem = self_signed_pem("localhost")
        for ca, trusted in ((pem, True), (self_signed_pem("localhost"), False), (None, False)):
            for make in CLIENTS:
                notes, port = await self.serve(options(pem))
                client = self.client(make, ca, f"https://localhost:{port}")
                await self.assert_trusted(trusted, client, notes, "self-signed")

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
            for make in CLIENTS:
                notes, port = await self.serve(made)
                client = self.client(make, ca, f"https://localhost:{port}")
                for _ in range(6):  # more often than logins are allowed: it costs none
                    await self.assert_trusted(False, client, notes, name)
                self.assertEqual(notes.connections, 6, name)

    async def test_cookie(self) -> None:
        """A session is told to a server that is trusted, and to no other."""
        from twisted.internet import reactor

        authority = Authority("lab")
        for host, trusted in (("localhost", True), ("elsewhere.example", False)):
            notes, port = await self.serve(authority.issue(host))
            url, ca_file = f"https://localhost:{port}", self.file(authority.pem)
            desk = Desk(reactor, url=url, credentials=Cookie("session"), database="db", ca_file=ca_file)
            self.addCleanup(desk.close)
            await self.assert_trusted(trusted, desk, notes, host, told=b"cookie: authsession=session")

    async def assert_trusted(
        self, trusted: bool, client: Client, notes: Notes, name: str, *, told: bytes = BASIC
    ) -> None:
        """A request is answered, with what the server was told; or the certificate is refused, and it heard nothing."""
        if trusted:
            await client.info("db")
            self.assertIn(told, notes.heard.lower(), name)
            return
        try:
            await client.info("db")
        except errors.Untrusted as e:
            self.assertIn("certificate", str(e))
        else:
            self.fail(f"{name} is trusted")
        self.assertEqual(notes.heard, b"", name)

    async def test_costs_no_login(self) -> None:
        """A server that is not trusted was asked for nothing, so that it has proven nothing."""
        authority = Authority("lab")
        for host in ("elsewhere.example", "localhost"):
            _, port = await self.serve(authority.issue(host))
            couch = self.client(daemons_client, authority.pem, f"https://localhost:{port}")
            if host == "localhost":
                await couch.info("db")
            else:
                await self.assertFailure(Deferred.fromCoroutine(couch.info("db")), errors.Untrusted)
            self.assertIs(couch.login.proven, host == "localhost")

    async def test_no_tls(self) -> None:
        """A server that speaks no TLS is no reason to trust or to tell it anything."""
        for make in CLIENTS:
            notes, port = await self.serve(None)
            client = self.client(make, None, f"https://localhost:{port}")
            with self.assertRaises(errors.Unavailable):
                await client.info("db")
            self.assertEqual(notes.connections, 1)
            for told in (b"secret", b"get /", b"authorization", BASIC):
                self.assertNotIn(told, notes.heard.lower())

    def test_ca_file(self) -> None:
        """A CA file that is missing, has no certificate or a broken one is an error that names it."""
        broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        for content in (None, b"", b"hello", broken):
            path = "/nonexistent/ca.pem" if content is None else self.file(content)
            for make in CLIENTS:
                with self.assertRaises(errors.CaFileError) as caught:
                    make("https://localhost", path)
                self.assertIn(path, str(caught.exception))
