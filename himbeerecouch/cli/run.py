"""``himbeerecouch run``: runs a command on one Pi as if it were here, or on many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import click
from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TooLate

from himbeerecouch.cli import rollout, show
from himbeerecouch.cli.context import with_desk
from himbeerecouch.errors import CouchError, Unavailable
from himbeerecouch.fleet import commands, heartbeats, names, orders
from himbeerecouch.fleet.commands import BadTime, Order, Outcome
from himbeerecouch.fleet.desk import Desk
from himbeerecouch.fleet.orders import Given
from himbeerecouch.fleet.roster import PiStatus, Presence, span, unseen
from himbeerecouch.model import CommandState

CANCEL_WAIT_S = 8.0
"""A Pi gives what it runs five seconds to end."""
EXPIRED_WAIT_S = 5.0
"""So long a Pi that is there has, to say itself that it was too late."""


@click.command()
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[PI] -- PROGRAM [ARGUMENT]...")
@click.option("--to", multiple=True, metavar="PI[,PI...]", help="Run it on these Pis, and print a table.")
@click.option("--all", "everywhere", is_flag=True, help="Run it on all Pis that are online, and print a table.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="The Pi ends it after this time.  Without it: 600.",
)
@click.option(
    "--expires",
    metavar="SECONDS|TIME",
    help="Not to be started later than that: so many seconds from now, or an RFC 3339 time.",
)
@show.json_option
@with_desk
async def run(
    desk: Desk,
    *,
    words: Sequence[str],
    to: Sequence[str],
    everywhere: bool,
    timeout_s: float | None,
    expires: str | None,
    as_json: bool,
) -> int:
    """Run a command on a Pi, and print what it prints.

    Its output, its errors and its exit status become those of this command; 128 + n where a signal ended it, 124
    where it took too long, 255 where it could not be run. There is no shell: ask for one with sh -c. Ctrl-C ends it
    on the Pi too. A Pi that is offline runs it when it is back.

    With --to or --all the exit status is 1 where one of them failed.

    \b
    Examples:
      himbeerecouch run lab-thermo -- uname -a
      himbeerecouch run --all --timeout 60 -- sh -c 'apt-get update | tail -1'
    """
    many = bool(to) or everywhere
    pi, argv = (None, words) if many else (words[0] if words else None, words[1:])
    if not argv or (pi is None and not many):
        raise click.UsageError("what is to be run, and where?  Such as: himbeerecouch run lab-thermo -- uname -a")
    if to and everywhere:
        raise click.UsageError("--to or --all, one of them is meant")
    by = (await desk.who()).name
    try:
        expiry = None if expires is None else commands.expiry(expires, desk.server_time())
    except BadTime as error:
        raise click.UsageError(f"--expires: {error}") from None
    order = Order(tuple(argv), timeout_s=timeout_s, expires=expiry, by=by)
    if pi is not None:
        return await _on_one(desk, pi, order, as_json=as_json)
    called = await _online(desk) if everywhere else await rollout.pis(desk, to, everywhere=False)
    return await _on_many(desk, called, order, as_json=as_json)


# --- one Pi -----------------------------------------------------------------------------------------------------------


async def _on_one(desk: Desk, pi: str, order: Order, *, as_json: bool) -> int:
    mac_id = await names.resolve(desk, pi)
    run = _Run(desk, await orders.give(desk, [mac_id], order), {mac_id: pi}, order.expires)
    outcome = (await run.wait()).get(mac_id)
    if outcome is None:
        return commands.INTERRUPTED
    if as_json:
        show.print_json(commands.as_json(mac_id, outcome))
        return outcome.exit_status
    click.echo(_bytes(outcome.stdout or ""), nl=False)
    click.echo(_bytes(outcome.stderr), nl=False, err=True)
    if outcome.stdout is None or outcome.exit_status in (commands.TIMED_OUT, commands.UNABLE):
        show.say(f"{show.plain(pi)}: {show.plain(outcome.words)}", fg="red")
    return outcome.exit_status


def _bytes(text: str) -> bytes:
    """As it is, whatever this terminal's encoding; half a character can't be written."""
    return text.encode("utf-8", "replace")


# --- many Pis ---------------------------------------------------------------------------------------------------------


async def _online(desk: Desk) -> dict[int, str]:
    """Give all Pis that are online, and say which are not."""
    pis = await heartbeats.fleet(desk)
    absent = [pi for pi in pis if pi.presence is not Presence.ONLINE]
    for pi in absent:
        show.say(f"{_absence(pi, pi.label, desk.server_time())}: left out", fg="yellow")
    return {pi.mac_id: pi.label for pi in pis if pi.presence is Presence.ONLINE}


async def _on_many(desk: Desk, called: Mapping[int, str], order: Order, *, as_json: bool) -> int:
    if not called:
        raise click.ClickException("no Pi is meant: none is online")
    with show.progress(len(called), "waiting for the Pis") as bar:
        given = await orders.give(desk, called, order)
        bar.update(len(given.refused))
        run = _Run(desk, given, called, order.expires, lambda: bar.update(1))
        outcomes = {**given.refused, **await run.wait()}
    if as_json:
        show.print_json([commands.as_json(mac_id, outcome) for mac_id, outcome in outcomes.items()])
    else:
        rows = [(called[mac_id], *_cells(outcomes.get(mac_id))) for mac_id in called]
        show.print_table(("Pi", "outcome", "took", "output"), [tuple(map(show.plain, row)) for row in rows])
    bad = len(called) - sum(outcome.good for outcome in outcomes.values())
    if bad:
        show.say(f"{bad} of {len(called)} failed", fg="red")
    return 1 if bad else 0


def _cells(outcome: Outcome | None) -> tuple[str, str, str]:
    if outcome is None:
        return "no answer", "", ""
    took = "" if outcome.took_s is None else f"{outcome.took_s:.1f} s"
    first, second = (outcome.stdout or "", outcome.stderr) if outcome.good else (outcome.stderr, outcome.stdout or "")
    lines = (first.strip() or second.strip()).splitlines()
    more = f" (and {len(lines) - 1} lines more)" if len(lines) > 1 else ""
    return outcome.words, took, f"{lines[-1][:100]}{more}" if lines else ""


# --- waiting ----------------------------------------------------------------------------------------------------------


class _Run:
    """A command that was given to Pis, until all of them have answered, or somebody has had enough."""

    def __init__(
        self,
        desk: Desk,
        given: Given,
        called: Mapping[int, str],
        expires: float | None,
        tick: Callable[[], object] = lambda: None,
    ) -> None:
        self._desk = desk
        self._given = given
        self._called = called
        self._expires = expires
        self._tick = tick
        self._outcomes: dict[int, Outcome] = dict(given.refused)
        self._all_absent = False

    async def wait(self) -> dict[int, Outcome]:
        """Give the outcomes by MacID.  Ctrl-C cancels what has none yet, and waits for that."""
        telling = Deferred.fromCoroutine(self._tell_absent())
        try:
            await self._answers()
        except CancelledError:
            await self._cancel()
        finally:
            telling.addErrback(lambda failure: failure.trap(CancelledError, CouchError))
            telling.cancel()
        return self._outcomes

    async def _answers(self) -> None:
        """Wait for all answers; what has expired is waited for only where a Pi has begun it before."""
        while self._expires is not None:
            left = max(0.0, self._expires - self._desk.server_time()) + EXPIRED_WAIT_S
            try:
                await self._follow().addTimeout(left, self._desk.reactor)
            except TooLate:
                with suppress(Unavailable):
                    for id in await orders.unclaimed(self._desk, self._pending()):
                        words = "it has expired, and the Pi has not begun it"
                        self._heard(self._given.waiting[id], Outcome(id, CommandState.EXPIRED.value, reason=words))
                    self._expires = None
            else:
                return
        await self._follow()

    def _follow(self) -> Deferred[None]:
        waiting = {id: mac_id for id, mac_id in self._given.waiting.items() if mac_id not in self._outcomes}
        given = evolve(self._given, waiting=waiting)
        return Deferred.fromCoroutine(orders.outcomes(self._desk, given, self._heard, _troubled))

    def _heard(self, mac_id: int, outcome: Outcome) -> None:
        self._outcomes[mac_id] = outcome
        self._tick()

    def _pending(self) -> dict[str, int]:
        return {id: mac_id for id, mac_id in self._given.waiting.items() if mac_id not in self._outcomes}

    async def _tell_absent(self) -> None:
        """Say which Pis will not answer now."""
        one = len(self._called) == 1
        pis = [await heartbeats.one(self._desk, *self._called)] if one else await heartbeats.fleet(self._desk)
        known = {pi.mac_id: pi for pi in pis}
        absent = [
            pi
            for mac_id in self._pending().values()
            if (pi := known.get(mac_id) or unseen(mac_id, ())).presence is not Presence.ONLINE
        ]
        for pi in absent:
            words = _absence(pi, self._called[pi.mac_id], self._desk.server_time())
            first = pi.presence is Presence.UNSEEN and self._expires is None
            what = _FIRST if first else "it runs when the Pi is back, unless it expires before"
            show.say(f"{words}: {what}", fg="yellow")
        self._all_absent = bool(absent) and len(absent) == len(self._pending())

    async def _cancel(self) -> None:
        """Have it end on the Pis, and wait for their answers, but not for long."""
        pending = self._pending()
        if not pending:
            return
        show.say("\nending it ... (Ctrl-C again: don't wait)")
        try:
            await orders.cancel(self._desk, pending)
            if not self._all_absent:
                await self._follow().addTimeout(CANCEL_WAIT_S, self._desk.reactor)
        except TooLate:
            pass
        except CouchError as error:
            show.say(f"it could not be cancelled: {error}", fg="red")
            return
        for id, mac_id in self._pending().items():
            name = show.plain(self._called[mac_id])
            show.say(f"{name}: it is cancelled, and the Pi has not answered yet: see {id}")


_FIRST = "a Pi that starts for the first time runs nothing of what was there before, unless it has an --expires"


def _troubled(error: Unavailable | None) -> None:
    show.say("the server is back" if error is None else f"{error}; still waiting", fg="yellow")


def _absence(pi: PiStatus, called: str, now: float) -> str:
    since = "" if pi.seen is None else f", {span(now - pi.seen)} after its last word"
    words = {Presence.STOPPED: "its daemon is stopped", Presence.UNSEEN: "it has never reported: is it enrolled?"}
    return f"{show.plain(called)} is not online ({words.get(pi.presence, 'it has gone silent')}{since})"
