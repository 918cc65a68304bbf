"""``himbeerecouch setup``: makes a server ready, and says what is open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from himbeerecouch.cli import ask, show
from himbeerecouch.cli.context import with_desk

if TYPE_CHECKING:
    from himbeerecouch.fleet.desk import Desk
    from himbeerecouch.fleet.findings import Facts, Finding

_COLOURS = {"open": "red", "missing": "yellow", "broken": "yellow", "note": None}


@click.command()
@click.option("--check", is_flag=True, help="Change nothing.  Exit 1 where something is open, missing or broken.")
@click.option(
    "--operators",
    metavar="NAMES",
    help="Who is to write programs and commands: names with commas between them, all who can now, or none.",
)
@click.option(
    "--yes", "-y", is_flag=True, help="Ask nothing: who can write now becomes an operator, as --operators all."
)
@show.json_option
@with_desk
async def setup(desk: Desk, *, check: bool, operators: str | None, yes: bool, as_json: bool) -> int:
    """Make a CouchDB server ready, and say what is open there.

    You have to be its admin.  Creates the two databases, the indexes, and the guard, by which a Pi may only answer
    commands, and people need the role himbeerecouch_operator to write.  Nobody who gets in is locked out.  A second
    run changes nothing.

    \b
    Examples:
      himbeerecouch --user admin setup
      himbeerecouch --user admin setup --check
    """
    from twisted.internet import reactor

    from himbeerecouch.fleet import preparation
    from himbeerecouch.fleet.findings import Kind, findings

    facts = await preparation.look(desk)
    done: list[str] = []

    def say(text: str) -> None:
        done.append(text)
        if not as_json:
            click.echo(show.plain(text))

    if not check:
        await preparation.prepare(desk, facts, _operators(desk, facts, "all" if yes else operators), say)
        if not done and not as_json:
            click.echo("all of it was there already: nothing was changed")
        facts = await preparation.look(desk)
    facts = await preparation.with_complaints(desk, reactor, facts)
    found = findings(facts)
    if as_json:
        show.print_json({"done": done, "findings": [{"kind": each.kind.value, "text": each.text} for each in found]})
    else:
        _print(found)
        if not check and not facts.pis:
            show.say("Next, for each Pi: himbeerecouch enroll")
    return int(check and any(each.kind is not Kind.NOTE for each in found))


def _operators(desk: Desk, facts: Facts, given: str | None) -> Sequence[str]:
    """Who is to have the role; asks where somebody would lose what he can do now.  Raises click.UsageError."""
    affected = facts.writers_to_be_locked_out
    if given is None and facts.open_to_strangers:
        show.say("Everybody who reaches the server can write now. With the guard, only operators and admins can.")
    if given is None and affected:
        show.say("These users can write now, and could only read with the guard:")
        show.say("  " + show.plain(", ".join(affected)))
        question = "Who of them is to be an operator, and go on writing? (all, none, or names)"
        given = ask.line(desk, question, otherwise="--operators")
    elif given is None and facts.open_to_strangers and not ask.confirm(desk, "Go on?"):
        raise click.Abort
    if given == "all":
        return affected
    return [] if given in (None, "none") else [name.strip() for name in given.split(",") if name.strip()]


def _print(found: Sequence[Finding]) -> None:
    for finding in found:
        kind = finding.kind.value
        click.echo(f"{click.style(kind, fg=_COLOURS[kind])}: {show.plain(finding.text)}")
