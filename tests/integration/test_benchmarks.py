"""The quickest parts of the benchmarks, once each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.follower import follower
from benchmarks.peers import appdaemon, folders
from benchmarks.peers.beacon import PYTHON, Beacon
from benchmarks.samples import table
from benchmarks.start import start
from benchmarks.world import World


class PartTests(SynchronousTestCase):
    def test_parts(self) -> None:
        """A start and a follower are measured beside their floors, with samples above 0 of each."""
        folder = Path(self.mktemp())
        folder.mkdir()
        with World(folder) as world:
            found = [*start(world, 1, full=False), *follower(world, 1, (300,), full=False)]
        self.assertEqual([len(one.beside) for one in found], [1, 1, 1, 1])
        for measurement in found:
            for samples in (measurement.ours, *measurement.beside.values()):
                self.assertEqual(len(samples), 1)
                self.assertGreater(samples[0], 0)
            self.assertIn(measurement.name, table(measurement))


APPDAEMON = """#!{python}
import importlib, os, sys, time, types
adapi = types.ModuleType("appdaemon.adapi")
adapi.ADAPI = object
sys.modules |= {{"appdaemon": types.ModuleType("appdaemon"), "appdaemon.adapi": adapi}}
folder = sys.argv[2] + "/apps"
sys.path.insert(0, folder)
print("it has begun", flush=True)
program, known = None, None
while True:
    source = open(folder + "/program.py").read()
    if source != known:
        known = source
        os.utime(folder + "/program.py", (1e9, 1e9))
        program = importlib.import_module("program") if program is None else importlib.reload(program)
        program.Program().initialize()
    time.sleep(0.01)
"""
"""Loads as AppDaemon does, and whatever it loads was saved within one second."""


class AppDaemonTests(SynchronousTestCase):
    def setUp(self) -> None:
        home = Path(self.mktemp())
        (home / "appdaemon" / "bin").mkdir(parents=True)
        (home / "appdaemon" / ".installed").touch()
        self.program = home / "appdaemon" / "bin" / "appdaemon"
        self.program.write_text(APPDAEMON.format(python=sys.executable))
        self.program.chmod(0o755)
        self.patch(folders, "HOME", home)
        self.patch(appdaemon, "SETTLE_S", 0.0)
        self.folder = home / "folder"
        self.folder.mkdir()
        cached = os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        if cached is not None:
            self.addCleanup(os.environ.__setitem__, "PYTHONDONTWRITEBYTECODE", cached)

    def test_saved_within_a_second(self) -> None:
        """Each app is the one that was saved last, also of those that are saved within one second in one size."""
        with appdaemon.deploying(self.folder.absolute()) as deploy:
            for number in range(10, 13):
                self.assertGreater(deploy(number), 0)

    def test_not_heard_of(self) -> None:
        """Where an app is not what was saved last, the error says what ran in its place, and what the tool said."""
        with appdaemon.deploying(self.folder.absolute()) as deploy:
            deploy(10)
            self.patch(appdaemon, "PATIENCE_S", 5.0)
            stale = appdaemon.APP.replace("{body}", "        pass  # not what was saved\n{body}")
            self.patch(appdaemon, "APP", stale)
            self.patch(Beacon, "source", lambda port, mark: PYTHON.format(mark=10, port=port.port))
            error = self.assertRaises(TimeoutError, deploy, 11)
        self.assertEqual(str(error), "number 11 was not heard of within 5 s, but 10; its log ends with 'it has begun'")
