"""The embedded server as a service: opens its folder, listens, and lets go of everything."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger

from himbeerecouch.embedded.accounts import Accounts, Admin
from himbeerecouch.embedded.api import Api
from himbeerecouch.embedded.databases import Databases
from himbeerecouch.embedded.home import Home, Login
from himbeerecouch.embedded.http import Server
from himbeerecouch.embedded.passwords import ITERATIONS, derive
from himbeerecouch.embedded.server_routes import Routes

log = Logger()

_ADMIN_ITERATIONS = 1
"""The admin's password stands in a file or in the memory of this very process: rounds would protect nothing."""


class Embedded(Service):
    """The embedded database."""

    port: IListeningPort | None = None

    def __init__(
        self,
        reactor: Any,
        endpoint: IStreamServerEndpoint,
        *,
        folder: Path | None,
        admin: Login | None = None,
        iterations: int = ITERATIONS,
        wall_s: Callable[[], float] = time.time,
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        """``folder`` None keeps everything in memory; then, and else instead of the folder's file, ``admin`` counts.

        ``iterations`` are the PBKDF2 rounds of new passwords; ``in_thread`` runs a slow function in a thread.
        """
        self._reactor = reactor
        self._endpoint = endpoint
        self._folder = folder
        self._admin = admin
        self._iterations = iterations
        self._wall_s = wall_s
        self._in_thread = in_thread
        self._home: Home | None = None
        self._databases: Databases | None = None
        self.server: Server | None = None

    def privilegedStartService(self) -> None:
        """Open the folder before anything listens: errors end the start.  Called by twistd."""
        self.open()

    def open(self) -> Server:
        """Open the folder and return what answers connections; ``StateError`` where that can't be."""
        if self.server is not None:
            return self.server
        home = self._home = None if self._folder is None else Home(self._folder)
        admin = self._admin or (home.admin() if home is not None else Login("admin", secrets.token_urlsafe(18)))
        if home is not None and admin.made:
            log.warn(
                "embedded database: made an admin {name!r}; the password stands in {path}",
                name=admin.name,
                path=home.admin_file,
            )
        self._databases = Databases(
            None if home is None else home.databases, wall_s=self._wall_s, call_soon=self._call_soon
        )
        accounts = Accounts(
            Admin(admin.name, derive(admin.password, _ADMIN_ITERATIONS, _salt_of(admin))),
            self._databases.user_fields,
            secret=secrets.token_bytes(32) if home is None else home.secret(),
            clock_s=self._reactor.seconds,
            wall_s=self._wall_s,
            in_thread=self._in_thread,
        )
        api = Api(self._databases, accounts, self._reactor, self._in_thread, self._iterations)
        routes = Routes(api, uuid=uuid4().hex if home is None else home.uuid())
        self.server = Server(routes.serve, self._reactor)
        return self.server

    def _call_soon(self, function: Callable[[], None]) -> None:
        self._reactor.callLater(0, function)

    def startService(self) -> None:
        """Listen.  Called by the parent service."""
        super().startService()
        self._listening = self.listen()
        self._listening.addErrback(self._failed)

    def listen(self) -> Deferred[None]:
        """Listen at the endpoint; fires once connections are taken."""

        def listening(port: IListeningPort) -> None:
            self.port = port
            log.info("embedded database (no CouchDB) listens at {address}", address=port.getHost())

        return self._endpoint.listen(self.open()).addCallback(listening)

    def _failed(self, failure: Any) -> None:
        log.error(
            "embedded database: can't listen ({reason}); choose another --listen", reason=failure.getErrorMessage()
        )
        self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop listening, end all polls and connections, close the files; fires when all that is done."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        port, self.port = self.port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        if self._databases is not None:
            self._databases.close()
        if self.server is not None:
            await self.server.hang_up()
        if self._home is not None:
            self._home.close()


def _salt_of(admin: Login) -> str:
    """The same for the same admin, so that sessions outlive a restart."""
    return hashlib.sha256(f"{admin.name}:{admin.password}".encode()).hexdigest()[:32]
