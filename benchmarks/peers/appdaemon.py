"""AppDaemon, which loads an app anew when its file changes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.peers.beacon import Beacon, beacon
from benchmarks.peers.folders import python_of
from benchmarks.peers.process import free_port, running

CONFIGURATION = """
appdaemon:
  latitude: 48.1
  longitude: 11.6
  elevation: 500
  time_zone: Europe/Berlin
http:
  url: http://127.0.0.1:{port}
"""
APP = """import appdaemon.plugins.hass.hassapi  # as each app begins
import appdaemon.adapi as adapi


class Program(adapi.ADAPI):
    def initialize(self):
{body}
"""


@contextlib.contextmanager
def deploying(folder: Path) -> Iterator[Callable[[int], float]]:
    """Give what deploys an app: milliseconds from writing its file to the first line of ``initialize``."""
    python = python_of("appdaemon", "appdaemon")
    apps = folder / "apps"
    apps.mkdir()
    (folder / "appdaemon.yaml").write_text(CONFIGURATION.format(port=free_port()))
    (apps / "apps.yaml").write_text("program:\n  module: program\n  class: Program\n")
    with beacon() as port:

        def deploy(number: int) -> float:
            sent = time.monotonic_ns()
            (apps / "program.py").write_text(_source(port, number))
            seen = port.heard(number)
            time.sleep(0.2)
            return (seen - sent) / 1e6

        (apps / "program.py").write_text(_source(port, -1))
        argv = (str(python.parent / "appdaemon"), "-c", str(folder))
        with running(argv, log=folder / "log"):
            port.heard(-1)
            time.sleep(3)
            yield deploy


def _source(port: Beacon, number: int) -> str:
    return APP.format(body="".join(f"        {line}\n" for line in port.source(number).splitlines()))
