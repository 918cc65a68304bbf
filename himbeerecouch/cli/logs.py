"""``himbeerecouch logs``: what the programs of a Pi print."""

from __future__ import annotations

from collections.abc import Mapping

import click
from twisted.internet.defer import CancelledError

from himbeerecouch.cli import show
from himbeerecouch.cli.context import with_desk
from himbeerecouch.errors import CouchError, Unavailable
from himbeerecouch.fleet import heartbeats, lenient, names
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.loglines import News, Seen, news
from himbeerecouch.fleet.logs import Watch, follow, read
from himbeerecouch.fleet.roster import Presence, span
from himbeerecouch.model import Json

OLD_S = 70.0
"""What is older than that was not written because nothing was printed; until then there may be more."""


@click.command()
@click.argument("pi")
@click.argument("program", required=False)
@click.option("-f", "--follow", "following", is_flag=True, help="Go on, and show new lines as they come, until Ctrl-C.")
@show.json_option
@with_desk
async def logs(desk: Desk, *, pi: str, program: str | None, following: bool, as_json: bool) -> int:
    """Show what the programs of a Pi have printed last.

    With PROGRAM, its name or its id, only that one. A Pi writes its log once a minute, and with -f every two seconds.

    \b
    Examples:
      himbeerecouch logs lab-thermo
      himbeerecouch logs lab-thermo blink -f
    """
    if following and as_json:
        raise click.UsageError("-f has no JSON")
    mac_id = await names.resolve(desk, pi)
    if following:
        await _follow(desk, mac_id, pi, program)
        return 0
    document = await read(desk, mac_id)
    if document is None:
        raise click.ClickException(f"{show.plain(pi)} has not written a log yet: nothing was printed on it")
    found = [each for each in news(document, {})[0] if _is_meant(each, program)]
    if program is not None and not found:
        known = sorted({each.name for each in news(document, {})[0]})
        raise click.ClickException(
            f"{show.plain(program)} has printed nothing on {show.plain(pi)}; these have: {', '.join(known) or 'none'}"
        )
    if as_json:
        show.print_json(_as_json(document, found))
        return 0
    _Printer(program).show(found)
    written = lenient.time(document.get("timestamp"))
    if written is not None and desk.server_time() - written < OLD_S:
        show.say(
            f"written {span(desk.server_time() - written)} ago, once a minute at most; -f shows lines as they come"
        )
    return 0


def _is_meant(each: News, program: str | None) -> bool:
    return program is None or program in (each.id, each.name)


def _as_json(document: Json, found: list[News]) -> Json:
    programs = {each.id: {"name": each.name, "lines": list(each.lines)} for each in found}
    return {"timestamp": document.get("timestamp"), "programs": programs}


async def _follow(desk: Desk, mac_id: int, pi: str, program: str | None) -> None:
    status = await heartbeats.one(desk, mac_id)
    if status.presence is not Presence.ONLINE:
        ago = "" if status.seen is None else f", last seen {span(desk.server_time() - status.seen)} ago"
        show.say(f"{show.plain(pi)} is {status.presence.value}{ago}: new lines come when it is back", fg="yellow")
    printer, watch = _Printer(program), Watch(desk, mac_id)
    seen: Mapping[str, Seen] = {}
    told = False
    try:
        async for document in follow(desk, mac_id, watch, _troubled):
            if watch.refused is not None and not told:
                told = True
                show.say(f"new lines come once a minute: {show.plain(watch.refused.reason)}", fg="yellow")
            found, seen = news(document, seen)
            printer.show([each for each in found if _is_meant(each, program)])
    except CancelledError:
        return
    finally:
        try:
            await watch.end()
        except CouchError as error:
            show.say(f"the Pi goes on writing its log at once for a minute: {error}")


def _troubled(error: Unavailable | None) -> None:
    show.say("the server is back" if error is None else f"{error}; trying again", fg="yellow")


class _Printer:
    """Prints lines, each with the name of its program where several are meant."""

    def __init__(self, program: str | None) -> None:
        self._named = program is None

    def show(self, found: list[News]) -> None:
        """Print what is new, and where something is missing."""
        for each in found:
            name = f"{click.style(show.plain(each.name), fg='cyan')}: " if self._named else ""
            if each.restarted:
                show.say(f"{show.plain(each.name)}: the daemon was restarted", fg="yellow")
            if each.left_out is None or each.left_out > 0:
                count = "some" if each.left_out is None else str(each.left_out)
                show.say(f"{show.plain(each.name)}: {count} lines are missing here", fg="yellow")
            for line in each.lines:
                click.echo(name + show.plain_lines(line))
