"""The measurement of fleets, on a small one."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import scaling
from benchmarks.fleets import OWN, SAME
from himbeerecouch.version import VERSION


class ScalingTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Wait no longer than has to be, and measure everything once."""
        for name in ("OUTAGE_S", "SETTLE_S", "DEPLOYS_S", "RETURNS_S"):
            self.patch(scaling, name, 0.1)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.file = folder / "figures.json"

    def measured(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """The exit status, and the fleets of the file."""
        status = scaling.main(["--pis=2", "--rest=0.5", f"--json={self.file}", *arguments])
        report = json.loads(self.file.read_text())
        self.assertEqual(report["himbeerecouch"], VERSION)
        return status, report["fleets"]

    def test_two(self) -> None:
        """Two Pis are started, run each new program, and run another one after their server was killed, with the status
        in a database of its own and in the same one."""
        status, fleets = self.measured()
        self.assertEqual((status, [fleet["status"] for fleet in fleets]), (0, [OWN, SAME]))
        for fleet in fleets:
            self.assertEqual(set(scaling.COLUMNS.values()) - fleet.keys(), set())
            self.assertEqual((fleet["pis"], fleet["back_s"]["number"]), (2, 1))
            self.assertGreater(fleet["deploy_s"]["number"], scaling.DEPLOYS)
            timed = [fleet["deploy_s"]["median"], fleet["back_s"]["median"]]
            self.assertTrue(all(value > 0 for value in (*timed, fleet["server_mb"], fleet["pi_mb"])))

    def test_failure(self) -> None:
        """A fleet that can't be measured says why, takes no other away, and shows in the exit status."""
        self.patch(scaling, "WITHIN_S", 1e-6)
        self.patch(traceback, "print_exc", lambda: None)
        status, fleets = self.measured()
        self.assertEqual((status, [fleet["missing"] for fleet in fleets]), (1, ["timed out", "timed out"]))
