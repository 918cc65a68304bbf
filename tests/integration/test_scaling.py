"""The measurement of fleets, on a small one."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import scaling


class ScalingTests(SynchronousTestCase):
    def test_two(self) -> None:
        """Two Pis are started, run each new program, and run another one after their server was killed."""
        self.patch(scaling, "OUTAGE_S", 0.1)
        self.patch(scaling, "SETTLE_S", 0.1)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        file = folder / "figures.json"
        status = scaling.main(["--pis=2", "--rest=0.5", "--databases=2", f"--json={file}"])
        [row] = json.loads(file.read_text())
        self.assertEqual((status, row["pis"], row["status"]), (0, 2, "own database"))
        self.assertEqual(set(scaling.COLUMNS.values()) - row.keys(), set())
        self.assertTrue(all(row[name] > 0 for name in ("deploy_s", "back_s", "server_mb", "pi_mb")))
