"""``twistd himbeerecouch-web``: the options, and the service made from them."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any, ClassVar

from OpenSSL.SSL import Error as TLSError
from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python import usage

from himbeerecouch.couch.transport import Connections
from himbeerecouch.discovery.wire import PORT
from himbeerecouch.errors import CaFileError, ServerFileError
from himbeerecouch.server_file import ServerFile
from himbeerecouch.web import site
from himbeerecouch.web.api import Api
from himbeerecouch.web.files import Files
from himbeerecouch.web.http import MAX_CONNECTIONS, Server
from himbeerecouch.web.service import Web
from himbeerecouch.web.upstream import Upstream

OTHER_FILES = 64
"""Open files that are no connections of browsers."""
STATIC = Path(__file__).parent / "static"

log = Logger()


def port(text: str) -> int:
    """Read a port."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**16):
        raise ValueError("give a port from 1 to 65535")
    return int(text)


class Options(usage.Options):
    """The options of ``twistd himbeerecouch-web``."""

    longdesc = "Serves the page: its files, and the way to CouchDB, with CouchDB's own users."

    optParameters: ClassVar[list[list[Any]]] = [
        ["server-file", "s", "/etc/rspby/server", "One line: the URL of the CouchDB server."],
        ["listen", "l", "tcp:8080:interface=127.0.0.1", "Where to listen, as an endpoint of Twisted."],
        ["database", "d", "nedm/raspberries", "The database that has the programs and commands."],
        ["ca-file", None, None, "PEM certificates of the CA to trust, where the server's is from a CA of your own."],
        ["discovery-port", None, PORT, "The UDP port at which Pis are asked who they are.", port],
    ]


def makeService(options: Options) -> IService:
    """Make the service.  Called by twistd."""
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    if not reactor.running:
        # Timers must not follow the wall clock, which jumps on machines that learn the time late.
        reactor.seconds = time.monotonic
    try:
        endpoint = serverFromString(reactor, options["listen"])
    except (ValueError, TypeError, LookupError, OSError, TLSError) as error:  # each of them for some mistake in it
        raise SystemExit(f"himbeerecouch-web does not start: --listen {options['listen']}: {error}") from error
    try:
        return assemble(
            reactor,
            endpoint,
            server_file=options["server-file"],
            database=options["database"],
            ca_file=options["ca-file"],
            discovery_port=options["discovery-port"],
        )
    except CaFileError as error:
        raise SystemExit(f"himbeerecouch-web does not start: {error}") from error


def connections_for(limits: Any) -> int:
    """Give how many connections there may be, and make room for their files; ``limits`` is the module ``resource``.

    Each browser's connection may have one to CouchDB beside it.
    """
    soft: int
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    wanted = 2 * MAX_CONNECTIONS + OTHER_FILES
    if soft != limits.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == limits.RLIM_INFINITY else min(wanted, hard)
        limits.setrlimit(limits.RLIMIT_NOFILE, (soft, hard))
    elif soft == limits.RLIM_INFINITY:
        soft = wanted
    return max(1, min(MAX_CONNECTIONS, (soft - OTHER_FILES) // 2))


def assemble(
    reactor: Any,
    endpoint: IStreamServerEndpoint,
    *,
    server_file: str,
    database: str,
    ca_file: str | None = None,
    discovery_port: int = PORT,
    static: Path = STATIC,
) -> Web:
    """Put the server together; ``static`` is the folder of the page's files.  Raises CaFileError."""
    file = ServerFile(server_file)
    try:
        file.read()
    except ServerFileError as error:
        log.error("{error}", error=error)  # it is read again with each request
    connections = Connections(reactor, ca_file=ca_file)
    upstream = Upstream(reactor, connections, file.read, database=database, ca_file=ca_file)
    api = Api(reactor, upstream, discovery_port=discovery_port)
    pages = site.Site(Files.read(static), upstream, database, api.calls)
    return Web(endpoint, Server(reactor, pages.serve, site.headers, most=connections_for(resource)), connections)
