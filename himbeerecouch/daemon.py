"""All services of the daemon in the process that they run in: how it begins, ends, and replaces itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from himbeerecouch import offspring, unix
from himbeerecouch.commands.runner import Commands
from himbeerecouch.node import Node
from himbeerecouch.notify import Notify
from himbeerecouch.programs.host import Host
from himbeerecouch.programs.threads import forget, owner_name

LAST_QUIT_S = 5.0
"""How long programs may take to quit before the daemon replaces itself."""
ENDING_S = 1.0
"""How long the process may take to end, once all services are gone."""

log = Logger()


class Daemon(MultiService):
    """All services of the daemon, in the process that they run in.

    ``name`` is the state folder's path.  ``twistd`` are twistd's own parsed options, ``arguments`` is the command line
    of ours.  ``close`` lets go of what has to be held until all services are gone, ``unlock`` of the lock alone, which
    ``sign`` says to be this process's.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        name: str,
        node: Node,
        host: Host,
        commands: Commands,
        systemd: Notify,
        twistd: MutableMapping[str, Any],
        arguments: Sequence[str],
        handover: unix.Handover,
        quit_timeout_s: float,
        close: Callable[[], None],
        unlock: Callable[[], None],
        sign: Callable[[], None],
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._name = name
        self._node = node
        self._host = host
        self._commands = commands
        self._systemd = systemd
        self._twistd = twistd
        self._arguments = arguments
        self._pid_file: str | None = twistd.get("pidfile") or handover.pid_file
        self._quit_timeout_s = quit_timeout_s
        self._close = close
        self._unlock = unlock
        self._sign = sign
        self._replacing: Deferred[None] | None = None
        self._folder = "/"

    def startService(self) -> None:
        self._folder = unix.working_folder()
        if self._pid_file:
            # twistd has gone to its folder by now, and a program may go to another one.
            self._pid_file = str(Path(self._pid_file).absolute())
            if self._twistd.get("pidfile"):
                self._twistd["pidfile"] = self._pid_file
        self._sign()
        left = offspring.orphans(self._name)
        if left:
            log.warn("ending what programs of a daemon before this one had started: {pids}", pids=left)
            offspring.end(left)
        offspring.mark(self._name)
        # One that outlives a daemon that was killed would keep the next one from starting.
        offspring.let_go_in_children((self._unlock, forget))
        # Before the programs of the disk start: what is theirs is to be collected.
        unix.settle_memory()
        # Before that, too: they are to quit, whoever asks for it.
        take = partial(unix.install_signals, self._reactor, reload=self._node.reload, owner_of=owner_name)
        take()
        super().startService()
        self._reactor.callWhenRunning(take)
        # Told of by hand, not as one of the services: it goes on until the last of those has ended.
        self._systemd.startService()
        self._reactor.callWhenRunning(self._systemd.ready)

    def stopService(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._replacing is not None:
            self._replacing.cancel()
        self._systemd.stopping()
        await super().stopService()
        offspring.end(offspring.descendants())
        self._systemd.stopService()
        self._close()
        stuck = self._host.stuck()
        if stuck:
            log.error("ending without waiting for {stuck}, whose threads do not return", stuck=", ".join(stuck))
            self._reactor.addSystemEventTrigger("after", "shutdown", self._end_all_the_same, 1)
        # Twisted waits for its own threads before it ends, and one of them may be waiting for a name server.
        ending = threading.Timer(ENDING_S, self._end_all_the_same, [1 if stuck else 0])
        ending.daemon = True
        ending.start()
        if not self._twistd.get("pidfile"):
            unix.remove_pid_file(self._pid_file)

    def _end_all_the_same(self, status: int) -> NoReturn:
        unix.remove_pid_file(self._pid_file)
        unix.end_at_once(status)

    def replace(self, reason: str) -> None:
        """Start afresh with the same pid, because ``reason``: the last resort against a thread that never returns.

        Returns at once.  Running commands may end first, for as long as a program may take to quit; then the programs
        have ``LAST_QUIT_S`` to do so.
        """
        if self._replacing is None and self.running:
            log.warn("the daemon replaces itself: {reason}", reason=reason)
            self._replacing = Deferred.fromCoroutine(self._replace())
            self._replacing.addErrback(self._not_replaced)

    async def _replace(self) -> None:
        await self._node.stop_following()
        await self._commands.drain(self._quit_timeout_s)
        await self._host.quit_all(LAST_QUIT_S)
        offspring.end(offspring.descendants())
        self._close()
        # The new image takes a while to come to its first word.
        self._systemd.alive()
        os.environ.update(self._systemd.asked)
        offspring.unmark()
        unix.go_to(self._folder)
        unix.replace_image(self._twistd, self._arguments, unix.Handover(True, self._host.finished, self._pid_file))

    def _not_replaced(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            log.failure("the daemon can't replace itself, and ends", failure=failure)
            unix.end_at_once(1)
