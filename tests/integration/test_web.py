"""The page's server in front of a real database: what passes, what does not, and how requests end."""

from __future__ import annotations

import gzip
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.client import PartialDownloadError, readBody

from himbeerecouch.discovery import ask
from himbeerecouch.discovery.ask import Destination
from himbeerecouch.discovery.responder import Discovery, DiscoveryService, Mode
from himbeerecouch.embedded.home import Login
from himbeerecouch.embedded.service import Embedded
from himbeerecouch.model import Answer
from himbeerecouch.version import VERSION
from himbeerecouch.web import api, http
from tests import embedded_server, web_world
from tests.embedded_server import ADMIN, wait
from tests.tls import Authority
from tests.web_world import DATABASE, DB, SCRIPT, Browser

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def raw(port: int, request: bytes) -> bytes:
    """Send something; return all that comes back.  Blocks."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


class WebCase(TestCase):
    """A database with one document, a page's server, and a browser that has logged in."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.couch = await embedded_server.start_service(self)
        assert self.couch.port is not None
        where: Any = self.couch.port.getHost()
        self.server = f"http://127.0.0.1:{where.port}"
        self.web, self.browser = web_world.start(self, self.server)
        self.direct = Browser(self.server)
        await self.as_admin("PUT", "/" + quote(DATABASE, safe=""))
        await self.as_admin("PUT", "/" + quote(DATABASE, safe="") + "/doc", {"n": 1})
        self.assertEqual((await self.browser.log_in(*ADMIN)).status, 200)

    async def as_admin(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the database itself."""
        basic = {"Authorization": "Basic YWRtaW46c2VjcmV0"}
        return await self.direct.ask(method, path, body, basic)

    async def until(self, ask: Any) -> None:
        """Wait until there is something; the test's own timeout ends it."""
        from twisted.internet import reactor

        while not ask():
            await wait(reactor, 0.01)


class PageTests(WebCase):
    async def test_index(self) -> None:
        """The page comes with a new number each time, that of its policy; nothing says what serves it."""
        nonces = set()
        for _ in range(3):
            answer = await self.browser.ask("GET", "/")
            found = re.findall(r'nonce="(\S+?)"', answer.body.decode())
            policy = answer.header("Content-Security-Policy") or ""
            self.assertIn(f"style-src 'self' 'nonce-{found[0]}';", policy)
            self.assertIn("script-src 'self';", policy)
            self.assertIn("default-src 'none';", policy)
            self.assertNotIn(b"__NONCE__", answer.body)
            nonces |= set(found)
            for name, value in EVERYWHERE.items():
                self.assertEqual(answer.header(name), value)
            self.assertEqual(answer.header("Cache-Control"), "no-store")
            self.assertEqual(answer.header("Content-Type"), "text/html; charset=utf-8")
            for name in ("Server", "Strict-Transport-Security", "X-Powered-By"):
                self.assertIsNone(answer.header(name))
        self.assertEqual(len(nonces), 3)

    async def test_files(self) -> None:
        """Files are sent compressed to those who take that, and kept where their name says their content."""
        plain = await self.browser.ask("GET", "/assets/a-1.js")
        self.assertEqual((plain.status, plain.body), (200, SCRIPT))
        self.assertEqual(plain.header("Content-Type"), "text/javascript; charset=utf-8")
        self.assertIn("immutable", plain.header("Cache-Control") or "")
        etag = plain.header("ETag")
        for accepted, compressed in (
            ("gzip, br", True),
            ("br;q=1, GZIP;q=0.5", True),
            ("gzip;q=0", False),
            ("br", False),
        ):
            answer = await self.browser.ask("GET", "/assets/a-1.js", headers={"Accept-Encoding": accepted})
            self.assertEqual(answer.header("Content-Encoding"), "gzip" if compressed else None)
            self.assertEqual(gzip.decompress(answer.body) if compressed else answer.body, SCRIPT)
            self.assertEqual(answer.header("Vary"), "Accept-Encoding")
        again = await self.browser.ask("GET", "/assets/a-1.js", headers={"If-None-Match": etag})
        self.assertEqual((again.status, again.body), (304, b""))
        head = await self.browser.ask("HEAD", "/assets/a-1.js")
        self.assertEqual((head.status, head.header("Content-Length"), head.body), (200, str(len(SCRIPT)), b""))
        other = await self.browser.ask("GET", "/assets/b-1.bin")
        self.assertEqual((other.header("Content-Type"), other.header("Vary")), ("application/octet-stream", None))
        self.assertEqual((await self.browser.ask("GET", "/licenses.txt")).header("Cache-Control"), "no-cache")

    async def test_no_such_page(self) -> None:
        """Only the page's files are there, whatever a path looks like, and they can only be read."""
        for path in (
            "/nothing",
            "/assets",
            "/assets/",
            "/assets/a-1.js.gz",
            "/index.html",
            "/assets/%2e%2e/index.html",
        ):
            answer = await self.browser.ask("GET", path)
            self.assertIn(answer.status, (400, 404), path)
            self.assertEqual(answer.header("X-Content-Type-Options"), "nosniff")
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            self.assertEqual((await self.browser.ask(method, "/")).status, 405, method)

    async def test_not_built(self) -> None:
        """Without the page's files the server says that, and passes requests on all the same."""
        _, browser = web_world.start(self, self.server, static=Path(self.mktemp()))
        answer = await browser.ask("GET", "/")
        self.assertEqual((answer.status, answer.json["error"]), (503, "not_built"))
        self.assertEqual((await browser.ask("GET", "/couch/_session")).status, 200)

    async def test_config(self) -> None:
        """The page is told where it is, without anybody's password."""
        _, browser = web_world.start(self, "http://joe:secret@127.0.0.1:5984/")
        answer = await browser.ask("GET", "/config.json")
        expected = {"database": DATABASE, "status_database": f"{DATABASE}_status", "version": VERSION}
        self.assertEqual(answer.json, {**expected, "server": "http://127.0.0.1:5984"})


class CouchTests(WebCase):
    async def test_session(self) -> None:
        """One logs in with CouchDB's users; the session is nothing for scripts and other sites."""
        browser = Browser(self.browser.url)
        answer = await browser.log_in(ADMIN[0], "wrong")
        self.assertEqual((answer.status, answer.json["error"]), (401, "unauthorized"))
        self.assertIsNone(answer.header("WWW-Authenticate"))
        answer = await browser.log_in(*ADMIN)
        self.assertEqual(answer.json, {"ok": True, "name": "admin", "roles": ["_admin"]})
        cookie = answer.header("Set-Cookie") or ""
        self.assertEqual(cookie.split("; ")[1:4], ["Path=/", "HttpOnly", "SameSite=Strict"])
        self.assertNotIn("Secure", cookie)
        self.assertEqual((await browser.ask("GET", "/couch/_session")).json["userCtx"]["name"], "admin")
        answer = await browser.ask("DELETE", "/couch/_session")
        self.assertIn("AuthSession=; ", answer.header("Set-Cookie") or "")

    async def test_no_other_credentials(self) -> None:
        """No other login than the session's passes."""
        browser = Browser(self.browser.url)
        answer = await browser.ask("GET", DB, headers={"Authorization": "Basic YWRtaW46c2VjcmV0"})
        self.assertEqual(answer.status, 401)
        self.assertIsNone(answer.header("WWW-Authenticate"))

    async def test_documents(self) -> None:
        """Documents are written, read, found and removed as on CouchDB itself, errors included."""
        put = await self.browser.ask("PUT", f"{DB}/a%2Fb", {"type": 7})
        self.assertEqual(put.status, 201)
        read = await self.browser.ask("GET", f"{DB}/a%2Fb?revs=true")
        self.assertEqual((read.json["type"], read.json["_revisions"]["start"]), (7, 1))
        self.assertEqual(read.header("Cache-Control"), "no-store")
        self.assertIsNotNone(read.header("Date"))
        again = await self.browser.ask("PUT", f"{DB}/a%2Fb", {"type": 8})
        self.assertEqual((again.status, again.json["error"]), (409, "conflict"))
        found = await self.browser.ask("POST", f"{DB}/_find", {"selector": {"type": 7}})
        self.assertEqual([doc["_id"] for doc in found.json["docs"]], ["a/b"])
        rows = await self.browser.ask("POST", f"{DB}/_all_docs?include_docs=true", {"keys": ["doc"]})
        self.assertEqual(rows.json["rows"][0]["doc"]["n"], 1)
        gone = await self.browser.ask("DELETE", f"{DB}/a%2Fb?rev={put.json['rev']}")
        self.assertEqual(gone.status, 200)
        head = await self.browser.ask("HEAD", f"{DB}/doc")
        self.assertEqual((head.status, head.body), (200, b""))

    async def test_other_paths(self) -> None:
        """What the page does not need can't be reached, whoever is logged in."""
        for method, path in (
            ("PUT", f"{DB}/_security"),
            ("PUT", f"{DB}/_design%2Fguard"),
            ("PUT", f"{DB}/_design/guard"),
            ("POST", f"{DB}/_bulk_docs"),
            ("PUT", DB),
            ("DELETE", DB),
            ("GET", "/couch/_all_dbs"),
            ("GET", "/couch/_users/_all_docs"),
            ("PUT", "/couch/_users/org.couchdb.user:evil"),
            ("GET", "/couch/"),
            ("GET", "/couch"),
            ("GET", "/couch/other/doc"),
        ):
            answer = await self.browser.ask(method, path, None if method in ("GET", "DELETE") else {})
            self.assertIn(answer.status, (404, 405), path)

    async def test_other_sites(self) -> None:
        """A write that another site has the browser make is refused, and so is one that a form could make."""
        host = self.browser.url.partition("//")[2]
        for headers, status in (
            ({"Sec-Fetch-Site": "same-origin"}, 201),
            ({"Sec-Fetch-Site": None, "Origin": f"http://{host}"}, 201),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "none"}, 403),
            ({"Sec-Fetch-Site": None}, 403),
            ({"Sec-Fetch-Site": None, "Origin": "http://elsewhere"}, 403),
            ({"Sec-Fetch-Site": None, "Origin": "null"}, 403),
            ({"Content-Type": "text/plain"}, 415),
            ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
            ({"Content-Type": None}, 415),
        ):
            for path in (f"{DB}/new-{status}-{len(headers)}-{hash(str(headers))}", "/api/check"):
                method = "POST" if path.startswith("/api") else "PUT"
                wanted = 400 if (method, status) == ("POST", 201) else status
                answer = await self.browser.ask(method, path, {}, headers)
                self.assertEqual(answer.status, wanted, (path, headers))
        rows = (await self.browser.ask("GET", f"{DB}/_all_docs")).json["rows"]
        self.assertEqual(len([row for row in rows if row["id"].startswith("new-")]), 2)

    async def test_odd_bytes(self) -> None:
        """Whatever bytes a browser sends, it gets an answer, and nothing is logged as a mistake of ours."""
        where = self.browser.url.rpartition(":")[2]
        odd = bytes(range(1, 256)).translate(None, b"\r\n")
        for line, statuses in (
            (b"GET /couch/_session HTTP/1.1\r\nAccept: " + odd, (b"200", b"400")),
            (b"GET /couch/_session HTTP/1.1\r\nCookie: AuthSession=" + odd, (b"200",)),
            (b"GET /couch/_session?\xff HTTP/1.1", (b"400",)),
            (b"GET /\xff HTTP/1.1", (b"400",)),
            (b"GET /%00 HTTP/1.1\r\nIf-None-Match: \xff\r\nAccept-Encoding: \xff", (b"404",)),
            (b"\xff / HTTP/1.1", (b"405", b"400")),
            (b"PUT /couch/_session HTTP/1.1\r\nOrigin: \xff", (b"405",)),
            (b"POST /couch/_session HTTP/1.1\r\nOrigin: \xff\r\nHost: \xff", (b"403",)),
            (odd, (b"400",)),
        ):
            answer = await deferToThread(raw, int(where), line + b"\r\nConnection: close\r\n\r\n")
            self.assertIn(answer.split(b" ", 2)[1] if answer else b"", statuses, line)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_too_large(self) -> None:
        """A request of more than 16 MiB is refused; one that goes on without end is cut off."""
        answer = await self.browser.ask("PUT", f"{DB}/x", b"x" * (http.REQUEST_BYTES + 1))
        self.assertEqual((answer.status, answer.json["error"]), (413, "too_large"))
        with self.assertRaises(Exception):  # noqa: B017 - whichever error the client has for it
            await self.browser.ask("PUT", f"{DB}/x", b"x" * (3 * http.REQUEST_BYTES))
        with self.assertRaises(PartialDownloadError) as caught:  # Twisted's own answer, which says no length
            await self.browser.ask("GET", "/", headers={f"X-{n}": "x" * 5000 for n in range(4)})
        self.assertEqual(caught.exception.status, b"400")


class CheckTests(WebCase):
    async def test_check(self) -> None:
        """Python says whether the modules of a program compile."""
        modules = {"main": "def main(:\n", "helper": "x = 1\n"}
        answer = await self.browser.ask("POST", "/api/check", {"modules": modules})
        (found,) = answer.json["errors"]
        self.assertEqual((found["module"], found["line"], found["column"]), ("main", 1, 10))

    async def test_refused(self) -> None:
        """Nobody but who has logged in has sources compiled, and none that are too large."""
        good = {"modules": {"main": ""}}
        for cookie, body, status in (
            (None, good, 401),
            ("nonsense", good, 401),
            (self.browser.cookie, good, 200),
            (self.browser.cookie, {"modules": {"main": 1}}, 400),
            (self.browser.cookie, {"modules": []}, 400),
            (self.browser.cookie, {}, 400),
            (self.browser.cookie, [], 400),
            (self.browser.cookie, b"{", 400),
            (self.browser.cookie, {"modules": {"main": "#" * (1024 * 1024 + 1)}}, 413),
        ):
            answer = await Browser(self.browser.url, cookie).ask("POST", "/api/check", body)
            self.assertEqual(answer.status, status, str(body)[:80])
        for method, path in (
            ("GET", "/api/check"),
            ("POST", "/api/nothing"),
            ("POST", "/api"),
            ("POST", "/api/check/x"),
        ):
            self.assertIn((await self.browser.ask(method, path)).status, (404, 405), path)

    async def test_dead(self) -> None:
        """Where CouchDB can't say who asks, the answer says that."""
        await self.couch.stopService()
        answer = await self.browser.ask("POST", "/api/check", {"modules": {}})
        self.assertEqual(answer.status, 502)


class EnrollTests(WebCase):
    """Pis that answer on this network, and their users."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        from twisted.internet import reactor

        self.patch(ask, "destinations", lambda: [Destination("127.0.0.1")])
        # A Pi answers one second in one: of three times that are asked, one is heard.
        self.patch(api, "PROBE_S", 2.5)
        discovery = Discovery(
            11, lambda: "the-password", lambda: False, Mode.ENROLL, clock=reactor, probed=lambda _: None
        )
        service = DiscoveryService(discovery, reactor=reactor, port=0, interface="127.0.0.1")
        service.startService()
        self.addCleanup(service.stopService)
        _, self.browser = web_world.start(self, self.server, discovery_port=service.port)
        await self.browser.log_in(*ADMIN)

    async def log_in(self, name: str, *roles: str) -> Browser:
        """Make a user, and a browser in which it has logged in."""
        user = {"name": name, "password": "secret", "roles": roles, "type": "user"}
        await self.as_admin("PUT", f"/_users/org.couchdb.user:{name}", user)
        browser = Browser(self.browser.url)
        await browser.log_in(name, "secret")
        return browser

    async def test_probe(self) -> None:
        """Operators see which Pis answer, and never a password."""
        answer = await self.browser.ask("POST", "/api/probe", {})
        self.assertEqual(answer.json, [{"mac_id": 11, "address": "127.0.0.1", "enrolled": False}])
        answers = [Answer(11, "one", "10.0.0.1"), Answer(11, "two", "10.0.0.2"), Answer(12, None, "10.0.0.3")]
        self.patch(ask, "probe", lambda *_, **__: answers)
        answer = await self.browser.ask("POST", "/api/probe", {})
        self.assertEqual([(pi["mac_id"], pi["enrolled"]) for pi in answer.json], [(11, False), (12, True)])
        operator = await self.log_in("joe", "himbeerecouch_operator")
        self.assertEqual((await operator.ask("POST", "/api/probe", {})).status, 200)
        reader = await self.log_in("ann")
        self.assertEqual((await reader.ask("POST", "/api/probe", {})).status, 403)
        self.assertEqual((await Browser(self.browser.url).ask("POST", "/api/probe", {})).status, 401)

    async def test_enroll(self) -> None:
        """An admin enrolls a Pi that waits: it can log in then, and the browser has not heard its password."""
        refused = await self.browser.ask("POST", "/api/enroll", {"mac_id": 11})
        self.assertEqual((refused.status, refused.json["error"]), (409, "not_set_up"))
        for database in (DATABASE, f"{DATABASE}_status"):
            path = "/" + quote(database, safe="")
            await self.as_admin("PUT", path)
            await self.as_admin("PUT", f"{path}/_security", {"members": {"roles": ["himbeerecouch_pi"]}})
        answer = await self.browser.ask("POST", "/api/enroll", {"mac_id": 11})
        self.assertEqual((answer.status, answer.json), (200, {"ok": True, "mac_id": 11}))
        self.assertNotIn(b"the-password", answer.body)
        self.assertEqual(
            (await Browser(self.browser.url).log_in("11", "the-password")).json["roles"], ["himbeerecouch_pi"]
        )
        self.patch(ask, "find", lambda *_, **__: [Answer(11, "the-next-password", "127.0.0.1")])
        again = await self.browser.ask("POST", "/api/enroll", {"mac_id": 11})
        self.assertEqual((again.status, again.json["error"]), (409, "enrolled"))
        again = await self.browser.ask("POST", "/api/enroll", {"mac_id": 11, "replace": True})
        self.assertEqual(again.status, 200)
        self.assertEqual((await Browser(self.browser.url).log_in("11", "the-next-password")).status, 200)

    async def test_refused(self) -> None:
        """Nobody but an admin enrolls, and no Pi that does not answer with one password."""
        self.patch(
            ask, "find", lambda _, mac_id, *__, **___: [Answer(11, "the-password", "127.0.0.1")] if mac_id == 11 else []
        )
        operator = await self.log_in("joe", "himbeerecouch_operator")
        for browser, body, status in (
            (operator, {"mac_id": 11}, 403),
            (operator, {}, 403),
            (Browser(self.browser.url), {"mac_id": 11}, 401),
            (self.browser, {"mac_id": "11"}, 400),
            (self.browser, {"mac_id": True}, 400),
            (self.browser, {}, 400),
            (self.browser, {"mac_id": 99}, 404),
        ):
            self.assertEqual((await browser.ask("POST", "/api/enroll", body)).status, status, body)

    async def test_who_is_it(self) -> None:
        """Where two machines say that they are the same Pi, neither is enrolled."""
        answers = [Answer(11, "one", "10.0.0.1"), Answer(11, "two", "10.0.0.2")]
        self.patch(ask, "find", lambda *_, **__: answers)
        answer = await self.browser.ask("POST", "/api/enroll", {"mac_id": 11})
        self.assertEqual((answer.status, answer.json["error"]), (409, "conflict"))
        answers[:] = [Answer(11, None, "10.0.0.3")]
        answer = await self.browser.ask("POST", "/api/enroll", {"mac_id": 11})
        self.assertEqual(answer.status, 404)
        self.assertIn("enrolled already", answer.json["reason"])


class Leaving(Protocol):
    """A browser that closes the connection."""

    transport: Any

    def connectionMade(self) -> None:
        """Leave."""
        self.transport.stopProducing()


class PollTests(WebCase):
    async def test_long_poll(self) -> None:
        """A long poll passes what it has at once, and ends with the change."""
        response = await self.browser.send("GET", f"{DB}/_changes?feed=longpoll&since=now&include_docs=true")
        self.assertEqual(response.code, 200)
        await self.as_admin("PUT", "/" + quote(DATABASE, safe="") + "/news", {"n": 2})
        self.assertIn(b'"news"', await readBody(response))

    async def test_browser_goes(self) -> None:
        """When a browser goes away in the midst of a poll, CouchDB's poll ends too."""
        response = await self.browser.send("GET", f"{DB}/_changes?feed=longpoll&since=now")
        assert self.couch.server is not None
        channels = self.couch.server.channels
        self.assertTrue(any(channel.requests for channel in channels))
        response.deliverBody(Leaving())
        await self.until(lambda: not any(channel.requests for channel in channels))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_end(self) -> None:
        """When the server is stopped, polls end, and no socket is left."""
        response = await self.browser.send("GET", f"{DB}/_changes?feed=longpoll&since=now")
        content = readBody(response)
        content.addErrback(lambda _: None)
        await self.web.stopService()
        self.assertEqual(self.web.factory.channels, set())
        await content


class TlsTests(TestCase):
    """TLS at both ends, by endpoint strings and files."""

    timeout = 60

    def file(self, content: bytes) -> Path:
        """A file with that in it."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        return path

    async def test_both_ends(self) -> None:
        """Where the browser talks TLS the session goes over nothing else; CouchDB's own CA is trusted, and no other."""
        from twisted.internet import reactor

        lab = Authority("lab")
        pem, ca_file = self.file(lab.issue_pem("localhost")), self.file(lab.pem)
        listen = f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"
        couch = Embedded(
            reactor,
            serverFromString(reactor, listen),
            folder=None,
            admin=Login(*ADMIN),
            iterations=10,
            in_thread=deferToThread,
        )
        await couch.listen()
        couch.running = 1
        self.addCleanup(couch.stopService)
        where: Any = couch.port.getHost() if couch.port is not None else None
        server = f"https://localhost:{where.port}"
        self.assertEqual((await Browser(server, ca=lab.pem).ask("GET", "/_up")).status, 200)
        for trusted, status in ((str(ca_file), 200), (None, 502)):
            endpoint = serverFromString(reactor, listen)
            _, browser = web_world.start(self, server, endpoint=endpoint, ca=lab.pem, ca_file=trusted)
            page = await browser.ask("GET", "/")
            self.assertEqual(page.header("Strict-Transport-Security"), "max-age=86400")
            answer = await browser.log_in(*ADMIN)
            self.assertEqual(answer.status, status)
            if trusted:
                self.assertIn("; Secure", answer.header("Set-Cookie") or "")
                self.assertEqual((await browser.ask("POST", "/api/check", {"modules": {}})).status, 200)
            else:
                self.assertIn("certificate is refused", answer.json["reason"])


class Silent(Protocol):
    """A server that answers with what it is told, and no more."""

    factory: Any

    def dataReceived(self, data: bytes) -> None:
        """Answer once."""
        self.factory.requests.append(data)
        if self.factory.answer is not None:
            self.transport.write(self.factory.answer)  # type: ignore[union-attr]  # it is connected
            if self.factory.cut:
                self.transport.loseConnection()  # type: ignore[union-attr]  # as above

    def connectionLost(self, reason: Any = None) -> None:
        """Note it."""
        self.factory.gone.callback(None)


class BrokenServerTests(TestCase):
    """CouchDB that is not there, or is none."""

    timeout = 60

    async def serve(self, answer: bytes | None, *, cut: bool = False) -> tuple[Any, Browser]:
        """Start a server that gives one answer."""
        from twisted.internet import reactor

        factory: Any = Factory.forProtocol(Silent)
        factory.answer, factory.cut, factory.requests, factory.gone = answer, cut, [], Deferred()
        port: Any = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        _, browser = web_world.start(self, f"http://127.0.0.1:{port.getHost().port}")
        return factory, browser

    async def test_dead(self) -> None:
        """Where nobody listens the answer comes at once, and says why."""
        _, browser = web_world.start(self, f"http://127.0.0.1:{embedded_server.free_port()}")
        answer = await browser.ask("GET", DB)
        self.assertEqual((answer.status, answer.json["error"]), (502, "bad_gateway"))
        self.assertIn("refused", answer.json["reason"])

    async def test_no_server_file(self) -> None:
        """Without a usable server file every request says so, until there is one."""
        _, browser = web_world.start(self, "nonsense")
        answer = await browser.ask("GET", "/couch/_session")
        self.assertEqual(answer.status, 502)
        self.assertIn("server file", answer.json["reason"])
        self.flushLoggedErrors()

    async def test_redirect(self) -> None:
        """A redirect is not followed, and not passed on: nobody's session goes elsewhere."""
        redirect = b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n"
        _, browser = await self.serve(redirect)
        answer = await browser.ask("GET", DB)
        self.assertEqual((answer.status, answer.header("Location")), (502, None))
        self.assertIn("redirects", answer.json["reason"])

    async def test_cut(self) -> None:
        """Half an answer is never passed on as a whole one."""
        for head in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
            half = b"HTTP/1.1 200 OK\r\n" + head + b'\r\n\r\n2\r\n{"\r\n'
            _, browser = await self.serve(half, cut=True)
            with self.assertRaises(Exception) as caught:
                await browser.ask("GET", DB)
            self.assertNotIsInstance(caught.exception, CancelledError)

    async def test_other_headers(self) -> None:
        """Of CouchDB's headers only those pass that the page needs."""
        odd = (
            b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nSet-Cookie: other=1\r\nServer: CouchDB/3\r\n"
            b"Access-Control-Allow-Origin: *\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\nContent-Length: 2\r\n\r\n{}"
        )
        factory, browser = await self.serve(odd)
        browser.cookie = "abc"
        answer = await browser.ask("GET", DB, headers={"X-Evil": "1", "Authorization": "Basic eDp5"})
        self.assertEqual((answer.status, answer.body), (401, b"{}"))
        for name in ("WWW-Authenticate", "Set-Cookie", "Server", "Access-Control-Allow-Origin"):
            self.assertIsNone(answer.header(name), name)
        self.assertEqual(answer.header("Date"), "Mon, 01 Jan 2001 00:00:00 GMT")
        (request,) = factory.requests
        lines = {line.partition(b":")[0].lower() for line in request.split(b"\r\n")[1:] if line}
        self.assertEqual(lines, {b"host", b"cookie", b"x-forwarded-for"})
        self.assertIn(b"AuthSession=abc\r\n", request)
        self.assertNotIn(b"theme", request)

    async def test_browser_goes_first(self) -> None:
        """When a browser goes away before CouchDB has answered, that request ends too."""
        factory, browser = await self.serve(None)
        request = browser.send("GET", DB)
        request.addErrback(lambda _: None)
        from twisted.internet import reactor

        while not factory.requests:
            await wait(reactor, 0.01)
        request.cancel()
        await factory.gone
