"""The commands of ``himbeerecouch``, each of which is imported when it is used."""

from __future__ import annotations

import importlib
import os
from typing import Any

import click
from click.core import ParameterSource

from himbeerecouch.cli.context import Settings, connection
from himbeerecouch.version import VERSION

COMMANDS = {
    "setup": ("setup", "Make a CouchDB server ready, and say what is open there."),
    "probe": ("probe", "Show which Pis answer on this network."),
    "enroll": ("enroll", "Make the user of a Pi, so that it can log in."),
    "revoke": ("enroll", "Take the user of a Pi away, so that it can't log in any more."),
    "rotate": ("actions", "Have a Pi make itself a new password."),
    "identify": ("actions", "Blink the activity LED of a Pi for a minute."),
    "name": ("name", "Give a Pi a name, which every command takes in place of its MacID."),
    "whoami": ("whoami", "On a Pi: show its MacID, where its password is, its server, and whether it is enrolled."),
    "deploy": ("deploy", "Bring a program to Pis, and wait until it runs."),
    "pull": ("versions", "Write a program of a Pi to files."),
    "diff": ("versions", "Show how a program differs from files, or from an earlier version."),
    "history": ("versions", "Show all versions of a program: who, and when."),
    "rollback": ("versions", "Bring an earlier version of a program back."),
    "stop": ("control", "Have a program stopped, and stay so."),
    "start": ("control", "Have a program that was stopped run again."),
    "remove": ("control", "Remove programs; their versions stay."),
    "status": ("status", "Show how the Pis are: who is online, what runs since when, what failed and why."),
    "logs": ("logs", "Show what the programs of a Pi have printed last."),
    "run": ("run", "Run a command on a Pi, and print what it prints."),
    "demo": ("demo", "Show it all on this machine: a database, a page, a Pi and programs."),
}
"""Name -> the module of this package that has it, under this name, and what the list of all commands says of it."""


class Commands(click.Group):
    """Finds a command in its module, so that the list of all of them imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names, in the order in which one needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None where there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        found: Any = importlib.import_module(f"himbeerecouch.cli.{module}")
        command: click.Command = getattr(found, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of all commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@connection(hidden=False)
@click.version_option(VERSION, message="himbeerecouch %(version)s")
@click.pass_context
def himbeerecouch(ctx: click.Context, /, **given: str | None) -> None:
    """Run programs and commands on Raspberry Pis by way of a CouchDB database.

    A Pi is named by its MacID, by its MAC address, or by the name that you gave it.

    The password comes from a prompt, from HIMBEERECOUCH_PASSWORD, or from a file that only you may read,
    ~/.config/himbeerecouch/credentials, with a line for each server: its URL, your name, your password.

    \b
    Example:
      himbeerecouch --server http://server.name:5984 --user admin setup
    """
    if "NO_COLOR" in os.environ:
        ctx.color = False
    if given["server_file"] is not None and ctx.get_parameter_source("server") is ParameterSource.ENVIRONMENT:
        given["server"] = None  # what is said here and now goes before what was said once
    ctx.obj = (ctx.find_object(Settings) or Settings()).overridden(given)
