"""Who the operator is: from the environment, from a file that only he may read, or asked for at the terminal.

A password is never taken from the command line, where everybody on the machine could read it, and never shown.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from himbeerecouch.couch import address
from himbeerecouch.errors import CredentialsFileError
from himbeerecouch.fleet.user import Basic

USER, PASSWORD = "HIMBEERECOUCH_USER", "HIMBEERECOUCH_PASSWORD"


def find_credentials(url: str, user: str | None, environ: Mapping[str, str] = os.environ) -> Basic | None:
    """Give who logs in at ``url``: ``user`` where that is given, else whoever is found first; None for nobody.

    Raises CredentialsFileError, and click.UsageError where a password is missing and there is nobody to ask.
    """
    named = user or environ.get(USER)
    password = environ.get(PASSWORD)
    if named and password is not None and environ.get(USER, named) == named:
        return Basic(named, password)
    kept = read_file(credentials_file(environ), url)
    if kept is not None and named in (None, kept.user):
        return kept
    if not sys.stdin.isatty():
        if named is None:
            return None
        raise click.UsageError(f"the password of {named} is missing, and there is nobody to ask: give {PASSWORD}")
    if named is None:
        named = str(click.prompt(f"User at {url}", err=True))
        if password is not None:
            return Basic(named, password)
    return Basic(named, click.prompt(f"Password of {named} at {url}", hide_input=True, err=True))


def credentials_file(environ: Mapping[str, str]) -> Path:
    """Give where the file is (XDG Base Directory Specification: a relative XDG_CONFIG_HOME counts as none)."""
    folder = Path(environ.get("XDG_CONFIG_HOME") or "-")
    return (folder if folder.is_absolute() else Path.home() / ".config") / "himbeerecouch" / "credentials"


def read_file(path: Path, url: str) -> Basic | None:
    """Give who logs in at ``url`` by the file; None where there is no file, or no line for that server.

    Raises CredentialsFileError where the file is not the user's own, or others may read it.
    """
    try:
        # A FIFO without a writer would block an ordinary open for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CredentialsFileError(str(path), error.strerror or "it can't be read") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise CredentialsFileError(str(path), "it is no ordinary file")
        if found.st_uid != os.geteuid():
            raise CredentialsFileError(str(path), "it belongs to another user")
        if found.st_mode & 0o077:
            raise CredentialsFileError(str(path), f"others may read it: chmod 600 {path}")
        try:
            lines = file.read().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise CredentialsFileError(str(path), "it is no UTF-8 text") from None
    return _line_for(path, lines, address.parse(url).origin)


def _line_for(path: Path, lines: list[str], origin: tuple[str, str, int]) -> Basic | None:
    """Find the line of one server: a password for another one is never sent to it."""
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            url, user, password = line.split(maxsplit=2)
            if address.parse(url).origin == origin:
                return Basic(user, password.rstrip())
        except ValueError:
            raise CredentialsFileError(str(path), f"line {number} is not a URL, a name and a password") from None
    return None
