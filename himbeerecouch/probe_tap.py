"""``twistd himbeerecouch-probe``: asks which Pis are on this network, prints them, and ends."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence

from twisted.application.service import IService
from twisted.python import usage

from himbeerecouch.discovery.ask import probe
from himbeerecouch.discovery.listing import listed
from himbeerecouch.discovery.wire import PORT
from himbeerecouch.model import Answer


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError("give a number of seconds, more than 0")
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 2**16:
        raise ValueError("give a port from 1 to 65535")
    return port


class Options(usage.Options):
    """What may be said on the command line."""

    synopsis = "--server URL [--timeout SECONDS] [--json]"
    longdesc = (
        "Asks all networks of this machine which Raspberry Pis run himbeerecouch, and prints a table of those that "
        "answered: their MacIDs (which are their CouchDB user names), addresses, and the passwords of those that wait "
        "to be enrolled. Always runs in the foreground and ends by itself. Exit status: 0 when a Pi answered, 1 when "
        "none did, 2 when it could not ask."
    )
    optParameters = [  # noqa: RUF012 - usage.Options wants a list in the class
        ["server", "s", None, "URL of the CouchDB server, such as http://server.name:5984 [required]"],
        ["timeout", "t", 3.0, "How many seconds to wait for answers", _seconds],
        ["discovery-port", None, PORT, "UDP port at which the Pis are asked", _port],
    ]
    optFlags = [["json", "j", "Print JSON, one object for each Pi, in place of a table"]]  # noqa: RUF012 - as above

    def postOptions(self) -> None:
        """Keep twistd from looking at a pid file: that of a daemon may lie in this very folder."""
        if self.parent is not None:
            self.parent["pidfile"] = ""


def makeService(options: Options) -> IService:
    """Ask, print, and end the process; called by twistd, which has neither a reactor running nor a log open yet.

    Nothing here needs a reactor, and before it runs is the one moment at which a plugin sets the exit status of twistd.
    For the same reason it stays in the foreground, writes no pid file, and no line of the log gets between the output.
    """
    sys.exit(_run(options))


def _run(options: Options) -> int:
    server = options["server"]
    if server is None:
        return _complain("--server is missing: give the URL of the CouchDB server, such as http://server.name:5984")
    try:
        answers = probe(server, options["timeout"], port=options["discovery-port"])
    except (ValueError, OSError) as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return 130
    shown = json.dumps(list(map(listed, answers)), indent=2) + "\n" if options["json"] else _as_table(answers)
    print(shown, end="", flush=True)  # noqa: T201 - the output
    if not answers:
        _complain(f"no Raspberry Pi answered within {options['timeout']:g} s")
        return 1
    return 0


def _complain(message: str) -> int:
    print(f"himbeerecouch-probe: {message}", file=sys.stderr)  # noqa: T201 - this is the message's way out
    return 2


def _as_table(answers: Sequence[Answer]) -> str:
    """One line for each, under a line of headings; nothing where nobody answered."""
    if not answers:
        return ""
    lines = [("MacID", "address", "password")]
    lines += [(str(answer.mac_id), answer.address, answer.password or "(enrolled)") for answer in answers]
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    return "".join(f"{mac_id:{widths[0]}}  {address:{widths[1]}}  {rest}\n" for mac_id, address, rest in lines)
