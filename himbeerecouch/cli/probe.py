"""``himbeerecouch probe``: who answers on this network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from himbeerecouch.cli import show
from himbeerecouch.cli.context import Settings, with_settings
from himbeerecouch.discovery.listing import listed
from himbeerecouch.discovery.wire import PORT

F = TypeVar("F", bound=Callable[..., Any])


def seconds(_ctx: click.Context, _option: click.Parameter, value: float) -> float:
    """Read a number of seconds."""
    if not 0 < value < math.inf:
        raise click.BadParameter("give a number of seconds, more than 0")
    return value


def discovery_options(function: F) -> F:
    """Add the options of asking the network."""
    port = click.option(
        "--discovery-port",
        type=click.IntRange(1, 65535),
        metavar="PORT",
        default=PORT,
        help=f"The Pis' UDP port. Without: {PORT}.",
    )
    timeout = click.option(
        "--timeout",
        "-t",
        "timeout_s",
        type=float,
        metavar="SECONDS",
        callback=seconds,
        default=3.0,
        help="For answers of the network. Without: 3.",
    )
    return timeout(port(function))


@click.command()
@discovery_options
@show.json_option
@with_settings
def probe(settings: Settings, timeout_s: float, discovery_port: int, as_json: bool) -> int:
    """Show which Pis answer on this network.

    Those that wait to be enrolled say their passwords.  Exit status 1 where none answered.

    \b
    Example:
      himbeerecouch probe
    """
    from himbeerecouch.discovery import ask

    answers = ask.probe(settings.url(), timeout_s, port=discovery_port)
    if as_json:
        show.print_json([listed(answer) for answer in answers])
    else:
        rows = [(answer.mac_id, answer.address, answer.password or "(enrolled)") for answer in answers]
        show.print_table(("MacID", "address", "password"), rows)
    if not answers:
        show.say(f"no Raspberry Pi answered within {timeout_s:g} s")
    return 0 if answers else 1
