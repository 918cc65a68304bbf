"""Certificates for tests, made anew each time, and a server that notes what it is told."""

from __future__ import annotations

import datetime
import json
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
INFO = {"update_seq": "1-a", "instance_start_time": "5"}


class Authority:
    """A certificate authority."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _named(name)
        self.certificate = (
            _builder(self.name, self.name, self.key, NOW - DAY, NOW + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        """What --ca-file holds."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(self, *hosts: str, expired: bool = False, early: bool = False) -> CertificateOptions:
        """Make a server's certificate."""
        return options(self.issue_pem(*hosts, expired=expired, early=early))

    def issue_pem(self, *hosts: str, expired: bool = False, early: bool = False) -> bytes:
        """Make a server's certificate for names and addresses, as the text of its files: itself and its key."""
        since = NOW + DAY / 2 if early else NOW - DAY
        until = NOW - DAY / 2 if expired else NOW + DAY
        return _issue(hosts, self.name, self.key, since, until)


def self_signed_pem(*hosts: str) -> bytes:
    """Make a server's certificate that nobody but itself vouches for, and its key."""
    return _issue(hosts, None, None, NOW - DAY, NOW + DAY)


def options(pem: bytes) -> CertificateOptions:
    """What a server needs of a certificate and its key."""
    made: CertificateOptions = PrivateCertificate.loadPEM(pem).options()
    return made


def _issue(hosts: tuple[str, ...], issuer: x509.Name | None, signer: Any, since: Any, until: Any) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(hosts[0])
    certificate = (
        _builder(subject, issuer or subject, key, since, until)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .sign(signer or key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, since: Any, until: Any) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )


class Notes(Factory):
    """A server that answers every request with a database's info, and keeps each byte that it was sent."""

    def __init__(self) -> None:
        self.heard = b""
        self.connections = 0

    def buildProtocol(self, _address: object) -> Protocol:
        """Twisted calls this for each connection."""
        return _Noted(self)


class _Noted(Protocol):
    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def connectionMade(self) -> None:
        """A connection is there, its handshake is not."""
        self._notes.connections += 1

    def dataReceived(self, data: bytes) -> None:
        """Note it; the requests here have no body, so that one ends with its headers."""
        assert self.transport is not None
        self._notes.heard += data
        body = json.dumps(INFO).encode()
        if data.endswith(b"\r\n\r\n"):
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        elif not data.startswith((b"GET ", b"PUT ")):
            # As any server does that is spoken to in TLS and speaks none.
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            self.transport.loseConnection()
