"""``himbeerecouch identify`` and ``rotate``: what a Pi does beside running programs and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from himbeerecouch.cli.context import with_desk
from himbeerecouch.errors import HimbeerecouchError
from himbeerecouch.model import Action

if TYPE_CHECKING:
    from himbeerecouch.fleet.commands import Outcome
    from himbeerecouch.fleet.desk import Desk

WAIT_S = 15.0


@click.command()
@click.argument("pi")
@with_desk
async def identify(desk: Desk, pi: str) -> int:
    """Blink the activity LED of a Pi for a minute.

    \b
    Example:
      himbeerecouch identify lab-thermo
    """
    return await _act(desk, pi, Action.IDENTIFY)


@click.command()
@click.argument("pi")
@with_desk
async def rotate(desk: Desk, pi: str) -> int:
    """Have a Pi make itself a new password.

    Nobody gets to see it.

    \b
    Example:
      himbeerecouch rotate lab-thermo
    """
    return await _act(desk, pi, Action.ROTATE)


async def _act(desk: Desk, pi: str, action: Action) -> int:
    """Have a Pi do it, and say how that went.  It counts for a few seconds only: nobody wants it next week."""
    from twisted.internet.defer import Deferred, TimeoutError

    from himbeerecouch.fleet import names, orders
    from himbeerecouch.fleet.commands import Order
    from himbeerecouch.fleet.user import name_of

    mac_id = await names.resolve(desk, pi)
    heard: list[Outcome] = []
    await desk.info(desk.database)  # the server's time is known from here on
    order = Order(action=action, expires=desk.server_time() + WAIT_S, by=name_of(desk.credentials))
    given = await orders.give(desk, [mac_id], order)
    heard += given.refused.values()
    waiting = Deferred.fromCoroutine(orders.outcomes(desk, given, lambda _, outcome: heard.append(outcome)))
    try:
        await waiting.addTimeout(WAIT_S, desk.reactor)
    except TimeoutError:
        raise HimbeerecouchError(
            f"{mac_id}: no answer within {WAIT_S:g} s, and it is not going to be done later. "
            "Is the Pi online? himbeerecouch status tells"
        ) from None
    (outcome,) = heard
    if not outcome.good:
        raise HimbeerecouchError(f"{mac_id}: {outcome.words}")
    click.echo(f"{mac_id}: {(outcome.stdout or '').strip() or 'done'}")
    return 0
