"""Says what a document means to this Pi.  All validation of documents lives here, once."""

from __future__ import annotations

import hashlib
import json
import keyword
import math
import unicodedata
from collections.abc import Mapping

from himbeerecouch import rfc3339
from himbeerecouch.errors import DocumentError
from himbeerecouch.model import Action, Command, Exports, Json, Program, Reading, Restart

MAX_DEPTH = 64
MAX_NAME_CHARACTERS = 200
MAX_ARGUMENT_BYTES = 128 * 1024 - 1
"""Linux's MAX_ARG_STRLEN is 128 KiB with the NUL at the end (execve(2))."""
DEFAULT_TIMEOUT_S = 600.0
_SOURCES = {"code", "modules", "global_modules"}
_NESTING = {dict, list}
_NOTHING = Reading()


def read(document: Json, mac_id: int, *, max_source_bytes: int) -> Reading:
    """Return all that ``document``, which has an ``_id``, means to the Pi ``mac_id``; an empty Reading where nothing.

    Raises DocumentError with a reason made for the person who saved the document.
    """
    if "ret" in document:  # answered; the indexes of the database leave these out, and so does the feed
        return _NOTHING
    if isinstance(document.get("type"), str):
        if is_command(document, mac_id):
            return Reading(command=_command(document))
        if document["type"] == f"{mac_id}_watch":
            return Reading(watched_until=_time(document, "until"))
    ours = is_program(document, mac_id)
    if _SOURCES.isdisjoint(document) or not (ours or "global_modules" in document):
        return _NOTHING
    if _deeper_than(document, MAX_DEPTH):
        raise DocumentError(document["_id"], f"it is nested more than {MAX_DEPTH} levels deep")
    exports = _sources(document, "global_modules", max_source_bytes)
    program = _program(document, max_source_bytes) if ours else None
    if program is None and not exports:
        return _NOTHING
    return Reading(program, Exports(document["_id"], document.get("_rev", ""), exports) if exports else None)


def is_program(document: Json, mac_id: int) -> bool:
    """Whether the document is addressed to this Pi as a program: ``type`` is its MacID, as a number or in decimal."""
    kind = document.get("type")
    if isinstance(kind, bool):  # in Python True == 1
        return False
    return kind == mac_id or kind == str(mac_id)


def is_command(document: Json, mac_id: int) -> bool:
    """Whether the document is a command for this Pi, answered or not."""
    return bool(document.get("type") == f"{mac_id}_cmd")


def printable(text: str, limit_characters: int = MAX_NAME_CHARACTERS) -> str:
    """``text`` on one line for a log or a status: control characters escaped, and cut."""
    cut = text[:limit_characters]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return shown if len(text) <= limit_characters else shown + "..."


# --- programs ---------------------------------------------------------------------------------------------------------


def _program(document: Json, max_source_bytes: int) -> Program | None:
    modules = _sources(document, "modules", max_source_bytes)
    if document.get("code") is not None:
        modules["main"] = _source(document, "code", document["code"], max_source_bytes)
    if "main" not in modules:
        return None
    name = document.get("name")
    content = {key: value for key, value in document.items() if key != "_rev"}
    return Program(
        id=document["_id"],
        rev=document.get("_rev", ""),
        name=printable(name if isinstance(name, str) and name else document["_id"]),
        modules=modules,
        digest=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        offline=document.get("offline") is not False,
        restart=_restart(document),
        rollback=_flag(document, "rollback"),
        stopped=_flag(document, "stopped"),
        body=document,
    )


def _restart(document: Json) -> Restart:
    restart = document.get("restart")
    if restart is None:
        return Restart.ON_FAILURE
    try:
        return Restart(restart)
    except ValueError:
        known = ", ".join(f'"{restart.value}"' for restart in Restart)
        raise DocumentError(document["_id"], f'"restart" must be one of {known}') from None


def _flag(document: Json, key: str) -> bool:
    flag = document.get(key)
    if flag is not None and not isinstance(flag, bool):
        raise DocumentError(document["_id"], f'"{key}" must be true or false')
    return bool(flag)


def _sources(document: Json, key: str, max_source_bytes: int) -> dict[str, str]:
    sources = document.get(key)
    if sources is None:
        return {}
    if not isinstance(sources, Mapping):
        raise DocumentError(document["_id"], f'"{key}" must be an object of module names and sources')
    found: dict[str, str] = {}
    for name, source in sources.items():
        # Python normalizes the names in an import statement in the same way (PEP 3131).
        normal = unicodedata.normalize("NFKC", name)
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in normal.split(".")):
            raise DocumentError(document["_id"], f'"{printable(name)}" in "{key}" can\'t be the name of a module')
        found[normal] = _source(document, f"{key}.{printable(name)}", source, max_source_bytes)
    return found


def _source(document: Json, where: str, source: object, max_source_bytes: int) -> str:
    if not isinstance(source, str):
        raise DocumentError(document["_id"], f'"{where}" must be a string of Python source')
    try:
        size_bytes = len(source.encode())
    except UnicodeEncodeError:
        raise DocumentError(document["_id"], f'"{where}" has a lone surrogate, which is no text') from None
    if size_bytes > max_source_bytes:
        raise DocumentError(
            document["_id"], f'"{where}" has {size_bytes} bytes; at most {max_source_bytes} are taken (--max-source)'
        )
    if "\0" in source:
        raise DocumentError(document["_id"], f'"{where}" has a NUL character')
    return source


def _deeper_than(document: Json, levels: int) -> bool:
    layer = list(document.values())
    for _ in range(levels - 1):
        if _NESTING.isdisjoint(map(type, layer)):  # most documents are flat, and each row of the feed comes by here
            return False
        layer = [
            inner
            for outer in layer
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return not _NESTING.isdisjoint(map(type, layer))


# --- commands ---------------------------------------------------------------------------------------------------------


def _command(document: Json) -> Command:
    if "cmd" in document and "action" in document:
        raise DocumentError(document["_id"], 'it has both "cmd" and "action": one of them is meant')
    action = _action(document) if "action" in document else None
    return Command(
        id=document["_id"],
        rev=document.get("_rev", ""),
        argv=() if action else _argv(document),
        action=action,
        timeout_s=_timeout_s(document),
        expires=_time(document, "expires"),
        cancel=document.get("cancel") is True,
        claimed="execution" in document,
        body=document,
    )


def _action(document: Json) -> Action:
    try:
        return Action(document["action"])
    except ValueError:
        known = ", ".join(action.value for action in Action)
        raise DocumentError(document["_id"], f'"action" must be one of {known}') from None


def _argv(document: Json) -> tuple[str, ...]:
    argv = document.get("cmd")
    if not isinstance(argv, list) or not argv or not all(isinstance(argument, str) for argument in argv):
        raise DocumentError(document["_id"], '"cmd" must be a list of strings, the program and its arguments')
    if not argv[0]:
        raise DocumentError(document["_id"], 'the first string of "cmd" must name a program')
    for argument in argv:
        if "\0" in argument:
            raise DocumentError(document["_id"], 'a string in "cmd" has a NUL character')
        try:
            size_bytes = len(argument.encode())
        except UnicodeEncodeError:
            raise DocumentError(document["_id"], 'a string in "cmd" has a lone surrogate, which is no text') from None
        if size_bytes > MAX_ARGUMENT_BYTES:
            raise DocumentError(document["_id"], f'a string in "cmd" has more than {MAX_ARGUMENT_BYTES} bytes')
    return tuple(argv)


def _timeout_s(document: Json) -> float:
    timeout = document.get("timeout")
    if timeout is None:
        return DEFAULT_TIMEOUT_S
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise DocumentError(document["_id"], '"timeout" must be a number of seconds above 0')
    return min(float(timeout), 1e9) if timeout < 1e300 else 1e9  # an integer may be too large for a float


def _time(document: Json, key: str) -> float | None:
    text = document.get(key)
    if text is None:
        return None
    try:
        return rfc3339.parse(text)
    except (TypeError, ValueError):
        raise DocumentError(
            document["_id"], f'"{key}" must be a time such as "2026-05-01T12:00:00Z" (RFC 3339)'
        ) from None
