"""A salt master and one minion on this machine, and what a job on the minion takes."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers.beacon import Beacon, beacon
from benchmarks.peers.folders import python_of
from benchmarks.peers.process import free_port, running

AT_ONCE = (signal.SIGKILL,)
"""Otherwise each takes four seconds to end."""
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
        jobs = [client.run_job("pi", job["fun"], job["arg"], listen=True, timeout=60) for _ in range(job["times"])]
        answers = [client.get_iter_returns(one["jid"], one["minions"], timeout=60) for one in jobs if one]
        answer = [found["pi"]["ret"] for one in answers for found in one if "ret" in found.get("pi", ())]
    except salt.exceptions.SaltException:  # the master does not listen yet, and its key is not there
        client, answer = None, []
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

    def commands(self, times: int) -> float:
        """Milliseconds from so many jobs that run ``true``, all at once, to the last of their answers."""
        done = self._job("cmd.run_all", "true", times=times)
        return float(done["answered"] - done["sent"]) / 1e6

    def _job(self, function: str, *arguments: str, times: int = 1) -> Any:
        assert self._client.stdin is not None and self._client.stdout is not None
        self._client.stdin.write(json.dumps({"fun": function, "arg": arguments, "times": times}) + "\n")
        self._client.stdin.flush()
        done = json.loads(self._client.stdout.readline())
        if len(done["answer"]) != times:
            raise TimeoutError(f"the minion has answered {len(done['answer'])} of {times} jobs")
        return done


@contextlib.contextmanager
def running_minion(folder: Path) -> Iterator[int]:
    """Start a master and a minion that it has accepted; give the minion's pid."""
    with minion(folder) as salt:
        yield salt.minion_pid


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
        running((str(bin / "salt-master"), "-c", str(folder)), log=folder / "master.log", by=AT_ONCE),
        running((str(bin / "salt-minion"), "-c", str(folder)), log=folder / "log", by=AT_ONCE) as process,
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
