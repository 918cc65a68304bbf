"""Reads the server file: one line, the URL of the CouchDB server."""

from __future__ import annotations

import os
import stat

from twisted.logger import Logger

from himbeerecouch.couch import address
from himbeerecouch.errors import ServerFileError

LIMIT_BYTES = 64 * 1024

log = Logger()


class ServerFile:
    """The server file at ``path``, to be read as often as one likes; what is odd about it is logged once.

    In the reactor's thread.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._warned = False

    def read(self) -> str:
        """Return the URL in it, without credentials and without a slash at its end.

        Never waits, whatever the path leads to.  Raises ServerFileError.
        """
        lines = [line.strip() for line in _text(self._path).splitlines() if line.strip()]
        if len(lines) != 1:
            raise ServerFileError(self._path, "it is empty" if not lines else f"it has {len(lines)} lines")
        try:
            found = address.parse(lines[0])
        except ValueError as error:
            raise ServerFileError(self._path, str(error)) from None
        if found.with_credentials and not self._warned:
            log.warn(
                "server file {path}: the user and the password in its URL are not used, since a Pi logs in as itself; "
                "take them out",
                path=self._path,
            )
        self._warned = found.with_credentials
        return found.base


def _text(path: str) -> str:
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
