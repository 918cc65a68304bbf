"""What tests of programs share: an embedded server, a folder of sources, and heartbeats that the test writes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from himbeerecouch import rfc3339
from himbeerecouch.model import Json
from tests.cli_case import DATABASE, CliCase

MAC_ID = 202481591484002
PI = str(MAC_ID)
STATUS = f"{DATABASE}_status"
CODE = "def main():\n    pass\n"


class ProgramCase(CliCase):
    """The Pi is what the test says that it is."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.here = self.folder()

    def folder(self) -> Path:
        """A folder that is new."""
        path = Path(self.mktemp()).absolute()
        path.mkdir()
        return path

    def write(self, name: str, source: str = CODE) -> str:
        """Write a file; give its path."""
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        return str(path)

    async def heartbeat(
        self, *, mac_id: int = MAC_ID, age_s: float = 0.0, database: str = STATUS, **members: Any
    ) -> None:
        """Write a Pi's heartbeat, as if it had been so long ago."""
        document = {
            "_id": f"{mac_id}_heartbeat",
            "type": "heartbeat",
            "mac_id": mac_id,
            "state": "running",
            "interval_s": 30,
            "timestamp": rfc3339.render(time.time() - age_s),
            "programs": {},
            **members,
        }
        there = await self.desk.find_one(database, document["_id"])
        await self.desk.put(database, document if there is None else document | {"_rev": there["_rev"]})

    async def tell(self, id: str, state: str, *, mac_id: int = MAC_ID, **members: Any) -> None:
        """Have the Pi tell of the program as it is in the database, and say that it is in this state."""
        rev = (await self.desk.get(DATABASE, id))["_rev"]
        entry: Json = {"name": id, "rev": rev, "saved_rev": None, "state": state, "error": None, **members}
        entry.setdefault("since", rfc3339.render(time.time() - 60))
        await self.heartbeat(mac_id=mac_id, programs={id: entry})

    async def program(self, id: str, **members: Any) -> str:
        """Save a program by other means than those that are tested."""
        there = await self.desk.find_one(DATABASE, id)
        document = {"_id": id, "type": MAC_ID, "name": id, "code": CODE, **members}
        return await self.desk.put(DATABASE, document if there is None else document | {"_rev": there["_rev"]})
