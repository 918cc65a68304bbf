"""Sealed answers, with the real PyNaCl, and without it."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from unittest.mock import patch

from nacl.bindings import crypto_box_keypair, crypto_box_seal, crypto_box_seal_open
from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.discovery.sealing import ask, reply
from himbeerecouch.discovery.wire import (
    LIMIT_BYTES,
    PADDED_BYTES,
    Asked,
    Request,
    parse_answer,
    parse_request,
    render_answer,
)
from himbeerecouch.errors import DatagramError
from himbeerecouch.model import Answer

SERVER = "http://server.name:5984"
PI = Answer(1234566, "apassword")

WITHOUT = {"nacl": None, "nacl.bindings": None, "nacl.exceptions": None}
"""What stands in ``sys.modules`` for packages that are not installed: importing them is an ``ImportError``."""

LOW_ORDER = (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)
"""The points of Curve25519 whose product with any secret is the same: a box for them is a box for everybody."""


def text(data: bytes) -> str:
    """Base64url without padding, independently of the code under test."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def answer_of(asked: bytes, pi: Answer = PI) -> bytes:
    """What a Pi answers to the datagram."""
    return reply(pi, parse_request(asked), asked)[0]


def without_nacl() -> Any:
    """Within it, PyNaCl is not installed."""
    return patch.dict(sys.modules, WITHOUT)


class BothHaveIt(SynchronousTestCase):
    """Where both ends have PyNaCl."""

    def asked(self) -> tuple[bytes, Asked]:
        datagram, asked = ask(SERVER)
        assert asked is not None
        return datagram, asked

    def test_sealed(self) -> None:
        """The one who asked reads MacID and password; the datagram has the MacID and a box, and no more."""
        datagram, asked = self.asked()
        data = answer_of(datagram)
        self.assertEqual(parse_answer(data, "10.0.0.1", asked), Answer(1234566, "apassword", "10.0.0.1", sealed=True))
        self.assertEqual(json.loads(data).keys(), {"MacID", "sealed"})
        self.assertNotIn(b"apassword", data)
        self.assertLess(len(data), LIMIT_BYTES)

    def test_format(self) -> None:
        """Others can open it by the documents: crypto_box_seal, base64url, JSON with blanks behind it."""
        public, secret = crypto_box_keypair()
        datagram = json.dumps({"server": SERVER, "key": text(public)}).encode()
        box = urlsafe_b64decode(json.loads(answer_of(datagram))["sealed"] + "==")
        inner = crypto_box_seal_open(box, public, secret)
        self.assertEqual(json.loads(inner).keys(), {"MacID", "password", "request"})
        self.assertEqual(json.loads(inner)["password"], "apassword")
        self.assertEqual(len(inner) % PADDED_BYTES, 0)

    def test_length_tells_nothing(self) -> None:
        """A random password and one by the old formula, which can be guessed, make answers of one length."""
        datagram, _ = self.asked()
        lengths = {len(answer_of(datagram, Answer(1234566, "x" * n))) for n in (1, 40, 43)}
        self.assertEqual(len(lengths), 1)

    def test_fresh(self) -> None:
        """Each probe has a key of its own: what was answered to one is nothing to another, nor to one without a key."""
        (first, asked_first), (second, asked_second) = self.asked(), self.asked()
        self.assertNotEqual(first, second)
        data = answer_of(first)
        parse_answer(data, "", asked_first)
        self.assertRaises(DatagramError, parse_answer, data, "", asked_second)
        self.assertRaises(DatagramError, parse_answer, data, "")

    def test_enrolled(self) -> None:
        """An enrolled Pi has nothing to seal, and loads nothing for it."""
        datagram, asked = self.asked()
        with without_nacl():
            data = answer_of(datagram, Answer(7, None))
        self.assertEqual(json.loads(data), {"MacID": 7, "enrolled": True})
        self.assertEqual(parse_answer(data, "", asked), Answer(7, None))

    def test_tampered(self) -> None:
        """A box that was changed, cut, lengthened or emptied, or made by nobody, is no answer."""
        datagram, asked = self.asked()
        good = urlsafe_b64decode(json.loads(answer_of(datagram))["sealed"] + "==")
        boxes = [good[:-1], good + b"x", good[1:], b"", b"x" * 47, b"x" * 48, b"x" * len(good)]
        boxes += [good[:n] + bytes([good[n] ^ 1]) + good[n + 1 :] for n in range(0, len(good), 7)]
        for box in boxes:
            data = json.dumps({"MacID": 1234566, "sealed": text(box)}).encode()
            self.assertRaises(DatagramError, parse_answer, data, "", asked)
        wrong: tuple[object, ...] = (None, 1, [], "", "*", text(good) + "=", text(good)[:-1] + " ", "a", "ü")
        for sealed in wrong:
            data = json.dumps({"MacID": 1234566, "sealed": sealed}).encode()
            self.assertRaises(DatagramError, parse_answer, data, "", asked)

    def test_bound(self) -> None:
        """Under another MacID, or to another request with the same key, it is no answer; nor is what says nothing."""
        datagram, asked = self.asked()
        data = json.loads(answer_of(datagram))
        self.assertRaises(DatagramError, parse_answer, json.dumps({**data, "MacID": 7}).encode(), "", asked)
        key = parse_request(datagram).key
        assert key is not None
        # Somebody passes the request on under another server's name.
        changed = json.dumps({"server": "http://evil", "key": text(key)}).encode()
        self.assertRaises(DatagramError, parse_answer, answer_of(changed), "", asked)
        for inner in (b"", b"[]", b'{"MacID": 1234566, "password": "p"}', render_answer(PI), b"{" * 500):
            sealed = json.dumps({"MacID": 1234566, "sealed": text(crypto_box_seal(inner, key))}).encode()
            self.assertRaises(DatagramError, parse_answer, sealed, "", asked)

    def test_low_order(self) -> None:
        """A key that would make a box which anybody opens is refused, and no password goes out in the open either."""
        keys = [bytes.fromhex(key) for key in LOW_ORDER]
        # The highest bit is ignored (RFC 7748, 5).
        keys += [key[:-1] + bytes([key[-1] | 0x80]) for key in keys]
        for key in keys:
            datagram = json.dumps({"server": SERVER, "key": text(key)}).encode()
            self.assertEqual(parse_request(datagram), Request(SERVER, key))
            self.assertRaises(DatagramError, answer_of, datagram)


class OldAndNew(SynchronousTestCase):
    """Where one end has no PyNaCl."""

    def test_the_pi_has_none(self) -> None:
        """It answers a request with a key as documented, and the one who asked knows that it was not sealed."""
        datagram, asked = ask(SERVER)
        with without_nacl():
            data, sealed = reply(PI, parse_request(datagram), datagram)
        self.assertFalse(sealed)
        self.assertEqual(json.loads(data), {"MacID": 1234566, "password": "apassword"})
        self.assertFalse(parse_answer(data, "", asked).sealed)

    def test_the_asker_has_none(self) -> None:
        """It asks as documented, and is answered so, also by a Pi that could seal."""
        with without_nacl():
            datagram, asked = ask(SERVER)
        self.assertEqual((json.loads(datagram), asked), ({"server": SERVER}, None))
        data, sealed = reply(PI, parse_request(datagram), datagram)
        self.assertEqual((json.loads(data), sealed), ({"MacID": 1234566, "password": "apassword"}, False))

    def test_imported_late(self) -> None:
        """Neither the daemon nor the functions of the prompt import PyNaCl before it is needed."""
        modules = "himbeerecouch.tap, himbeerecouch.discovery.ask, himbeerecouch.discovery.receive"
        check = f"import sys, {modules}; sys.exit('nacl' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", check], check=False).returncode, 0)

    def test_a_server_that_is_none(self) -> None:
        """A server that nobody would take is an error with a key as without one."""
        self.assertRaises(ValueError, ask, "server.name")
        with without_nacl():
            self.assertRaises(ValueError, ask, "server.name")
        self.assertRaises(ValueError, ask, "http://" + "a" * (LIMIT_BYTES - 60))
