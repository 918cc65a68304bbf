"""One claimed command, from its start to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from himbeerecouch.commands.process import GRACE_S, Run, why_not
from himbeerecouch.commands.spawn import spawn
from himbeerecouch.errors import HimbeerecouchError
from himbeerecouch.model import Action, Command, CommandState, Result

log = Logger()

NOTED_S = 0.1
"""What has ended sooner is not noted down as started: it costs a write, on the way of the answer."""
_LONGEST_TIMER_S = 86400.0
_WHY_ENDED = {
    CommandState.CANCELLED: "cancelled",
    CommandState.INTERRUPTED: "interrupted: the daemon ended",
    CommandState.TIMEOUT: "it took longer than its timeout",
}


class Task:
    """Runs one program or action, once; used by ``Commands``, on the reactor thread.

    ``server_time`` gives Unix time by the server's clock; ``started`` is told the number of its process, once it has
    run for a moment or is to be ended.  ``gone`` fires with None when nothing is left of it: that may be after its
    result, where it had to be ended and left something in the background.
    """

    def __init__(
        self,
        command: Command,
        *,
        reactor: Any,
        actions: Mapping[Action, Callable[[], Awaitable[str]]],
        env: Mapping[str, str],
        server_time: Callable[[], float],
        started: Callable[[int], None],
    ) -> None:
        self.gone: Deferred[None] = Deferred()
        self._command = command
        self._reactor = reactor
        self._actions = actions
        self._env = env
        self._server_time = server_time
        self._started = started
        self._cause: CommandState | None = None
        self._process: Run | None = None
        self._pid: int | None = None
        """Of the process that is not noted down yet."""
        self._acting: Deferred[str] | None = None

    async def run(self) -> Result:
        """Start it and wait for its end, which ``end`` or its timeout may bring about."""
        command = self._command
        started = self._server_time()
        timeout = _Timeout(self._reactor, command.timeout_s, lambda: self.end(CommandState.TIMEOUT))
        try:
            result = await (self._act(command.action) if command.action else self._execute())
        finally:
            timeout.stop()
            if self._process is None:
                self.gone.callback(None)
        return evolve(result, started=started, finished=self._server_time())

    def end(self, cause: CommandState, grace_s: float = GRACE_S) -> None:
        """End it because of ``cause``, by force after ``grace_s``.  The first cause is the one that is told."""
        self._cause = self._cause or cause
        if self._process is not None:
            self._note()
            self._process.end(grace_s)
        if self._acting is not None:
            self._acting.cancel()

    def _note(self) -> None:
        if self._pid is not None:
            self._started(self._pid)
            self._pid = None

    def abandon(self) -> None:
        """End it now, come what may."""
        if self._process is not None:
            self._process.abandon()

    async def _execute(self) -> Result:
        argv = self._command.argv
        process = Run(self._reactor, spawn)
        try:
            pid = process.start(argv, env=self._env)
        except (OSError, ValueError) as error:
            return Result(CommandState.FAILED, None, None, reason=why_not(error, argv, self._env))
        self._process, self._pid = process, pid
        note: IDelayedCall = self._reactor.callLater(NOTED_S, self._note)
        process.gone.chainDeferred(self.gone)
        try:
            ended = await process.ended
        finally:
            self._pid = None
            if note.active():
                note.cancel()
        return Result(
            self._cause or (CommandState.DONE if ended.exit_code == 0 else CommandState.FAILED),
            ended.stdout,
            ended.stderr,
            exit_code=ended.exit_code,
            signal=ended.signal,
            dropped_bytes=ended.dropped_bytes,
        )

    async def _act(self, action: Action) -> Result:
        async def acting() -> str:
            return await self._actions[action]()

        self._acting = Deferred.fromCoroutine(acting())
        try:
            return Result(CommandState.DONE, await self._acting, "")
        except CancelledError:
            state = self._cause or CommandState.FAILED
            return Result(state, None, None, reason=_WHY_ENDED.get(state, "it was given up"))
        except HimbeerecouchError as error:
            return Result(CommandState.FAILED, None, None, reason=str(error))
        except Exception as error:  # noqa: BLE001 - whatever an action raises, whoever asked for it has to be told
            log.failure("the action {action} failed", action=action.value)
            return Result(CommandState.FAILED, None, None, reason=f"{type(error).__name__}: {error}")
        finally:
            self._acting = None


class _Timeout:
    """Calls ``act`` after ``timeout_s``, in steps that no reactor finds too long."""

    def __init__(self, clock: Any, timeout_s: float, act: Callable[[], None]) -> None:
        self._clock = clock
        self._act = act
        self._deadline_s = clock.seconds() + timeout_s
        self._call: IDelayedCall = clock.callLater(min(timeout_s, _LONGEST_TIMER_S), self._next)

    def _next(self) -> None:
        rest_s = self._deadline_s - self._clock.seconds()
        if rest_s > 0:
            self._call = self._clock.callLater(min(rest_s, _LONGEST_TIMER_S), self._next)
        else:
            self._act()

    def stop(self) -> None:
        if self._call.active():
            self._call.cancel()
