"""Questions to the person at the terminal; they go to stderr, as stdout is for what was asked for."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable
from getpass import GetPassWarning
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from himbeerecouch.fleet.desk import Desk

T = TypeVar("T")


class NobodyToAsk(click.ClickException):
    """There is no terminal, and the command line does not say it either."""

    exit_code = 2

    def __init__(self, text: str, otherwise: str) -> None:
        super().__init__(f"there is nobody to ask: {text} Give {otherwise}")


def confirm(desk: Desk, text: str, *, otherwise: str = "--yes") -> bool:
    """Ask for yes or no, no by default.

    Where there is nobody to ask, raises NobodyToAsk, which names the option that says yes beforehand.
    """
    return _asked(desk, lambda: click.confirm(text, err=True), NobodyToAsk(text, otherwise))


def password(desk: Desk, text: str, *, otherwise: str = "--password-file") -> str:
    """Ask for a password, which is not shown; where there is no terminal to ask at, raises NobodyToAsk."""
    found: str = _asked(
        desk,
        lambda: click.prompt(text, hide_input=True, err=True),
        NobodyToAsk(f"{text}?", otherwise),
    )
    return found


def line(desk: Desk, text: str, *, otherwise: str) -> str:
    """Ask for a line of text; where there is nobody to ask, raises NobodyToAsk."""
    found: str = _asked(desk, lambda: click.prompt(text, err=True), NobodyToAsk(text, otherwise))
    return found


def _asked(desk: Desk, ask: Callable[[], T], nobody: NobodyToAsk) -> T:
    # A running reactor takes Ctrl-C for itself, and would not see it before the question was answered.
    before: Any = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with warnings.catch_warnings():
            # Without a terminal getpass warns, and would read a password that everybody can see.
            warnings.simplefilter("error", GetPassWarning)
            return ask()
    except GetPassWarning as error:
        raise nobody from error
    except click.Abort as error:
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise
        click.echo(err=True)
        raise nobody from error
    finally:
        signal.signal(signal.SIGINT, before)
        # Meanwhile nobody looked at the connections: the server may have closed them.
        desk.drop_idle()
