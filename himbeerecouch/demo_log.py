"""What the daemon of the demo logs, as a person wants to read it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path


class DaemonLog:
    """What the daemon writes to ``path``, shown bit by bit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shown_bytes = 0

    def has(self, text: str) -> bool:
        """Whether the daemon has written ``text``."""
        return text in self.path.read_text(encoding="utf-8", errors="replace")

    def show(self) -> None:
        """Print the lines that are new since the last call."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self._shown_bytes)
            new = file.read()
            # The rest is half a line, which is shown when it is whole.
            whole = new[: new.rfind(b"\n") + 1]
            self._shown_bytes += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                if shown := readable(line):
                    print(shown, flush=True)  # noqa: T201 - to a person at a terminal


LOGGED_IN = "read afresh"
"""What the daemon logs once it has read its database for the first time."""

LOG_LINE = re.compile(r"\S+T(?P<time>\d\d:\d\d:\d\d)\S* \[(?P<system>[^]#]*)#?(?P<level>[^]]*)\] (?P<text>.*)")
"""As twistd writes it: ``2026-05-01T12:00:00+0000 [himbeerecouch.node#info] words``."""


def readable(line: str) -> str | None:
    """A line of twistd's log as it is shown to a person; None where it is not about himbeerecouch."""
    parts = LOG_LINE.fullmatch(line)
    if parts is None:
        return f"          {line}"
    if not parts["system"].startswith("himbeerecouch."):
        return None
    level = {"warn": "warning: ", "error": "error: ", "critical": "error: "}.get(parts["level"], "")
    return f"{parts['time']}  {level}{parts['text']}"
