"""The sources of a program on this machine: read, checked, watched and written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from himbeerecouch import documents, source_tree
from himbeerecouch.cli import show
from himbeerecouch.errors import DocumentError
from himbeerecouch.fleet import sources, syntax
from himbeerecouch.fleet.deployments import SOURCES
from himbeerecouch.model import Json

MAX_SOURCE_BYTES = 1024 * 1024
"""What a daemon takes, unless it was told otherwise."""
SETTLE_S = 0.1
"""An editor that saves a file writes, renames and touches; all of that is one change."""
LOOK_EVERY_S = 0.5
"""Where the operating system does not tell."""


def name_of(path: Path) -> str:
    """Give the name of the program at ``path``: that of the file without ``.py``, or of the folder."""
    whole = path.resolve()
    return whole.name if whole.is_dir() else whole.stem


def read(path: Path) -> Json:
    """Give the sources at ``path`` as a program document has them.

    Raises click.ClickException where they can't be read, and where no Pi would take them.
    """
    if not path.exists():  # any more: an editor may be about to put another one there
        raise click.ClickException(f"{path}: there is no such file or folder now")
    try:
        found = source_tree.read_program(path, 1)
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{path}: a file is no UTF-8: {error}") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or path}: {error.strerror or error}") from error
    kept = {key: found[key] for key in SOURCES if key in found}
    if not kept:
        raise click.ClickException(f"{path}: there is no main.py in it, and no other module")
    try:
        documents.read({"_id": str(path), "type": 1, **kept}, 1, max_source_bytes=MAX_SOURCE_BYTES)
    except DocumentError as error:
        raise click.ClickException(f"{path}: {error.reason}") from error
    return kept


async def check(reactor: Any, path: Path, found: Json, *, force: bool) -> None:
    """Say what Python has against the sources.

    Raises click.ClickException for errors, and where nothing would run, unless that is forced.
    """
    files = sources.files(found)
    told = zip(files, await syntax.findings(reactor, list(files.values())), strict=True)
    complaints = [(file, each) for file, those in told for each in those]
    for file, each in complaints:
        place = _place(path, file)
        line = "" if each.line is None else f", line {each.line}"
        show.say(f"{place}{line}: {show.plain(each.message)}{': ' + show.plain(each.text) if each.text else ''}")
    if any(not each.warning for _, each in complaints) and not force:
        raise click.ClickException(
            "this does not compile, and nothing was saved. If it is only for another version of Python: --force"
        )
    if "code" not in found and not found.get("global_modules") and not force:
        raise click.ClickException(
            f"{path}: there is no main.py in it, and nothing in a folder {source_tree.GLOBAL}: it would run nothing. "
            "Nothing was saved. If that is meant: --force"
        )


def _place(path: Path, file: str) -> Path:
    return path / file if path.is_dir() else path


def write(path: Path, document: Json, *, force: bool) -> list[Path]:
    """Write the sources of a document to ``path``: one file, or a folder where ``path`` is none of ``.py``.

    Give what was written.  Raises click.ClickException rather than overwriting something else, unless forced.
    """
    try:
        found = sources.files(document)
    except ValueError as error:
        raise click.ClickException(f"{document.get('_id')}: {error}; it can't be written to files") from error
    if path.suffix == ".py":
        if found.keys() != {"main.py"}:
            raise click.ClickException(f"it has more than one module: give a folder in place of {path}")
        targets = {path: found["main.py"]}
    else:
        targets = {path / name: source for name, source in found.items()}
    try:
        _write(targets, force=force)
    except OSError as error:
        raise click.ClickException(f"{error.filename or path} can't be written: {error.strerror}") from error
    return list(targets)


def _write(targets: Mapping[Path, str], *, force: bool) -> None:
    for file, source in () if force else targets.items():
        if file.exists() and (not file.is_file() or file.read_bytes() != source.encode()):
            raise click.ClickException(f"{file} is there, and says something else. To replace it: --force")
    for file, source in targets.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source.encode())


def pointing_here(path: Path, rev: str, traceback: str) -> str:
    """Give a traceback of the revision ``rev`` of a program with the names of the files that it was made of."""
    place = str(path / "_").removesuffix("_") if path.is_dir() else ""
    pattern = re.compile(rf'File "[^"\n]*@{re.escape(rev)}/([^"\n]+)"')
    return pattern.sub(lambda found: f'File "{place + found[1] if place else path}"', traceback)


class Saves:
    """Tells when a file at ``path`` may have been saved: by inotify, and where there is none by looking often."""

    def __init__(self, reactor: Any, path: Path) -> None:
        self._reactor = reactor
        self._waiting: Deferred[None] | None = None
        self._noticed = False
        self._settling: Any = None
        self._folder = path if path.is_dir() else path.resolve().parent
        self._notifier: Any = None
        self._looking = LoopingCall(self._notice)
        self._looking.clock = reactor
        try:
            self._begin(recursive=path.is_dir())
        except (ImportError, AttributeError, OSError):
            self._looking.start(LOOK_EVERY_S, now=False)

    def _begin(self, *, recursive: bool) -> None:
        from twisted.internet import inotify
        from twisted.python.filepath import FilePath

        self._notifier = inotify.INotify(self._reactor)
        self._notifier.startReading()
        self._notifier.watch(
            FilePath(str(self._folder)),
            mask=inotify.IN_WATCH_MASK,
            autoAdd=recursive,
            recursive=recursive,
            callbacks=[lambda *_: self._notice()],
        )

    def _notice(self) -> None:
        self._noticed = True
        if self._waiting is not None and self._settling is None:
            self._settling = self._reactor.callLater(SETTLE_S, self._settle)

    def _settle(self) -> None:
        self._settling = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._noticed = False
            waiting.callback(None)

    def next(self) -> Deferred[None]:
        """Fire when something was saved since this was called last."""
        self._waiting = Deferred(self._forget)
        if self._noticed:
            self._notice()
        return self._waiting

    def _forget(self, _: Deferred[None]) -> None:
        self._waiting = None

    def close(self) -> None:
        """Watch no more."""
        if self._notifier is not None:
            self._notifier.loseConnection()
        if self._looking.running:
            self._looking.stop()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
