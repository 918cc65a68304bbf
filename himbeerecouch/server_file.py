"""Reads the server file: one line, the URL of the CouchDB server."""

from __future__ import annotations

import os
import stat
from urllib.parse import urlsplit

from twisted.logger import Logger

from himbeerecouch.errors import ServerFileError

LIMIT_BYTES = 64 * 1024

log = Logger()


def read_server_file(path: str) -> str:
    """Return the URL in the file at ``path``, without credentials and without a slash at its end.

    Called in the reactor's thread at start and on every try after a failure; never waits, whatever ``path`` is.  Raises
    ServerFileError.
    """
    text = _first_lines(path)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != 1:
        raise ServerFileError(path, "it is empty" if not lines else f"it has {len(lines)} lines")
    url = lines[0]
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ServerFileError(path, "its line is no URL")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ServerFileError(path, f"its line is no URL ({error})") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ServerFileError(path, "its line is no http:// or https:// URL")
    if parts.query or parts.fragment:
        raise ServerFileError(path, "its URL must end with the server, or a path: no ? and no #")
    if "@" in parts.netloc:
        log.warn(
            "server file {path}: the user and the password in its URL are not used, since a Pi logs in as itself; "
            "take them out",
            path=path,
        )
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def _first_lines(path: str) -> str:
    try:
        # A FIFO without a writer would block an ordinary open for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ServerFileError(path, "it is no ordinary file")
            data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise ServerFileError(path, error.strerror or type(error).__name__) from error
    if len(data) > LIMIT_BYTES:
        raise ServerFileError(path, "it is too long")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ServerFileError(path, "it is no UTF-8 text") from None
