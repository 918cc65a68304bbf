"""The sources of a program as files, and what is wrong with them before they are saved.  Pure."""

from __future__ import annotations

import keyword
import warnings
from collections.abc import Iterator

from attrs import frozen

from himbeerecouch.model import Json

GLOBAL = "global"


@frozen
class Problem:
    """What Python says of a source."""

    file: str
    line: int | None
    message: str
    is_warning: bool = False

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        return f"{place}: {self.message}"


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


def check(document: Json) -> list[Problem]:
    """Give what the Python that runs this says of the sources; that of the Pi may be another version."""
    return [problem for file, source in files(document).items() for problem in _compile(file, source)]


def _compile(file: str, source: str) -> Iterator[Problem]:
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        try:
            compile(source, file, "exec", dont_inherit=True)
        except SyntaxError as error:
            yield Problem(file, error.lineno, f"{type(error).__name__}: {error.msg}")
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            yield Problem(file, None, f"{type(error).__name__}: {error}")
    for each in noticed:
        yield Problem(file, each.lineno, f"{each.category.__name__}: {each.message}", is_warning=True)
