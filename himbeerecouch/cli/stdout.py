"""The standard output, which tells the person at the terminal where it can't be written."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any, TextIO

import click


class Output(io.FileIO):
    """A file descriptor that fails once, in words for a person, and takes all that comes after that in silence.

    Where nobody reads any more, as after ``| head``, nothing is said: the exit status is that of a process which has
    died of SIGPIPE, as those of other Unix tools have.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._failed = False

    def write(self, data: Any, /) -> int:
        """Write what fits, and give its size.  Raises click's Exit and ClickException."""
        if self._failed:  # what is left in the buffers, at the end of the process
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError:
            self._failed = True
            raise click.exceptions.Exit(128 + signal.SIGPIPE) from None
        except OSError as error:
            self._failed = True
            raise click.ClickException(f"the output can't be written: {error.strerror}") from error


def told(stdout: TextIO | None) -> TextIO:
    """Give a standard output that tells, in place of that of the process; None is one that was closed beforehand."""
    if stdout is None:
        # Writing fails on it as on one that is closed, and the first socket can't come to be in its place.
        return io.TextIOWrapper(io.BufferedWriter(Output(os.open(os.devnull, os.O_RDONLY))))
    return io.TextIOWrapper(
        io.BufferedWriter(Output(stdout.fileno())),
        encoding=stdout.encoding,
        errors=stdout.errors,
        line_buffering=stdout.isatty(),
    )


def take_over() -> None:
    """Have the process write through one that tells."""
    sys.stdout = told(sys.stdout)
