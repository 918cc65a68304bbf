"""AppDaemon, which loads an app anew when its file changes."""

from __future__ import annotations

import contextlib
import random
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
APP = """import appdaemon.adapi as adapi


class Program(adapi.ADAPI):
    def initialize(self):
{body}
"""


@contextlib.contextmanager
def running_app(folder: Path) -> Iterator[int]:
    """Start it with one app; give its pid."""
    with _started(folder) as (_, _, pid):
        yield pid


@contextlib.contextmanager
def deploying(folder: Path) -> Iterator[Callable[[int], float]]:
    """Give what deploys an app: milliseconds from writing its file to the first line of ``initialize``."""
    with _started(folder) as (port, program, _):

        def deploy(number: int) -> float:
            sent = time.monotonic_ns()
            program.write_text(_source(port, number))
            seen = port.heard(number)
            time.sleep(0.2 + random.random())  # it looks once a second: come at any moment of it
            return (seen - sent) / 1e6

        yield deploy


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[tuple[Beacon, Path, int]]:
    python = python_of("appdaemon", "appdaemon")
    apps = folder / "apps"
    apps.mkdir()
    (folder / "appdaemon.yaml").write_text(CONFIGURATION.format(port=free_port()))
    (apps / "apps.yaml").write_text("program:\n  module: program\n  class: Program\n")
    with beacon() as port:
        (apps / "program.py").write_text(_source(port, -1))
        with running((str(python.parent / "appdaemon"), "-c", str(folder)), log=folder / "log") as process:
            port.heard(-1)
            time.sleep(3)
            yield port, apps / "program.py", process.pid


def _source(port: Beacon, number: int) -> str:
    return APP.format(body="".join(f"        {line}\n" for line in port.source(number).splitlines()))
