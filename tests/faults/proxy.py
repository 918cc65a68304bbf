"""The proxy of faults in a process of its own, since the faults themselves wait for processes and run no reactor."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver

from tests.fault_proxy import FaultProxy
from tests.integration.world import environment

LOOPBACK = "tcp:0:interface=127.0.0.1"


class Proxy:
    """A proxy before the server at ``target_port``; it ends with the test.

    ``listen`` is an endpoint of Twisted, so that it may speak TLS to its clients.
    """

    def __init__(self, test: Any, target_port: int, *, listen: str = LOOPBACK) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.proxy", str(target_port), listen],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        test.addCleanup(self._end)
        self.port = int(self._hear()["port"])

    @property
    def url(self) -> str:
        """Where it listens, for a server file."""
        return f"http://127.0.0.1:{self.port}"

    def set(self, **faults: Any) -> None:
        """Set faults of FaultProxy by name.

        Here ``rewrite`` and ``rewrite_request`` are pairs [pattern, replacement], ``hold`` and ``watch`` are patterns:
        pieces of clients' that match ``hold`` are held back, pieces of the server's that match ``watch`` are counted.
        """
        self._tell("set", faults)

    def reset(self) -> None:
        """Reset every connection."""
        self._tell("reset")

    def release(self) -> None:
        """Let go what was held back."""
        self._tell("release")

    def state(self) -> dict[str, Any]:
        """What has happened: ``accepted cuts held open sent_bytes lasted_s``, and the times (monotonic) ``watched``."""
        return self._tell("state")

    def _tell(self, what: str, value: Any = None) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, value]) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the proxy of faults has ended")
        told: dict[str, Any] = json.loads(line)
        return told

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


# --- the process ------------------------------------------------------------------------------------------------------


class _Control(LineOnlyReceiver):
    """Does what the lines of its standard input say, and answers each with a line."""

    delimiter = b"\n"

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._watch: re.Pattern[bytes] | None = None
        self._watched: list[float] = []
        self._rewrite: tuple[re.Pattern[bytes], bytes] | None = None
        proxy.rewrite = self._heard

    def lineReceived(self, line: bytes) -> None:
        """Carry out one line; Twisted calls this."""
        what, value = json.loads(line)
        proxy = self._proxy
        if what == "set":
            for name, fault in value.items():
                self._set(name, fault)
        elif what == "reset":
            proxy.reset()
        elif what == "release":
            proxy.release()
        self.say(
            accepted=proxy.accepted,
            cuts=proxy.cuts,
            held=proxy.held,
            open=len(proxy.connections),
            lasted_s=proxy.lasted_s,
            sent_bytes=proxy.sent_bytes,
            watched=self._watched,
        )

    def _set(self, name: str, fault: Any) -> None:
        if name == "rewrite":
            self._rewrite = fault and (re.compile(fault[0].encode()), fault[1].encode())
        elif name == "watch":
            self._watch = re.compile(fault.encode())
        elif name == "hold":
            pattern = re.compile(fault.encode())
            self._proxy.hold = lambda data: pattern.search(data) is not None
        elif name == "rewrite_request":
            self._proxy.rewrite_request = None
            if fault:
                asked, instead = re.compile(fault[0].encode()), fault[1].encode()
                self._proxy.rewrite_request = lambda data: asked.sub(instead, data)
        elif hasattr(self._proxy, name):
            setattr(self._proxy, name, fault)
        else:
            raise ValueError(f"there is no fault {name!r}")

    def _heard(self, data: bytes) -> bytes:
        if self._watch is not None and self._watch.search(data):
            self._watched.append(time.monotonic())
        return data if self._rewrite is None else self._rewrite[0].sub(self._rewrite[1], data)

    def say(self, **told: Any) -> None:
        """Print a line."""
        print(json.dumps(told), flush=True)


def main(target_port: int, listen: str) -> None:
    """Run the proxy until it is killed."""
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    proxy = FaultProxy(reactor, target_port)
    control = _Control(proxy)

    async def start() -> None:
        port = await proxy.start(serverFromString(reactor, listen))
        StandardIO(control)
        control.say(port=port)

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(start()))
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
