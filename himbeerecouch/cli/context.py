"""What every command shares: the server and the user, the way into the reactor, and what is said of failures.

A command is an ``async def`` that is given the operator's ``Desk``::

    @click.command()
    @click.argument("pi")
    @with_desk
    async def identify(desk: Desk, pi: str) -> int | None: ...

What it returns is the exit status; None is 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import evolve, field, frozen

from himbeerecouch.cli.complaints import in_words
from himbeerecouch.cli.credentials import find_credentials
from himbeerecouch.cli.reactor import run_async
from himbeerecouch.couch import address
from himbeerecouch.errors import HimbeerecouchError, ServerFileError

if TYPE_CHECKING:
    from himbeerecouch.fleet.desk import Desk

F = TypeVar("F", bound=Callable[..., Any])
Work = Callable[[Any], Coroutine[Any, Any, Any]]
"""Something that is done with a reactor."""
SERVER_FILE = "/etc/rspby/server"
DATABASE = "nedm/raspberries"


@frozen
class Settings:
    """What the options before or behind the command say."""

    server: str | None = None
    server_file: str = SERVER_FILE
    database: str = DATABASE
    user: str | None = None
    ca_file: str | None = None
    run: Callable[[Work], Any] = field(default=run_async, eq=False)
    """Runs a coroutine in a reactor; tests have one of their own."""

    def overridden(self, given: Mapping[str, str | None]) -> Settings:
        """Give these settings with what somebody has said after all; a server file takes the place of a server."""
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if "server_file" in changes:
            changes.setdefault("server", None)
        return evolve(self, **changes)

    def url(self) -> str:
        """Give the URL of the server, from ``--server`` or the server file, without a slash at its end.

        Raises click.UsageError for what is none, and ServerFileError.
        """
        if self.server is None:
            from himbeerecouch.server_file import ServerFile

            try:
                return ServerFile(self.server_file).read()
            except ServerFileError as error:
                raise click.UsageError(
                    f"which server? Give --server or HIMBEERECOUCH_SERVER, such as http://server.name:5984 ({error})"
                ) from error
        try:
            found = address.parse(self.server)
        except ValueError as error:
            raise click.UsageError(f"--server: {error}") from None
        if found.with_credentials:
            raise click.UsageError(
                "--server: leave the user and the password out of the URL, where all on this machine can read them; "
                "give --user, and the password is asked for"
            )
        return found.base

    def desk(self) -> Callable[[Any], Desk]:
        """Give what makes the operator's client in a reactor; asks for a password where none is at hand."""
        from himbeerecouch.fleet.desk import Desk

        url = self.url()
        credentials = find_credentials(url, self.user)
        return functools.partial(Desk, url=url, credentials=credentials, database=self.database, ca_file=self.ca_file)


def connection(*, hidden: bool) -> Callable[[F], F]:
    """Add the options that say which server is meant; behind a command they work too, without being listed again."""
    options = [
        click.option(
            "--server",
            metavar="URL",
            envvar=None if hidden else "HIMBEERECOUCH_SERVER",
            hidden=hidden,
            help="The CouchDB server. Or HIMBEERECOUCH_SERVER, or the server file.",
        ),
        click.option(
            "--server-file", metavar="FILE", hidden=hidden, help=f"Has the URL in it. Without it: {SERVER_FILE}."
        ),
        click.option(
            "--database",
            metavar="NAME",
            envvar=None if hidden else "HIMBEERECOUCH_DATABASE",
            hidden=hidden,
            help=f"The database of the programs. Or HIMBEERECOUCH_DATABASE. Without it: {DATABASE}.",
        ),
        click.option(
            "--user",
            metavar="NAME",
            hidden=hidden,
            help="Who you are to CouchDB. Or HIMBEERECOUCH_USER.",
        ),
        click.option(
            "--ca-file", metavar="FILE", hidden=hidden, help="Certificates (PEM) of the CA to trust with https."
        ),
    ]

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


OPTIONS = ("server", "server_file", "database", "user", "ca_file")


def with_settings(function: Callable[..., int | None]) -> Callable[..., None]:
    """Make a command of a function that is given the ``Settings`` first; it returns the exit status."""

    def command(ctx: click.Context, /, **options: Any) -> None:
        given = {name: options.pop(name) for name in OPTIONS}
        settings = (ctx.find_object(Settings) or Settings()).overridden(given)
        try:
            status = function(settings, **options)
        except HimbeerecouchError as error:
            raise click.ClickException(in_words(error)) from error
        ctx.exit(status or 0)

    return connection(hidden=True)(functools.update_wrapper(click.pass_context(command), function))


def with_desk(function: Callable[..., Coroutine[Any, Any, int | None]]) -> Callable[..., None]:
    """Make a command of an ``async def`` that is given the operator's ``Desk`` first; it returns the exit status."""

    @functools.wraps(function)
    def command(settings: Settings, **options: Any) -> int | None:
        make = settings.desk()  # here, since Ctrl-C does not reach a prompt inside of the reactor

        async def work(reactor: Any) -> int | None:
            desk = make(reactor)
            try:
                return await function(desk, **options)
            except HimbeerecouchError as error:
                raise click.ClickException(in_words(error, desk)) from error
            finally:
                await desk.close()

        status: int | None = settings.run(work)
        return status

    return with_settings(command)
