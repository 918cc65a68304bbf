"""The datagrams of discovery."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.discovery.wire import (
    LIMIT_BYTES,
    Request,
    parse_answer,
    parse_request,
    render_answer,
    render_request,
)
from himbeerecouch.errors import DatagramError
from himbeerecouch.model import Answer

NOT_OURS: dict[str, bytes] = {
    "empty": b"",
    "half an object": b"{",
    "a list": b"[]",
    "a string": b'"x"',
    "a number": b"1",
    "null": b"null",
    "an empty object": b"{}",
    "UTF-16 with its mark": '{"server": "http://a"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"server": "http://a"}'.encode("utf-16-le"),
    "a byte order mark": b'\xef\xbb\xbf{"server": "http://a"}',
    "invalid UTF-8": b'{"server": "http://\xff"}',
    "a lone surrogate": b'{"server": "http://\\ud800"}',
    "server twice": b'{"server": "http://a", "server": "http://b"}',
    "a field twice deeper in": b'{"server": {"a": 1, "a": 2}}',
    "1,000 levels deep": b'{"server": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    "only opening brackets": b"[" * LIMIT_BYTES,
    "an integer of 5,000 digits": b'{"server": ' + b"9" * 5000 + b"}",
    "an integer of 2,000 digits": b'{"server": ' + b"9" * 2000 + b"}",
    "NaN": b'{"server": NaN}',
    "NaN beside a good server": b'{"server": "http://a", "x": NaN}',
    "Infinity": b'{"server": -Infinity}',
    "a number too large for a float": b'{"server": 1e999}',
    "something behind it": b'{"server": "http://a"} x',
    "a server that is null": b'{"server": null}',
    "a server that is true": b'{"server": true}',
    "a server that is a list": b'{"server": ["http://a"]}',
    "a server without http": b'{"server": "server.name:5984"}',
    "a server of another scheme": b'{"server": "file:///etc/passwd"}',
    "a server without a host": b'{"server": "http://"}',
    "an escape sequence in the server": b'{"server": "http://a\\u001b[2J"}',
    "a line break in the server": b'{"server": "http://a\\nb"}',
    "a blank in the server": b'{"server": "http://a b"}',
    "NUL bytes": b"\0" * 30,
    "another field": b'{"name": "http://a"}',
    "a second field": b'{"server": "http://a", "name": 1}',
    "a third field": b'{"server": "http://a", "key": "' + b"A" * 43 + b'", "name": 1}',
    "a key without a server": b'{"key": "' + b"A" * 43 + b'"}',
    "a key that is null": b'{"server": "http://a", "key": null}',
    "a key that is a list": b'{"server": "http://a", "key": ["' + b"A" * 43 + b'"]}',
    "an empty key": b'{"server": "http://a", "key": ""}',
    "a key of 31 bytes": b'{"server": "http://a", "key": "' + b"A" * 42 + b'"}',
    "a key of 33 bytes": b'{"server": "http://a", "key": "' + b"A" * 44 + b'"}',
    "a key with padding": b'{"server": "http://a", "key": "' + b"A" * 43 + b'="}',
    "a key in hex": b'{"server": "http://a", "key": "' + b"0" * 64 + b'"}',
    "a key in the other base64": b'{"server": "http://a", "key": "' + b"A" * 42 + b'+"}',
    "a key with a line break behind it": b'{"server": "http://a", "key": "' + b"A" * 43 + b'\\n"}',
    "one byte too long": b'{"server": "http://' + b"a" * (LIMIT_BYTES - 20) + b'"}',
}


class Requests(SynchronousTestCase):
    """What counts as a request."""

    def test_a_request(self) -> None:
        """A request gives the server that it names, with blanks around the JSON or without."""
        for server in ("http://server.name:5984", "https://1.2.3.4/couch", "http://küche:5984"):
            for data in (json.dumps({"server": server}), json.dumps({"server": server}, ensure_ascii=False), None):
                raw = f'\r\n {{ "server" :\t"{server}" }}\n' if data is None else data
                self.assertEqual(parse_request(raw.encode()), Request(server), raw)

    def test_the_longest(self) -> None:
        """A request of exactly the limit is taken."""
        data = b'{"server": "http://' + b"a" * (LIMIT_BYTES - 21) + b'"}'
        self.assertEqual(len(data), LIMIT_BYTES)
        self.assertEqual(len(parse_request(data).server), LIMIT_BYTES - 14)

    def test_all_else_is_refused(self) -> None:
        """Whatever is no request raises DatagramError with a reason of one short printable line."""
        for name, data in NOT_OURS.items():
            error = self.assertRaises(DatagramError, parse_request, data)
            self.assertTrue(str(error), name)
            self.assertTrue(str(error).isprintable(), name)
            self.assertLess(len(str(error)), 200, name)

    def test_there_and_back(self) -> None:
        """What is rendered is read as the same request, in plain ASCII."""
        for server in ("http://server.name:5984", "https://küche"):
            data = render_request(Request(server))
            self.assertTrue(data.isascii())
            self.assertEqual(parse_request(data), Request(server))
            self.assertEqual(json.loads(data), {"server": server})
            key = bytes(range(200, 232))
            with_key = render_request(Request(server, key))
            self.assertEqual(parse_request(with_key), Request(server, key))
            self.assertEqual(
                json.loads(with_key), {"server": server, "key": "yMnKy8zNzs_Q0dLT1NXW19jZ2tvc3d7f4OHi4-Tl5uc"}
            )

    def test_a_server_that_nobody_would_take(self) -> None:
        """A request that every Pi would drop is not rendered, and the asker learns why."""
        for server in ("server.name:5984", "", "http://", "http://a\nb", "http://" + "a" * LIMIT_BYTES):
            error = self.assertRaises(ValueError, render_request, Request(server))
            self.assertIn("URL", str(error))

    def test_a_password_of_the_server(self) -> None:
        """A request goes to the whole network: a URL with a password in it is not rendered, and not repeated."""
        for server in ("http://admin:secret@server.name:5984", "http://admin:secret@server.name/a@b"):
            error = self.assertRaises(ValueError, render_request, Request(server))
            self.assertNotIn("secret", str(error))
        render_request(Request("http://server.name/a@b"))


class Answers(SynchronousTestCase):
    """What counts as an answer."""

    def test_an_answer(self) -> None:
        """An answer is read with the address it came from, and fields that are not known are passed over."""
        for data, expected in (
            (b'{"MacID": 1234566, "password": "apassword"}', Answer(1234566, "apassword", "10.0.0.1")),
            (b'{"MacID": 7, "enrolled": true}', Answer(7, None, "10.0.0.1")),
            (b'{"MacID": 0, "password": "p", "version": 2}', Answer(0, "p", "10.0.0.1")),
            (b'{"MacID": 18446744073709551615, "enrolled": true}', Answer(2**64 - 1, None, "10.0.0.1")),
        ):
            self.assertEqual(parse_answer(data, "10.0.0.1"), expected)

    def test_all_else_is_refused(self) -> None:
        """Whatever is no answer raises DatagramError."""
        wrong = dict(NOT_OURS)
        for data in (
            b'{"server": "http://a"}',
            b'{"MacID": 1}',
            b'{"MacID": 1, "enrolled": false}',
            b'{"MacID": 1, "enrolled": 1}',
            b'{"password": "p"}',
            b'{"MacID": true, "password": "p"}',
            b'{"MacID": "1", "password": "p"}',
            b'{"MacID": 1.0, "password": "p"}',
            b'{"MacID": -1, "password": "p"}',
            b'{"MacID": 18446744073709551616, "password": "p"}',
            b'{"MacID": ' + b"9" * 2000 + b', "password": "p"}',
            b'{"MacID": 1, "password": null}',
            b'{"MacID": 1, "password": ""}',
            b'{"MacID": 1, "password": ["p"]}',
            b'{"MacID": 1, "password": "\\u001b[2J"}',
            b'{"MacID": 1, "password": null, "enrolled": true}',
        ):
            wrong[repr(data)] = data
        for data in wrong.values():
            self.assertRaises(DatagramError, parse_answer, data, "10.0.0.1")

    def test_there_and_back(self) -> None:
        """What is rendered is what the documentation shows, and is read as the same answer."""
        for answer, data in (
            (Answer(1234566, "apassword"), {"MacID": 1234566, "password": "apassword"}),
            (Answer(7, None), {"MacID": 7, "enrolled": True}),
        ):
            self.assertEqual(json.loads(render_answer(answer)), data)
            self.assertEqual(parse_answer(render_answer(answer), ""), answer)
