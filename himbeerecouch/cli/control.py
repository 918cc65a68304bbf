"""``himbeerecouch stop``, ``start`` and ``remove``: of a program on a Pi."""

from __future__ import annotations

from collections.abc import Sequence

import click

from himbeerecouch.cli import ask, rollout, show
from himbeerecouch.cli.context import with_desk
from himbeerecouch.fleet import names, programs, saving
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.outcomes import Outcome
from himbeerecouch.fleet.saving import Edit


@click.command()
@click.argument("pi")
@click.argument("program")
@rollout.wait_option
@show.json_option
@with_desk
async def stop(desk: Desk, *, pi: str, program: str, wait_s: float, as_json: bool) -> int:
    """Have a program stopped, and stay so.

    Also over a boot. It stays in the database, and its global modules count. Waits until the Pi says that it has ended.

    \b
    Example:
      himbeerecouch stop lab-thermo blink
    """
    return await _set_stopped(desk, pi, program, stopped=True, wait_s=wait_s, as_json=as_json)


@click.command()
@click.argument("pi")
@click.argument("program")
@rollout.wait_option
@show.json_option
@with_desk
async def start(desk: Desk, *, pi: str, program: str, wait_s: float, as_json: bool) -> int:
    """Have a program that was stopped run again.

    Waits until it does, as deploy does.

    \b
    Example:
      himbeerecouch start lab-thermo blink
    """
    return await _set_stopped(desk, pi, program, stopped=False, wait_s=wait_s, as_json=as_json)


async def _set_stopped(desk: Desk, pi: str, program: str, *, stopped: bool, wait_s: float, as_json: bool) -> int:
    mac_id = await names.resolve(desk, pi)
    before = await programs.find(desk, mac_id, program)
    after = {key: value for key, value in before.items() if key != "stopped"}
    if stopped:
        after["stopped"] = True
    wanted = frozenset({Outcome.STOPPED, Outcome.NOTHING}) if stopped else rollout.RUNS
    (saved,) = await saving.save(desk, [Edit(before, after)])
    step = rollout.Step(mac_id, programs.label(before), saved, runnable=rollout.runnable(after))
    return await rollout.finish(desk, {mac_id: pi}, [step], wait_s=wait_s, as_json=as_json, wanted=wanted)


@click.command()
@click.argument("pi")
@click.argument("program", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
@rollout.wait_option
@show.json_option
@with_desk
async def remove(desk: Desk, *, pi: str, program: Sequence[str], yes: bool, wait_s: float, as_json: bool) -> int:
    """Remove programs; their versions stay.

    Waits until they have ended on the Pi. himbeerecouch rollback brings one back.

    \b
    Example:
      himbeerecouch remove lab-thermo blink
    """
    mac_id = await names.resolve(desk, pi)
    found = [await programs.find(desk, mac_id, each) for each in program]
    labels = [programs.label(each) for each in found]
    listed = ", ".join(show.plain(label) for label in labels)
    if not yes and not ask.confirm(desk, f"Remove {listed} from {pi}?"):
        show.say("nothing was removed")
        return 1
    steps = [
        rollout.Step(mac_id, label, await saving.remove(desk, each), runnable=rollout.runnable(each), removed=True)
        for label, each in zip(labels, found, strict=True)
    ]
    wanted = frozenset({Outcome.REMOVED, Outcome.NOTHING})
    return await rollout.finish(desk, {mac_id: pi}, steps, wait_s=wait_s, as_json=as_json, wanted=wanted)
