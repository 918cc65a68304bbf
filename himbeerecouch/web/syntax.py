"""Says whether sources compile.  A script as well: it reads JSON from its input, and writes JSON.

It needs nothing but Python itself, and is run as a process of its own: compiling holds up all threads of a process,
and what is written to break a compiler may end it.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any


def check(modules: Mapping[str, str]) -> list[dict[str, Any]]:
    """Compile each of the sources; give their errors, and the warnings of the compiler.  Lines and columns are from 1.

    What runs them compiles with the same call, by its own Python, which may be another one.
    """
    return [found for name, source in modules.items() for found in _check(name, source)]


def _check(name: str, source: str) -> Iterator[dict[str, Any]]:
    error: dict[str, Any] | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            compile(source, f"{name}.py", "exec", dont_inherit=True)
        except SyntaxError as e:
            error = _found(name, e.lineno, e.offset, e.msg)
        except (ValueError, OverflowError, RecursionError, MemoryError) as e:
            error = _found(name, 1, 1, str(e) or type(e).__name__)
    for warning in caught:
        yield {**_found(name, warning.lineno, 1, str(warning.message)), "warning": True}
    if error is not None:
        yield error


def _found(name: str, line: int | None, column: int | None, message: str) -> dict[str, Any]:
    return {"module": name, "line": max(line or 1, 1), "column": max(column or 1, 1), "message": message}


def main() -> None:
    """Check what the input has."""
    json.dump(check(json.load(sys.stdin.buffer)), sys.stdout)


if __name__ == "__main__":
    import resource

    # A source of a few bytes can ask for all memory that there is.
    resource.setrlimit(resource.RLIMIT_AS, (1024**3, 1024**3))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
