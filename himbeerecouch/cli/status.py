"""``himbeerecouch status``: how the Pis are, and what runs on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence

import click
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from himbeerecouch.cli import show
from himbeerecouch.cli.context import with_desk
from himbeerecouch.errors import NotFound, Unavailable
from himbeerecouch.fleet import heartbeats, names
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.roster import PiStatus, Presence, ProgramStatus, as_json, span
from himbeerecouch.model import Json

POLL_S = 10.0
"""How often presence is judged anew where no heartbeat comes: one that does not come is news as well."""
GATHER_S = 0.2
_COLOURS = {Presence.ONLINE: "green", Presence.OFFLINE: "red", Presence.STOPPED: "yellow", Presence.UNSEEN: "yellow"}
_HEADINGS = ("Pi", "presence", "seen", "°C", "version", "program", "state", "since", "attention")


@click.command()
@click.argument("pi", required=False)
@click.option("--watch", is_flag=True, help="Show it again whenever it changes, until Ctrl-C.")
@show.json_option
@with_desk
async def status(desk: Desk, *, pi: str | None, watch: bool, as_json: bool) -> int:
    """Show how the Pis are: who is online, what runs since when, what failed and why.

    What needs attention comes first. With a PI, all that it says of itself, tracebacks included. With --json --watch
    there is one line of JSON for each change.

    \b
    Examples:
      himbeerecouch status
      himbeerecouch status lab-thermo
    """
    mac_id = None if pi is None else await names.resolve(desk, pi)
    if watch:
        if not as_json and not sys.stdout.isatty():
            raise click.UsageError("--watch needs a terminal; give --json to have the changes as lines of JSON")
        await _Screen(desk, mac_id, as_json=as_json).go_on()
        return 0
    if mac_id is None:
        _show_fleet(await heartbeats.fleet(desk), desk.server_time(), as_json=as_json)
        return 0
    found = await heartbeats.one_with_names(desk, mac_id)
    if as_json:
        show.print_json(_json(found))
    elif found.presence is Presence.UNSEEN:
        raise click.ClickException(f"{show.plain(pi)} has never reported. Is it enrolled, and switched on?")
    else:
        _show_one(found, desk.server_time())
    return 0


_json = as_json


# --- all Pis ----------------------------------------------------------------------------------------------------------


def _show_fleet(pis: Sequence[PiStatus], now: float, *, as_json: bool) -> None:
    if as_json:
        show.print_json([_json(pi) for pi in pis])
        return
    show.print_table(_HEADINGS, [row for pi in pis for row in _rows(pi, now)])
    counts = {presence: sum(pi.presence is presence for pi in pis) for presence in Presence}
    told = [f"{count} {presence.value}" for presence, count in counts.items() if count]
    failed = sum(len(pi.failed) for pi in pis if pi.presence is Presence.ONLINE)
    if failed:
        told.append(click.style(f"{failed} program{'s' if failed > 1 else ''} failing", fg="red"))
    show.say(", ".join(told) if told else "no Pi has ever reported: enrol one with himbeerecouch enroll")


def _rows(pi: PiStatus, now: float) -> Iterator[tuple[str, ...]]:
    """One row for each program, or one at all; what is of the Pi stands in the first."""
    hot = "hot" in pi.warnings
    temperature = "" if pi.temperature_c is None else click.style(f"{pi.temperature_c:.0f}", fg="red" if hot else None)
    first: tuple[str, ...] = (
        show.plain(pi.label),
        click.style(pi.presence.value, fg=_COLOURS[pi.presence]),
        "" if pi.seen is None else span(now - pi.seen),
        temperature,
        show.plain(pi.versions.get("himbeerecouch", "")),
    )
    warnings = click.style(", ".join(pi.warnings), fg="yellow") if pi.warnings else ""
    if not pi.programs:
        yield (*first, "", "", "", warnings)
    # Those that failed first: they are what one looks for.
    for program in sorted(pi.programs, key=lambda program: (not program.failed, program.name)):
        problem = _problem(program)
        yield (
            *first,
            show.plain(program.name)[:40],
            _state(pi, program),
            _since(pi, program, now),
            "; ".join(filter(None, (warnings, problem))),
        )
        first, warnings = ("",) * len(first), ""


def _state(pi: PiStatus, program: ProgramStatus) -> str:
    state = show.plain(program.state)
    # What a Pi said before it went away is no news of what it does now.
    if pi.presence is not Presence.ONLINE:
        return f"was {state}"
    return click.style(state, fg="red" if program.failed else "green" if state == "running" else None)


def _since(pi: PiStatus, program: ProgramStatus, now: float) -> str:
    return "" if program.since is None or pi.presence is not Presence.ONLINE else span(now - program.since)


def _problem(program: ProgramStatus) -> str:
    parts = []
    if program.saved_rev is not None:
        parts.append(f"revision {program.saved_rev[:12]} is saved, {program.rev[:12]} runs")
    if program.failed and program.last_words:
        parts.append(program.last_words[:120])
    if program.restarts:
        parts.append(f"{program.restarts} restart{'s' if program.restarts > 1 else ''}")
    return "; ".join(parts)


# --- one Pi -----------------------------------------------------------------------------------------------------------


def _show_one(pi: PiStatus, now: float) -> None:
    presence = click.style(pi.presence.value, fg=_COLOURS[pi.presence])
    seen = "" if pi.seen is None else f", seen {span(now - pi.seen)} ago"
    facts = {
        "Pi": f"{show.plain(', '.join(pi.names))} ({pi.mac_id})" if pi.names else str(pi.mac_id),
        "presence": f"{presence}{seen}",
        "attention": click.style(", ".join(pi.warnings), fg="yellow") if pi.warnings else "",
        "host": show.plain(" ".join(filter(None, (pi.hostname, pi.ip)))),
        "temperature": "" if pi.temperature_c is None else f"{pi.temperature_c:.1f} °C",
        "daemon": "" if pi.started is None else f"started {span(now - pi.started)} ago",
        "boot": "" if pi.booted is None else f"{span(now - pi.booted)} ago",
        "clock": f"{-pi.clock_offset_s:+.0f} s beside the server's" if abs(pi.clock_offset_s) >= 2 else "",
        **{f"version of {show.plain(name)}": show.plain(version) for name, version in sorted(pi.versions.items())},
    }
    for name, value in facts.items():
        if value:
            click.echo(f"{name + ':':26}{value}")
    for program in pi.programs:
        since = _since(pi, program, now)
        click.echo(f"\n{click.style(show.plain(program.name), bold=True)}: {_state(pi, program)}" + _for(since))
        click.echo(f"  id {show.plain(program.id)}, revision {show.plain(program.rev)}")
        if program.saved_rev is not None:
            click.echo(f"  saved since, and not running: {show.plain(program.saved_rev)}")
        if program.restarts:
            click.echo(f"  restarts: {program.restarts}")
        if program.error:
            click.echo("  " + show.plain_lines(program.error).rstrip().replace("\n", "\n  "))
    if pi.rejected:
        click.echo(f"\n{click.style('Documents that something is wrong with', bold=True)}")
        for id, reason in pi.rejected:
            click.echo(f"  {show.plain(id)}: {show.plain(reason)}")
        if pi.rejected_left_out:
            click.echo(f"  and {pi.rejected_left_out} more")


def _for(since: str) -> str:
    return f" for {since}" if since else ""


# --- as it changes ----------------------------------------------------------------------------------------------------


class _Screen:
    """Shows how the Pis are, again and again."""

    def __init__(self, desk: Desk, mac_id: int | None, *, as_json: bool) -> None:
        self._desk = desk
        self._mac_id = mac_id
        self._as_json = as_json
        self._heartbeats: dict[str, Json] = {}
        self._printed: dict[int, Json] = {}
        self._database: str | None = None

    async def go_on(self) -> None:
        """Show what changes until Ctrl-C."""
        since: object = None
        try:
            while True:
                try:
                    since = await self._read(since)
                    trouble = ""
                except Unavailable as error:
                    since, trouble = None, str(error)
                    await deferLater(self._desk.reactor, 1.0)
                await self._show(trouble)
        except CancelledError:
            return

    async def _read(self, since: object) -> object:
        database = self._database = self._database or await self._find_database()
        if since is None:
            since = (await self._desk.info(database)).update_seq
            self._take(await heartbeats.all_heartbeats(self._desk))
            return since
        batch = await self._desk.changes(database, since=since, selector=heartbeats.HEARTBEATS, timeout_s=POLL_S)
        self._take([row.document for row in batch.rows if row.document is not None])
        await deferLater(self._desk.reactor, GATHER_S)
        return batch.last_seq

    async def _find_database(self) -> str:
        try:
            await self._desk.info(self._desk.status_database)
        except NotFound:
            return self._desk.database
        return self._desk.status_database

    def _take(self, documents: Sequence[Json]) -> None:
        self._heartbeats |= {str(document.get("_id")): document for document in documents}

    async def _show(self, trouble: str) -> None:
        now = self._desk.server_time()
        pis = [] if trouble else await self._pis()
        if self._as_json:
            if trouble:
                show.say(trouble, fg="red")
            for pi in pis:
                shown = _json(pi)
                # A heartbeat that says the same as the one before is no change.
                if self._printed.get(pi.mac_id) != (known := {**shown, "seen": None, "cpu_temperature_c": None}):
                    self._printed[pi.mac_id] = known
                    click.echo(json.dumps(shown, ensure_ascii=False))
            return
        click.clear()
        if trouble:
            click.secho(f"{trouble}: how the Pis are is not known now", fg="red")
        elif self._mac_id is not None and pis:
            _show_one(pis[0], now)
        else:
            _show_fleet(pis, now, as_json=False)

    async def _pis(self) -> list[PiStatus]:
        called = await names.all_names(self._desk)
        pis = await heartbeats.complete(self._desk, list(self._heartbeats.values()), called)
        return [pi for pi in pis if self._mac_id in (None, pi.mac_id)]
