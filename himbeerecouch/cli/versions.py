"""``himbeerecouch pull``, ``diff``, ``history`` and ``rollback``: the versions of a program."""

from __future__ import annotations

import re
from pathlib import Path

import click

from himbeerecouch.cli import local, rollout, show
from himbeerecouch.cli.context import with_desk
from himbeerecouch.fleet import deployments, names, programs, saving
from himbeerecouch.fleet.deployments import Deployment
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.saving import Edit
from himbeerecouch.model import Json

_FILE_NAME = re.compile(r"[\w-][\w. -]*")


async def _version(desk: Desk, mac_id: int, program: str, rev: str | None) -> Json:
    """Give a program as it is now, or one of its versions."""
    if rev is None:
        return await programs.find(desk, mac_id, program)
    now, versions = await programs.history_of(desk, mac_id, program)
    id = versions[0].program
    return {"_id": id, **(programs.version(versions, now, id, rev).document or {})}


def _path(document: Json) -> Path:
    """Give where a program is by itself: in the folder that one is in, as a file, or as a folder."""
    name = programs.label(document)
    if not _FILE_NAME.fullmatch(name):
        raise click.UsageError(f"{show.plain(name)!r} is no name for a file: give a PATH")
    alone = not document.get("modules") and not document.get("global_modules")
    return Path(f"{name}.py" if alone else name)


@click.command()
@click.argument("pi")
@click.argument("program")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--rev", help="An earlier version, as history lists it.")
@click.option("--force", is_flag=True, help="Overwrite files that say something else.")
@with_desk
async def pull(desk: Desk, *, pi: str, program: str, path: Path | None, rev: str | None, force: bool) -> int:
    """Write a program of a Pi to files.

    To PATH: a file where its name ends in .py, else a folder. Without it: here, under the program's name.

    \b
    Example:
      himbeerecouch pull lab-thermo blink
    """
    document = await _version(desk, await names.resolve(desk, pi), program, rev)
    for file in local.write(path or _path(document), document, force=force):
        click.echo(file)
    return 0


@click.command()
@click.argument("pi")
@click.argument("program")
@click.argument("path", type=click.Path(exists=True, path_type=Path), required=False)
@click.option("--rev", help="Compare with an earlier version, as history lists it, in place of files.")
@with_desk
async def diff(desk: Desk, *, pi: str, program: str, path: Path | None, rev: str | None) -> int:
    """Show how a program differs from files, or from an earlier version.

    Exit status 0 where they say the same, 1 where they differ.

    \b
    Examples:
      himbeerecouch diff lab-thermo blink
      himbeerecouch diff lab-thermo blink --rev 3
    """
    if rev is not None and path is not None:
        raise click.UsageError("give --rev, or a PATH: not both")
    mac_id = await names.resolve(desk, pi)
    document = await programs.find(desk, mac_id, program)
    if rev is None:
        where = path or _path(document)
        if not where.exists():
            raise click.UsageError(f"there is no {where} here: give a PATH")
        other = deployments.with_sources(document, local.read(where))
        lines = deployments.difference(document, other, (show.plain(pi), str(where)))
    else:
        lines = deployments.difference(await _version(desk, mac_id, program, rev), document, (rev, show.plain(pi)))
    show.print_difference(lines)
    return 1 if lines else 0


@click.command()
@click.argument("pi")
@click.argument("program")
@show.json_option
@with_desk
async def history(desk: Desk, *, pi: str, program: str, as_json: bool) -> int:
    """Show all versions of a program: who, and when.

    The newest first; also of one that was removed. What was saved by other means than this tool and the page is kept
    as soon as one of them replaces it, but nobody knows who did it.

    \b
    Example:
      himbeerecouch history lab-thermo blink
    """
    now, versions = await programs.history_of(desk, await names.resolve(desk, pi), program)
    if as_json:
        show.print_json([deployments.render(one) for one in versions])
        return 0
    rev = None if now is None else now["_rev"]
    rows = [
        (
            show.plain(one.rev),
            show.plain(one.at[:19].replace("T", " ")),
            show.plain(one.by or "?"),
            _what(one, older),
            one.rev == rev,
        )
        for one, older in zip(versions, [*versions[1:], None], strict=True)
    ]
    show.print_table(
        ("revision", "saved (UTC)", "by", "what", ""), [(*row, "now" if is_now else "") for *row, is_now in rows]
    )
    return 0


def _what(one: Deployment, older: Deployment | None) -> str:
    if one.document is None:
        return "removed"
    before = {} if older is None or older.document is None else older.document
    lines = deployments.difference({**before, "type": one.document.get("type")}, one.document)
    added, gone = (sum(line.startswith(sign) and not line.startswith(sign * 3) for line in lines) for sign in "+-")
    stopped, was_stopped = one.document.get("stopped") is True, before.get("stopped") is True
    words = [] if stopped == was_stopped else ["stopped" if stopped else "started"]
    return ", ".join([*words, f"+{added} -{gone} lines"])


@click.command()
@click.argument("pi")
@click.argument("program")
@click.argument("rev", required=False)
@rollout.wait_option
@show.json_option
@with_desk
async def rollback(desk: Desk, *, pi: str, program: str, rev: str | None, wait_s: float, as_json: bool) -> int:
    """Bring an earlier version of a program back.

    REV is a revision as history lists it, or its number. Without it: the last one that says something else than what
    is there now. It is saved as a new revision, and is waited for as deploy does. Whether the program is stopped stays
    as it is. One that was removed is there again.

    \b
    Example:
      himbeerecouch rollback lab-thermo blink
    """
    mac_id = await names.resolve(desk, pi)
    now, versions = await programs.history_of(desk, mac_id, program)
    to = programs.version(versions, now, versions[0].program, rev)
    after = {"_id": to.program, **deployments.rolled_back(now, to.document or {})}
    if now is None:
        after["type"] = mac_id
    show.say(show.plain(f"back to revision {to.rev}, saved {to.at or 'some time'} by {to.by or 'somebody'}"))
    (saved,) = await saving.save(desk, [Edit(now, after)])
    step = rollout.Step(mac_id, programs.label(after), saved, runnable=rollout.runnable(after))
    return await rollout.finish(desk, {mac_id: pi}, [step], wait_s=wait_s, as_json=as_json)
