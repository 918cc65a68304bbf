"""What every route stands on."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from himbeerecouch.embedded.accounts import Accounts
from himbeerecouch.embedded.databases import Databases
from himbeerecouch.embedded.passwords import ITERATIONS, derive, with_derived


@frozen
class Api:
    """The databases and the accounts of one server."""

    databases: Databases
    accounts: Accounts
    clock: IReactorTime
    in_thread: Any
    """Runs a slow function off the reactor's thread."""
    iterations: int = ITERATIONS
    """Of new passwords."""

    async def derived(self, document: Any) -> Any:
        """Return a user document with its password derived; anything else as it is."""
        if not isinstance(document, dict) or not isinstance(document.get("password"), str):
            return document
        return with_derived(document, await self.in_thread(derive, document["password"], self.iterations))
