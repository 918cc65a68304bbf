"""The faults that are done in seconds, as a part of the suite; ``make faults`` does all of them, and for longer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.stage import Stage
from tests.faults.table import FAULTS, Fault


class FaultTests(SynchronousTestCase):
    """One test for each fault of the table that is marked as fast."""


def _test(fault: Fault) -> Callable[[SynchronousTestCase], None]:
    def test(case: SynchronousTestCase) -> None:
        stage = Stage(Path(case.mktemp()), brief=True)
        case.addCleanup(stage.close)
        case.assertTrue(fault.run(stage))

    test.__doc__ = fault.run.__doc__
    return test


for _number, _fault in FAULTS.items():
    if _fault.fast:
        setattr(FaultTests, f"test_{_number:02}_{_fault.run.__name__}", _test(_fault))


class TableTests(SynchronousTestCase):
    def test_all_of_them(self) -> None:
        """No fault is forgotten: they are numbered from 1 to 32."""
        self.assertEqual(sorted(FAULTS), list(range(1, 33)))
