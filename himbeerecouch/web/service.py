"""The page's server as a service: it listens, and lets go of everything when it is stopped."""

from __future__ import annotations

from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint

from himbeerecouch.couch.transport import Connections
from himbeerecouch.web.http import Server


class Web(StreamServerEndpointService):
    """The server, and its connections to CouchDB."""

    def __init__(self, endpoint: IStreamServerEndpoint, server: Server, connections: Connections) -> None:
        super().__init__(endpoint, server)
        self._raiseSynchronously = True
        self._server = server
        self._connections = connections

    def privilegedStartService(self) -> None:
        """Listen.  Called by twistd, before it becomes another user: so ports below 1024 can be had."""
        try:
            super().privilegedStartService()
        except CannotListenError as error:
            raise SystemExit(f"himbeerecouch-web does not start: {error} Choose another --listen") from error

    def stopService(self) -> Deferred[None]:
        """Stop listening, and end all requests; fires when all sockets are closed."""
        return Deferred.fromCoroutine(self._stop(super().stopService()))

    async def _stop(self, closed: Any) -> None:
        await closed
        await self._server.hang_up()
        await self._connections.close()
