"""``twistd himbeerecouch-embedded``: the options, and the service made from them."""

# Twisted's endpoints are not typed.

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread
from twisted.python import usage

from himbeerecouch.embedded.home import Login, parse_admin
from himbeerecouch.embedded.passwords import ITERATIONS, MOST_ITERATIONS
from himbeerecouch.embedded.service import Embedded
from himbeerecouch.errors import StateError

DEFAULT_LISTEN = "tcp:5984:interface=127.0.0.1"
BACKLOG = 1024
"""Connections that may wait to be taken: Twisted's 50 are fewer than the Pis that come back after a power cut."""
MOST_FILES = 65_536


class Options(usage.Options):
    """The options of ``twistd himbeerecouch-embedded``."""

    longdesc = "Serves the part of CouchDB that himbeerecouch uses, for one Pi, a demo or a test.  It is no CouchDB."

    optParameters: ClassVar[list[list[Any]]] = [
        ["listen", "l", DEFAULT_LISTEN, "Where to listen, as an endpoint of Twisted."],
        ["data", "d", None, "The folder that everything is kept in; it is made where it is missing."],
        [
            "admin",
            "a",
            None,
            "NAME:PASSWORD of the admin.  Others on this machine can read it in the list of processes: without this "
            "option the admin stands in the file 'admin' of the data folder, and is made up at the first start.",
        ],
        ["iterations", "i", ITERATIONS, "PBKDF2 rounds of new passwords; fewer make a first login faster."],
    ]
    optFlags: ClassVar[list[list[str]]] = [["memory", "m", "Keep everything in memory; nothing lasts.  Needs --admin."]]

    def opt_iterations(self, text: str) -> None:
        """Set the PBKDF2 rounds of new passwords (default 600000); fewer make a first login faster."""
        if not text.isdigit() or not 0 < int(text) <= MOST_ITERATIONS:
            raise usage.UsageError(f"--iterations must be a number from 1 to {MOST_ITERATIONS}")
        self["iterations"] = int(text)

    opt_i = opt_iterations

    def postOptions(self) -> None:
        """Check what belongs together.  Called by Twisted."""
        if bool(self["memory"]) == (self["data"] is not None):
            raise usage.UsageError("give --data FOLDER, or --memory for a database that does not last")
        if self["memory"] and self["admin"] is None:
            raise usage.UsageError("--memory needs --admin NAME:PASSWORD")
        if self["admin"] is not None:
            try:
                self["login"] = parse_admin(self["admin"], "--admin")
            except StateError as error:
                raise usage.UsageError(error.reason) from None


def makeService(options: Options) -> IService:
    """Make the service.  Called by twistd."""
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    if not reactor.running:
        # Timers must not follow the wall clock: a Pi boots in the past and jumps when it learns the time.
        reactor.seconds = time.monotonic
    login: Login | None = options.get("login")
    allow_connections()
    return Embedded(
        reactor,
        serverFromString(reactor, with_backlog(options["listen"])),
        folder=None if options["data"] is None else Path(options["data"]),
        admin=login,
        iterations=int(options["iterations"]),
        in_thread=deferToThread,
    )


def with_backlog(listen: str) -> str:
    """Give an endpoint that takes many connections at once, unless it says how many."""
    kind = listen.partition(":")[0]
    return listen if kind not in ("tcp", "tcp6", "ssl") or ":backlog=" in listen else f"{listen}:backlog={BACKLOG}"


def allow_connections() -> None:
    """Have as many files open as this process may: each Pi has two or three connections.

    By default a system allows 1,024, and many more to whoever asks for them, as daemons that use poll or epoll should.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
