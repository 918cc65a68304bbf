"""A page's server for other tests, inside the test's own reactor, in front of an embedded database."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from himbeerecouch.couch.fetch import Body, BytesBody
from himbeerecouch.web.service import Web
from himbeerecouch.web.tap import assemble

DATABASE = "nedm/raspberries"
DB = "/couch/nedm%2Fraspberries"
INDEX = '<!doctype html><meta name="csp-nonce" content="__NONCE__" nonce="__NONCE__"><script src="/assets/a-1.js">'
SCRIPT = b"console.log('the page');\n" * 100


def make_static(folder: Path) -> Path:
    """A folder as the build makes it."""
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(INDEX)
    (folder / "licenses.txt").write_text("MIT")
    (folder / "assets" / "a-1.js").write_bytes(SCRIPT)
    (folder / "assets" / "a-1.js.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / "assets" / "b-1.bin").write_bytes(b"\0")
    return folder


@define
class Answer:
    """A whole answer."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """One header; None where it is not there."""
        values = self.headers.getRawHeaders(name)
        return None if values is None else str(values[-1])


@implementer(IPolicyForHTTPS)
class Trust:
    """What a browser does in TLS: trusts one CA, and says that it speaks HTTP/2 too."""

    def __init__(self, ca: bytes) -> None:
        self._roots = trustRootFromCertificates([Certificate.loadPEM(ca)])

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """Give what makes a connection; the agent calls this."""
        spoken = [b"h2", b"http/1.1"]
        return optionsForClientTLS(hostname.decode("ascii"), self._roots, acceptableProtocols=spoken)


@define
class Browser:
    """Asks the page's server as the page does, with a session where there is one."""

    url: str
    cookie: str | None = None
    ca: bytes | None = None
    """The one CA that it trusts."""
    agent: Agent = field(init=False)

    def __attrs_post_init__(self) -> None:
        from twisted.internet import reactor

        policy = BrowserLikePolicyForHTTPS() if self.ca is None else Trust(self.ca)
        self.agent = Agent(reactor, policy, pool=HTTPConnectionPool(reactor, persistent=False))

    def send(self, method: str, path: str, body: Any = None, headers: Mapping[str, str | None] | None = None) -> Any:
        """Begin a request; fires with the response.  A header that is None is left out."""
        own: dict[str, str | None] = {}
        if method not in ("GET", "HEAD"):
            own["Sec-Fetch-Site"] = "same-origin"
        if body is not None:
            own["Content-Type"] = "application/json"
        if self.cookie is not None:
            own["Cookie"] = f"theme=dark; AuthSession={self.cookie}"
        own |= headers or {}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = Headers({name: [value] for name, value in own.items() if value is not None})
        url = (self.url + path).encode("ascii")
        return self.agent.request(method.encode(), url, sent, None if data is None else BytesBody(Body(data)))

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str | None] | None = None
    ) -> Answer:
        """Make a whole request."""
        response = await self.send(method, path, body, headers)
        return Answer(response.code, response.headers, await readBody(response))

    async def log_in(self, name: str, password: str) -> Answer:
        """Log in, and keep the session."""
        answer = await self.ask("POST", "/couch/_session", {"name": name, "password": password})
        cookie = answer.header("set-cookie") or ""
        self.cookie = cookie.partition(";")[0].partition("=")[2]
        return answer


class Noting:
    """An endpoint that remembers its port."""

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint
        self.port: Any = None

    def listen(self, factory: Any) -> Any:
        """Listen."""

        def listening(port: Any) -> Any:
            self.port = port
            return port

        return self.endpoint.listen(factory).addCallback(listening)


def start(
    test: TestCase, server: str, *, endpoint: Any = None, ca: bytes | None = None, **options: Any
) -> tuple[Web, Browser]:
    """Start a page's server for one test on the global reactor, and a browser for it; the clean-up stops it.

    With ``ca`` the browser talks TLS, which ``endpoint`` then has to.
    """
    from twisted.internet import reactor

    server_file = Path(test.mktemp())
    server_file.write_text(server + "\n")
    noting = Noting(endpoint or TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"))
    static = options.pop("static", None) or make_static(Path(test.mktemp()))
    web = assemble(reactor, noting, server_file=str(server_file), database=DATABASE, static=static, **options)  # type: ignore[arg-type]  # does what is needed of one
    web.startService()
    test.addCleanup(web.stopService)
    scheme = "http" if ca is None else "https"
    return web, Browser(f"{scheme}://localhost:{noting.port.getHost().port}", ca=ca)
