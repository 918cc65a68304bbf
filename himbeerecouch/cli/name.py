"""``himbeerecouch name``: what people call their Pis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from himbeerecouch.cli import show
from himbeerecouch.cli.context import with_desk
from himbeerecouch.errors import HimbeerecouchError

if TYPE_CHECKING:
    from himbeerecouch.fleet.desk import Desk


@click.command()
@click.argument("pi", required=False)
@click.argument("name", required=False)
@click.option("--remove", is_flag=True, help="Take the name of the Pi away.")
@show.json_option
@with_desk
async def name(desk: Desk, pi: str | None, name: str | None, *, remove: bool, as_json: bool) -> int:
    """Give a Pi a name, which every command takes in place of its MacID.

    Without NAME: list the names.

    \b
    Examples:
      himbeerecouch name 202481600350967 lab-thermo
      himbeerecouch name lab-thermo --remove
    """
    from himbeerecouch.fleet import names

    if remove and (pi is None or name is not None):
        raise click.UsageError("--remove: give the Pi whose name is to be taken away, and nothing else")
    if name is None and not remove:
        mac_id = None if pi is None else await names.resolve(desk, pi)
        return _list(
            {each: owner for each, owner in (await names.all_names(desk)).items() if mac_id in (None, owner)}, as_json
        )
    mac_id = await names.resolve(desk, pi or "")
    if name is None:
        taken = await names.take(desk, mac_id)
        if not taken:
            raise HimbeerecouchError(f"the Pi {mac_id} has no name")
        show.say(f"{mac_id}: not called {' or '.join(taken)} any more")
        return 0
    called = names.clean(name)
    if not names.is_name(called):
        raise click.UsageError(
            f"{name!r}: a name has letters, digits, dots, dashes and underlines, begins with a letter or digit, has at "
            "most 63 of them, and is neither a number nor a MAC address"
        )
    await names.give(desk, mac_id, called)
    show.say(f"{mac_id}: called {called}")
    return 0


def _list(found: dict[str, int], as_json: bool) -> int:
    if as_json:
        show.print_json([{"name": each, "mac_id": mac_id} for each, mac_id in found.items()])
    else:
        show.print_table(("name", "MacID"), list(found.items()))
    return 0
