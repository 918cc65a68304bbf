"""A salt master and one minion on this machine, and what a job on the minion takes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers.beacon import Beacon, beacon
from benchmarks.peers.folders import python_of
from benchmarks.peers.process import free_port, running

CONFIGURATION = """
user: root
root_dir: {folder}
interface: 127.0.0.1
publish_port: {publish}
ret_port: {answer}
master: 127.0.0.1
master_port: {answer}
id: pi
auto_accept: true
worker_threads: 2
log_level: error
"""
CLIENT = """
import json, sys, time
out, sys.stdout = sys.stdout, sys.stderr  # salt has things to say
import salt.client, salt.exceptions
client = None
for line in sys.stdin:
    job = json.loads(line)
    sent = time.monotonic_ns()
    try:
        client = client or salt.client.LocalClient({master!r})
        answer = client.cmd("pi", job["fun"], job["arg"], timeout=30)
    except salt.exceptions.SaltException:  # the master does not listen yet, and its key is not there
        client, answer = None, dict()
    print(json.dumps(dict(sent=sent, answered=time.monotonic_ns(), answer=answer)), file=out, flush=True)
"""
"""Runs in salt's own Python, with one client for all jobs: to start a client takes longer than a job."""


class Salt:
    """A minion that takes jobs."""

    def __init__(self, client: subprocess.Popen[str], port: Beacon, minion: int) -> None:
        self._client = client
        self._port = port
        self.minion_pid = minion

    def deploy(self, number: int) -> float:
        """Milliseconds from a job that runs Python source to its first line."""
        done = self._job("cmd.exec_code", "python3", self._port.source(number))
        return float(self._port.heard(number) - done["sent"]) / 1e6

    def command(self, _number: int) -> float:
        """Milliseconds from a job that runs ``true`` to its answer."""
        done = self._job("cmd.run_all", "true")
        return float(done["answered"] - done["sent"]) / 1e6

    def _job(self, function: str, *arguments: str) -> Any:
        assert self._client.stdin is not None and self._client.stdout is not None
        self._client.stdin.write(json.dumps({"fun": function, "arg": arguments}) + "\n")
        self._client.stdin.flush()
        done = json.loads(self._client.stdout.readline())
        if "pi" not in done["answer"]:
            raise TimeoutError("the minion has not answered")
        return done


@contextlib.contextmanager
def minion(folder: Path) -> Iterator[Salt]:
    """Start a master and a minion that it has accepted."""
    python = python_of("salt", "salt")
    text = CONFIGURATION.format(folder=folder, publish=free_port(), answer=free_port())
    for name in ("master", "minion"):
        (folder / name).write_text(text)
    bin = python.parent
    with (
        beacon() as port,
        running((str(bin / "salt-master"), "-c", str(folder)), log=folder / "master.log"),
        running((str(bin / "salt-minion"), "-c", str(folder)), log=folder / "log") as process,
    ):
        client = subprocess.Popen(
            (str(python), "-c", CLIENT.format(master=str(folder / "master"))),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "client.log").open("wb"),
            text=True,
        )
        try:
            salt = Salt(client, port, process.pid)
            _first_answer(salt)
            yield salt
        finally:
            client.kill()
            client.wait()


def _first_answer(salt: Salt) -> None:
    until = time.monotonic() + 120
    while True:
        try:
            salt.command(0)
        except TimeoutError:
            if time.monotonic() > until:
                raise
            time.sleep(1)
        else:
            return
