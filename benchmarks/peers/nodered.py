"""Node-RED, to which a flow is deployed by its own HTTP interface."""

from __future__ import annotations

import contextlib
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.peers.beacon import beacon
from benchmarks.peers.folders import node_modules_of
from benchmarks.peers.process import free_port, running, wait_for_http

SETTINGS = """
module.exports = {
    uiHost: "127.0.0.1", uiPort: %d, flowFile: "flows.json", credentialSecret: false,
    telemetry: { enabled: false, updateNotification: false }, editorTheme: { tours: false },
    functionGlobalContext: { socket: require("dgram").createSocket("udp4"), now: process.hrtime.bigint },
};
"""
FIRST = """const now = global.get("now")();
global.get("socket").send("%d " + now, %d, "127.0.0.1");
"""


@contextlib.contextmanager
def deploying(folder: Path) -> Iterator[Callable[[int], float]]:
    """Give what deploys a flow: milliseconds from the request to the first line of its function."""
    modules = node_modules_of("node-red", "node-red")
    http = free_port()
    (folder / "settings.js").write_text(SETTINGS % http)
    argv = ("node", str(modules / "node-red" / "red.js"), "--userDir", str(folder))
    with beacon() as port, running(argv, log=folder / "log", env={"HOME": str(folder), "PATH": os.environ["PATH"]}):

        def deploy(number: int) -> float:
            function = {
                "id": "f1",
                "type": "function",
                "z": "t1",
                "name": "",
                "func": "return msg;",
                "outputs": 1,
                "initialize": FIRST % (number, port.port),
                "finalize": "",
                "libs": [],
                "x": 1,
                "y": 1,
                "wires": [[]],
            }
            flows = [{"id": "t1", "type": "tab", "label": "bench"}, function]
            request = urllib.request.Request(
                f"http://127.0.0.1:{http}/flows",
                data=json.dumps(flows).encode(),
                headers={"Content-Type": "application/json", "Node-RED-Deployment-Type": "nodes"},
            )
            sent = time.monotonic_ns()
            urllib.request.urlopen(request, timeout=30).close()
            return (port.heard(number) - sent) / 1e6

        wait_for_http(f"http://127.0.0.1:{http}/flows")
        deploy(-1)
        yield deploy
