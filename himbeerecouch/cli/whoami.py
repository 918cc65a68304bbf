"""``himbeerecouch whoami``: who this Pi is."""

from __future__ import annotations

from pathlib import Path

import click

from himbeerecouch.cli import show
from himbeerecouch.cli.context import Settings, with_settings
from himbeerecouch.errors import HimbeerecouchError, ServerFileError, StateError

STATE_DIR = "/var/lib/himbeerecouch"


@click.command()
@click.option("--state-dir", type=click.Path(path_type=Path), default=Path(STATE_DIR), help=f"Without it: {STATE_DIR}.")
@click.option("--interface", metavar="NAME", help="As the daemon is given it.")
@click.option("--mac-id", type=click.IntRange(1), help="As the daemon is given it.")
@click.option("--password-file", type=click.Path(path_type=Path), help="As the daemon is given it.")
@show.json_option
@with_settings
def whoami(
    settings: Settings,
    *,
    state_dir: Path,
    interface: str | None,
    mac_id: int | None,
    password_file: Path | None,
    as_json: bool,
) -> int:
    """On a Pi: show its MacID, where its password is, its server, and whether it is enrolled.

    Never shows the password, and never logs in: a wrong password too many would lock the account.

    \b
    Example:
      sudo himbeerecouch whoami
    """
    from himbeerecouch.account import ACCOUNT, Account
    from himbeerecouch.identity import find_identity
    from himbeerecouch.store import StateFolder

    identity = find_identity(interface=interface, mac_id=mac_id)
    state = StateFolder.look(state_dir, identity.folder)
    try:
        account = Account(identity, state, password_file=password_file)
        kept = state.read(ACCOUNT) is not None
    except StateError as error:
        if isinstance(error.__cause__, PermissionError):
            raise HimbeerecouchError(f"{error}. Only the daemon's user may know it: run with sudo") from error
        raise
    if password_file is not None:
        place = str(password_file)
    elif account.guessable:
        place = "the old formula of MacID and serial number" if kept else "not made yet: the daemon makes it"
    else:
        place = str(state.path / ACCOUNT)
    found = {"mac_id": account.mac_id, "password": place, "server": _server(settings), "enrolled": account.enrolled}
    if as_json:
        show.print_json(found)
    else:
        logged_in = "yes, it has logged in" if account.enrolled else "not yet: it has never logged in"
        lines = {"MacID": account.mac_id, "password": place, "server": found["server"] or "none", "enrolled": logged_in}
        for name, value in lines.items():
            click.echo(f"{name + ':':10} {value}")
    return 0


def _server(settings: Settings) -> str | None:
    try:
        return settings.url()
    except click.UsageError as error:
        if not isinstance(error.__cause__, ServerFileError):
            raise
        show.say(str(error.__cause__))
        return None
