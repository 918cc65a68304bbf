"""watchmedo of watchdog, which starts a script again when its file changes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.peers.beacon import beacon
from benchmarks.peers.folders import python_of
from benchmarks.peers.process import running


@contextlib.contextmanager
def deploying(folder: Path) -> Iterator[Callable[[int], float]]:
    """Give what deploys a script: milliseconds from writing its file to its first line."""
    python = python_of("watchdog", "watchdog[watchmedo]")
    scripts = folder / "scripts"
    scripts.mkdir()
    script = scripts / "program.py"
    with beacon() as port:

        def deploy(number: int) -> float:
            new = folder / "new"
            new.write_text(_source(port.source(number)))
            sent = time.monotonic_ns()
            new.replace(script)  # as editors save: half a file must not be run
            seen = port.heard(number)
            time.sleep(0.3)  # watchmedo is done with this change before the next one
            return (seen - sent) / 1e6

        script.write_text(_source(port.source(-1)))
        argv = (str(python.parent / "watchmedo"), "auto-restart", "--directory", str(scripts))
        with running((*argv, "--", str(python), str(script)), log=folder / "log"):
            port.heard(-1)
            time.sleep(1)
            yield deploy


def _source(first: str) -> str:
    return first + "time.sleep(3600)\n"
