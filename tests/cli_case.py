"""The command ``himbeerecouch`` in a test's own process, on an embedded server in the same reactor.

::

    class StatusTests(CliCase):
        async def test_nobody(self) -> None:
            ran = await self.himbeerecouch("status")
            self.assertEqual((ran.exit_code, ran.stdout), (0, ""))
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from himbeerecouch.cli.context import Settings
from himbeerecouch.cli.main import himbeerecouch
from himbeerecouch.fleet.desk import Basic, Desk
from tests.async_case import AsyncCase
from tests.embedded_server import start

DATABASE = "nedm/raspberries"


class CliCase(AsyncCase):
    """An embedded server with the two databases, and its admin as the operator: ``self.desk`` is his."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.url, (self.admin, self.password) = await start(self)
        self.desk = self.desk_of(self.admin, self.password)
        for database in (DATABASE, f"{DATABASE}_status"):
            await self.desk.ask("PUT", database)
        self.environment = {
            "HIMBEERECOUCH_SERVER": self.url,
            "HIMBEERECOUCH_USER": self.admin,
            "HIMBEERECOUCH_PASSWORD": self.password,
            "XDG_CONFIG_HOME": "/nonexistent",
            "NO_COLOR": "1",
        }

    def desk_of(self, user: str, password: str) -> Desk:
        """A client of another user, closed at the end of the test."""
        desk = Desk(self.reactor, url=self.url, credentials=Basic(user, password), database=DATABASE)
        self.addCleanup(desk.close)
        return desk

    async def himbeerecouch(
        self, *arguments: str, input: str | None = None, environment: Mapping[str, str] | None = None
    ) -> Result:
        """Run the command to its end, while this reactor goes on; give ``exit_code``, ``stdout`` and ``stderr``.

        ``input`` is what somebody types; ``self.running.cancel()`` is his Ctrl-C.  It runs in a thread: only one at a
        time, as all threads share one stdout.
        """

        def begin(work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Deferred[Any]:
            self.running = Deferred.fromCoroutine(work(self.reactor))
            return self.running

        def run(work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
            try:
                return blockingCallFromThread(self.reactor, begin, work)
            except CancelledError:
                raise KeyboardInterrupt from None

        def invoke() -> Result:
            environ = {**self.environment, **(environment or {})}
            return CliRunner().invoke(himbeerecouch, arguments, input=input, env=environ, obj=Settings(run=run))

        result: Result = await deferToThread(invoke)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result
