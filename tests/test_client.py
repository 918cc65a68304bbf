"""The client, against a server in memory."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from attrs import field, frozen, mutable
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import Request, datetimeToString
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from himbeerecouch import errors
from himbeerecouch.couch.asks import Timing
from himbeerecouch.couch.client import ANSWER_BYTES, Couch, Login
from himbeerecouch.couch.fetch import OriginAgent
from himbeerecouch.model import Batch, DatabaseInfo, Row

DB = "nedm/raspberries"
INFO = {"update_seq": "1-a", "instance_start_time": "5"}
WALL = 1_000_000.0


@frozen
class Answer:
    """One answer of the server."""

    body: Any = field(factory=dict)
    status: int = 200
    headers: dict[str, str] = field(factory=dict)
    hangs: bool = False


@mutable
class Asked:
    """One request that the server got."""

    method: str
    uri: str
    password: str | None
    headers: Any
    body: Any


class Server(Resource):
    """Answers what ``answer`` says, and remembers what it was asked."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Answer] = lambda _: Answer(INFO)
        self.hanging: list[Request] = []

    def render(self, request: Request) -> Any:
        """Answer one request; twisted.web calls this."""
        authorization = request.getHeader("authorization")
        password = None
        if authorization is not None:
            password = b64decode(authorization.removeprefix("Basic ")).decode().split(":", 1)[1]
        content = request.content.read() if request.content else b""
        asked = Asked(
            request.method.decode(),
            request.uri.decode(),
            password,
            request.requestHeaders,
            json.loads(content) if content else None,
        )
        self.asked.append(asked)
        answer = self.answer(asked)
        if answer.hangs:
            self.hanging.append(request)
            return NOT_DONE_YET
        request.setResponseCode(answer.status)
        for name, value in answer.headers.items():
            request.setHeader(name, value)
        return answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()

    def answer_oldest(self, body: Any) -> None:
        """Answer the request that hangs longest."""
        request = self.hanging.pop(0)
        request.write(json.dumps(body).encode())
        request.finish()

    @property
    def logins(self) -> int:
        """How many requests bore a password."""
        return len([asked for asked in self.asked if asked.password is not None])


class Connections:
    """Connections in memory."""

    def __init__(self, server: Server) -> None:
        self.agent: Any = RequestTraversalAgent(server)
        self.dropped = 0
        self.dropped_idle = 0
        self.local_address: str | None = None

    def drop(self) -> None:
        """Count it."""
        self.dropped += 1

    def drop_idle(self) -> None:
        """Count it."""
        self.dropped_idle += 1

    def close(self) -> Deferred[None]:
        """There is nothing to wait for."""
        self.drop()
        return succeed(None)


class CouchCase(SynchronousTestCase):
    """A client with one password, and a server that likes everybody."""

    passwords: tuple[str, ...] = ("right",)

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = Server()
        self.connections = Connections(self.server)
        self.accepted: list[str] = []
        self.login = Login("7", self.passwords, self.accepted.append)
        self.couch = Couch(
            self.clock, self.connections, login=self.login, random=lambda: 0.0, wall=lambda: WALL, timing=Timing()
        )
        self.couch.move("http://server:5984")
        self.addCleanup(self.see_nothing_left)

    def see_nothing_left(self) -> None:
        """Every test ends with no delayed call left."""
        self.successResultOf(self.couch.close())
        self.connections.agent.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def start(self, coroutine: Any) -> Deferred[Any]:
        """Begin a call."""
        d: Deferred[Any] = Deferred.fromCoroutine(coroutine)
        self.connections.agent.flush()
        return d

    def do(self, coroutine: Any) -> Any:
        """Make a call that ends at once, and give its result."""
        return self.successResultOf(self.start(coroutine))

    def fail_with(self, kind: type[Any], coroutine: Any) -> Any:
        """Make a call that fails at once, and give its error."""
        error = self.failureResultOf(self.start(coroutine), kind).value
        self.assertIs(type(error), kind)
        return error

    def only(self, *passwords: str) -> None:
        """Let the server take these passwords and no others."""

        def answer(asked: Asked) -> Answer:
            if asked.password in passwords:
                return Answer(INFO)
            return Answer({"error": "unauthorized", "reason": "Name or password is incorrect."}, 401)

        self.server.answer = answer


class CallTests(CouchCase):
    """What is asked, and what is made of the answer."""

    def test_info(self) -> None:
        """The database's name is quoted whole, and compression and cookies are not asked for."""
        self.assertEqual(self.do(self.couch.info(DB)), DatabaseInfo("1-a", "5"))
        (asked,) = self.server.asked
        self.assertEqual((asked.method, asked.uri, asked.password), ("GET", "/nedm%2Fraspberries", "right"))
        self.assertFalse(asked.headers.hasHeader("accept-encoding"))
        self.assertFalse(asked.headers.hasHeader("cookie"))

    def test_changes(self) -> None:
        """A long poll names its timeout, its limit and its selector, and no heartbeat; the sequence is opaque."""
        self.server.answer = lambda _: Answer({"results": [{"id": "a", "doc": {"x": 1}}], "last_seq": [2, "b"]})
        batch = self.do(self.couch.changes(DB, since="1-a&b", limit=9, timeout_s=20.0, selector={"type": 7}))
        self.assertEqual(batch, Batch((Row("a", {"x": 1}),), [2, "b"]))
        asked = self.server.asked[-1]
        self.assertEqual(asked.method, "POST")
        self.assertEqual(
            asked.uri,
            "/nedm%2Fraspberries/_changes?filter=_selector&limit=9&feed=longpoll&timeout=20000&include_docs=true"
            "&since=1-a%26b",
        )
        self.assertEqual(asked.body, {"selector": {"type": 7}})
        self.assertEqual(asked.headers.getRawHeaders("content-type"), ["application/json"])
        batch = self.do(
            self.couch.changes(DB, since=[2, "b"], limit=1, timeout_s=None, selector={}, include_docs=False)
        )
        self.assertEqual(batch, Batch((Row("a", None),), [2, "b"]))
        self.assertTrue(
            self.server.asked[-1].uri.endswith("?filter=_selector&limit=1&since=%5B2%2C+%22b%22%5D"),
            self.server.asked[-1].uri,
        )

    def test_find(self) -> None:
        """A query names index, bookmark and fields where they are given."""
        self.server.answer = lambda _: Answer({"docs": [{"_id": "a"}], "bookmark": "next"})
        page = self.do(self.couch.find(DB, {"type": 7}, limit=5))
        self.assertEqual(page, ([{"_id": "a"}], "next"))
        self.assertEqual(self.server.asked[-1].body, {"selector": {"type": 7}, "limit": 5})
        self.do(self.couch.find(DB, {}, use_index=("d", "i"), limit=1, bookmark="b", ids_only=True))
        self.assertEqual(
            self.server.asked[-1].body,
            {"selector": {}, "limit": 1, "use_index": ["d", "i"], "bookmark": "b", "fields": ["_id"]},
        )

    def test_documents(self) -> None:
        """Ids are quoted, but for the slash of a design document; put gives the new revision."""
        self.server.answer = lambda asked: Answer({"ok": True, "rev": "2-x"}, 201)
        self.assertEqual(self.do(self.couch.put(DB, {"_id": "a/b ü", "_rev": "1-x"})), "2-x")
        asked = self.server.asked[-1]
        self.assertEqual((asked.method, asked.uri), ("PUT", "/nedm%2Fraspberries/a%2Fb%20%C3%BC"))
        self.assertEqual(asked.body, {"_id": "a/b ü", "_rev": "1-x"})
        self.do(self.couch.get(DB, "_design/a/b"))
        self.assertEqual(self.server.asked[-1].uri, "/nedm%2Fraspberries/_design/a%2Fb")
        self.server.answer = lambda asked: Answer({"uuid": "u"})
        self.assertEqual(self.do(self.couch.server_uuid()), "u")
        self.assertEqual(self.server.asked[-1].uri, "/")

    def test_documents_together(self) -> None:
        """Documents that wait for others go together; one that is not stored is asked for alone."""
        self.do(self.couch.info(DB))
        self.server.answer = lambda _: Answer(hangs=True)
        puts = [self.start(self.couch.put(DB, {"_id": id, "_rev": "1-x"})) for id in ("a", "b", "c/c", "d")]
        stored = {"ok": True, "rev": "2-x"}
        self.server.answer_oldest(stored)
        self.connections.agent.flush()
        self.assertEqual(self.successResultOf(puts[0]), "2-x")
        asked = self.server.asked[-1]
        self.assertEqual((asked.method, asked.uri), ("POST", "/nedm%2Fraspberries/_bulk_docs"))
        self.assertEqual(asked.body, {"docs": [{"_id": "c/c", "_rev": "1-x"}, {"_id": "d", "_rev": "1-x"}]})
        refused = {"error": "conflict", "reason": "Document update conflict."}
        self.server.answer = lambda _: Answer(refused, 409)
        self.server.answer_oldest(stored)
        self.server.answer_oldest([{"id": "c/c", **refused}, {"id": "d", **stored}])
        self.connections.agent.flush()
        self.assertEqual([self.successResultOf(put) for put in (puts[1], puts[3])], ["2-x", "2-x"])
        self.failureResultOf(puts[2], errors.Conflict)
        self.assertEqual(self.server.asked[-1].uri, "/nedm%2Fraspberries/c%2Fc")

    def test_impossible(self) -> None:
        """What can't be asked for at all is a bad request, and never goes out."""
        self.fail_with(errors.BadRequest, self.couch.get(DB, "\ud83c"))
        self.fail_with(errors.BadRequest, self.couch.put(DB, {"_id": "a", "x": float("nan")}))
        self.assertEqual(self.server.asked, [])
        self.do(self.couch.info(DB))
        self.assertEqual(len(self.server.asked), 1)  # it left no doubt about the server

    def test_errors(self) -> None:
        """Every failure of the wire is the error that says what the caller does next."""
        cases: list[tuple[Answer, type[errors.CouchError]]] = [
            (Answer(b"<html>"), errors.BadAnswer),
            (Answer(b'{"update_seq": "1'), errors.BadAnswer),
            (Answer([]), errors.BadAnswer),
            (Answer(b"{}", 302, {"location": "http://elsewhere/"}), errors.BadAnswer),
            (Answer(b"x" * 100_000, 404), errors.NotFound),
            (Answer({"error": "conflict", "reason": "c"}, 409), errors.Conflict),
            (Answer(b"", 503), errors.Unavailable),
            (Answer(b" " * (ANSWER_BYTES + 1)), errors.AnswerTooLarge),
            (Answer(b"[" * 100_000), errors.AnswerTooDeep),
        ]
        for answer, kind in cases:
            self.server.answer = lambda _, answer=answer: answer  # type: ignore[misc]
            self.fail_with(kind, self.couch.info(DB))
        self.assertEqual({asked.uri for asked in self.server.asked}, {"/nedm%2Fraspberries"})

    def test_compressed(self) -> None:
        """An answer that is compressed though nobody asked for it is not unpacked."""
        import gzip

        self.server.answer = lambda _: Answer(
            gzip.compress(json.dumps(INFO).encode()), 200, {"content-encoding": "gzip"}
        )
        self.fail_with(errors.BadAnswer, self.couch.info(DB))

    def test_cookies(self) -> None:
        """A cookie that the server gives is not kept: it would make another user of whoever asks next."""
        self.server.answer = lambda _: Answer(INFO, 200, {"set-cookie": "AuthSession=x; Path=/"})
        for _ in range(2):
            self.do(self.couch.info(DB))
            self.assertFalse(self.server.asked[-1].headers.hasHeader("cookie"))

    def test_other_server(self) -> None:
        """No request, and so no password, goes to another server than the one that it is for."""
        agent = OriginAgent(self.connections.agent, ("http", "server", 5984), b"Basic x")
        others = (b"//other:5984/", b"//server/", b"//server:59840/", b"//server:5984.other/", b"//server:5984@other/")
        for url in (b"https://server:5984/", *(b"http:" + other for other in others)):
            with self.assertRaises(ValueError):
                agent.request(b"GET", url)
        self.assertEqual(self.server.asked, [])


class ServerTests(CouchCase):
    """Which server, and what time it is there."""

    def test_no_server(self) -> None:
        """Without a server file everything fails at once, and says so."""
        self.couch.move(None)
        self.assertIsNone(self.couch.url)
        self.assertIn("server file", str(self.fail_with(errors.Unavailable, self.couch.info(DB))))

    def test_move(self) -> None:
        """Another server is told to who waits, and starts without a proof; the same one changes nothing."""
        told: list[bool] = []
        self.couch.on_news.append(told.append)
        self.do(self.couch.info(DB))
        self.assertTrue(self.login.proven)
        self.couch.move("http://u:p@server:5984/")
        self.assertTrue(self.login.proven)
        self.couch.move("https://other")
        self.assertEqual(self.couch.url, "https://other:443")
        self.assertFalse(self.login.proven)
        self.assertEqual(told, [True])
        with self.assertRaises(ValueError):
            self.couch.move("other")
        self.assertEqual(self.couch.url, "https://other:443")

    def test_move_ends_requests(self) -> None:
        """What is under way at the old server fails, the call that waits at the gate goes to the new one."""
        self.server.answer = lambda _: Answer(hangs=True)
        old = self.start(self.couch.info(DB))
        waiting = self.start(self.couch.info(DB))
        self.server.answer = lambda _: Answer(INFO)
        self.couch.move("http://other:5984")
        self.connections.agent.flush()
        self.failureResultOf(old, errors.Unavailable)
        self.successResultOf(waiting)

    def test_closed(self) -> None:
        """A closed client makes no requests, and ends those that are under way or wait."""
        self.server.answer = lambda _: Answer(hangs=True)
        under_way = self.start(self.couch.info(DB))
        waiting = self.start(self.couch.info(DB))
        self.successResultOf(self.couch.close())
        self.connections.agent.flush()
        for d in (under_way, waiting, self.start(self.couch.info(DB))):
            self.failureResultOf(d, errors.Unavailable)

    def test_time(self) -> None:
        """The server's time is learned from its answers, and does not depend on this machine's clock."""
        self.assertEqual((self.couch.server_time(), self.couch.server_offset_s), (WALL, 0.0))
        self.assertFalse(self.couch.server_time_known)
        date = datetimeToString(2_000_000).decode()
        self.server.answer = lambda _: Answer(INFO, 200, {"date": date})
        self.do(self.couch.info(DB))
        self.assertEqual(self.couch.server_time(), 2_000_000.5)
        self.assertTrue(self.couch.server_time_known)
        self.assertEqual(self.couch.server_offset_s, 1_000_000.5)
        self.clock.advance(10)
        self.assertEqual(self.couch.server_time(), 2_000_010.5)

    def test_retry_after(self) -> None:
        """What the server asks for holds for everybody, in seconds or as a time."""
        for value in ("100", datetimeToString(2_000_100).decode()):
            self.server.answer = lambda _, value=value: Answer(  # type: ignore[misc]
                b"", 503, {"retry-after": value, "date": datetimeToString(2_000_000).decode()}
            )
            error = self.fail_with(errors.Unavailable, self.couch.info(DB))
            self.assertLessEqual(abs(error.retry_after_s - 100), 1)
            self.server.answer = lambda _: Answer(INFO)
            error = self.fail_with(errors.Unavailable, self.couch.info(DB))
            self.assertLessEqual(abs(error.retry_after_s - 100), 1)
            self.clock.advance(101)
            self.do(self.couch.info(DB))


class DeadlineTests(CouchCase):
    """Deadlines, by the reactor's clock."""

    def test_headers(self) -> None:
        """A request without an answer ends after 30 s, a poll after its timeout and 10 s."""
        self.server.answer = lambda _: Answer(hangs=True)
        for call, after_s in (
            (self.couch.info(DB), 30),
            (self.couch.changes(DB, since=1, limit=1, timeout_s=40.0, selector={}), 50),
            (self.couch.find(DB, {}, limit=1), 60),
        ):
            self.login.replace(["again"])
            d = self.start(call)
            self.clock.advance(after_s - 0.1)
            self.assertNoResult(d)
            self.clock.advance(0.2)
            self.connections.agent.flush()
            self.failureResultOf(d, errors.TooSlow)
            self.server.answer = lambda asked: Answer(hangs=asked.password is not None)
        self.assertGreaterEqual(self.connections.dropped_idle, 1)

    def test_waiting_at_the_gate(self) -> None:
        """A request that waits for others ends after a minute."""
        self.do(self.couch.info(DB))
        self.server.answer = lambda _: Answer(hangs=True)
        finds = [self.start(self.couch.find(DB, {}, limit=1)) for _ in range(3)]
        self.clock.advance(1)
        waiting = self.start(self.couch.info(DB))
        self.assertEqual(self.server.logins, 4)
        self.clock.advance(58.5)
        cancelled = self.start(self.couch.info(DB))
        cancelled.cancel()
        self.failureResultOf(cancelled, errors.Unavailable)
        self.clock.advance(0.6)
        self.connections.agent.flush()
        for d in finds:
            self.failureResultOf(d, errors.TooSlow)
        self.clock.advance(30)
        self.connections.agent.flush()
        self.failureResultOf(waiting, errors.TooSlow)

    def test_waiting_too_long(self) -> None:
        """A request that got no place within a minute fails, and does not go out when there is one."""
        self.do(self.couch.info(DB))
        self.server.answer = lambda _: Answer(hangs=True)
        poll, other = [
            self.start(self.couch.changes(DB, since=1, limit=1, timeout_s=100.0, selector={})) for _ in range(2)
        ]
        self.clock.advance(59.9)
        self.assertNoResult(other)
        self.clock.advance(0.2)
        self.failureResultOf(other, errors.TooSlow)
        poll.cancel()
        self.failureResultOf(poll, errors.Unavailable)
        self.assertEqual(len(self.server.asked), 2)

    def test_turns(self) -> None:
        """Each request that comes back lets in the one that has waited longest for its place, and disturbs no other."""
        self.do(self.couch.info(DB))
        self.server.asked.clear()
        self.server.answer = lambda _: Answer(hangs=True)
        infos = [self.start(self.couch.info(f"db{number}")) for number in range(6)]
        polls = [self.start(self.couch.changes(DB, since=1, limit=1, timeout_s=20.0, selector={})) for _ in range(2)]
        cancelled = infos.pop(3)
        cancelled.cancel()
        self.failureResultOf(cancelled, errors.Unavailable)
        asked = ["GET /db0", "GET /db1", "GET /db2", "POST /nedm%2Fraspberries/_changes"]
        for answer, next_asked in (
            (INFO, ["GET /db4"]),
            (INFO, ["GET /db5"]),
            (INFO, []),
            ({"results": [], "last_seq": "2"}, ["POST /nedm%2Fraspberries/_changes"]),
        ):
            self.assertEqual([f"{one.method} {one.uri.partition('?')[0]}" for one in self.server.asked], asked)
            asked += next_asked
            waiting = set(self.clock.getDelayedCalls())
            self.server.answer_oldest(answer)
            self.connections.agent.flush()
            ended = waiting - set(self.clock.getDelayedCalls())
            self.assertEqual(len(ended), 1 + len(next_asked), "a deadline of the one back, and one of the one let in")
        self.assertEqual([f"{one.method} {one.uri.partition('?')[0]}" for one in self.server.asked], asked)
        self.assertEqual([self.successResultOf(d).update_seq for d in infos[:3]], ["1-a"] * 3)
        self.assertEqual(self.successResultOf(polls[0]).last_seq, "2")
        for d in (*infos[3:], polls[1]):
            d.addErrback(lambda failure: failure.trap(errors.Unavailable))


class LoginTests(CouchCase):
    """Fault 10: a wrong password."""

    passwords = ("old", "right")

    def test_candidates(self) -> None:
        """A password that is refused gives way to the next one at once; the one that works is told once."""
        self.only("right")
        self.do(self.couch.info(DB))
        self.do(self.couch.info(DB))
        self.assertEqual([asked.password for asked in self.server.asked], ["old", "right", "right"])
        self.assertEqual(self.accepted, ["right"])
        self.assertTrue(self.login.proven)

    def test_known(self) -> None:
        """A new password that the server is known to have is used at once, beside the poll that is under way."""
        self.only("right")
        self.do(self.couch.info(DB))
        self.server.answer = lambda _: Answer(hangs=True)
        poll = self.start(self.couch.changes(DB, since=0, limit=1, timeout_s=20, selector={}))
        self.only("new")
        self.login.replace(["new"], known=True)
        self.do(self.couch.info(DB))
        self.assertEqual(self.server.asked[-1].password, "new")
        self.assertNoResult(poll)
        self.login.replace(["newer"])
        other = self.start(self.couch.info(DB))
        self.assertNoResult(other)
        for late in (poll, other):
            late.addErrback(lambda failure: failure.trap(errors.CouchError))

    def test_refused(self) -> None:
        """When none works, the error says when the next login is; till then nobody asks; the last one goes on."""
        self.only()
        self.assertEqual(self.fail_with(errors.LoginRefused, self.couch.info(DB)).retry_after_s, 75)
        self.clock.advance(5)
        self.assertEqual(self.fail_with(errors.LoginRefused, self.couch.info(DB)).retry_after_s, 70)
        self.assertEqual(self.server.logins, 2)
        self.only("right")
        self.clock.advance(70)
        self.do(self.couch.info(DB))
        self.assertEqual([asked.password for asked in self.server.asked], ["old", "right", "right"])

    def test_four_logins(self) -> None:
        """Ten parts of the daemon that ask every second make at most four logins in 300 s, and then are in."""
        self.only()
        times: list[float] = []
        for second in range(700):
            before = self.server.logins
            started = [self.start(self.couch.info(DB)) for _ in range(10)]
            times += [second] * (self.server.logins - before)
            for d in started:
                self.failureResultOf(d, errors.LoginRefused)
            if second % 50 == 0:
                self.couch.hurry()
            self.clock.advance(1)
        for start in times:
            self.assertLessEqual(len([at for at in times if start <= at < start + 300]), 4)
        self.assertGreaterEqual(len(times), 9)
        self.only("right")
        self.clock.advance(300)
        for _ in range(10):
            self.do(self.couch.info(DB))

    def test_turned_wrong(self) -> None:
        """A password that turns wrong while everybody asks costs four logins."""
        self.only("right")
        self.do(self.couch.info(DB))
        self.only()
        before = self.server.logins
        parked = [self.start(self.couch.info(DB)) for _ in range(20)]
        for d in parked:
            self.failureResultOf(d, errors.LoginRefused)
        self.assertLessEqual(self.server.logins - before, 4)
        self.assertFalse(self.login.proven)

    def test_locked(self) -> None:
        """A locked account is left alone for five minutes, even if somebody hurries."""
        reason = "Account is temporarily locked due to multiple authentication failures"
        self.server.answer = lambda _: Answer({"error": "forbidden", "reason": reason}, 403)
        self.assertEqual(self.fail_with(errors.LoginLocked, self.couch.info(DB)).retry_after_s, 300)
        self.couch.hurry()
        self.clock.advance(299)
        self.fail_with(errors.LoginLocked, self.couch.info(DB))
        self.assertEqual(self.server.logins, 1)

    def test_hurry(self) -> None:
        """A probe that comes in ends the wait after a refused password, and is told to who waits, once a second."""
        told: list[bool] = []
        self.couch.on_news.append(told.append)
        self.only()
        self.fail_with(errors.LoginRefused, self.couch.info(DB))
        self.only("right")
        for _ in range(1000):
            self.couch.hurry()
        self.do(self.couch.info(DB))
        self.assertEqual(told, [False])
        self.clock.advance(1)
        self.couch.hurry()
        self.assertEqual(told, [False, False])

    def test_replace(self) -> None:
        """Other passwords are used at once, and what comes back about an old one says nothing of them."""
        self.only("new")
        self.fail_with(errors.LoginRefused, self.couch.info(DB))
        attempt = self.login.attempt()
        self.login.replace(["new"])
        self.assertTrue(self.login.refused(attempt))
        self.login.succeeded(attempt)
        self.assertFalse(self.login.proven)
        self.do(self.couch.info(DB))
        self.assertEqual(self.accepted, ["new"])
        with self.assertRaises(ValueError):
            self.login.replace([])

    def test_never_shown(self) -> None:
        """An attempt does not show its password."""
        self.assertNotIn("old", repr(self.login.attempt()))

    def test_what_proves(self) -> None:
        """Only CouchDB's own answer about a database proves a password; a proxy's, or the front page, does not."""
        for answer, proven in (
            (Answer({"error": "not_found", "reason": "no_db_file"}, 404), True),
            (Answer({"error": "forbidden", "reason": "You are not allowed to access this db."}, 403), True),
            (Answer(INFO), True),
            (Answer(b"<html>", 404), False),
            (Answer(b"<html>", 200), False),
            (Answer(b"", 502), False),
        ):
            self.setUp()
            self.server.answer = lambda _, answer=answer: answer  # type: ignore[misc]
            d = self.start(self.couch.info(DB))
            d.addErrback(lambda failure: failure.trap(errors.CouchError))
            self.assertEqual(self.login.proven, proven, answer)
        self.setUp()
        self.do(self.couch.server_uuid())
        self.assertFalse(self.login.proven)

    def test_doubt(self) -> None:
        """After a login that was never answered, the server is greeted without a password before the next one."""
        self.server.answer = lambda _: Answer(hangs=True)
        for logins in (1, 1, 1):
            d = self.start(self.couch.info(DB))
            self.clock.advance(31)
            self.connections.agent.flush()
            self.failureResultOf(d, errors.TooSlow)
            self.assertEqual(self.server.logins, logins)
        self.server.answer = lambda asked: Answer({}, 401) if asked.password is None else Answer(INFO)
        self.do(self.couch.info(DB))
        self.assertEqual([asked.password for asked in self.server.asked[-2:]], [None, "old"])

    def test_note_fails(self) -> None:
        """When the password that works can't be noted, the daemon is logged in all the same."""

        def accepted(_password: str) -> None:
            raise OSError("disk full")

        self.login = Login("7", ["right"], accepted)
        couch = Couch(self.clock, self.connections, login=self.login, random=lambda: 0.0)
        couch.move("http://server:5984")
        self.do(couch.info(DB))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
