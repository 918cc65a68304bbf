"""Asks the network for Pis while the reactor goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool

from himbeerecouch.discovery import ask
from himbeerecouch.discovery.wire import PORT
from himbeerecouch.errors import SeveralPasswords
from himbeerecouch.model import Answer

T = TypeVar("T")


async def probe(reactor: Any, url: str, *, timeout_s: float = 3.0, port: int = PORT) -> list[Answer]:
    """Give all Pis that answer; takes ``timeout_s``."""
    return await _in_thread(reactor, lambda: ask.probe(url, timeout_s, port=port))


async def find(reactor: Any, url: str, mac_id: int, *, timeout_s: float = 3.0, port: int = PORT) -> Answer | None:
    """Give what the Pi ``mac_id`` answers, as soon as it does, and None where it does not.

    To be asked twice within four seconds makes a Pi that waits for its user log in at once.  SeveralPasswords where
    somebody pretends to be that Pi.
    """
    answers = await _in_thread(reactor, lambda: ask.find(url, mac_id, timeout_s, port=port))
    if len(answers) > 1:
        raise SeveralPasswords(mac_id, tuple(answer.address for answer in answers))
    return answers[0] if answers else None


async def _in_thread(reactor: Any, work: Callable[[], T]) -> T:
    return await deferToThreadPool(reactor, reactor.getThreadPool(), work)
