"""What the commands about programs share: which Pis, what was saved, and what has become of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import click
from attrs import frozen

from himbeerecouch.cli import local, show
from himbeerecouch.errors import CouchError
from himbeerecouch.fleet import heartbeats, names
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.outcomes import Outcome, Verdict
from himbeerecouch.fleet.roster import Presence
from himbeerecouch.fleet.saving import Saved
from himbeerecouch.fleet.waiting import Awaited, await_outcomes
from himbeerecouch.model import Json

F = TypeVar("F", bound=Callable[..., Any])
WAIT_S = 60.0
RUNS = frozenset({Outcome.RUNNING, Outcome.FINISHED, Outcome.NOTHING})
"""What somebody who starts a program wants to hear."""

wait_option: Callable[[F], F] = click.option(
    "--wait",
    "wait_s",
    metavar="SECONDS",
    type=click.FloatRange(0, 86400),
    default=WAIT_S,
    help=f"For the Pi's answer, at most; 0: don't wait.  Without it: {WAIT_S:g}.",
)
"""Gives a command its ``wait_s``."""


@frozen
class Step:
    """A program that was saved for one Pi."""

    mac_id: int
    name: str
    """What people call the program."""
    saved: Saved
    runnable: bool = True
    """There is a module main in it."""
    removed: bool = False
    path: Path | None = None
    """Where its sources are on this machine."""
    replaces: str = ""
    """Which revision it has taken the place of, and whose."""


async def pis(desk: Desk, to: Sequence[str], *, everywhere: bool) -> dict[int, str]:
    """Give the MacIDs of the Pis that are meant, and what they are called.  Raises UnknownPi, and click.UsageError."""
    asked = [name for text in to for name in text.split(",") if name.strip()]
    if bool(asked) == everywhere:
        raise click.UsageError("which Pi? Give --to with a name, or several with commas between, or --all")
    if not everywhere:
        return {await names.resolve(desk, text): text.strip() for text in asked}
    known = {pi.mac_id: pi.label for pi in await heartbeats.fleet(desk) if pi.presence is not Presence.UNSEEN}
    if not known:
        raise click.ClickException("no Pi has reported yet")
    return dict(sorted(known.items()))


def runnable(document: Json) -> bool:
    """Whether a program document has something to run."""
    modules = document.get("modules")
    return document.get("code") is not None or (isinstance(modules, dict) and "main" in modules)


async def finish(
    desk: Desk,
    called: Mapping[int, str],
    steps: Sequence[Step],
    *,
    wait_s: float,
    as_json: bool,
    wanted: frozenset[Outcome] = RUNS,
) -> int:
    """Wait for what becomes of programs that were saved, and tell it; give the exit status."""
    alone = len(steps) == 1
    for step in steps if alone else ():
        _say_saved(called[step.mac_id], step)
    verdicts = await _verdicts(desk, steps, wait_s)
    if as_json:
        show.print_json([_as_json(step, verdict, wanted) for step, verdict in zip(steps, verdicts, strict=True)])
    elif alone:
        _tell(called[steps[0].mac_id], steps[0], verdicts[0], wanted)
    else:
        show.print_table(
            ("Pi", "program", "revision", "outcome", ""),
            [_row(called[step.mac_id], step, verdict) for step, verdict in zip(steps, verdicts, strict=True)],
        )
    good = [
        step.saved.rev is not None and (verdict is None or verdict.outcome in wanted)
        for step, verdict in zip(steps, verdicts, strict=True)
    ]
    if not alone and not as_json and not all(good):
        show.say(f"{good.count(False)} of {len(good)} failed", fg="red")
    return 0 if all(good) else 1


async def _verdicts(desk: Desk, steps: Sequence[Step], wait_s: float) -> list[Verdict | None]:
    """None where there is nothing to wait for."""
    awaited = {
        step: Awaited(step.mac_id, step.saved.program, None if step.removed else step.saved.rev)
        for step in steps
        if step.saved.rev is not None and step.runnable and wait_s > 0
    }
    # One Pi answers or not: that is no progress to look at.
    with show.progress(len(awaited), "waiting for the Pis") if len(steps) > 1 else nullcontext() as bar:
        try:
            found = await await_outcomes(desk, list(awaited.values()), wait_s, told=lambda *_: bar and bar.update(1))
        except CouchError as error:  # which says nothing about what was saved
            found = [Verdict(Outcome.UNKNOWN, f"the status can't be read: {error}") for _ in awaited]
    verdicts: dict[Step, Verdict | None] = dict(zip(awaited, found, strict=True))
    nothing = Verdict(Outcome.NOTHING, "it has no module main: only its global modules count")
    return [verdicts.get(step, None if step.runnable or step.saved.rev is None else nothing) for step in steps]


def _say_saved(pi: str, step: Step) -> None:
    name, saved = show.plain(step.name), step.saved
    if saved.rev is None:
        show.say(f"{name} for {pi}: {show.plain(saved.problem)}", fg="red")
        return
    if saved.problem:
        show.say(show.plain(saved.problem))
    done = "removed" if step.removed else "saved"
    place = f", in place of {show.plain(step.replaces)}" if step.replaces else ""
    show.say(f"{name} for {pi}: {done if saved.changed else 'unchanged'}, revision {saved.rev}{place}")


def say_interrupted(called: Mapping[int, str], steps: Sequence[Step]) -> None:
    """Say for which Pis a program was saved, when nobody wants to wait for what becomes of it."""
    saved = [show.plain(called[step.mac_id]) for step in steps if step.saved.rev is not None]
    some = f"{len(saved)} of {len(steps)} Pis" + (f": {', '.join(saved)}" if saved else "")
    whom = some if len(saved) < len(steps) else saved[0] if len(saved) == 1 else f"all {len(saved)} Pis"
    later = "; himbeerecouch status tells what becomes of it" if saved else ""
    show.say(f"\n{show.plain(steps[0].name)} is saved for {whom}{later}")


def _tell(pi: str, step: Step, verdict: Verdict | None, wanted: frozenset[Outcome]) -> None:
    if verdict is None:
        return
    name, text = show.plain(step.name), show.plain_lines(verdict.text).rstrip()
    if step.path is not None and step.saved.rev is not None:
        text = local.pointing_here(step.path, step.saved.rev, text)
    if verdict.outcome in wanted:
        click.echo(f"{name} on {pi}: {verdict.outcome.value}" + (f" ({text})" if text else ""))
        return
    show.say(f"{name} on {pi}: {verdict.outcome.value}", fg="red")
    if text:
        show.say(text)
    if verdict.outcome in ADVICE:
        show.say(ADVICE[verdict.outcome])


ADVICE = {
    Outcome.OFFLINE: "It is saved: the Pi acts on it when it is back.",
    Outcome.UNKNOWN: "It is saved, and goes on by itself: himbeerecouch status tells how.",
    Outcome.STOPPED: "It is saved, and does not run: himbeerecouch start has it run.",
    Outcome.CRASHED: "It stays saved, and is tried again: mend it, or himbeerecouch rollback.",
    Outcome.ROLLED_BACK: "The one before runs in its place.",
    Outcome.REPLACED: "Look at it: himbeerecouch history.",
    Outcome.REJECTED: "Mend it, and deploy it again.",
    Outcome.QUARANTINED: "It runs again when it is changed.",
}


def _row(pi: str, step: Step, verdict: Verdict | None) -> tuple[str, ...]:
    name, rev = show.plain(step.name), step.saved.rev or ""
    if step.saved.rev is None:
        return pi, name, "", "not saved", show.plain(step.saved.problem)
    if verdict is None:
        return pi, name, rev, "saved" if step.saved.changed else "unchanged", show.plain(step.saved.problem)
    lines = verdict.text.strip().splitlines()
    return pi, name, rev, verdict.outcome.value, show.plain(lines[-1] if lines else step.saved.problem)


def _as_json(step: Step, verdict: Verdict | None, wanted: frozenset[Outcome]) -> Json:
    failed = verdict is not None and verdict.outcome not in wanted
    return {
        "mac_id": step.mac_id,
        "program": step.saved.program,
        "rev": step.saved.rev,
        "changed": step.saved.changed,
        "outcome": None if verdict is None else verdict.outcome.value,
        "error": step.saved.problem or (verdict.text if verdict is not None and failed else "") or None,
    }
