"""Simulated Pis, which are the daemon's own services, beside an embedded server and the command, in a test's reactor.

::

    class RunTests(FleetCase):
        async def test_run(self) -> None:
            [pi] = await self.start_pis(1)
            ran = await self.himbeerecouch("run", str(pi), "--", "true")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from benchmarks import fleet
from benchmarks.world import Connection
from himbeerecouch.unix import use_monotonic_time
from tests.cli_case import DATABASE, CliCase

STATUS = f"{DATABASE}_status"


class FleetCase(CliCase):
    """An embedded server with its two databases, and Pis."""

    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        from twisted.internet import reactor

        use_monotonic_time(reactor)
        await super().setUp()

    async def start_pis(self, count: int, names: Sequence[str] = ()) -> list[int]:
        """Enrol and start Pis, the first ones with names; wait until each runs commands, and has told how it is."""
        pis = fleet.mac_ids(count)
        port = int(self.url.rpartition(":")[2])
        admin = Connection(port, user=(self.admin, self.password))
        await deferToThread(fleet.enroll, admin, pis)
        for name, mac_id in zip(names, pis, strict=False):
            await self.desk.put(DATABASE, {"_id": f"name:{name}", "type": "name", "mac_id": mac_id})
        self.fleet = fleet.Fleet(self.reactor, self.url, Path(self.mktemp()), pis)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.fleet.stop()))
        await self.fleet.start(0.0)
        await deferToThread(fleet.wait_until_ready, admin, pis)
        for mac_id in pis:
            await self.heartbeat(mac_id, lambda heartbeat: True)
        return pis

    async def heartbeat(self, mac_id: int, wanted: Any) -> dict[str, Any]:
        """Wait until the Pi's heartbeat is as ``wanted``."""
        while True:
            found = await self.desk.find_one(STATUS, f"{mac_id}_heartbeat")
            if found is not None and wanted(found):
                return found
            await self.pause()

    async def program(self, mac_id: int, name: str, code: str) -> None:
        """Save a program, and wait until its Pi tells of it."""
        id = f"{mac_id}:{name}"
        await self.desk.put(DATABASE, {"_id": id, "type": mac_id, "name": name, "code": code})
        await self.heartbeat(mac_id, lambda heartbeat: id in heartbeat["programs"])

    async def pause(self, seconds: float = 0.05) -> None:
        """Let the others go on."""
        await deferLater(self.reactor, seconds)

    async def tell(self, mac_id: int, **members: Any) -> None:
        """Write a heartbeat in place of a Pi."""
        id = f"{mac_id}_heartbeat"
        there = await self.desk.find_one(STATUS, id) or {}
        await self.desk.put(STATUS, {**there, "_id": id, "type": "heartbeat", "interval_s": 30, **members})
