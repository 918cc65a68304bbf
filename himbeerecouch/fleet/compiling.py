"""A process that compiles sources for ``fleet.syntax``, and nothing else: it is run as a file, by itself.

The compiler can be made to take gigabytes, or to end its process: here that does no harm to whoever asked.  Reads a
JSON list of sources, and writes a line of JSON for each: the list of what is to be said of it.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings

MEMORY_BYTES = 1024 * 1024 * 1024
CPU_S = 60


def main() -> None:
    """Answer the list on the standard input."""
    for kind, limit in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_CORE, 0)):
        _, most = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
    for source in json.load(sys.stdin):
        # A line each, at once: the last one before the end of the process says where it came to its end.
        sys.stdout.write(json.dumps(findings(source)) + "\n")
        sys.stdout.flush()


def findings(source: str) -> list[dict[str, object]]:
    """What the compiler warns of in a source, then, where it does not compile, the reason; columns are from 1."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        error = _error(source)
    found = [_finding(warning.lineno, 1, str(warning.message), warning=True) for warning in caught]
    return found if error is None else [*found, error]


def _error(source: str) -> dict[str, object] | None:
    try:
        compile(source, "source.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        return _finding(error.lineno, error.offset, error.msg, text=(error.text or "").strip()[:200])
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        return _finding(None, None, f"it can't be compiled: {type(error).__name__} {error}".strip())
    return None


def _finding(
    line: int | None, column: int | None, message: str, *, text: str = "", warning: bool = False
) -> dict[str, object]:
    return {"line": line or None, "column": column or None, "message": message, "text": text, "warning": warning}


if __name__ == "__main__":
    main()
