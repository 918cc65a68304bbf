"""What a command prints: tables, JSON, colours and progress.

What was asked for goes to stdout, all else to stderr; colours and progress are for terminals only.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print JSON in place of a table.")
"""Gives a command that prints a table its ``as_json``."""


def say(text: str, **style: Any) -> None:
    """Tell the person at the terminal something beside what was asked for; ``style`` is click's."""
    click.secho(text, err=True, **style)


def print_json(value: Any) -> None:
    """Print a value for other programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their headings, in columns; nothing where there are none.  A cell may be coloured."""
    if not rows:
        return
    lines = [[click.style(heading, bold=True) for heading in headings]]
    lines += [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(width(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        padded = [cell + " " * (widths[column] - width(cell)) for column, cell in enumerate(line)]
        padded[-1] = line[-1]
        click.echo("  ".join(padded))


def width(text: str) -> int:
    """Give how many columns of a terminal a text takes, without its colours."""
    wide = [unicodedata.east_asian_width(c) in "WF" for c in click.unstyle(text) if not unicodedata.combining(c)]
    return len(wide) + sum(wide)


def plain(text: object) -> str:
    """Give a text that came over the network without what could steer a terminal, in one line."""
    return "".join(c if c.isprintable() else " " for c in str(text)).strip()


def plain_lines(text: str) -> str:
    """The same, with its lines and tabs kept."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_difference(lines: Sequence[str]) -> None:
    """Print the lines of a unified diff."""
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        click.secho(plain_lines(line), fg=colours.get(line[:1]))


def progress(length: int, label: str) -> AbstractContextManager[Any]:
    """Give a progress bar on stderr, whose ``update(n)`` moves it on; it is not shown where that is no terminal."""
    bar: AbstractContextManager[Any] = click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    )
    return bar
