"""himbeerecouch runs Python programs on Raspberry Pis by way of documents in a CouchDB database.

What is documented here is imported when it is first used, so that the daemon does not pay for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from himbeerecouch import prog, util
    from himbeerecouch.discovery.ask import broadcast_message, probe
    from himbeerecouch.discovery.receive import receive_broadcast_message

__all__ = ["broadcast_message", "probe", "prog", "receive_broadcast_message", "util"]

_FOUND_IN = {
    "broadcast_message": "discovery.ask",
    "probe": "discovery.ask",
    "receive_broadcast_message": "discovery.receive",
}


def __getattr__(name: str) -> Any:
    if name in {"prog", "util"}:
        return importlib.import_module(f"himbeerecouch.{name}")
    if name in _FOUND_IN:
        return getattr(importlib.import_module(f"himbeerecouch.{_FOUND_IN[name]}"), name)
    raise AttributeError(f"module 'himbeerecouch' has no attribute {name!r}")
