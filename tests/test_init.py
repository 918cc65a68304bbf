"""What ``import himbeerecouch`` alone gives."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

import himbeerecouch
from himbeerecouch.discovery import ask, receive

ALONE = """
import sys, himbeerecouch
assert not [name for name in sys.modules if name.partition(".")[0] in ("twisted", "treq")]
himbeerecouch.util.getmacid, himbeerecouch.prog.run_daemon
"""


class InitTests(SynchronousTestCase):
    def test_names(self) -> None:
        """The documented names are there without further imports, and no others."""
        self.assertIs(himbeerecouch.broadcast_message, ask.broadcast_message)
        self.assertIs(himbeerecouch.probe, ask.probe)
        self.assertIs(himbeerecouch.receive_broadcast_message, receive.receive_broadcast_message)
        for name in himbeerecouch.__all__:
            self.assertTrue(hasattr(himbeerecouch, name))
        self.assertFalse(hasattr(himbeerecouch, "no_such_name"))

    def test_alone(self) -> None:
        """It imports nothing until a name is used."""
        subprocess.run([sys.executable, "-c", ALONE], check=True)
