"""``himbeerecouch deploy``: brings a program from this machine to Pis."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from himbeerecouch.cli import local, rollout, show
from himbeerecouch.cli.context import with_desk
from himbeerecouch.fleet import deployments, programs, saving
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.saving import Edit
from himbeerecouch.model import Json

T = TypeVar("T")


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--to", "to", multiple=True, metavar="PI[,PI...]", help="Which Pis it is for.")
@click.option("--all", "everywhere", is_flag=True, help="For all Pis that have ever reported.")
@click.option("--name", help="Without it: the file's name without .py, or the folder's.")
@click.option("--watch", is_flag=True, help="Deploy it again whenever it is saved, until Ctrl-C.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and save nothing.")
@click.option(
    "--force", is_flag=True, help="Also if it does not compile with the Python of this machine, or runs nothing."
)
@rollout.wait_option
@show.json_option
@with_desk
async def deploy(
    desk: Desk,
    *,
    path: Path,
    to: Sequence[str],
    everywhere: bool,
    name: str | None,
    watch: bool,
    dry_run: bool,
    force: bool,
    wait_s: float,
    as_json: bool,
) -> int:
    """Bring a program to Pis, and wait until it runs.

    A file is the whole program. A folder is main.py and its modules; what is in its folder global/ are global modules,
    for all programs. Waits until the Pi says that this very revision has run for a second, or has finished: exit
    status 0. Shows its traceback where it crashed: exit status 1.

    \b
    Examples:
      himbeerecouch deploy blink.py --to lab-thermo
      himbeerecouch deploy heater/ --to lab-thermo,lab-heater --watch
    """
    rollout_ = Rollout(desk, path, name or local.name_of(path), force=force, wait_s=wait_s, as_json=as_json)
    sources = local.read(path)
    await local.check(desk.reactor, path, sources, force=force)
    called = await rollout.pis(desk, to, everywhere=everywhere)
    if dry_run:
        return await rollout_.compare(called, sources)
    if watch:
        return await rollout_.go_on(called, sources)
    steps = await rollout_.save(called, sources)
    try:
        return await rollout_.finish(called, *steps)
    except CancelledError:
        rollout.say_interrupted(called, steps)
        raise


class Rollout:
    """A program of this machine, on its way to Pis."""

    def __init__(self, desk: Desk, path: Path, name: str, *, force: bool, wait_s: float, as_json: bool) -> None:
        self._desk = desk
        self._path = path
        self._name = name
        self._force = force
        self._wait_s = wait_s
        self._as_json = as_json
        self._revs: dict[int, str] = {}
        """What was saved here last, by MacID."""
        self._interrupted = False

    async def compare(self, called: Mapping[int, str], sources: Json) -> int:
        """Show what would change."""
        edits = await programs.edits(self._desk, list(called), self._name, sources)
        if self._as_json:
            show.print_json(
                [
                    {"mac_id": mac_id, "program": edit.after["_id"], "difference": difference(edit)}
                    for mac_id, edit in edits.items()
                ]
            )
            return 0
        for mac_id, edit in edits.items():
            show.say(f"{self._name} for {called[mac_id]}: {_what(edit)}")
            show.print_difference(difference(edit))
        return 0

    async def save(self, called: Mapping[int, str], sources: Json) -> tuple[rollout.Step, ...]:
        """Save it for all of the Pis."""
        edits = await programs.edits(self._desk, list(called), self._name, sources, self._revs)
        saved = await self._to_the_end(saving.save(self._desk, list(edits.values()), lambda: self._interrupted))
        steps = []
        for (mac_id, edit), done in zip(edits.items(), saved, strict=True):
            replaces = ""
            if len(edits) == 1 and done.changed and edit.before is not None:
                rev = edit.before["_rev"]
                replaces = f"{rev}, saved {await saving.saved_by(self._desk, done.program, rev)}"
            runnable = rollout.runnable(edit.after)
            steps.append(rollout.Step(mac_id, self._name, done, runnable, path=self._path, replaces=replaces))
            if done.rev is not None:
                self._revs[mac_id] = done.rev
        return tuple(steps)

    async def _to_the_end(self, saving: Coroutine[Any, Any, T]) -> T:
        """Await what Ctrl-C does not cancel, as nobody would know then what was saved; it is only told to end."""
        saved = Deferred.fromCoroutine(saving)
        waiting: Deferred[None] = Deferred()
        saved.addBoth(_tell_of, waiting)
        try:
            await waiting
        except CancelledError:
            self._interrupted = True
            show.say("\nending it, once what is under way is saved ... (Ctrl-C again: don't wait)")
        return await saved

    async def finish(self, called: Mapping[int, str], *steps: rollout.Step) -> int:
        """Wait for what becomes of it.  Raises CancelledError, also where Ctrl-C came before."""
        if self._interrupted:
            raise CancelledError
        return await rollout.finish(self._desk, called, steps, wait_s=self._wait_s, as_json=self._as_json)

    async def go_on(self, called: Mapping[int, str], sources: Json) -> int:
        """Save it again whenever it has changed here, until somebody else has saved it too, or Ctrl-C."""
        saves = local.Saves(self._desk.reactor, self._path)
        try:
            while True:
                steps = await self.save(called, sources)
                if self._interrupted:
                    rollout.say_interrupted(called, steps)
                    return 0
                if any(step.saved.rev is None for step in steps):
                    return await self.finish(called, *steps)
                show.say(f"watching {self._path}; Ctrl-C ends")
                sources = await self._next(called, steps, saves, sources)
        except CancelledError:
            return 0
        finally:
            saves.close()

    async def _next(
        self, called: Mapping[int, str], steps: Sequence[rollout.Step], saves: local.Saves, sources: Json
    ) -> Json:
        """Tell what becomes of the steps, until there are other sources.  Raises what keeps it from telling."""
        failures: list[Failure] = []
        changed = Deferred.fromCoroutine(self._changed(saves, sources))

        def fail(failure: Failure) -> None:
            failures.append(failure)
            changed.cancel()

        telling = Deferred.fromCoroutine(self._tell(called, *steps))
        telling.addErrback(fail)
        try:
            return await changed
        except CancelledError:
            for failure in failures:
                failure.raiseException()
            raise
        finally:
            # What has been saved since makes the outcome of this one unimportant.
            telling.cancel()

    async def _tell(self, called: Mapping[int, str], *steps: rollout.Step) -> None:
        with suppress(CancelledError):
            await self.finish(called, *steps)

    async def _changed(self, saves: local.Saves, sources: Json) -> Json:
        """Wait until there are other sources that are any good."""
        while True:
            await saves.next()
            try:
                found = local.read(self._path)
                if found != sources:
                    await local.check(self._desk.reactor, self._path, found, force=self._force)
                    return found
            except click.ClickException as error:
                show.say(error.format_message(), fg="red")


def _tell_of(result: T, waiting: Deferred[None]) -> T:
    if not waiting.called:
        waiting.callback(None)
    return result


def _what(edit: Edit) -> str:
    if edit.before is None:
        return "it would be new there"
    return f"it would replace revision {edit.before['_rev']}" if edit.changes else "unchanged"


def difference(edit: Edit) -> list[str]:
    """Give how the documents before and after differ."""
    return deployments.difference(edit.before or {}, edit.after)
