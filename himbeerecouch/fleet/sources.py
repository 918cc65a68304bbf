"""The sources of a program as files.  Pure."""

from __future__ import annotations

import keyword

from himbeerecouch.model import Json

GLOBAL = "global"


def files(document: Json) -> dict[str, str]:
    """Give the sources of a program document by the names of their files, as ``source_tree`` reads them again.

    Raises ValueError, with a text for people, for what can't be files.
    """
    modules = _sources(document, "modules")
    if document.get("code") is not None:
        modules["main"] = _source("code", document["code"])
    found: dict[str, str] = {}
    for folder, sources in (("", modules), (f"{GLOBAL}/", _sources(document, "global_modules"))):
        for name, source in sources.items():
            path = folder + _path(name, sources)
            if path in found:
                raise ValueError(f"two of its modules would be {path}")
            found[path] = source
    return found


def _path(name: str, sources: dict[str, str]) -> str:
    parts = name.split(".")
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise ValueError(f"{name!r} can't be the name of a module")
    is_package = any(other.startswith(f"{name}.") for other in sources)
    return "/".join(parts) + ("/__init__.py" if is_package else ".py")


def _sources(document: Json, key: str) -> dict[str, str]:
    sources = document.get(key)
    if sources is None:
        return {}
    if not isinstance(sources, dict):
        raise ValueError(f'its "{key}" are no modules')
    return {name: _source(name, source) for name, source in sources.items()}


def _source(name: str, source: object) -> str:
    if not isinstance(source, str):
        raise ValueError(f"{name!r} is no source")
    return source
