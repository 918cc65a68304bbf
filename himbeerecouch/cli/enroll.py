"""``himbeerecouch enroll`` and ``revoke``: lets Pis in, and keeps them out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import field, frozen

from himbeerecouch.cli import ask, show
from himbeerecouch.cli.context import with_desk
from himbeerecouch.cli.probe import discovery_options
from himbeerecouch.errors import (
    AlreadyEnrolled,
    HimbeerecouchError,
    NobodyAnswered,
    NotEnrolled,
    SeveralAnswered,
    SeveralPasswords,
)

if TYPE_CHECKING:
    from himbeerecouch.fleet.desk import Desk
    from himbeerecouch.model import Answer

WAKE_S = 0.3
"""A short probe.  The second one within four seconds makes a Pi that waits for its user log in at once; those before
the user was made may have done so already, and don't count."""
LATER = (
    "A Pi logs in four times in five minutes at most, and a probe that came before it had a user may have taken "
    "one of them: it can take five minutes. After that, its password is probably another one"
)
PASSWORD_HELP = "sudo python3 -c 'import himbeerecouch; print(himbeerecouch.util.getpassword())'"  # noqa: S105 - no password


@frozen
class Candidate:
    """A Pi that is to be enrolled."""

    mac_id: int
    password: str = field(repr=False)
    address: str = ""


@frozen
class Choice:
    """What the command line says about all of them."""

    replace: bool
    yes: bool
    wait_s: float
    timeout_s: float
    port: int


@click.command()
@click.argument("pi", required=False)
@click.option("--all", "everyone", is_flag=True, help="Every Pi of this network that waits to be enrolled.")
@click.option("--password-file", metavar="FILE", help="One line, the password of the Pi; - is the standard input.")
@click.option("--replace", is_flag=True, help="Give a user that is there already this password.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=20.0,
    metavar="SECONDS",
    help="For its heartbeat. Without: 20.",
)
@discovery_options
@show.json_option
@with_desk
async def enroll(
    desk: Desk,
    *,
    pi: str | None,
    everyone: bool,
    password_file: str | None,
    as_json: bool,
    timeout_s: float,
    discovery_port: int,
    **options: bool | float,
) -> int:
    """Make the user of a Pi, so that it can log in.

    Without PI it is the one Pi of this network that waits for that.  Its password comes from the network, from a file,
    or from you.  Where the Pi is up, this waits until it has logged in.

    \b
    Examples:
      himbeerecouch enroll
      himbeerecouch enroll 202481600350967 --password-file password
      himbeerecouch enroll --all
    """
    if (everyone and (pi or password_file)) or (password_file and not pi):
        raise click.UsageError("give either a Pi, perhaps with its --password-file, or --all, or nothing")
    choice = Choice(**options, timeout_s=timeout_s, port=discovery_port)  # type: ignore[arg-type]  # click's own types
    if pi is not None:
        candidates = [await _named(desk, pi, password_file, choice)]
    else:
        candidates = await _waiting(desk, choice, everyone=everyone)
    since, made = await _enrol(desk, candidates, choice)
    up, online = await _wait(desk, candidates, made, since, choice)
    _warn(candidate for candidate in candidates if candidate.mac_id in made)
    if as_json:
        show.print_json(
            [
                {"mac_id": mac_id, "new": new, "up": mac_id in up, "online": mac_id in online}
                for mac_id, new in made.items()
            ]
        )
    else:
        for mac_id, new in made.items():
            _tell(mac_id, new=new, up=mac_id in up, online=mac_id in online, wait_s=choice.wait_s)
    return 0 if len(made) == len(candidates) and (up <= online or not choice.wait_s) else 1


async def _named(desk: Desk, pi: str, password_file: str | None, choice: Choice) -> Candidate:
    """The Pi that is meant, with its password: from the file, the network, or the person at the terminal."""
    from himbeerecouch.fleet import names, network

    mac_id = await names.resolve(desk, pi)
    if password_file is not None:
        return Candidate(mac_id, _read(password_file))
    found = await network.find(desk.reactor, desk.url, mac_id, timeout_s=choice.timeout_s, port=choice.port)
    if found is not None and found.password is not None:
        return Candidate(mac_id, found.password, found.address)
    if found is None:
        show.say(f"The Pi {mac_id} does not answer on this network.")
    else:
        show.say(f"The Pi {mac_id} ({found.address}) says that it has been enrolled, and keeps its password to itself.")
    show.say(f"On the Pi, this prints its password: {PASSWORD_HELP}")
    return Candidate(mac_id, ask.password(desk, f"Password of the Pi {mac_id}"))


async def _waiting(desk: Desk, choice: Choice, *, everyone: bool) -> list[Candidate]:
    """Those of this network that wait to be enrolled: the only one, or all of them where they were agreed to."""
    from himbeerecouch.fleet import network

    answers = await network.probe(desk.reactor, desk.url, timeout_s=choice.timeout_s, port=choice.port)
    found = [answer for answer in answers if answer.password is not None]
    if not found:
        error = NobodyAnswered(tuple(answer.mac_id for answer in answers))
        raise click.ClickException(f"{error}. Is it up, with this server in its server file, and on this network?")
    mac_ids = [answer.mac_id for answer in found]
    for mac_id in mac_ids:
        if mac_ids.count(mac_id) > 1:
            raise SeveralPasswords(mac_id, tuple(answer.address for answer in found if answer.mac_id == mac_id))
    if not everyone and len(found) > 1:
        raise click.ClickException(
            f"{str(SeveralAnswered(tuple(mac_ids))).partition('. ')[0]}. Name one, or give --all"
        )
    if everyone and not choice.yes:
        _list(found)
        if not ask.confirm(desk, f"Enroll {'this one' if len(found) == 1 else f'these {len(found)}'}?"):
            raise click.Abort
    return [Candidate(answer.mac_id, answer.password or "", answer.address) for answer in found]


def _list(found: Sequence[Answer]) -> None:
    for answer in found:
        show.say(f"{answer.mac_id:>16}  {answer.address}")


async def _enrol(desk: Desk, candidates: Sequence[Candidate], choice: Choice) -> tuple[object, dict[int, bool]]:
    """Make the users; give the place after which their heartbeats are new, and who was made, and whether anew."""
    from himbeerecouch.fleet import enrol

    made: dict[int, bool] = {}
    since = await enrol.mark(desk)
    for candidate in candidates:
        mac_id = candidate.mac_id
        try:
            new = await enrol.enrol(desk, mac_id, candidate.password, replace=choice.replace)
        except AlreadyEnrolled as error:
            text = f"The Pi {mac_id} has a user already. Give it this password?"
            if not ask.confirm(desk, text, otherwise="--replace"):
                show.say(f"{error}")
                continue
            new = await enrol.enrol(desk, mac_id, candidate.password, replace=True)
        made[mac_id] = new
    return since, made


async def _wait(
    desk: Desk, candidates: Sequence[Candidate], made: dict[int, bool], since: object, choice: Choice
) -> tuple[set[int], set[int]]:
    """Have those that are up log in, and wait for their heartbeats; give who is up, and who was heard."""
    from himbeerecouch.fleet import enrol, network

    if not made or not choice.wait_s:
        return set(), set()
    answered: list[Answer] = []
    for _ in range(2):
        answered += await network.probe(desk.reactor, desk.url, timeout_s=WAKE_S, port=choice.port)
    # Who has answered a moment ago may not answer again so soon.
    up = {answer.mac_id for answer in answered} | {one.mac_id for one in candidates if one.address}
    up &= made.keys()
    return up, set(await enrol.heartbeats(desk, up, since, timeout_s=choice.wait_s))


def _warn(enrolled: Iterable[Candidate]) -> None:
    from himbeerecouch.fleet import enrol

    for candidate in enrolled:
        if enrol.guessable(candidate.password):
            show.say(
                f"{candidate.mac_id}: its password follows from MacID and serial number, and can be guessed. Better: "
                f"himbeerecouch rotate {candidate.mac_id}",
                fg="yellow",
            )


def _tell(mac_id: int, *, new: bool, up: bool, online: bool, wait_s: float) -> None:
    done = f"{mac_id}: {'enrolled' if new else 'has the new password'}"
    if online:
        click.echo(f"{done}, and it is online")
    elif up:
        click.echo(
            f"{done}. It is up, but has not logged in within {wait_s:g} s: himbeerecouch status tells when it has"
        )
        show.say(LATER)
    elif wait_s:
        click.echo(f"{done}. It does not answer on this network; it logs in within two minutes of being up")
    else:
        click.echo(done)


def _read(file: str) -> str:
    from himbeerecouch.identity import read_password_file

    if file != "-":
        return read_password_file(Path(file))
    lines = sys.stdin.read().splitlines()
    if len(lines) != 1 or not lines[0].strip():
        raise HimbeerecouchError("the standard input has to be one line, the password of the Pi")
    return lines[0].strip()


@click.command()
@click.argument("pi")
@click.option("--forget", is_flag=True, help="Take it out of all lists as well: its name, its status and its log.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@with_desk
async def revoke(desk: Desk, pi: str, forget: bool, yes: bool) -> int:
    """Take the user of a Pi away, so that it can't log in any more.

    It stays in the lists as one that is offline, unless it is to be forgotten.

    \b
    Example:
      himbeerecouch revoke lab-thermo
    """
    from himbeerecouch.fleet import enrol, names

    mac_id = await names.resolve(desk, pi)
    question = f"Shall the Pi {mac_id} not be able to log in any more{', and be forgotten' if forget else ''}?"
    if not yes and not ask.confirm(desk, question):
        raise click.Abort
    try:
        await enrol.revoke(desk, mac_id)
        click.echo(f"{mac_id}: revoked. What it runs goes on until it is switched off")
    except NotEnrolled:
        if not forget:
            raise
    if forget:
        await enrol.forget(desk, mac_id)
        click.echo(f"{mac_id}: forgotten. Its programs and commands are still in the database")
    return 0
