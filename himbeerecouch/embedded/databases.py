"""All databases of a server: by name, one file each."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from attrs import define, field

from himbeerecouch.embedded import jsontext
from himbeerecouch.embedded.feeds import Feed
from himbeerecouch.embedded.passwords import PREFIX
from himbeerecouch.embedded.refused import Refused, missing
from himbeerecouch.embedded.storage import Database
from himbeerecouch.embedded.validate import Guards

USERS = "_users"

_NAME = re.compile(r"[a-z][a-z0-9_$()+/-]{0,237}")
_ENDING = ".sqlite"


@define(eq=False)
class Room:
    """A database with what belongs to it while it is open."""

    database: Database
    feed: Feed
    guards: Guards = field(factory=Guards)


class Databases:
    """The databases in one folder, or in memory."""

    def __init__(
        self, folder: Path | None, *, wall_s: Callable[[], float], call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        """``folder`` must exist; None keeps everything in memory.  Creates ``_users`` where it is missing."""
        self._folder = folder
        self._wall_s = wall_s
        self._call_soon = call_soon
        self._rooms: dict[str, Room] = {}
        self._users: dict[str, dict[str, Any]] = {}
        """By name, as far as they have been asked for: each request asks."""
        self._names: set[str] = set()
        if folder is not None:
            self._names = {unquote(path.stem) for path in folder.glob(f"*{_ENDING}")}
        if USERS not in self._names:
            self._open(USERS)

    def _open(self, name: str) -> Room:
        path = None if self._folder is None else self._folder / (quote(name, safe="") + _ENDING)
        database = Database(path, name, now_s=self._wall_s(), call_soon=self._call_soon)
        room = self._rooms[name] = Room(database, Feed(database))
        self._names.add(name)
        if name == USERS:
            database.changed.append(lambda _: self._users.clear())
        return room

    def names(self) -> list[str]:
        """All names in order."""
        return sorted(self._names)

    def get(self, name: str) -> Room:
        """Open a database; ``Refused`` (404) where there is none, 400 where there can be none."""
        if name not in self._names:
            self.check_name(name)
            raise missing("Database does not exist.")
        room = self._rooms.get(name)
        return self._open(name) if room is None else room

    def check_name(self, name: str) -> None:
        """Raise ``Refused`` (400) for a name that CouchDB does not take."""
        if name != USERS and not _NAME.fullmatch(name):
            raise Refused(
                400,
                "illegal_database_name",
                f"Name: '{name}'. Only lowercase characters (a-z), digits (0-9), and any of the characters "
                "_, $, (, ), +, -, and / are allowed. Must begin with a letter.",
            )

    def create(self, name: str) -> Room:
        """Create a database; ``Refused`` (412) where there is one."""
        self.check_name(name)
        if name in self._names:
            raise Refused(412, "file_exists", "The database could not be created, the file already exists.")
        return self._open(name)

    def delete(self, name: str) -> None:
        """Delete a database and end its feeds."""
        room = self.get(name)
        self._names.discard(name)
        del self._rooms[name]
        room.database.delete()

    def user_fields(self, name: str) -> dict[str, Any] | None:
        """Read a user's document, as it is on the disk; None where there is no such user."""
        if name not in self._users:
            database = self.get(USERS).database
            database.commit()
            stored = database.get(PREFIX + name)
            if stored is None or stored.leaf.deleted:
                return None
            self._users[name] = jsontext.read(stored.leaf.body)
        return self._users[name]

    def close(self) -> None:
        """Close them all; what was written is on the disk then."""
        for room in self._rooms.values():
            room.database.close()
        self._rooms = {}
