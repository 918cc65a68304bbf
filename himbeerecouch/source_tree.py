"""Makes a program document out of Python files."""

from __future__ import annotations

from pathlib import Path

from himbeerecouch.model import Json

GLOBAL = "global"


def read_program(path: Path, mac_id: int) -> Json:
    """Return the document, without an id, of the program at ``path`` for the Pi ``mac_id``.

    A file is ``code``.  A folder is ``main.py`` and its modules: ``helper.py``, ``pkg/__init__.py`` and ``pkg/sub.py``
    become ``helper``, ``pkg`` and ``pkg.sub``; what lies in ``global/`` becomes global modules.  Hidden ones, such as
    ``.venv``, and what is no file are none of it.  Raises OSError, and UnicodeDecodeError, whose reason names the file,
    for one that is no UTF-8.
    """
    document: Json = {"type": mac_id, "name": path.stem}
    if path.is_file():
        return document | {"code": _source(path)}
    modules = _modules(path, leave_out=GLOBAL)
    global_modules = _modules(path / GLOBAL)
    if "main" in modules:
        document["code"] = modules.pop("main")
    return document | {key: found for key, found in (("modules", modules), ("global_modules", global_modules)) if found}


def _modules(folder: Path, leave_out: str | None = None) -> dict[str, str]:
    found = {}
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        if parts[0] == leave_out or any(part.startswith(".") or part == "__pycache__" for part in parts):
            continue
        if file.exists() and not file.is_file():
            # To open a FIFO would block until somebody writes to it.
            continue
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = _source(file)
    return found


def _source(file: Path) -> str:
    # Editors of Windows put a byte order mark before a text, and Python does not take it in one that is no file.
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        error.reason = f"{error.reason} (in {file})"
        raise
