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
SETTLE_S = 3.0
PATIENCE_S = 60.0
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Of two sources of one size, saved within one second, Python takes the bytecode of the first for that of the second
(PEP 3147: modification time in seconds, and size).  AppDaemon then runs the first one again, and nobody hears of the
second; people are not that quick, a benchmark is."""


@contextlib.contextmanager
def running_app(folder: Path) -> Iterator[int]:
    """Start it with one app; give its pid."""
    with _started(folder) as (_, _, pid):
        yield pid


@contextlib.contextmanager
def deploying(folder: Path) -> Iterator[Callable[[int], float]]:
    """Give what deploys an app: milliseconds from writing its file to the first line of ``initialize``."""
    with _started(folder) as (port, program, _):
        time.sleep(SETTLE_S)

        def deploy(number: int) -> float:
            sent = time.monotonic_ns()
            _save(program, _source(port, number))
            seen = _heard(port, number, folder)
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
        argv = (str(python.parent / "appdaemon"), "-c", str(folder))
        with running(argv, log=folder / "log", env=ENVIRONMENT) as process:
            _heard(port, -1, folder)
            yield port, apps / "program.py", process.pid


def _save(path: Path, text: str) -> None:
    """Save it in one step: who looks in between must not find half of it, and take that for all."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def _heard(port: Beacon, number: int, folder: Path) -> int:
    try:
        return port.heard(number, PATIENCE_S)
    except TimeoutError as error:
        last = (folder / "log").read_text(errors="replace").strip().rpartition("\n")[2]
        raise TimeoutError(f"{error}; its log ends with {last!r:.300}") from error


def _source(port: Beacon, number: int) -> str:
    return APP.format(body="".join(f"        {line}\n" for line in port.source(number).splitlines()))
