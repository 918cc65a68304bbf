"""Waits on a Pi, without a daemon, until somebody asks for it."""

from __future__ import annotations

import select
import socket
import time

from himbeerecouch.discovery.sealing import reply
from himbeerecouch.discovery.wire import LIMIT_BYTES, PORT, parse_request
from himbeerecouch.errors import DatagramError, NobodyAsked
from himbeerecouch.model import Answer

FLOOD_PAUSE_S = 0.01
"""Nonsense is passed over at most a hundred times a second: a flood of it does not take the processor."""


def receive_broadcast_message(timeout: float | None = None, *, port: int = PORT) -> str:
    """Wait until somebody asks for Pis, answer with this Pi's MacID and password, and return the server that he named.

    For a prompt or a script on the Pi, while no daemon runs there (that one answers by itself): plain blocking sockets,
    no reactor.  MacID and password are those of ``himbeerecouch.util``, with which the daemon will log in.  Datagrams
    that are no requests are passed over.  The server is what somebody on the network said: look at it before it is
    believed.

    ``timeout`` is in seconds, None waits without end; when it has passed, ``NobodyAsked`` is raised.  ``OSError`` where
    the port can't be had, ``PermissionError`` where this user may not read the Pi's password.
    """
    from himbeerecouch import util

    # Before the port is opened: whoever may not know the password learns it now, not when he is asked for it.
    answer = Answer(util.getmacid(), util.getpassword())
    end_s = None if timeout is None else time.monotonic() + timeout
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        # As the daemon does: on one machine a broadcast reaches all who wait for it.
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        asked.bind(("", port))
        server = _wait(asked, answer, end_s)
    if server is None:
        raise NobodyAsked(timeout or 0.0)
    return server


def _wait(asked: socket.socket, answer: Answer, end_s: float | None) -> str | None:
    """The server of the first request, which is answered; None once the monotonic clock has reached ``end_s``."""
    now_s = time.monotonic()
    while end_s is None or now_s < end_s:
        if select.select([asked], [], [], None if end_s is None else end_s - now_s)[0]:
            data, address = asked.recvfrom(LIMIT_BYTES + 1)
            try:
                request = parse_request(data)
                asked.sendto(reply(answer, request, data)[0], address)
            except (DatagramError, OSError):
                # No request; or one that can't be answered, from port 0 for one.
                time.sleep(FLOOD_PAUSE_S)
            else:
                return request.server
        now_s = time.monotonic()
    return None
