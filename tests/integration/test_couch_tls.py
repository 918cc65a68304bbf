"""TLS: real handshakes, with certificates made by the test."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from himbeerecouch import errors
from himbeerecouch.couch.client import Couch, Login, connect
from tests.follow import SHORT

INFO = {"update_seq": "1-a", "instance_start_time": "5"}
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(self.name, self.key, NOW - DAY, NOW + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        """What --ca-file holds."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(self, host: str, *, expired: bool = False) -> CertificateOptions:
        """Make a server's certificate."""
        options: CertificateOptions = PrivateCertificate.loadPEM(self.issue_pem(host, expired=expired)).options()
        return options

    def issue_pem(self, host: str, *, expired: bool = False) -> bytes:
        """Make a server's certificate, as the text of its files: the certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        until = NOW - DAY / 2 if expired else NOW + DAY
        certificate = (
            self._builder(subject, key, NOW - DAY, until)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate.public_bytes(Encoding.PEM) + key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )

    def _builder(self, subject: x509.Name, key: Any, since: Any, until: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
        )


class Info(Resource):
    """Answers everything with a database's info, and counts."""

    isLeaf = True
    asked = 0

    def render_GET(self, _request: Any) -> bytes:
        """Answer; twisted.web calls this."""
        self.asked += 1
        return json.dumps(INFO).encode()


class TlsTests(TestCase):
    """Couch over https."""

    timeout = 20

    async def serve(self, options: CertificateOptions) -> tuple[Info, int]:
        """Start a server with this certificate."""
        from twisted.internet import reactor

        info = Info()
        site = Site(info)
        endpoint = SSL4ServerEndpoint(reactor, 0, options, interface="127.0.0.1")
        port: Any = await endpoint.listen(site)
        self.addCleanup(port.stopListening)
        return info, int(port.getHost().port)

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
        info, port = await self.serve(authority.issue("localhost"))
        ca = Authority("another").pem + b"a comment\n" + authority.pem
        couch = self.client(ca, f"https://localhost:{port}")
        for _ in range(3):
            self.assertEqual((await couch.info("db")).update_seq, "1-a")
        self.assertEqual(info.asked, 3)
        self.assertTrue(couch.login.proven)

    async def test_refused(self) -> None:
        """Expired, another host's, an unknown CA's, nobody's: refused before anything is sent, password included."""
        lab, other = Authority("lab"), Authority("other")
        table: list[tuple[str, CertificateOptions, bytes | None]] = [
            ("expired", lab.issue("localhost", expired=True), lab.pem),
            ("wrong host", lab.issue("elsewhere.example"), lab.pem),
            ("unknown CA", other.issue("localhost"), lab.pem),
            ("system CAs", lab.issue("localhost"), None),
        ]
        for name, options, ca in table:
            info, port = await self.serve(options)
            couch = self.client(ca, f"https://localhost:{port}")
            for _ in range(6):  # more often than logins are allowed: it costs none
                try:
                    await couch.info("db")
                except errors.Untrusted as e:
                    self.assertIn("certificate", str(e))
                else:
                    self.fail(f"{name} is trusted")
            self.assertEqual(info.asked, 0, name)
            self.assertFalse(couch.login.proven)

    async def test_no_tls(self) -> None:
        """A server that speaks no TLS is no reason to trust or to tell it anything."""
        from twisted.internet import reactor
        from twisted.internet.endpoints import TCP4ServerEndpoint

        info = Info()
        site = Site(info)
        port: Any = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(site)
        self.addCleanup(port.stopListening)
        couch = self.client(None, f"https://localhost:{port.getHost().port}")
        with self.assertRaises(errors.Unavailable):
            await couch.info("db")
        self.assertEqual(info.asked, 0)

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
